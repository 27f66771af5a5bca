"""LASER's loss."""

from __future__ import annotations

from typing import Literal

from ssft.errors import RecipeError
from ssft.losses.base import FrameLoss
from ssft.losses.temporal_contrast import check_contrast, temporal_contrast
from ssft.ops.soft_dtw import soft_dtw_divergence
from ssft.types import Frames, LossOutput


class Laser(FrameLoss):
    """How far apart two views are once they are aligned, plus how close frames distant in time are within each.

    `soft_dtw_divergence(x, y) + alpha * (I(x) + I(y))` per pair, averaged over the batch, with the divergence of
    `SoftDTW` and the regulariser I of `TemporalContrast`, which keeps the frames from becoming all alike. Shapes
    [B, F_s, D] and [B, F_r, D]; gradients flow into both. Logs `alignment` and `repulsion`, the means of the two parts
    as they are after `length_norm`, so that `loss = alignment + alpha * repulsion`.

    Args:
        gamma: smoothing of the minimum over alignments, positive.
        alpha: weight of the regulariser; 0.4 for HuBERT, 0.15 for WavLM.
        sigma: frames up to this many apart attract each other, others repel. With 0, as published, nothing attracts.
        margin: distance from which frames no longer repel; 1.1 for HuBERT, 1.0 for WavLM.
        length_norm: `none` as published: the divergence grows with the length and I with its square, so that long
            utterances dominate and the norm of the gradient must be clipped. `sum` divides the pair's loss by
            F_s + F_r, which still leaves I growing with the length. `squared` divides the divergence by F_s + F_r and
            each I by its own F^2, so that neither grows; `alpha` must then be chosen anew, about F / 2 times as large
            for the same balance at length F.

    Source:
        LASER, Meghanani and Hain, Interspeech 2024, arXiv 2406.09153; Trikaldarshi/LASER at 3293a19 (gamma 0.1, sigma
        0; HuBERT margin 1.1 and alpha 0.4, WavLM margin 1.0 and alpha 0.15). Also nr-ssft's variant with soft-DTW,
        Trikaldarshi/nr-ssft at 0091547, with noise and speed in place of pitch and speed.

    Requirements:
        Frames of unit length: the margin is a distance on the sphere. Lengths may differ.

    Relations:
        Made for `reference="student"`, where both views are trained and SoftDTW alone would collapse: constant frames
        cost I its maximum. The regulariser has no gradient where frames coincide exactly, so it keeps frames apart
        but does not part frames that are already equal. With a frozen reference, SoftDTW needs no regulariser.

    Example:
        >>> loss = Laser(margin=1.0, alpha=0.15)  # WavLM
        >>> loss(student, reference).loss.backward()
    """

    def __init__(
        self,
        gamma: float = 0.1,
        alpha: float = 0.4,
        sigma: int = 0,
        margin: float = 1.1,
        length_norm: Literal["none", "sum", "squared"] = "none",
    ) -> None:
        super().__init__()
        if not gamma > 0:
            raise RecipeError(f"Laser(gamma={gamma}): gamma must be positive; 0.1 is the published value.")
        if not alpha >= 0:
            raise RecipeError(
                f"Laser(alpha={alpha}): alpha must not be negative; 0.4 is the published value for HuBERT."
            )
        check_contrast("Laser", sigma, margin)
        if length_norm not in ("none", "sum", "squared"):
            raise RecipeError(f"Laser(length_norm='{length_norm}'): choose 'none', 'sum' or 'squared'.")
        self.gamma = gamma
        self.alpha = alpha
        self.sigma = sigma
        self.margin = margin
        self.length_norm = length_norm

    def compare(self, student: Frames, reference: Frames, targets: Frames | None) -> LossOutput:
        alignment = soft_dtw_divergence(
            student.values, reference.values, student.lengths, reference.lengths, gamma=self.gamma
        )
        total = student.lengths + reference.lengths
        squared = self.length_norm == "squared"
        repulsion = temporal_contrast(student, reference, sigma=self.sigma, margin=self.margin, squared=squared)
        if self.length_norm == "sum":
            repulsion = repulsion / total
        if self.length_norm != "none":
            alignment = alignment / total
        alignment, repulsion = alignment.mean(), repulsion.mean()
        return LossOutput(
            alignment + self.alpha * repulsion,
            weight=len(total),
            logs={"alignment": alignment.item(), "repulsion": repulsion.item()},
        )
