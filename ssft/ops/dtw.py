"""Dynamic time warping between sequences of frames, for evaluation: exact, many pairs at once, not differentiable."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Integers = NDArray[np.integer]

LANES = 16
"""So many sequences are aligned at once, frame by frame side by side: two vectors of AVX2, whose latencies overlap."""
BLOCK_FRAMES = 512
"""Sequences are compared in blocks of about this many frames, so that what is computed of them stays in cache."""
UNIT_BITS = 20
"""Distances of frames are whole multiples of 2 ** -20."""
NEARLY_PARALLEL = 0.998
"""The cosine above which float32 no longer gives an angle to within 1e-6 of half a turn."""

_ARCCOS = np.array(
    [1.5707963050, -0.2145988016, 0.0889789874, -0.0501743046, 0.0308918810, -0.0170881256, 0.0066700901, -0.0012624911]
)
"""arccos(c) = sqrt(1 - c) times this polynomial of c >= 0, to 2e-8: Abramowitz and Stegun, 1964, 4.4.46."""
_P0, _P1, _P2, _P3, _P4, _P5, _P6, _P7 = (_ARCCOS / math.pi).astype(np.float32).tolist()
_NOT_YET = np.iinfo(np.int32).max


def pack(sequences: Sequence[Floats]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Join sequences of frames and scale every frame to unit length; a frame of zeros stays zero.

    Args:
        sequences: arrays [F_i, D] of one D, each with at least one frame.

    Returns:
        Frames [sum of F_i, D], and offsets [S + 1]: sequence i is `frames[offsets[i]:offsets[i + 1]]`.

    Raises:
        ValueError: nothing to pack, an empty sequence, not [F, D], different D, NaN or infinity.

    Example:
        >>> frames, offsets = pack([np.array([[3.0, 4.0]]), np.array([[0.0, 2.0], [0.0, 0.0]])])
        >>> frames.round(1).tolist(), offsets.tolist()
        ([[0.6, 0.8], [0.0, 1.0], [0.0, 0.0]], [0, 1, 3])
    """
    if not sequences:
        raise ValueError("there is no sequence to pack")
    shapes = [sequence.shape for sequence in sequences]
    if any(len(shape) != 2 or shape[0] == 0 or shape[1] != shapes[0][1] for shape in shapes):
        raise ValueError(f"sequences must be [F, D] with F > 0 and one D, got shapes {sorted(set(shapes))}")
    offsets = np.cumsum([0, *(shape[0] for shape in shapes)], dtype=np.int64)
    frames = np.empty((offsets[-1], shapes[0][1]), dtype=np.float32)
    for start, end, sequence in zip(offsets, offsets[1:], sequences, strict=False):
        exact = sequence.astype(np.float64)
        norms = np.sqrt(np.einsum("fd,fd->f", exact, exact))
        if not np.isfinite(norms).all():
            raise ValueError("frames contain NaN or infinity")
        frames[start:end] = exact / np.where(norms > 0, norms, 1.0)[:, None]
    return frames, offsets


def angular_dtw(frames: Floats, offsets: Integers, pairs: Integers) -> NDArray[np.float32]:
    """Return the mean angular distance along the cheapest alignment of each pair of sequences.

    Distances are those of `angular_dtw_table`, which is what to call where all of some are compared to all of others.

    Args:
        frames: unit frames [N, D] of all sequences, as `pack` makes them.
        offsets: [S + 1], where each sequence begins in `frames`, and N.
        pairs: indices [P, 2] of the sequences to compare. Fastest where neighbours in `frames` are compared to
            neighbours, because what is compared is computed for whole blocks.

    Returns:
        Distances [P], between 0 and 1.

    Raises:
        ValueError: shapes that do not fit, an empty sequence, an index out of range, NaN or infinity.

    Example:
        >>> frames, offsets = pack([np.eye(2), np.eye(2)[:1]])
        >>> angular_dtw(frames, offsets, np.array([[0, 0], [0, 1]])).tolist()
        [0.0, 0.25]
    """
    _check(frames, offsets, pairs)
    frames = np.ascontiguousarray(frames, dtype=np.float32)
    spans = np.stack([offsets[:-1], offsets[1:]], axis=1).astype(np.int64)
    block = offsets[:-1] // BLOCK_FRAMES
    distances = np.empty(len(pairs), dtype=np.float32)
    keys, where = np.unique(block[pairs], axis=0, return_inverse=True)
    for key in range(len(keys)):
        chosen = np.flatnonzero(where == key)
        rows, row = np.unique(pairs[chosen, 0], return_inverse=True)
        columns, column = np.unique(pairs[chosen, 1], return_inverse=True)
        distances[chosen] = angular_dtw_table(frames, spans[rows], spans[columns])[row, column]
    return distances


def angular_dtw_table(frames: NDArray[np.float32], rows: Integers, columns: Integers) -> NDArray[np.float32]:
    """Return the mean angular distance along the cheapest alignment of all of some sequences with all of others.

    The distance of two frames is `arccos(cosine) / pi`, between 0 and 1; a frame of zeros has cosine 0, thus distance
    0.5, with every frame. A path steps down, right or diagonally, from the first two frames to the last two, and costs
    the sum of its distances. The cheapest path's cost is divided by the number of its cells. Where several steps lead
    to a cell at equal cost, the path comes from the diagonal, else from the left (the previous frame of the second
    sequence), else from above (the previous frame of the first). Ties apart, the result is symmetric.

    Distances of frames are rounded to multiples of 2 ** -20, so that their sums are exact: equal costs are equal, in
    whatever order they are added and with whatever else they are computed. Results are within 1e-6 of the exact ones,
    unless paths of different lengths cost the same but for rounding. Sequences that are together longer than 2,047
    frames are rounded to larger multiples.

    Args:
        frames: unit frames [N, D], finite, contiguous.
        rows: [R, 2], the first frame of each sequence and the one after its last; it is the first of each pair.
        columns: [C, 2], of the second of each pair.

    Returns:
        Distances [R, C], between 0 and 1.

    Source: the distance of the ABX task, Schatz et al., Interspeech 2013; angular as in Kahn et al., ICASSP 2020.

    Example:
        >>> angular_dtw_table(np.eye(2, dtype=np.float32), np.array([[0, 2]]), np.array([[0, 1], [0, 2]])).tolist()
        [[0.25, 0.0]]
    """
    table = np.empty((len(rows), len(columns)), dtype=np.float32)
    if not table.size:
        return table
    groups = list(_side_by_side(frames, columns))
    for top, bottom in _blocks(rows):
        lengths = rows[top:bottom, 1] - rows[top:bottom, 0]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        first = frames[np.arange(offsets[-1]) + np.repeat(rows[top:bottom, 0] - offsets[:-1], lengths)]
        for second in groups:
            cosines = (torch.from_numpy(first) @ torch.from_numpy(second.frames).T).numpy()
            _align(cosines, first, offsets, second.frames, second.ends, second.lengths, second.lanes, table[top:bottom])
    return table


class _Group(NamedTuple):
    """Up to `LANES` sequences side by side: all their first frames, then the second ones of those that have one, ...

    The longest are the last, so that what is there of a step are the last lanes; the vector of all lanes ends with it.
    """

    lanes: Integers
    """[L], which sequences."""
    lengths: Integers
    """[L], ascending."""
    frames: NDArray[np.float32]
    ends: Integers
    """[M], where each step ends among the frames."""


def _side_by_side(frames: NDArray[np.float32], spans: Integers) -> Iterator[_Group]:
    lengths = spans[:, 1] - spans[:, 0]
    by_length = np.argsort(lengths, kind="stable")
    for start in range(0, len(spans), LANES):
        lanes = by_length[start : start + LANES]
        steps = np.arange(lengths[lanes[-1]])[:, None]
        present = steps < lengths[lanes]
        own = frames[(spans[lanes, 0] + steps)[present]]
        yield _Group(lanes, lengths[lanes], own, np.cumsum(present.sum(axis=1)))


def _blocks(spans: Integers) -> Iterator[tuple[int, int]]:
    """Runs of sequences of together about `BLOCK_FRAMES`."""
    block = np.cumsum(spans[:, 1] - spans[:, 0]) // BLOCK_FRAMES
    edges = np.flatnonzero(np.diff(block, prepend=-1, append=block[-1] + 1))
    return pairwise(edges.tolist())


def _check(frames: Floats, offsets: Integers, pairs: Integers) -> None:
    if frames.ndim != 2 or offsets.ndim != 1 or len(offsets) < 2 or pairs.ndim != 2 or pairs.shape[1] != 2:
        raise ValueError(f"need [N, D], [S + 1], [P, 2], got shapes {frames.shape}, {offsets.shape}, {pairs.shape}")
    if offsets[0] != 0 or offsets[-1] != len(frames) or (np.diff(offsets) < 1).any():
        raise ValueError("offsets must rise from 0 to the number of frames, and no sequence may be empty")
    if len(pairs) and (pairs.min() < 0 or pairs.max() > len(offsets) - 2):
        raise ValueError(f"pairs must be indices below {len(offsets) - 1}, got {pairs.min()} to {pairs.max()}")
    if not np.isfinite(frames).all():
        raise ValueError("frames contain NaN or infinity")


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _align(
    cosines: NDArray[np.float32],
    first: NDArray[np.float32],
    offsets: Integers,
    second: NDArray[np.float32],
    ends: Integers,
    lengths: Integers,
    lanes: Integers,
    table: NDArray[np.float32],
) -> None:
    """Align each sequence of `first` [N, D] with those side by side in `second`, and write into columns of `table`."""
    steps = len(ends)
    longest = 0
    for x in range(len(offsets) - 1):
        longest = max(longest, offsets[x + 1] - offsets[x])
    bits = UNIT_BITS
    while (longest + steps) >> (31 - bits):
        bits -= 1
    unit = np.float32(2.0**bits)
    near = np.int32(unit * np.float32(math.acos(NEARLY_PARALLEL) / math.pi))
    padded = np.zeros(LANES + len(second), dtype=np.int32)  # lanes that nothing is in come first
    distances = padded[LANES:]
    # The cell of frame i and step j has its place at j - i, where that of i - 1 and j - 1 was: the one above is in the
    # next place, the one to the left in the place before. A place holds the sums of all lanes, then their path lengths.
    place = 2 * LANES
    cells = np.empty((longest + steps + 2) * place, dtype=np.int32)
    for x in range(len(offsets) - 1):
        begin, height = offsets[x], offsets[x + 1] - offsets[x]
        cells[: (height + steps + 2) * place] = _NOT_YET
        cells[height * place : (height + 1) * place] = 0  # before the very first cell
        for i in range(height):
            if _distances(cosines[begin + i], unit, distances) < near:
                _refine(first[begin + i], second, unit, near, distances)
            for j in range(steps):
                # Lanes that have ended go on with something else, which never reaches back to their last cell.
                _step(cells, (j - i + height) * place, padded, ends[j])
        for lane in range(len(lengths)):
            last = lengths[lane] * place + LANES - len(lengths) + lane
            table[x, lanes[lane]] = cells[last] / (unit * cells[last + LANES])


@njit(cache=True, nogil=True, error_model="numpy", inline="always")  # type: ignore[untyped-decorator]
def _step(cells: NDArray[np.int32], place: int, distances: NDArray[np.int32], start: int) -> None:
    """Fill one cell of all lanes. All is read before anything is chosen: with branches there would be no vectors."""
    here, begin = np.uint64(place), np.uint64(start)
    left, above = here - np.uint64(2 * LANES), here + np.uint64(2 * LANES)
    for lane in range(np.uint64(LANES)):
        other = lane + np.uint64(LANES)
        best, count = cells[here + lane], cells[here + other]
        left_sum, left_count = cells[left + lane], cells[left + other]
        above_sum, above_count = cells[above + lane], cells[above + other]
        from_left = left_sum < best
        best = left_sum if from_left else best
        count = left_count if from_left else count
        from_above = above_sum < best
        best = above_sum if from_above else best
        count = above_count if from_above else count
        cells[here + lane] = best + distances[begin + lane]
        cells[here + other] = count + np.int32(1)


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})  # type: ignore[untyped-decorator]
def _distances(cosines: NDArray[np.float32], unit: float, distances: NDArray[np.int32]) -> np.int32:
    """Write the angles between frames as multiples of 1 / `unit` of half a turn; return the one nearest to 0 or 1."""
    nearest = np.int32(_NOT_YET)
    whole = np.int32(unit)
    for k in range(len(distances)):
        cosine = min(abs(cosines[k]), np.float32(1))
        p = np.float32(_P7)
        p = p * cosine + np.float32(_P6)
        p = p * cosine + np.float32(_P5)
        p = p * cosine + np.float32(_P4)
        p = p * cosine + np.float32(_P3)
        p = p * cosine + np.float32(_P2)
        p = p * cosine + np.float32(_P1)
        p = p * cosine + np.float32(_P0)
        acute = np.int32(unit * (p * math.sqrt(np.float32(1) - cosine)) + np.float32(0.5))
        distances[k] = acute if cosines[k] >= np.float32(0) else whole - acute
        nearest = min(nearest, acute)
    return nearest


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc"})  # type: ignore[untyped-decorator]
def _refine(
    frame: NDArray[np.float32], others: NDArray[np.float32], unit: float, near: int, distances: NDArray[np.int32]
) -> None:
    """Compute angles nearly 0 or 1 again, from the length of the chord, which is exact where cosines are not."""
    whole = np.int32(unit)
    for k in range(len(distances)):
        if near <= distances[k] <= whole - near:
            continue
        sign = np.float32(1) if distances[k] < near else np.float32(-1)
        square = np.float32(0)
        for d in range(len(frame)):
            square += (frame[d] - sign * others[k, d]) ** 2
        acute = np.int32(
            unit * np.float32(2 / math.pi) * math.asin(np.float32(0.5) * math.sqrt(square)) + np.float32(0.5)
        )
        distances[k] = acute if sign > 0 else whole - acute
