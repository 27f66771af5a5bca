"""Soft-DTW on a GPU: one program per cost matrix sweeps its anti-diagonals, forwards for the value, back for E.

A matrix is cut into strips of BLOCK rows, and each lane of a program owns one row of a strip. In step t of a strip,
lane l is in column t - l: the cells of a step are an anti-diagonal, and need only what the lanes l and l - 1 (backwards
l and l + 1) had one or two steps earlier. The last row of a strip reaches the next strip through global memory.

Z = exp(-R / gamma) is carried as mantissa * 2^exponent, float32 in [1, 2) and int32: the recursion
R_ij = C_ij + softmin_gamma(R_{i-1,j-1}, R_{i-1,j}, R_{i,j-1}) then is Z_ij = 2^(-C_ij log2(e) / gamma) (sum of three
Z), one exp2 and no logarithm, whose error is relative however small Z becomes. Forwards, the shares of that sum that
came from above and from the left are kept per cell (the rest came from the diagonal); backwards, the expected alignment
E = dR_NM / dC flows back along these shares without a transcendental.

What has to hold on a GPU, where the lanes of a program are threads of several warps:

- What one lane wrote to global memory, another may read only behind a `tl.debug_barrier`. Only the rows between strips
  are handed on like this: each has a place of its own, is written in one strip, and is read in the next strip alone.
  Steps may therefore be fetched ahead within a strip.
- `tl.gather` between lanes of different warps goes through shared memory, with the barriers it needs (so compiled by
  Triton 3.6 and 3.8). Source and index must have one shape and layout, which lanes of one `tl.arange` have; threads
  beyond the lanes would hold copies, hence at most BLOCK / 32 warps. Mantissa and exponent travel in one gather.
- All threads of a program take the same steps: bounds of loops are scalars, and what differs by lane is masked.
- Offsets are int64, as `term` is: terms * N * M passes 2^31.
- No sum of weights is denormal, as a weight is 0 or at least 2^-126; shares and E may be, where they do not count.
"""

# Triton reads annotations as types of its own, and its decorators have none.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators
# mypy: disable-error-code="import-untyped,import-not-found"

from __future__ import annotations

import triton
import triton.language as tl

EMPTY = tl.constexpr(-(1 << 28))
"""The exponent of a cell that no path reaches; its mantissa is 0. Real exponents stay above -2^27."""


@triton.jit
def _from_neighbour(mantissa, exponent, neighbour):
    packed = (exponent.to(tl.int64) << 32) | mantissa.to(tl.int32, bitcast=True).to(tl.int64)
    packed = tl.gather(packed, neighbour, 0)
    return packed.to(tl.int32).to(tl.float32, bitcast=True), (packed >> 32).to(tl.int32)


@triton.jit
def _times_power_of_two(mantissa, exponent):
    """Exact for exponents from -126 to 0; 0 below."""
    return mantissa * (tl.maximum(127 + exponent, 0) << 23).to(tl.float32, bitcast=True)


@triton.jit(do_not_specialize=["size_x", "size_y", "pairs", "kept"])
def forward_kernel(
    products,  # [terms, size_x, size_y], inner products of frames
    squares_x,  # [terms, size_x], squared lengths of frames
    squares_y,  # [terms, size_y]
    lengths_x,  # [terms]
    lengths_y,
    border_mantissas,  # [terms, strips + 1, 1 + size_y], the row above each strip
    border_exponents,
    mantissas,  # [terms], of the last cell
    exponents,
    from_above,  # [kept, strips, size_y + BLOCK - 1, BLOCK], a share per cell, in the order of the sweep
    from_left,
    size_x,
    size_y,
    pairs,  # terms from here on are of a sequence with itself: C_ii is 0
    kept,  # terms from here on need no gradient
    scale,  # -log2(e) / gamma
    BLOCK: tl.constexpr,
    STAGES: tl.constexpr,
):
    term = tl.program_id(0).to(tl.int64)
    rows = tl.load(lengths_x + term).to(tl.int32)
    columns = tl.load(lengths_y + term).to(tl.int32)
    lane = tl.arange(0, BLOCK)
    lane_above = tl.maximum(lane - 1, 0)
    first, last = lane == 0, lane == BLOCK - 1
    strips = tl.cdiv(size_x, BLOCK)
    mantissa = tl.zeros((BLOCK,), tl.float32)
    exponent = tl.full((BLOCK,), EMPTY, tl.int32)
    for strip in range(tl.cdiv(rows, BLOCK)):
        row = strip * BLOCK + lane
        border = (term * (strips + 1) + strip) * (size_y + 1)
        next_border = border + size_y + 1
        square_x = tl.load(squares_x + term * size_x + row, mask=row < rows, other=0.0)
        mantissa = tl.zeros((BLOCK,), tl.float32)
        exponent = tl.full((BLOCK,), EMPTY, tl.int32)
        diagonal_mantissa = tl.where(first, tl.load(border_mantissas + border), 0.0)
        diagonal_exponent = tl.where(first, tl.load(border_exponents + border), EMPTY)
        # The last step is that of the strip's last row in the last column.
        for step in tl.range(0, columns + tl.minimum(rows - strip * BLOCK, BLOCK) - 1, num_stages=STAGES):
            column = step - lane
            inside = (row < rows) & (column >= 0) & (column < columns)
            above_mantissa, above_exponent = _from_neighbour(mantissa, exponent, lane_above)
            at_border = first & (column < columns)
            handed_on = border + 1 + column
            above_mantissa = tl.where(
                first, tl.load(border_mantissas + handed_on, mask=at_border, other=0.0), above_mantissa
            )
            above_exponent = tl.where(
                first, tl.load(border_exponents + handed_on, mask=at_border, other=EMPTY), above_exponent
            )
            product = tl.load(products + (term * size_x + row) * size_y + column, mask=inside, other=0.0)
            square_y = tl.load(squares_y + term * size_y + column, mask=inside, other=0.0)
            cost = tl.maximum(square_x + square_y - 2 * product, 0.0)
            cost = tl.where((term >= pairs) & (row == column), 0.0, cost)
            weight = cost * scale
            whole = tl.floor(weight)

            largest = tl.maximum(tl.maximum(above_exponent, exponent), diagonal_exponent)
            above = _times_power_of_two(above_mantissa, above_exponent - largest)
            left = _times_power_of_two(mantissa, exponent - largest)
            diagonal = _times_power_of_two(diagonal_mantissa, diagonal_exponent - largest)
            total = above + left + diagonal
            share = 1.0 / tl.where(inside, total, 1.0)
            place = (((term * strips + strip) * (size_y + BLOCK - 1)) + step) * BLOCK + lane
            keep = inside & (term < kept)
            tl.store(from_above + place, above * share, mask=keep)
            tl.store(from_left + place, left * share, mask=keep)

            bits = (total * tl.exp2(weight - whole)).to(tl.int32, bitcast=True)
            diagonal_mantissa, diagonal_exponent = above_mantissa, above_exponent
            mantissa = tl.where(inside, ((bits & 0x7FFFFF) | 0x3F800000).to(tl.float32, bitcast=True), 0.0)
            exponent = tl.where(inside, largest + whole.to(tl.int32) + (bits >> 23) - 127, EMPTY)
            hand_on = last & inside
            tl.store(border_mantissas + next_border + 1 + column, mantissa, mask=hand_on)
            tl.store(border_exponents + next_border + 1 + column, exponent, mask=hand_on)
        tl.debug_barrier()
    end = lane == (rows - 1) % BLOCK
    tl.store(mantissas + term, tl.sum(tl.where(end, mantissa, 0.0)))
    tl.store(exponents + term, tl.sum(tl.where(end, exponent, 0)))


@triton.jit(do_not_specialize=["size_x", "size_y"])
def backward_kernel(
    expected,  # [kept, size_x, size_y], written inside each item's own cells only
    lengths_x,  # [kept]
    lengths_y,
    from_above,  # as the forward kernel left them
    from_left,
    flows,  # [kept, strips, size_y], what a strip hands to the row above it
    size_x,
    size_y,
    BLOCK: tl.constexpr,
    STAGES: tl.constexpr,
):
    term = tl.program_id(0).to(tl.int64)
    rows = tl.load(lengths_x + term).to(tl.int32)
    columns = tl.load(lengths_y + term).to(tl.int32)
    lane = tl.arange(0, BLOCK)
    lane_below = tl.minimum(lane + 1, BLOCK - 1)
    first, last = lane == 0, lane == BLOCK - 1
    strips = tl.cdiv(size_x, BLOCK)
    used = tl.cdiv(rows, BLOCK)
    for turn in range(used):
        strip = used - 1 - turn
        row = strip * BLOCK + lane
        flow = (term * strips + strip) * size_y
        to_left = tl.zeros((BLOCK,), tl.float32)
        to_diagonal = tl.zeros((BLOCK,), tl.float32)
        upwards = tl.zeros((BLOCK,), tl.float32)
        steps = columns + tl.minimum(rows - strip * BLOCK, BLOCK) - 1
        for back in tl.range(0, steps, num_stages=STAGES):
            step = steps - 1 - back
            column = step - lane
            inside = (row < rows) & (column >= 0) & (column < columns)
            # A cell gets what the row below sends up from its own column and diagonally from the next: `upwards`.
            from_below = tl.gather(upwards, lane_below, 0)
            below = tl.load(flows + flow + size_y + column, mask=last & inside & (row + 1 < rows), other=0.0)
            here = to_left + tl.where(last, below, from_below)
            here = tl.where((row == rows - 1) & (column == columns - 1), 1.0, here)
            here = tl.where(inside, here, 0.0)
            tl.store(expected + (term * size_x + row) * size_y + column, here, mask=inside)
            place = (((term * strips + strip) * (size_y + BLOCK - 1)) + step) * BLOCK + lane
            to_above = here * tl.load(from_above + place, mask=inside, other=0.0)
            to_left = here * tl.load(from_left + place, mask=inside, other=0.0)
            upwards = to_above + to_diagonal
            to_diagonal = here - to_above - to_left
            tl.store(flows + flow + column, upwards, mask=first & inside)
        tl.debug_barrier()
