"""Soft-DTW and its divergence on a CPU, in float32: matrix products around the loops of `strips` and `expectation`.

Gradients are computed together with the values, one term at a time in scratch memory that is used again: what a
training step keeps is as large as the frames, not as the matrices.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ssft.ops.eager_gradient import with_gradients
from ssft.ops.soft_dtw.expectation import Spans, backward, pull
from ssft.ops.soft_dtw.strips import ROWS, Floats, forward, shares_size
from ssft.ops.threads import thread_map

_BLOCK = 2 * ROWS
"""Rows that are multiplied at once where only the upper triangle is needed."""

_DENSE = 0.3
"""Above this part of cells where anything is expected, a matrix product is faster than cell by cell."""


def evaluate(x: Tensor, y: Tensor, lengths_x: Tensor, lengths_y: Tensor, *, gamma: float, divergence: bool) -> Tensor:
    """Soft-DTW s(x, y) per item, or s(x, y) - (s(x, x) + s(y, y)) / 2, differentiable once in x and y.

    `torch.get_num_threads()` threads share the terms of all items; the result does not depend on how many they are.

    Args:
        x: [B, N, D] float32, finite up to its lengths and within the exponent range, as the caller checks.
        y: [B, M, D] likewise.
        lengths_x: [B] frames, 1 to N; what is behind them is not read.
        lengths_y: [B] frames, 1 to M.
        gamma: smoothing, positive.
        divergence: whether the terms of each sequence with itself are subtracted.

    Returns:
        [B] float32.
    """
    sides, lengths = (x.detach().contiguous(), y.detach().contiguous()), (lengths_x.tolist(), lengths_y.tolist())
    compute = functools.partial(_values_and_gradients, sides, lengths, gamma=gamma, divergence=divergence)
    return with_gradients(lambda wanted: compute(wanted=wanted), x, y, name="soft-DTW")


def _values_and_gradients(
    sides: tuple[Tensor, Tensor],
    lengths: tuple[list[int], list[int]],
    *,
    gamma: float,
    divergence: bool,
    wanted: tuple[bool, ...],
) -> tuple[Tensor, dict[int, Tensor]]:
    values = torch.zeros(len(sides[0]), dtype=torch.float64)
    gradients = {side: torch.zeros_like(sides[side]) for side in (0, 1) if wanted[side]}
    terms = list(_terms(sides, lengths, divergence=divergence, wanted=wanted))
    scratch = _Scratch(terms)
    with thread_map(len(terms)) as mapped:
        results = mapped(lambda term: term.evaluate(gamma, scratch), terms)
        # In the order of the terms, whoever is ready first: the order of a sum is part of its rounding.
        for term, (value, parts) in zip(terms, results, strict=True):
            values[term.item] += term.weight * value
            for side, part in parts.items():
                gradients[side][term.item, : len(part)].add_(part, alpha=term.weight)
    return values.to(sides[0].dtype), gradients


class _Side(NamedTuple):
    """One of the two sequences of an item: which, its frames [F, D], and whether its gradient is wanted."""

    number: int
    frames: Tensor
    wanted: bool

    def squares(self) -> Floats:
        """Squared lengths of the frames, [F]."""
        frames = self.frames.numpy()
        squares: Floats = np.einsum("fd,fd->f", frames, frames)
        return squares


class _Term(NamedTuple):
    """Soft-DTW of an item's two sides, or of one of them with itself, and what it is multiplied by."""

    item: int
    weight: float
    x: _Side
    y: _Side

    @property
    def symmetric(self) -> bool:
        return self.x is self.y

    @property
    def shares_size(self) -> int:
        return shares_size(len(self.x.frames), len(self.y.frames), symmetric=self.symmetric)

    @property
    def wanted(self) -> bool:
        return self.x.wanted or self.y.wanted

    def evaluate(self, gamma: float, scratch: _Scratch) -> tuple[float, dict[int, Tensor]]:
        """Return the value, and the gradient [F, D] in each side where it is wanted."""
        rows, columns = len(self.x.frames), len(self.y.frames)
        stride = _stride(columns)
        products = scratch.products.numpy()
        grid = scratch.products[ROWS : ROWS + rows * stride].view(rows, stride)[:, :columns]
        squares_x, squares_y = np.zeros(rows + ROWS, np.float32), np.zeros(columns + 2 * ROWS, np.float32)
        squares_x[:rows], squares_y[ROWS : ROWS + columns] = self.x.squares(), self.y.squares()[::-1]
        self._multiply(grid, squares_x)
        shares = [share[: self.shares_size if self.wanted else ROWS] for share in scratch.shares]
        scale = np.float32(math.log2(math.e) / gamma)
        value = -gamma * math.log(2) * forward(products, stride, squares_x, squares_y, scale, self.symmetric, *shares)
        if not self.wanted:
            return value, {}
        spans = np.empty((-(-rows // ROWS), 3), np.int64)
        backward(products, stride, rows, columns, self.symmetric, *shares, spans)
        return value, self._gradients(grid, products, stride, spans)

    def _multiply(self, grid: Tensor, squares: Floats) -> None:
        x, y = self.x.frames, self.y.frames
        if not self.symmetric:
            torch.mm(x, y.mT, out=grid)
            return
        for first in range(0, len(x), _BLOCK):
            rows = slice(first, first + _BLOCK)
            torch.mm(x[rows], y[first:].mT, out=grid[rows, first:])
        grid.diagonal().copy_(torch.from_numpy(squares[: len(x)]))  # a frame is at no distance from itself

    def _gradients(self, expected: Tensor, flat: Floats, stride: int, spans: Spans) -> dict[int, Tensor]:
        gradients = {side.number: torch.zeros_like(side.frames) for side in (self.x, self.y) if side.wanted}
        of_x, of_y = gradients.get(self.x.number), gradients.get(self.y.number)
        x, y = self.x.frames, self.y.frames
        for rows, columns in _dense(spans):
            if of_x is not None:
                _pull(of_x[rows], expected[rows, columns], x[rows], y[columns])
            if of_y is not None:
                _pull(of_y[columns], expected[rows, columns].mT, y[columns], x[rows])
        pull(flat, stride, spans, x.numpy(), y.numpy(), _array(of_x), _array(of_y))
        return gradients


def _dense(spans: Spans) -> Iterator[tuple[slice, slice]]:
    """Take out of the spans the strips where so much is expected that `_pull` is faster than `pull`."""
    chosen = spans[:, 2] > _DENSE * ROWS * (spans[:, 1] - spans[:, 0])
    for strip in np.flatnonzero(chosen).tolist():
        yield slice(strip * ROWS, (strip + 1) * ROWS), slice(*spans[strip, :2].tolist())
    spans[chosen] = 0


def _pull(gradient: Tensor, expected: Tensor, own: Tensor, other: Tensor) -> None:
    """Add the gradient of sum_ij E_ij |own_i - other_j|^2."""
    gradient.addmm_(expected, other, alpha=-2).addcmul_(expected.sum(1, keepdim=True), own, value=2)


def _array(gradient: Tensor | None) -> Floats:
    return np.empty((0, 0), np.float32) if gradient is None else gradient.numpy()


def _terms(
    sides: tuple[Tensor, Tensor], lengths: tuple[list[int], list[int]], *, divergence: bool, wanted: tuple[bool, ...]
) -> Iterator[_Term]:
    for item in range(len(sides[0])):
        x, y = (_Side(side, sides[side][item, : lengths[side][item]], wanted[side]) for side in (0, 1))
        if divergence and torch.equal(x.frames, y.frames):
            continue  # 0 and without gradient by definition; rounding would leave some 1e-7 for every frame
        yield _Term(item, 1.0, x, y)
        if divergence:
            yield _Term(item, -0.5, x, x)
            yield _Term(item, -0.5, y, y)


class _Scratch(threading.local):
    """Memory for the largest of some terms, for each thread that asks."""

    def __init__(self, terms: Iterable[_Term]) -> None:
        cells, shares = 0, ROWS
        for term in terms:
            cells = max(cells, -(-len(term.x.frames) // ROWS) * ROWS * _stride(len(term.y.frames)))
            shares = max(shares, term.shares_size if term.wanted else 0)
        self.products = torch.zeros(cells + 2 * ROWS)
        self.shares = [np.empty(shares, np.float32) for _ in range(2)]


def _stride(columns: int) -> int:
    """Floats from row to row of products: an odd number of cache lines, as with an even one rows would share places."""
    return (columns + 16) // 32 * 32 + 16
