"""Soft-DTW and its divergence on a GPU: matrix products for distances and gradients, two Triton kernels between them.

Gradients are computed together with the values, a part of the batch at a time: what a training step keeps is as large
as the frames, and what it needs meanwhile is bounded, where one matrix per pair would be gigabytes.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ssft.ops.eager_gradient import with_gradients
from ssft.ops.masking import lengths_to_mask, pad_to

BLOCK = 256
"""Rows of a matrix that are swept at once, a power of two."""
WARPS = 8
"""Groups of 32 threads that share these rows."""
STAGES = 4
"""Steps in flight: what a step reads is fetched while the steps before it compute."""
SCRATCH_BYTES = 3 << 29
"""Matrices of a part of the batch, which has one item at least, fit here: 37 items of 1000 frames, both gradients."""


def evaluate(x: Tensor, y: Tensor, lengths_x: Tensor, lengths_y: Tensor, *, gamma: float, divergence: bool) -> Tensor:
    """Soft-DTW s(x, y) per item, or s(x, y) - (s(x, x) + s(y, y)) / 2, differentiable once in x and y.

    Args:
        x: [B, N, D] float32, finite up to its lengths and within the exponent range, as the caller checks.
        y: [B, M, D] likewise, on the same device.
        lengths_x: [B] frames, 1 to N; what is behind them is not read.
        lengths_y: [B] frames, 1 to M.
        gamma: smoothing, positive.
        divergence: whether the terms of each sequence with itself are subtracted.

    Returns:
        [B] float32.
    """
    sides = (x.detach(), y.detach())
    compute = functools.partial(values_and_gradients, *sides, lengths_x, lengths_y, gamma=gamma, divergence=divergence)
    return with_gradients(lambda wanted: compute(wanted=wanted), x, y, name="soft-DTW")


@functools.cache
def available() -> bool:
    """Whether Triton is there and its kernels compile and compute here; finding out takes seconds, and only once."""
    device = "cuda" if torch.cuda.is_available() else "cpu"  # the latter for Triton's interpreter
    one, length = torch.ones(1, 1, 1, device=device), torch.ones(1, dtype=torch.int64, device=device)
    try:
        values, gradients = values_and_gradients(one, 3 * one, length, length, gamma=1.0, divergence=False)
    except Exception:  # no Triton, no compiler, an unknown GPU: each raises something else, and all mean no
        return False
    return values.item() == 4 and gradients[0].item() == -4


def values_and_gradients(
    x: Tensor,
    y: Tensor,
    lengths_x: Tensor,
    lengths_y: Tensor,
    *,
    gamma: float,
    divergence: bool,
    wanted: tuple[bool, ...] = (True, True),
    block: int = BLOCK,
    scratch_bytes: int = SCRATCH_BYTES,
) -> tuple[Tensor, dict[int, Tensor]]:
    """Values [B] of `evaluate`, and their gradients in x (key 0) and in y (key 1) where wanted."""
    sides, lengths = (x, y), (lengths_x, lengths_y)
    longest = max(x.shape[1], y.shape[1])
    sizes = (longest, longest) if divergence else (x.shape[1], y.shape[1])  # one launch sweeps matrices of one size
    values = x.new_empty(len(x))
    gradients = {side: torch.empty_like(sides[side]) for side in (0, 1) if wanted[side]}
    at_once = max(1, scratch_bytes // _bytes_per_item(sizes, divergence=divergence, kept=any(wanted), block=block))
    with torch.cuda.device(x.get_device()), torch.autocast(x.device.type, enabled=False), _full_precision():
        for start in range(0, len(x), at_once):
            items = slice(start, start + at_once)
            values[items], parts = _part(
                [_blanked(sides[side][items], lengths[side][items], sizes[side]) for side in (0, 1)],
                [lengths[side][items] for side in (0, 1)],
                gamma=gamma,
                divergence=divergence,
                wanted=wanted,
                block=block,
            )
            for side, part in parts.items():
                gradients[side][items] = part[:, : sides[side].shape[1]]
    return values, gradients


def _bytes_per_item(sizes: tuple[int, int], *, divergence: bool, kept: bool, block: int) -> int:
    costs = 4 * sizes[0] * sizes[1]
    shares = 8 * block * math.ceil(sizes[0] / block) * (sizes[1] + block - 1) if kept else 0
    return (costs + shares) * (3 if divergence else 1)


@contextlib.contextmanager
def _full_precision() -> Iterator[None]:
    """Keep TensorFloat32, which a user may have allowed for everything, out: distances would be wrong by 1e-3."""
    before = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    try:
        yield
    finally:
        torch.backends.cuda.matmul.fp32_precision = before


def _blanked(frames: Tensor, lengths: Tensor, size: int) -> Tensor:
    """Zeros as padding, up to `size`: all that is computed from them is zero, and no mask is needed later."""
    return pad_to(torch.where(lengths_to_mask(lengths, frames.shape[1])[..., None], frames, 0), size)


def _part(
    sides: list[Tensor],
    lengths: list[Tensor],
    *,
    gamma: float,
    divergence: bool,
    wanted: tuple[bool, ...],
    block: int,
) -> tuple[Tensor, dict[int, Tensor]]:
    # Terms without gradient come last, as alignments are kept of the first ones.
    selves = sorted((0, 1), key=lambda side: not wanted[side]) if divergence else []
    pairs = len(sides[0])
    kept = pairs * (any(wanted) + sum(wanted[side] for side in selves))
    x, y = (torch.cat([sides[side] for side in (own, *selves)]) for own in (0, 1))
    lengths_x, lengths_y = (torch.cat([lengths[side] for side in (own, *selves)]) for own in (0, 1))
    values, expected = _sweep(x, y, lengths_x, lengths_y, gamma=gamma, pairs=pairs, kept=kept, block=block)
    of_pair, *of_selves = values.view(-1, pairs)
    gradients: dict[int, Tensor] = {}
    if kept:
        alignment, *own_alignments = expected.view(-1, pairs, *expected.shape[1:])
        if wanted[0]:
            gradients[0] = _gradient(alignment, sides[0], sides[1])
        if wanted[1]:
            gradients[1] = _gradient(alignment.mT, sides[1], sides[0])
        for side, own_alignment in zip(selves, own_alignments, strict=False):  # the latter are the wanted ones
            # s(x, x) is half subtracted, but depends on x twice, and by symmetry equally.
            gradients[side] -= _gradient(own_alignment, sides[side], sides[side])
    return of_pair - sum(of_selves) / 2, gradients


def _gradient(expected: Tensor, own: Tensor, other: Tensor) -> Tensor:
    """Of sum_ij E_ij |own_i - other_j|^2 in `own`."""
    return torch.baddbmm(expected.sum(2, keepdim=True) * own, expected, other, beta=2, alpha=-2)


def _sweep(
    x: Tensor, y: Tensor, lengths_x: Tensor, lengths_y: Tensor, *, gamma: float, pairs: int, kept: int, block: int
) -> tuple[Tensor, Tensor]:
    """Soft-DTW of every term, in float64, and of the first `kept` terms the expected alignment, 0 in the padding."""
    from ssft.ops.soft_dtw.triton_kernels import EMPTY, backward_kernel, forward_kernel

    terms, size_x, size_y = len(x), x.shape[1], y.shape[1]
    strips = math.ceil(size_x / block)
    products = torch.bmm(x, y.mT)
    border_mantissas = x.new_zeros(terms, strips + 1, size_y + 1)
    border_exponents = torch.full_like(border_mantissas, EMPTY.value, dtype=torch.int32)
    border_mantissas[:, 0, 0], border_exponents[:, 0, 0] = 1, 0  # every path starts in R_00 = 0
    mantissas, exponents = x.new_empty(terms), border_exponents.new_empty(terms)
    from_above, from_left = (x.new_empty(kept, strips, size_y + block - 1, block) for _ in range(2))
    how = {"BLOCK": block, "STAGES": STAGES, "num_warps": max(1, min(WARPS, block // 32))}
    forward_kernel[(terms,)](
        products,
        x.square().sum(2),
        y.square().sum(2),
        lengths_x,
        lengths_y,
        border_mantissas,
        border_exponents,
        mantissas,
        exponents,
        from_above,
        from_left,
        size_x,
        size_y,
        pairs,
        kept,
        -1 / (gamma * math.log(2)),
        **how,
    )
    values = (exponents.double() + mantissas.double().log2()) * (-gamma * math.log(2))
    expected = products[:kept]  # in place: the costs are not needed again, and are 0 where the kernel does not write
    if kept:
        flows = x.new_empty(kept, strips, size_y)
        backward_kernel[(kept,)](expected, lengths_x, lengths_y, from_above, from_left, flows, size_x, size_y, **how)
    return values, expected
