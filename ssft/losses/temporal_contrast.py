"""LASER's regulariser as a loss of its own."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from ssft.errors import RecipeError
from ssft.losses.base import FrameLoss
from ssft.ops.contrastive_idm import contrastive_idm
from ssft.types import Frames, LossOutput


class TemporalContrast(FrameLoss):
    """How close together the frames of a view are that lie far apart in time.

    `I(student) + I(reference)` per pair, averaged over the batch, where the contrastive inverse difference moment of n
    frames at Euclidean (not squared) distances d_ij, with w_ij = (i - j)^2 + 1, is

        I = 1/n^2 * sum_ij ( w_ij * max(0, margin - d_ij) if |i - j| > sigma else d_ij / w_ij )

    Shapes [B, F_s, D] and [B, F_r, D]; gradients flow into both. Where two frames coincide, the gradient of their
    distance is taken as 0.

    Args:
        sigma: frames up to this many apart attract each other, others repel. With 0, as published, nothing attracts.
        margin: distance from which frames no longer repel; 1.1 for HuBERT, 1.0 for WavLM.
        length_norm: `none` as published, where I of frames of one likeness grows with n^2, so that long utterances
            dominate; `squared` divides each I by its n^2.

    Source:
        Haresh et al., CVPR 2021 (Contrastive-IDM). LASER, Meghanani and Hain, Interspeech 2024; Trikaldarshi/LASER at
        3293a19 and Trikaldarshi/nr-ssft at 0091547.

    Requirements:
        Frames of unit length: the margin is a distance on the sphere, where orthogonal frames are 1.41 apart and frames
        with cosine 0.395 are 1.1 apart. Lengths may differ.

    Relations:
        A regulariser, to be added to a loss that pulls the views together. With `FrameRegression(reduction="sum")` it
        makes the equal-length variant of nr-ssft, with a soft-DTW divergence it is `Laser`. It acts on time within an
        utterance; `VICReg` and `BarlowTwins` act on the dimensions of the frames.

    Example:
        >>> loss = TemporalContrast(margin=1.1)
        >>> loss(student, reference).loss.backward()
    """

    def __init__(self, sigma: int = 0, margin: float = 1.1, length_norm: Literal["none", "squared"] = "none") -> None:
        super().__init__()
        check_contrast("TemporalContrast", sigma, margin)
        if length_norm not in ("none", "squared"):
            raise RecipeError(f"TemporalContrast(length_norm='{length_norm}'): choose 'none' or 'squared'.")
        self.sigma = sigma
        self.margin = margin
        self.length_norm = length_norm

    def compare(self, student: Frames, reference: Frames, targets: Frames | None) -> LossOutput:
        squared = self.length_norm == "squared"
        values = temporal_contrast(student, reference, sigma=self.sigma, margin=self.margin, squared=squared)
        return LossOutput(values.mean(), weight=len(values))


def temporal_contrast(
    student: Frames, reference: Frames, *, sigma: int, margin: float, squared: bool = False
) -> Tensor:
    """I(student) + I(reference) per pair, [B]; `squared` divides each I by its squared length."""
    moments = [contrastive_idm(view.values, view.lengths, sigma=sigma, margin=margin) for view in (student, reference)]
    if squared:
        moments = [moment / view.lengths.square() for moment, view in zip(moments, (student, reference), strict=True)]
    return moments[0] + moments[1]


def check_contrast(name: str, sigma: int, margin: float) -> None:
    """Refuse settings of the contrast, of the loss `name`, that have no meaning."""
    if sigma < 0:
        raise RecipeError(f"{name}(sigma={sigma}): sigma must not be negative; 0 is the published value.")
    if not margin > 0:
        raise RecipeError(f"{name}(margin={margin}): margin must be positive; 1.1 is the published value for HuBERT.")
