"""Sinkhorn's algorithm: frames assigned softly to codes, so that every code is used equally."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Operation = Literal["sum", "max"]
Reduce = Callable[[Tensor, Operation], Tensor]

# exp(-60) = 9e-27 vanishes beside 1, but the scales that make up for it stay far from overflow, and it is far from the
# denormal numbers, for which exp is 25 times slower on a CPU.
_NEGLIGIBLE = -60.0
_BLOCK_FRAMES = 256


def sinkhorn(logits: Tensor, *, iterations: int, reduce: Reduce | None = None) -> Tensor:
    """Scale exp(logits) until codes share the frames equally and every frame's assignment is a distribution.

    An iteration makes the sums over frames equal for all codes, then the sums over codes equal for all frames. It ends
    with the latter, so frames sum to 1, and codes to about B / K. The logits may be of any size: nothing overflows,
    and a frame far from every code still gets a distribution. There is no gradient.

    Args:
        logits: [B, K] similarities of frames and codes, divided by the entropic weight epsilon.
        iterations: at least 1.
        reduce: combines a tensor [K] over the processes that hold the other frames, e.g. `all_reduce`; the result is
            then that of all frames together. Each of them must have frames, and must call this equally often.

    Returns:
        [B, K], float64 for float64 and float32 for anything else. Rows sum to 1.

    Raises:
        ValueError: no frames, no codes, or no iterations.

    Source:
        Cuturi, "Sinkhorn distances", NIPS 2013; as in SwAV (Caron et al., NeurIPS 2020).

    Example:
        >>> sinkhorn(torch.tensor([[9.0, 1.0], [9.0, 5.0]]), iterations=3).round(decimals=1)
        tensor([[0.9000, 0.1000],
                [0.2000, 0.8000]])
    """
    copy = logits.detach().to(torch.promote_types(logits.dtype, torch.float32), copy=True)
    with torch.autocast(logits.device.type, enabled=False):
        return sinkhorn_(copy, iterations, reduce)


@torch.no_grad()
def sinkhorn_(logits: Tensor, iterations: int, reduce: Reduce | None = None) -> Tensor:
    """`sinkhorn` in the memory of `logits`, which are float32 or float64; not for use under autocast."""
    if logits.ndim != 2 or 0 in logits.shape or iterations < 1:
        raise ValueError(f"need logits [B, K], not empty, and an iteration; got {list(logits.shape)}, {iterations}.")
    combine = reduce or _alone
    # A shift of each code is undone by its first scale; a shift of each frame is what its scale begins with. After
    # both, each frame has a code with a 1 in `plan`, and each code a frame with a 1 in `plan` and in `frames`. So no
    # sum vanishes, however far apart the logits are, and one pass of exp is enough.
    logits -= combine(logits.amax(0), "max")
    largest = logits.amax(1)
    plan = logits.sub_(largest[:, None]).clamp_min_(_NEGLIGIBLE).exp_()
    frames = largest.exp_()
    for _ in range(iterations):
        codes = 1 / combine(_sum_over_frames(plan, frames), "sum")
        codes /= codes.max()  # B and K cancel in the end, and so does any common factor
        frames = 1 / (plan @ codes)
    return plan.mul_(codes).mul_(frames[:, None])


def all_reduce(values: Tensor, operation: Operation) -> Tensor:
    """Combine a tensor over all processes of `torch.distributed`, in place; alone, leave it as it is.

    Every process must call this equally often, or the others wait for it forever.
    """
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1:
        distributed.all_reduce(values, distributed.ReduceOp.SUM if operation == "sum" else distributed.ReduceOp.MAX)
    return values


def _alone(values: Tensor, operation: Operation) -> Tensor:
    return values


def _sum_over_frames(plan: Tensor, weights: Tensor) -> Tensor:
    """`weights @ plan` in blocks: one product adds up the frames one by one, which loses 1e-4 in float32."""
    blocks = zip(torch.split(weights, _BLOCK_FRAMES), torch.split(plan, _BLOCK_FRAMES), strict=True)
    return torch.stack([weight @ rows for weight, rows in blocks]).sum(0)
