"""Losses over the frames of all processes, for those that compare utterances with each other."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ssft.engine.ranks import Ranks
from ssft.types import Frames, LossOutput


def compare_together(
    loss: nn.Module, student: Frames, reference: Frames, targets: Frames | None = None, *, ranks: Ranks | None
) -> LossOutput:
    """Return what a loss says of this process's frames, such that processes together train as one would.

    Let every process differentiate `loss * weight`, add up the gradients of all, and divide by the sum of all weights:
    that is the gradient of one process with the joined batch. Means of logs by weight are its logs.

    A mean over items that know nothing of each other adds up like this by itself. A loss that
    `compares_across_utterances` is given the frames of all processes, by each of them, and each counts for an equal
    share of its weight; all must then call this equally often, those without frames too.

    Args:
        loss: of `ssft.losses`, or a module like them.
        student: [B, F, D] of this process.
        reference: [B, F, D].
        targets: labels [B, F], used if the loss needs them.
        ranks: the processes; None for one alone.
    """
    needs_targets = getattr(loss, "needs_targets", False)
    if ranks is None or ranks.world_size == 1 or not getattr(loss, "compares_across_utterances", False):
        alone: LossOutput = loss(student, reference, *((targets,) if needs_targets else ()))
        return alone
    mine = gather_frames(student, ranks=ranks)
    other = gather_frames(reference, ranks=ranks) if getattr(loss, "needs_reference", True) else mine
    labels = (None if targets is None else gather_frames(targets, ranks=ranks),) if needs_targets else ()
    # All see the same frames, and would warn of the same.
    with nullcontext() if ranks.is_main else _silence():
        output: LossOutput = loss(mine, other, *labels)
    return replace(output, weight=output.weight / ranks.world_size)


def gather_frames(frames: Frames, *, ranks: Ranks) -> Frames:
    """Return the frames of all processes as one batch, without padding that it does not need.

    The first utterances of all come first, then the second ones: that is the batch as it was before the processes took
    turns in sharing it, and as a queue of frames is to keep it.

    Gradients flow back to the own frames alone, times `world_size`: each process differentiates the same loss for one
    share of its weight. Values are float32, as losses want them, or float64, or labels.

    Args:
        frames: [B, F, D] of this process, or labels [B, F]; B may be 0, and D is everybody's.
        ranks: the processes; all must call this equally often.
    """
    everybody = ranks.exchange((frames.lengths.tolist(), frames.masked is not None))
    turns = sorted((turn, rank) for rank, (theirs, _) in enumerate(everybody) for turn in range(len(theirs)))
    lengths = [everybody[rank][0][turn] for turn, rank in turns]
    rows = [row for row, (_, rank) in enumerate(turns) if rank == ranks.rank]
    size = max(lengths, default=0)

    def placed(values: Tensor) -> Tensor:
        """Values [B, F, ...] among zeros, in the rows that are this process's."""
        whole = values.new_zeros(len(turns), size, *values.shape[2:])
        whole[rows, : values.shape[1]] = values[:, :size]
        return whole

    values, masked = frames.values, None
    if values.is_floating_point():
        values = values.to(torch.promote_types(values.dtype, torch.float32))
        if len(values) == 0 and not values.requires_grad:
            # Who has no frames must be able to differentiate the loss all the same.
            values = values.detach().requires_grad_()
    if any(has_mask for _, has_mask in everybody):
        own = values.new_zeros(values.shape[:2]) if frames.masked is None else frames.masked
        masked = ranks.sum(placed(own.to(torch.uint8))).bool()
    whole: Tensor = _Sum.apply(placed(values), ranks)
    return Frames(whole, torch.tensor(lengths, device=frames.lengths.device), masked)


class _Sum(torch.autograd.Function):
    """The sum over processes, each of which has something where all others have zeros."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, ranks: Ranks) -> Tensor:
        ctx.world_size = ranks.world_size
        return ranks.sum(values.clone())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad * ctx.world_size, None


@contextmanager
def _silence() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
