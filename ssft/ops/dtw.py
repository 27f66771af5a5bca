"""Dynamic time warping between sequences of frames, for evaluation: exact, many pairs at once, not differentiable."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Integers = NDArray[np.integer]

BLOCK_FRAMES = 512
"""Sequences are compared in blocks of about this many frames, which bounds the memory of the frame distances."""


def pack(sequences: Sequence[Floats]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Join sequences of frames and scale every frame to unit length; a frame of zeros stays zero.

    Args:
        sequences: arrays [F_i, D] of one D, each with at least one frame.

    Returns:
        Frames [sum of F_i, D], float64, and offsets [S + 1]: sequence i is `frames[offsets[i]:offsets[i + 1]]`.

    Raises:
        ValueError: nothing to pack, an empty sequence, not [F, D], different D, NaN or infinity.

    Example:
        >>> frames, offsets = pack([np.array([[3.0, 4.0]]), np.array([[0.0, 2.0], [0.0, 0.0]])])
        >>> frames.tolist(), offsets.tolist()
        ([[0.6, 0.8], [0.0, 1.0], [0.0, 0.0]], [0, 1, 3])
    """
    if not sequences:
        raise ValueError("there is no sequence to pack")
    shapes = [sequence.shape for sequence in sequences]
    if any(len(shape) != 2 or shape[0] == 0 or shape[1] != shapes[0][1] for shape in shapes):
        raise ValueError(f"sequences must be [F, D] with F > 0 and one D, got shapes {sorted(set(shapes))}")
    frames = np.concatenate(sequences, dtype=np.float64)
    if not np.isfinite(frames).all():
        raise ValueError("frames contain NaN or infinity")
    norms = np.linalg.norm(frames, axis=1, keepdims=True)
    np.divide(frames, norms, out=frames, where=norms > 0)
    return frames, np.cumsum([0, *(shape[0] for shape in shapes)], dtype=np.int64)


def angular_dtw(frames: Floats, offsets: Integers, pairs: Integers) -> NDArray[np.float64]:
    """Return the mean angular distance along the cheapest alignment of each pair of sequences.

    The distance of two frames is `arccos(cosine) / pi`, between 0 and 1; a frame of zeros has cosine 0, thus distance
    0.5, with every frame. A path steps down, right or diagonally, from the first two frames to the last two, and costs
    the sum of its distances. The cheapest path's cost is divided by the number of its cells. Where several steps lead
    to a cell at equal cost, the path comes from the diagonal, else from the left (the previous frame of the second
    sequence), else from above (the previous frame of the first). Ties apart, the result is symmetric.

    Cosines are float64: near 1, arccos turns an error of 1e-7 into one of 1e-4.

    Args:
        frames: unit frames [N, D] of all sequences, as `pack` makes them.
        offsets: [S + 1], where each sequence begins in `frames`, and N.
        pairs: indices [P, 2] of the sequences to compare. Fastest where neighbours in `frames` are compared to
            neighbours, because the cosines of whole blocks are one matrix product.

    Returns:
        Distances [P], between 0 and 1.

    Raises:
        ValueError: shapes that do not fit, an empty sequence, an index out of range, NaN or infinity.

    Source: the distance of the ABX task, Schatz et al., Interspeech 2013; angular as in Kahn et al., ICASSP 2020.

    Example:
        >>> frames, offsets = pack([np.eye(2), np.eye(2)[:1]])
        >>> angular_dtw(frames, offsets, np.array([[0, 0], [0, 1]])).tolist()
        [0.0, 0.25]
    """
    _check(frames, offsets, pairs)
    if not len(pairs):
        return np.empty(0)
    block = offsets[:-1] // BLOCK_FRAMES
    count = int(block[-1]) + 1
    edges = offsets[np.searchsorted(block, np.arange(count + 1))]
    key = block[pairs[:, 0]] * count + block[pairs[:, 1]]
    order = np.argsort(key, kind="stable")
    keys, starts = np.unique(key[order], return_index=True)
    distances = np.empty(len(pairs))
    for key, chosen in zip(keys.tolist(), np.split(order, starts[1:]), strict=True):
        row, column = divmod(key, count)
        angles = frames[edges[row] : edges[row + 1]] @ frames[edges[column] : edges[column + 1]].T
        np.arccos(np.clip(angles, -1.0, 1.0, out=angles), out=angles)
        angles /= np.pi
        rows, columns = pairs[chosen].T
        spans = (offsets[rows], offsets[rows + 1]), (offsets[columns], offsets[columns + 1])
        corners = np.stack([*spans[0], *spans[1]], axis=1) - np.repeat([edges[row], edges[column]], 2)
        distances[chosen] = _path_means(angles, corners)
    return distances


def _check(frames: Floats, offsets: Integers, pairs: Integers) -> None:
    if frames.ndim != 2 or offsets.ndim != 1 or len(offsets) < 2 or pairs.ndim != 2 or pairs.shape[1] != 2:
        raise ValueError(f"need [N, D], [S + 1], [P, 2], got shapes {frames.shape}, {offsets.shape}, {pairs.shape}")
    if offsets[0] != 0 or offsets[-1] != len(frames) or (np.diff(offsets) < 1).any():
        raise ValueError("offsets must rise from 0 to the number of frames, and no sequence may be empty")
    if len(pairs) and (pairs.min() < 0 or pairs.max() > len(offsets) - 2):
        raise ValueError(f"pairs must be indices below {len(offsets) - 1}, got {pairs.min()} to {pairs.max()}")
    if not np.isfinite(frames).all():
        raise ValueError("frames contain NaN or infinity")


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _path_means(costs: NDArray[np.float64], corners: Integers) -> NDArray[np.float64]:
    """Align the part of `costs` [N, M] inside each of `corners` [P, 4]: first and end row, first and end column."""
    means = np.empty(len(corners))
    widest = 0
    for pair in range(len(corners)):
        widest = max(widest, corners[pair, 3] - corners[pair, 2])
    total = np.empty(widest + 1)
    cells = np.empty(widest + 1, dtype=np.int64)
    for pair in range(len(corners)):
        top, bottom, left, right = corners[pair]
        width = right - left
        # Position 0 is a wall before the first column; only the very first cell may come diagonally through it.
        total[:] = np.inf
        total[0] = 0.0
        cells[0] = 0
        for i in range(top, bottom):
            diagonal, diagonal_cells = total[0], cells[0]
            total[0] = np.inf
            previous, previous_cells = total[0], cells[0]
            for j in range(width):
                above, above_cells = total[j + 1], cells[j + 1]
                from_left = previous < diagonal
                best = previous if from_left else diagonal
                best_cells = previous_cells if from_left else diagonal_cells
                from_above = above < best
                best = above if from_above else best
                best_cells = above_cells if from_above else best_cells
                previous = best + costs[i, left + j]
                previous_cells = best_cells + 1
                total[j + 1], cells[j + 1] = previous, previous_cells
                diagonal, diagonal_cells = above, above_cells
        means[pair] = previous / previous_cells
    return means
