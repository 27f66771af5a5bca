"""Contrast between frames of one utterance."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ssft.errors import RecipeError
from ssft.losses.base import FrameLoss
from ssft.ops.pooling import pool_segments
from ssft.types import Frames, LossOutput


class FrameInfoNCE(FrameLoss):
    """How hard it is to tell a frame's other view from other frames of the same utterance.

    For frame t of one view, with `s(t, j) = cos(x_t, y_j) / temperature` and a set N(t) of other frames, the loss is
    `-log(exp s(t, t) / (exp s(t, t) + sum over j in N(t) of exp s(t, j)))`, averaged over all frames of the batch and
    over both directions. Frames are [B, F, D] on both sides; gradients flow into both.

    N(t) is drawn from no random numbers: in an utterance of F frames, the `negatives` = n of frame t are the frames
    `(t + 1 + floor((k + 1/2) (F - 1) / n)) mod F`, k = 0 to n - 1, which lie evenly all around it. An utterance with
    fewer other frames gives all of them.

    Args:
        temperature: of the softmax, positive; the lower, the more the hardest negatives count.
        negatives: how many per frame; null takes every other frame of the utterance.
        segment_frames: compare means of that many frames (20 ms each) instead of frames; 1 compares frames.

    Source:
        ContentVec, Qian et al., ICML 2022, its contrastive loss between two views: temperature 0.1, 100 negatives from
        the same utterance. Authors' code: auspicious3000/contentvec, d746688; it draws negatives at random, among the
        frames that were not masked, and leaves out those that equal the positive exactly.

    Requirements:
        Equal lengths. Length of the frames does not matter, only their direction. An utterance of one frame (or one
        segment) has no negatives and is left out.

    Relations:
        Repels, so it needs no frozen reference: frames that are all alike cost log(1 + n), as much as guessing.
        In return similar sounds of one utterance are pushed apart, and position in time alone can solve it.
        `SwappedPrediction` lets frames share a code instead; `VICReg` and `BarlowTwins` spread dimensions, not frames.

    Example:
        >>> loss = FrameInfoNCE(temperature=0.1, negatives=100)
        >>> loss(student, reference).loss.backward()
    """

    needs_same_length = True

    def __init__(self, temperature: float = 0.1, negatives: int | None = 100, segment_frames: int = 1) -> None:
        super().__init__()
        if not 0 < temperature < math.inf:
            raise RecipeError(
                f"FrameInfoNCE(temperature={temperature}): temperature must be positive; 0.1 is the published value."
            )
        if negatives is not None and negatives < 1:
            raise RecipeError(
                f"FrameInfoNCE(negatives={negatives}): give at least 1, or null for every other frame; 100 is the "
                "published value."
            )
        if segment_frames < 1:
            raise RecipeError(
                f"FrameInfoNCE(segment_frames={segment_frames}): must be at least 1, which compares frames."
            )
        self.temperature = temperature
        self.negatives = negatives
        self.segment_frames = segment_frames

    def compare(self, student: Frames, reference: Frames, targets: Frames | None) -> LossOutput:
        x, lengths = pool_segments(student.values, student.lengths, size=self.segment_frames)
        y, _ = pool_segments(reference.values, reference.lengths, size=self.segment_frames)
        scores = F.normalize(x, dim=-1) @ F.normalize(y, dim=-1).mT / self.temperature
        negative = _negatives(lengths, x.shape[1], self.negatives)
        directions = [_contrast(scores, negative), _contrast(scores.mT, negative)]
        losses, won = (torch.cat(both) for both in zip(*directions, strict=True))
        # Without a single pair this is zero, and so is its gradient, which still reaches both views.
        count = max(len(losses), 1)
        return LossOutput(losses.sum() / count, weight=len(losses) // 2, logs={"accuracy": float(won.sum()) / count})


def _negatives(lengths: Tensor, size: int, count: int | None) -> Tensor:
    """[B, size, size] bool: frame j of the one view is a negative of frame i of the other."""
    places = torch.arange(size, device=lengths.device)
    others = (lengths - 1)[:, None]
    chosen = others if count is None else others.clamp(max=count)
    offsets = 1 + (2 * places + 1) * others // (2 * chosen).clamp_min(1)
    offsets = offsets.where(places < chosen, 0)
    is_offset = torch.zeros_like(offsets, dtype=torch.bool).scatter(1, offsets, True)
    is_offset[:, 0] = False
    around = (places - places[:, None]) % lengths[:, None, None]
    real = places < lengths[:, None]
    return is_offset.gather(1, around.flatten(1)).view_as(around) & real[:, :, None] & real[:, None, :]


def _contrast(scores: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
    """Loss [N] of every frame i that has negatives j, and whether it scores highest with its positive [N]."""
    anchors = negative.any(-1)
    positive = scores.diagonal(dim1=1, dim2=2)[anchors]
    others = scores[anchors].masked_fill(~negative[anchors], -math.inf)
    return F.softplus(others.logsumexp(-1) - positive), positive > others.amax(-1)
