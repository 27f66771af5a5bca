"""SCORE's loss."""

from __future__ import annotations

from typing import Literal

from ssft.errors import RecipeError
from ssft.losses.base import FrameLoss
from ssft.ops.soft_dtw import soft_dtw, soft_dtw_divergence
from ssft.types import Frames, LossOutput


class SoftDTW(FrameLoss):
    """How far apart two frame sequences are once they are aligned as well as time allows.

    The soft-DTW divergence `s(x, y) - (s(x, x) + s(y, y)) / 2` of squared Euclidean frame distances, per pair, divided
    by the sum of the two lengths, averaged over the batch. Gradients flow into both sides.

    Args:
        gamma: smoothing of the minimum over alignments, positive.
        divergence: False takes `s(x, y)` alone, which prefers blurred frames.
        normalize: `total_length` divides by F_x + F_y (real frames, not padding); `none` does not, so that long
            utterances weigh more.

    Source:
        SCORE, Meghanani and Hain, ICASSP 2024 (gamma 0.1, total_length).

    Requirements:
        Frames of comparable scale; the papers normalise them to unit length. Lengths may differ.

    Relations:
        Constant frames are a minimum with zero gradient: nothing in this loss pushes frames apart. SCORE is held up by
        its frozen reference; with `reference="student"` choose a loss that repels or that uses a codebook.

    Example:
        >>> loss = SoftDTW(gamma=0.1)
        >>> loss(student, reference).loss.backward()
    """

    lets_collapse = True

    def __init__(
        self,
        gamma: float = 0.1,
        divergence: bool = True,
        normalize: Literal["total_length", "none"] = "total_length",
    ) -> None:
        super().__init__()
        if gamma <= 0:
            raise RecipeError(f"SoftDTW(gamma={gamma}): gamma must be positive; 0.1 is the published value.")
        if normalize not in ("total_length", "none"):
            raise RecipeError(f"SoftDTW(normalize='{normalize}'): choose 'total_length' or 'none'.")
        self.gamma = gamma
        self.divergence = divergence
        self.normalize = normalize

    def compare(self, student: Frames, reference: Frames, targets: Frames | None) -> LossOutput:
        distance = soft_dtw_divergence if self.divergence else soft_dtw
        values = distance(student.values, reference.values, student.lengths, reference.lengths, gamma=self.gamma)
        if self.normalize == "total_length":
            values = values / (student.lengths + reference.lengths)
        return LossOutput(values.mean(), weight=len(values))
