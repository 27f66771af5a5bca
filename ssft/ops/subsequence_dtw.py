"""Subsequence dynamic time warping: how well a spoken query fits anywhere into each of many documents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray

from ssft.ops.threads import thread_map

Floats = NDArray[np.floating]
Float32 = NDArray[np.float32]
Integers = NDArray[np.integer]

BLOCK_FRAMES = 1024
"""Documents are taken in blocks of about this many frames,"""
BLOCK_CELLS = 2**17
"""and queries in groups for which the frame distances to a block are about this many, which stay in the cache."""
FLAT = 1e-5
"""Cosines that differ by no more are equal: 32 bits say no more of a sum of hundreds of products."""
ROUNDING = 1e-7
"""Rounding moves a value by this part of it at most: less than this, of its mean or its deviation, is nothing."""


def subsequence_dtw(queries: Sequence[Floats], documents: Sequence[Floats]) -> Float32:
    """Return the mean frame distance along the cheapest alignment of each query with a part of each document.

    1. Every dimension is standardised: mean 0 and variance 1 over all frames of all queries and all documents. One
       that is constant becomes 0.
    2. The distance of two frames is `exp(1 - cosine) - 1`; one that is the mean has cosine 0 with every frame.
    3. For each frame of a query and each document, distances are scaled: 0 to the nearest frame of the document, 1 to
       the farthest. If all are equally far, as in a document of one frame, nothing is found there: all become 1.
    4. A path takes every frame of the query once, in order. From one to the next it stays at its frame of the document,
       or goes on by one or two. It begins and ends anywhere, so that there is one even if the query is longer than the
       document. The sum of the scaled distances along the cheapest path is divided by the length of the query.

    Products and sums are float32, everything before is float64. `torch.get_num_threads()` threads share the documents;
    the result does not depend on how many they are.

    Args:
        queries: frames [F_i, D] of each, at least one.
        documents: likewise, of the same D.

    Returns:
        Distances [Q, S] of queries and documents, between 0 and 1.

    Raises:
        ValueError: no query or document, an empty one, not [F, D], different D, NaN or infinity.

    Source: query by example of SUPERB, Yang et al., Interspeech 2021, which takes the step pattern `asymmetric` of
    dtw-python, with open begin and end. Two rare cases differ. There, where all are equally far they become 0, so that
    a document of one frame fits every query; and the rounding errors of a constant dimension are blown up.

    Example:
        >>> sounds = np.eye(5)
        >>> subsequence_dtw([sounds[1:4]], [sounds, sounds[::-1]]).round(1)
        array([[0. , 0.6]], dtype=float32)
    """
    if not len(queries) or not len(documents):
        raise ValueError(f"need queries and documents, got {len(queries)} and {len(documents)}")
    mean, scale = _standardisation([*queries, *documents])
    rows = torch.from_numpy(-_unit_frames(queries, mean, scale))
    starts = np.cumsum([0, *map(len, queries)])
    distances = np.empty((len(queries), len(documents)), dtype=np.float32)

    def fill(block: slice) -> None:
        own = documents[block]
        columns = torch.from_numpy(_unit_frames(own, mean, scale))
        edges = np.cumsum([0, *map(len, own)])
        groups = list(_runs(starts, max(1, BLOCK_CELLS // len(columns))))
        scratch = torch.empty(max(starts[group.stop] - starts[group.start] for group in groups), len(columns))
        for group in groups:
            chosen = rows[starts[group.start] : starts[group.stop]]
            products = torch.mm(chosen, columns.T, out=scratch[: len(chosen)])
            own_starts = starts[group.start : group.stop + 1] - starts[group.start]
            _align(products.numpy(), own_starts, edges, distances[group, block])

    blocks = list(_runs(np.cumsum([0, *map(len, documents)]), BLOCK_FRAMES))
    with thread_map(len(blocks)) as mapped:
        list(mapped(fill, blocks))
    return distances


def _standardisation(sequences: Sequence[Floats]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean [D] and inverse deviation [D] over all frames; 0 for the latter where a dimension is constant."""
    shapes = [sequence.shape for sequence in sequences]
    if any(len(shape) != 2 or not shape[0] or shape[1] != shapes[0][1] for shape in shapes):
        raise ValueError(f"need queries and documents [F, D] with F > 0 and one D, got shapes {sorted(set(shapes))}")
    frames = sum(shape[0] for shape in shapes)
    mean = sum(sequence.sum(axis=0, dtype=np.float64) for sequence in sequences) / frames
    if not np.isfinite(mean).all():
        raise ValueError("frames contain NaN or infinity")
    variance = sum(np.square(sequence - mean).sum(axis=0) for sequence in sequences) / frames
    varies = np.sqrt(variance) > ROUNDING * np.abs(mean)
    return mean, np.divide(1.0, np.sqrt(variance), out=np.zeros_like(mean), where=varies)


def _unit_frames(sequences: Sequence[Floats], mean: Floats, scale: Floats) -> Float32:
    """All frames [N, D], standardised and of unit length; those that have none stay as they are, about zero."""
    frames = np.concatenate(sequences) - mean
    frames *= scale
    norms = np.sqrt(np.einsum("fd,fd->f", frames, frames))[:, None]
    np.divide(frames, norms, out=frames, where=norms > ROUNDING)
    return frames.astype(np.float32)


def _runs(starts: Integers, size: int) -> Iterator[slice]:
    """Neighbouring sequences of at most `size` frames together, or a single one; `starts` ends with the total."""
    first = 0
    while first < len(starts) - 1:
        end = max(first + 1, int(np.searchsorted(starts, starts[first] + size, side="right")) - 1)
        yield slice(first, end)
        first = end


@njit(fastmath={"contract"})  # type: ignore[untyped-decorator]
def _exp(x: np.float32) -> np.float32:
    """Taylor's series up to the tenth power: between -1 and 1, where cosines are, exact to 32 bits."""
    value = np.float32(1 / 3628800)
    for factorial in (362880, 40320, 5040, 720, 120, 24, 6, 2, 1, 1):
        value = value * x + np.float32(1 / factorial)
    return value


# Without NaN, which was refused, a minimum needs no order, and the compiler does eight at once.
@njit(cache=True, nogil=True, error_model="numpy", fastmath={"nnan", "nsz", "contract"})  # type: ignore[untyped-decorator]
def _align(products: Float32, starts: Integers, edges: Integers, distances: Float32) -> None:
    """Align the rows of each query, from `starts`, with the columns of each document, from `edges`."""
    widest = 0
    for document in range(len(edges) - 1):
        widest = max(widest, edges[document + 1] - edges[document])
    before = np.empty(widest + 2, dtype=np.float32)
    after = np.empty(widest + 2, dtype=np.float32)
    # Two places before the first frame of a document, which no path comes from.
    before[:2] = np.inf
    after[:2] = np.inf
    one = np.float32(1)
    for document in range(len(edges) - 1):
        left, right = edges[document], edges[document + 1]
        width = right - left
        for query in range(len(starts) - 1):
            before[2:] = 0
            for row in range(starts[query], starts[query + 1]):
                own = products[row, left:right]
                low, high = own[0], own[0]
                for j in range(width):
                    low = min(low, own[j])
                    high = max(high, own[j])
                nearest, slope, shift = _exp(low), np.float32(0), one
                if high - low > FLAT:
                    slope = one / (_exp(high) - nearest)
                    shift = np.float32(0)
                for j in range(width):
                    cheapest = min(min(before[j], before[j + 1]), before[j + 2])
                    after[j + 2] = cheapest + ((_exp(own[j]) - nearest) * slope + shift)
                before, after = after, before
            cheapest = before[2]
            for j in range(width):
                cheapest = min(cheapest, before[j + 2])
            distances[query, document] = cheapest / np.float32(starts[query + 1] - starts[query])
