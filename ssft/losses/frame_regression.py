"""Regression of the student's frames onto the reference's."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ssft.errors import RecipeError
from ssft.losses.base import FrameLoss, paired_frames
from ssft.ops.alignment import dtw_path, resample
from ssft.types import Frames, LossOutput


class FrameRegression(FrameLoss):
    """How far each frame of the student is from the frame of the reference at the same place.

    `||s_t - r_t||^2`, or `1 - cos(s_t, r_t)`, over the aligned frames of student [B, F_s, D] and reference
    [B, F_r, D]. Gradients flow into both sides. The cosine with a frame of zeros is 0, with gradient 0.

    Args:
        distance: `mse` squares the differences; `cosine` is one minus the cosine.
        reduction: `mean` is the mean over frames, and with `mse` over dimensions too; `sum` adds both up and takes the
            mean over pairs, so that long utterances weigh more.
        align: `index` compares frame t with frame t and needs equal lengths. `linear` reads the reference, between its
            frames, at the student's relative times, which is right for a change of speed, to within the rounding of
            lengths to whole frames. `dtw` takes all cells of the cheapest alignment in squared Euclidean distance,
            which itself gets no gradient; of equally cheap steps the diagonal one comes first, then the student's
            frame is repeated, then the reference's.

    Source:
        nr-ssft's variant for equal lengths: Trikaldarshi/nr-ssft at 0091547, `FrameRegression(reduction="sum")` between
        a noisy and a clean view, plus alpha times `TemporalContrast` (HuBERT margin 1.1 and alpha 0.4, WavLM margin
        1.0 and alpha 0.15).

    Requirements:
        With `mse`, frames of comparable scale. Equal lengths with `align="index"`, any with the others. Known hazard
        of `index`: the network can lower the loss by where a frame stands instead of by what it contains (Meghanani and
        Hain, ICASSP 2026, arXiv 2601.21084). Set `views.pad_jitter=[0.02, 0.05]`, which puts silence before the
        original, or change the speed and use SoftDTW.

    Relations:
        The cheapest way to pull views together, where their lengths agree or their speeds are known; SoftDTW finds the
        alignment and learns through it. When both sides are trained, constant frames are a minimum: use
        `reference="frozen"`, or add `TemporalContrast`.

    Example:
        >>> loss = FrameRegression(reduction="sum")
        >>> loss(student, reference).loss.backward()
    """

    lets_collapse = True

    def __init__(
        self,
        distance: Literal["mse", "cosine"] = "mse",
        reduction: Literal["mean", "sum"] = "mean",
        align: Literal["index", "linear", "dtw"] = "index",
    ) -> None:
        super().__init__()
        if distance not in ("mse", "cosine"):
            raise RecipeError(f"FrameRegression(distance='{distance}'): choose 'mse' or 'cosine'.")
        if reduction not in ("mean", "sum"):
            raise RecipeError(f"FrameRegression(reduction='{reduction}'): choose 'mean' or 'sum'.")
        if align not in ("index", "linear", "dtw"):
            raise RecipeError(f"FrameRegression(align='{align}'): choose 'index', 'linear' or 'dtw'.")
        self.distance = distance
        self.reduction = reduction
        self.align = align
        self.needs_same_length = align == "index"

    def compare(self, student: Frames, reference: Frames, targets: Frames | None) -> LossOutput:
        mine, theirs = self._aligned(student, reference)
        if self.distance == "cosine":
            distances = 1 - _cosine(mine, theirs)
        else:
            squares = (mine - theirs).square()
            distances = squares.sum(-1) if self.reduction == "sum" else squares.mean(-1)
        weight = len(distances) if self.reduction == "mean" else len(student.lengths)
        return LossOutput(distances.sum() / weight, weight=weight)

    def _aligned(self, student: Frames, reference: Frames) -> tuple[Tensor, Tensor]:
        """Return what is compared with what: two times [N, D]."""
        if self.align == "index":
            return paired_frames(student, reference)
        if self.align == "linear":
            return student.valid(), resample(reference.values, reference.lengths, student.lengths)
        items, mine, theirs = dtw_path(student.values, reference.values, student.lengths, reference.lengths)
        return student.values[items, mine], reference.values[items, theirs]


def _cosine(x: Tensor, y: Tensor) -> Tensor:
    product = torch.linalg.vector_norm(x, dim=-1) * torch.linalg.vector_norm(y, dim=-1)
    real = product > 0
    return torch.where(real, (x * y).sum(-1) / torch.where(real, product, 1), 0)
