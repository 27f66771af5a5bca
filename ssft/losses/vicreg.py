"""Variance, invariance, covariance."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from ssft.errors import RecipeError
from ssft.losses.base import FrameLoss, paired_frames
from ssft.types import Frames, LossOutput

_EPSILON = 1e-4


class VICReg(FrameLoss):
    """How far paired frames are apart, how little each dimension varies, and how much dimensions repeat each other.

    `invariance * s + variance * v + covariance * c` over the N real frame pairs of the batch, x and y [N, D]:
    `s` is the mean of `(x - y)^2` over frames and dimensions; `v` the mean over dimensions of
    `max(0, 1 - sqrt(var + 0.0001))`, averaged over both sides; `c` the sum of the squared off-diagonal elements of the
    covariance matrix, divided by D, summed over both sides. Variances are unbiased. Gradients flow into both sides.

    Args:
        invariance: weight of s.
        variance: weight of v.
        covariance: weight of c.
        segment_frames: compare means of that many frames (20 ms each) instead of frames; 1 compares frames.

    Source:
        VICReg, Bardes, Ponce and LeCun, ICLR 2022: weights 25, 25 and 1. Reductions are those of the authors' code,
        facebookresearch/vicreg, main_vicreg.py. The paper's equations sum s over dimensions and v over both sides,
        which is this loss with other weights.

    Requirements:
        Equal lengths, and frames that are NOT of unit length, Projection(l2_normalize=False): a dimension of unit
        frames has a deviation of about 1/sqrt(D), so the variance term could never come to rest. Statistics are those
        of one micro-batch, over all processes; with fewer than two frames in it, v and c are 0.

    Relations:
        Repels by dimension, so it needs no frozen reference: frames that are all alike cost 0.99 of `variance`. It
        asks nothing of single frames, unlike `FrameInfoNCE`, and fixes the scale, unlike `BarlowTwins`; three weights
        are the price.

    Example:
        >>> loss = VICReg(invariance=25.0, variance=25.0, covariance=1.0)
        >>> loss(student, reference).loss.backward()
    """

    needs_same_length = True
    compares_across_utterances = True

    def __init__(
        self,
        invariance: float = 25.0,
        variance: float = 25.0,
        covariance: float = 1.0,
        segment_frames: int = 1,
    ) -> None:
        super().__init__()
        published = {"invariance": 25, "variance": 25, "covariance": 1}
        for key, weight in zip(published, (invariance, variance, covariance), strict=True):
            if not 0 <= weight < math.inf:
                raise RecipeError(
                    f"VICReg({key}={weight}): a weight is 0 or more; {published[key]} is the published value."
                )
        if segment_frames < 1:
            raise RecipeError(f"VICReg(segment_frames={segment_frames}): must be at least 1, which compares frames.")
        self.invariance = invariance
        self.variance = variance
        self.covariance = covariance
        self.segment_frames = segment_frames

    def compare(self, student: Frames, reference: Frames, targets: Frames | None) -> LossOutput:
        x, y = paired_frames(student, reference, segment_frames=self.segment_frames)
        invariance = F.mse_loss(x, y)
        (variance_x, covariance_x), (variance_y, covariance_y) = _spread(x), _spread(y)
        variance, covariance = (variance_x + variance_y) / 2, covariance_x + covariance_y
        return LossOutput(
            self.invariance * invariance + self.variance * variance + self.covariance * covariance,
            weight=len(x),
            logs={"invariance": invariance.item(), "variance": variance.item(), "covariance": covariance.item()},
        )


def _spread(frames: Tensor) -> tuple[Tensor, Tensor]:
    """The variance and the covariance term of one side [N, D]."""
    if len(frames) < 2:
        return frames.new_zeros(()), frames.new_zeros(())
    centred = frames - frames.mean(0)
    matrix = centred.mT @ centred / (len(frames) - 1)
    variances = matrix.diagonal()
    off_diagonal = matrix - variances.diag()
    return F.relu(1 - (variances + _EPSILON).sqrt()).mean(), off_diagonal.square().sum() / frames.shape[1]
