"""Sinkhorn's algorithm: frames assigned softly to codes, so that every code is used equally."""

from __future__ import annotations

import torch
from torch import Tensor

# exp(-60) = 9e-27 vanishes beside 1, but the scales that make up for it stay far from overflow, and it is far from the
# denormal numbers, for which exp is 25 times slower on a CPU.
_NEGLIGIBLE = -60.0
_BLOCK_FRAMES = 256


def sinkhorn(logits: Tensor, *, iterations: int) -> Tensor:
    """Scale exp(logits) until codes share the frames equally and every frame's assignment is a distribution.

    An iteration makes the sums over frames equal for all codes, then the sums over codes equal for all frames. It ends
    with the latter, so frames sum to 1, and codes to about B / K. The logits may be of any size: nothing overflows,
    and a frame far from every code still gets a distribution. There is no gradient.

    Args:
        logits: [B, K] similarities of frames and codes, divided by the entropic weight epsilon.
        iterations: at least 1.

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
        return sinkhorn_(copy, iterations)


@torch.no_grad()
def sinkhorn_(logits: Tensor, iterations: int) -> Tensor:
    """`sinkhorn` in the memory of `logits`, which are float32 or float64; not for use under autocast."""
    if logits.ndim != 2 or 0 in logits.shape or iterations < 1:
        raise ValueError(f"need logits [B, K], not empty, and an iteration; got {list(logits.shape)}, {iterations}.")
    # A shift of each code is undone by its first scale; a shift of each frame is what its scale begins with. After
    # both, each frame has a code with a 1 in `plan`, and each code a frame with a 1 in `plan` and in `frames`. So no
    # sum vanishes, however far apart the logits are, and one pass of exp is enough.
    logits -= logits.amax(0)
    largest = logits.amax(1)
    plan = logits.sub_(largest[:, None]).clamp_min_(_NEGLIGIBLE).exp_()
    frames = largest.exp_()
    for _ in range(iterations):
        codes = 1 / _sum_over_frames(plan, frames)
        codes /= codes.max()  # B and K cancel in the end, and so does any common factor
        frames = 1 / (plan @ codes)
    return plan.mul_(codes).mul_(frames[:, None])


def _sum_over_frames(plan: Tensor, weights: Tensor) -> Tensor:
    """`weights @ plan` in blocks: one product adds up the frames one by one, which loses 1e-4 in float32."""
    blocks = zip(torch.split(weights, _BLOCK_FRAMES), torch.split(plan, _BLOCK_FRAMES), strict=True)
    return torch.stack([weight @ rows for weight, rows in blocks]).sum(0)
