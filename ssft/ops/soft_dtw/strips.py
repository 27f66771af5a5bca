"""The soft-DTW recursion of one pair of sequences on a CPU, in float32.

With Z = exp(-R / gamma) the recursion is Z = w (Z_diagonal + Z_above + Z_left), w = exp(-cost / gamma): one exponential
per cell and no logarithm. Z spans thousands of orders of magnitude, so it is a float32 mantissa in [1, 2) times a power
of two with an int32 exponent: rounding is relative, and what `numeric_range` lets pass cannot overflow.

Rows are taken in strips of `ROWS`. Step t of a strip works on the cells (k, t - k) of all its rows k, which do not
depend on each other: a vector loop of fixed length over data that stay in the first-level cache. Rows that have not
entered the matrix yet, or have left it, compute numbers that nothing reads.

Of a sequence with itself only the upper triangle is computed. A strip then begins at its own first column, and what
lies to the left of it is, by symmetry, the row above it.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Integers = NDArray[np.int32]

ROWS = 64
"""Rows of a strip, and floats that must lie unused before and after the products and the squares of y."""

# No reassociation: the order of the operations is part of the accuracy.
kernel = njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "nsz", "nnan", "ninf"})

_ONE = np.float32(1)
_NEXT = np.uint64(1)  # indices are unsigned where a loop is to be vectorised: others may count from the end

# A float32 is 2 ** ((bits >> 23) - 127) times a mantissa, whose digits are the other bits.
_BITS, _BIAS = np.int32(23), np.int32(127)
_DIGITS, _BITS_OF_ONE = np.int32(0x7FFFFF), np.int32(0x3F800000)
_NOTHING = np.int32(-(1 << 28))  # the exponent of zero, below all that are in range
_LEAST_SHIFT = np.int32(-126)  # 2 ** -126 is the smallest normal float32 and vanishes beside 1

# Adding 1.5 * 2 ** 23 rounds to an integer, which is then the difference of the bits.
_ROUNDER, _BITS_OF_ROUNDER = np.float32(1.5 * 2**23), np.int32(0x4B400000)

# 2 ** f for f in [-0.5, 0.5], by Chebyshev interpolation.
_C1, _C2, _C3 = np.float32(0.6931471857339446), np.float32(0.24022650864832484), np.float32(0.05550367422232127)
_C4, _C5, _C6 = np.float32(0.009618068317833017), np.float32(0.0013385654839339677), np.float32(0.00015456991534581818)


def shares_size(rows: int, columns: int, *, symmetric: bool) -> int:
    """Return how many floats `forward` writes into `above`, and into `left`: a strip for every step."""
    return ROWS * sum(
        columns - (first if symmetric else 0) + min(ROWS, rows - first) - 1 for first in range(0, rows, ROWS)
    )


@kernel  # type: ignore[untyped-decorator]
def forward(
    products: Floats,
    stride: int,
    squares_x: Floats,
    squares_y: Floats,
    scale: np.float32,
    symmetric: bool,
    above: Floats,
    left: Floats,
) -> float:
    """Return log2 Z of the last cell, and note where each cell's Z came from.

    Args:
        products: the dot product of frames i and j at ROWS + i * stride + j; anything finite elsewhere.
        stride: floats from row to row.
        squares_x: [N + ROWS] squared lengths of the frames x, then anything finite.
        squares_y: [ROWS + M + ROWS] those of y, in reverse, between anything finite.
        scale: log2(e) / gamma.
        symmetric: x is y; products matter for j >= i only.
        above: receives which share of Z came from above, step by step; if it has the size of a single step, nothing.
        left: likewise, from the left; the rest came from the diagonal.
    """
    N, M = len(squares_x) - ROWS, len(squares_y) - 2 * ROWS
    keep = np.uint64(ROWS if len(above) > ROWS else 0)
    # The row above the strip, from column -1 on. Z = 1 before the first cell starts every path.
    edge, e_edge = np.ones(M + 2, np.float32), np.full(M + 2, _NOTHING)
    e_edge[0] = 0
    # Three diagonals, at three places: index k + 1 is row k of the strip, index 0 the row above it.
    cells, e_cells = np.ones(3 * (ROWS + 1), np.float32), np.full(3 * (ROWS + 1), _NOTHING)
    here, before, before_that = np.uint64(0), np.uint64(ROWS + 1), np.uint64(2 * (ROWS + 1))
    dots = np.empty(ROWS, np.float32)
    at = np.uint64(0)
    for first in range(0, N, ROWS):
        rows, start = min(ROWS, N - first), first if symmetric else 0
        columns = M - start
        cells[before_that], e_cells[before_that] = edge[start], e_edge[start]
        cells[before], e_cells[before] = edge[start + 1], e_edge[start + 1]
        cells[before + _NEXT], e_cells[before + _NEXT] = edge[start + 1], e_edge[start + 1] if symmetric else _NOTHING
        for t in range(columns + rows - 1):
            _gather(products, np.uint64(ROWS + first * stride + start + t), np.uint64(stride - 1), dots)
            _step(
                dots,
                squares_x,
                np.uint64(first),
                squares_y,
                np.uint64(ROWS + M - 1 - start - t),
                scale,
                cells,
                e_cells,
                here,
                before,
                before_that,
                above,
                left,
                at,
            )
            at += keep
            if t >= rows - 1:
                column, bottom = start + t - rows + 2, here + np.uint64(rows)
                edge[column], e_edge[column] = cells[bottom], e_cells[bottom]
            if t + 1 < columns:
                cells[here], e_cells[here] = edge[start + t + 2], e_edge[start + t + 2]
            if t + 1 < ROWS:  # row t + 1 enters with the next step; this is what it will find to its left
                entry = here + np.uint64(t + 2)
                cells[entry], e_cells[entry] = cells[here], e_cells[here] if symmetric else _NOTHING
            here, before, before_that = before_that, here, before
        e_edge[0] = _NOTHING
    return float(e_edge[M]) + math.log2(edge[M])


@kernel  # type: ignore[untyped-decorator]
def _gather(products: Floats, first: np.uint64, hop: np.uint64, dots: Floats) -> None:
    for k in range(np.uint64(ROWS)):
        dots[k] = products[first + k * hop]


@kernel  # type: ignore[untyped-decorator]
def _step(
    dots: Floats,
    squares_x: Floats,
    x_at: np.uint64,
    squares_y: Floats,
    y_at: np.uint64,
    scale: np.float32,
    cells: Floats,
    e_cells: Integers,
    here: np.uint64,
    before: np.uint64,
    before_that: np.uint64,
    above: Floats,
    left: Floats,
    at: np.uint64,
) -> None:
    for k in range(np.uint64(ROWS)):
        e_above, e_left, e_diagonal = e_cells[before + k], e_cells[before + k + _NEXT], e_cells[before_that + k]
        e_most = max(max(e_above, e_left), e_diagonal)
        from_above = _shifted(cells[before + k], np.int32(e_above - e_most))
        from_left = _shifted(cells[before + k + _NEXT], np.int32(e_left - e_most))
        total = from_above + from_left + _shifted(cells[before_that + k], np.int32(e_diagonal - e_most))
        share = _ONE / total
        above[at + k] = from_above * share
        left[at + k] = from_left * share
        # Minus the squared distance, as a sum of two differences of numbers that are often close to each other.
        log_w = min(scale * ((dots[k] - squares_x[x_at + k]) + (dots[k] - squares_y[y_at + k])), np.float32(0))
        rounded = log_w + _ROUNDER
        f = log_w - (rounded - _ROUNDER)
        power = _ONE + f * (_C1 + f * (_C2 + f * (_C3 + f * (_C4 + f * (_C5 + f * _C6)))))
        whole = np.int32(np.float32(rounded).view(np.int32) - _BITS_OF_ROUNDER)
        bits = np.float32(total * power).view(np.int32)
        e_cells[here + k + _NEXT] = np.int32(np.int32(e_most + whole) + np.int32(np.int32(bits >> _BITS) - _BIAS))
        cells[here + k + _NEXT] = np.int32(np.int32(bits & _DIGITS) | _BITS_OF_ONE).view(np.float32)


@kernel  # type: ignore[untyped-decorator]
def _shifted(mantissa: np.float32, exponent: np.int32) -> np.float32:
    """Multiply by a power of two whose exponent is at most zero."""
    shift = np.int32(max(exponent, _LEAST_SHIFT) << _BITS)
    return np.int32(np.float32(mantissa).view(np.int32) + shift).view(np.float32)
