"""The expected alignment of one pair of sequences on a CPU, d soft-DTW / d distance, and its pull on the frames."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ssft.ops.soft_dtw.strips import ROWS, Floats, kernel

Spans = NDArray[np.int64]

_ZERO = np.float32(0)
_NEXT = np.uint64(1)
_NEGLIGIBLE = np.float32(1e-12)
"""Of an alignment, which is 1 at the last cell. Less than this is dropped, which also keeps denormal numbers away."""


@kernel  # type: ignore[untyped-decorator]
def backward(
    expected: Floats,
    stride: int,
    N: int,
    M: int,
    symmetric: bool,
    above: Floats,
    left: Floats,
    spans: Spans,
) -> None:
    """Let the alignment flow back from the last cell, along the shares that `strips.forward` has noted.

    Of a sequence with itself it is that of the upper triangle; outside the squares on the diagonal that strips begin
    with, a cell (i, j) stands for (j, i) as well.

    Args:
        expected: receives the alignment of cell (i, j) at ROWS + i * stride + j, within the spans.
        stride: floats from row to row.
        N: rows.
        M: columns.
        symmetric: as in `forward`.
        above: as `forward` filled it; overwritten.
        left: as `forward` filled it.
        spans: [strips, 3] receives the first column of a strip where anything is expected, the one behind the last,
            and the number of such cells.
    """
    # What flows out of the row below the strip, and out of the strip into the row above it, from column -1 on.
    below, upwards = np.zeros(M + 1, np.float32), np.zeros(M + 1, np.float32)
    below[M] = np.float32(1)
    # What flows out of the cells of the last step, and diagonally of the one before too, as that takes two steps.
    leftwards, up = np.zeros(ROWS + 1, np.float32), np.zeros(ROWS + 1, np.float32)
    back, back_before = np.zeros(ROWS + 1, np.float32), np.zeros(ROWS + 1, np.float32)
    begin = len(above)
    for strip in range(len(spans) - 1, -1, -1):
        first = strip * ROWS
        rows, start = min(ROWS, N - first), first if symmetric else 0
        columns = M - start
        begin -= (columns + rows - 1) * ROWS
        lowest, highest = start, M - 1
        while lowest < highest and below[lowest + 1] == _ZERO:
            lowest += 1
        while highest > lowest and below[highest + 1] == _ZERO:
            highest -= 1
        leftwards[:], up[:], back[:], back_before[:], upwards[:] = _ZERO, _ZERO, _ZERO, _ZERO, _ZERO
        low, high, idle = M, -1, 0
        latest = earliest = highest - start + rows - 1
        for t in range(latest, -1, -1):
            at, column_below = begin + t * ROWS, start + t - rows + 1
            up[rows] = below[column_below + 1] if column_below >= start else _ZERO
            _step(leftwards, up, back_before, above, left, np.uint64(at))
            if t + 1 < rows:  # row t + 1 has left the strip: by symmetry, into the row above
                if symmetric:
                    upwards[start + t + 2] += above[at + t + 1]
                leftwards[t + 1], up[t + 1], back_before[t + 1], above[at + t + 1] = _ZERO, _ZERO, _ZERO, _ZERO
            if t < columns:
                upwards[start + t + 1] += up[0]
                upwards[start + t] += back_before[0]
            back, back_before = back_before, back
            earliest = t
            one, other = 0, rows - 1
            while one < rows and above[at + one] == _ZERO:
                one += 1
            while other > one and above[at + other] == _ZERO:
                other -= 1
            if one < rows:
                low, high, idle = min(low, start + t - other), max(high, start + t - one), 0
            else:
                idle += 1
                if idle > 1 and column_below <= lowest:
                    break
        if symmetric:  # row 0 leaves last
            upwards[start + 1] += leftwards[0] + back_before[1]
        cells = 0
        for k in range(rows):
            for j in range(low, high + 1):
                t = j - start + k
                here = above[begin + t * ROWS + k] if earliest <= t <= latest else _ZERO
                expected[ROWS + (first + k) * stride + j] = here
                cells += here != _ZERO
        spans[strip, 0], spans[strip, 1], spans[strip, 2] = low, high + 1, cells
        below, upwards = upwards, below


@kernel  # type: ignore[untyped-decorator]
def _step(leftwards: Floats, up: Floats, back_before: Floats, above: Floats, left: Floats, at: np.uint64) -> None:
    """Put the alignment of a diagonal, which is all that flows in, in the place of its shares, and pass it on."""
    for k in range(np.uint64(ROWS)):
        here = leftwards[k] + up[k + _NEXT] + back_before[k + _NEXT]
        here = here if here >= _NEGLIGIBLE else _ZERO
        to_above, to_left = here * above[at + k], here * left[at + k]
        above[at + k] = here
        up[k], leftwards[k], back_before[k] = to_above, to_left, here - to_above - to_left


@kernel  # type: ignore[untyped-decorator]
def pull(
    expected: Floats, stride: int, spans: Spans, x: Floats, y: Floats, gradient_x: Floats, gradient_y: Floats
) -> None:
    """Add the gradients of sum_ij E_ij |x_i - y_j|^2, cell by cell: for the few cells of a narrow band.

    Args:
        expected: E, as `backward` left it.
        stride: floats from row to row.
        spans: as `backward` left them; a strip without columns is passed over.
        x: [N, D].
        y: [M, D].
        gradient_x: [N, D], or [0, 0] if it is not wanted.
        gradient_y: [M, D], or [0, 0].
    """
    for i in range(len(x)):
        for j in range(spans[i // ROWS, 0], spans[i // ROWS, 1]):
            here = expected[ROWS + i * stride + j]
            if here != _ZERO:
                if len(gradient_x):
                    _add_difference(gradient_x[i], here + here, x[i], y[j])
                if len(gradient_y):
                    _add_difference(gradient_y[j], here + here, y[j], x[i])


@kernel  # type: ignore[untyped-decorator]
def _add_difference(total: Floats, factor: np.float32, one: Floats, other: Floats) -> None:
    for d in range(len(total)):
        total[d] += factor * (one[d] - other[d])
