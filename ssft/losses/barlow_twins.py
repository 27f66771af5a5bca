"""Redundancy reduction."""

from __future__ import annotations

import math

from torch import Tensor

from ssft.errors import RecipeError
from ssft.losses.base import FrameLoss, paired_frames
from ssft.types import Frames, LossOutput

_EPSILON = 1e-5


class BarlowTwins(FrameLoss):
    """How far the correlation between the dimensions of two views is from the identity matrix.

    `sum_i (1 - C_ii)^2 + redundancy * sum_(i != j) C_ij^2`, where `C = x^T y / N` [D, D] and x, y [N, D] are the N real
    frame pairs of the batch, each dimension standardised over them: less its mean, divided by
    `sqrt(biased variance + 0.00001)`, so that a constant dimension counts as uncorrelated. The sum grows with D.
    Gradients flow into both sides.

    Args:
        redundancy: weight of the off-diagonal elements.
        segment_frames: compare means of that many frames (20 ms each) instead of frames; 1 compares frames.

    Source:
        Barlow Twins, Zbontar et al., ICML 2021: weight 0.005. Authors' code: facebookresearch/barlowtwins, which takes
        0.0051 and has the same epsilon in its batch normalisation.

    Requirements:
        Equal lengths, and many more frames in a batch than dimensions. Statistics are those of one micro-batch, over
        all processes. With fewer than two frame pairs the loss is 0.

    Relations:
        Repels by dimension, so it needs no frozen reference: a dimension that is constant costs 1, as much as one that
        differs between the views. Blind to the scale of the frames, so it has one weight where `VICReg` has three;
        like it, and unlike `FrameInfoNCE`, it lets similar sounds of an utterance stay alike.

    Example:
        >>> loss = BarlowTwins(redundancy=0.005)
        >>> loss(student, reference).loss.backward()
    """

    needs_same_length = True
    compares_across_utterances = True

    def __init__(self, redundancy: float = 0.005, segment_frames: int = 1) -> None:
        super().__init__()
        if not 0 <= redundancy < math.inf:
            raise RecipeError(
                f"BarlowTwins(redundancy={redundancy}): a weight is 0 or more; 0.005 is the published value."
            )
        if segment_frames < 1:
            raise RecipeError(
                f"BarlowTwins(segment_frames={segment_frames}): must be at least 1, which compares frames."
            )
        self.redundancy = redundancy
        self.segment_frames = segment_frames

    def compare(self, student: Frames, reference: Frames, targets: Frames | None) -> LossOutput:
        x, y = paired_frames(student, reference, segment_frames=self.segment_frames)
        if len(x) < 2:
            return LossOutput((x.sum() + y.sum()) * 0, weight=len(x), logs={"invariance": 0.0, "redundancy": 0.0})
        correlation = _standardised(x).mT @ _standardised(y) / len(x)
        same = correlation.diagonal()
        invariance, redundancy = (1 - same).square().sum(), (correlation - same.diag()).square().sum()
        return LossOutput(
            invariance + self.redundancy * redundancy,
            weight=len(x),
            logs={"invariance": invariance.item(), "redundancy": redundancy.item()},
        )


def _standardised(frames: Tensor) -> Tensor:
    centred = frames - frames.mean(0)
    return centred / (centred.square().mean(0) + _EPSILON).sqrt()
