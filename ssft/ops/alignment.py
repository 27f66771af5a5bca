"""Which frame of one sequence belongs to which of another: by relative time, or by the cheapest path."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssft.ops.masking import lengths_to_mask


def resample(x: Tensor, lengths: Tensor, to: Tensor) -> Tensor:
    """Read sequences at the frames of sequences of other lengths, linearly between frames.

    Both lengths stand for the same stretch of time, so frame i of n is where frame (i + 0.5) / n * m - 0.5 of m is;
    before the first and behind the last frame there is nothing, and they are read instead. Padding is never read.

    Args:
        x: [B, M, D].
        lengths: [B] frames of x.
        to: [B] frames wanted of each item.

    Returns:
        [sum of `to`, D], item after item. Differentiable in x. Equal lengths give exactly x.

    Example:
        >>> resample(torch.tensor([[[0.0], [1.0]]]), torch.tensor([2]), torch.tensor([4])).flatten().tolist()
        [0.0, 0.25, 0.75, 1.0]
    """
    items, frames = lengths_to_mask(to, int(to.max())).nonzero(as_tuple=True)
    source, wanted = lengths[items], to[items]
    # The position is a fraction over 2 n, kept in integers, so that no frame is missed by rounding.
    position = ((2 * frames + 1) * source - wanted).clamp_min(0)
    before = position // (2 * wanted)
    share = (position % (2 * wanted)).to(x.dtype) / (2 * wanted)
    return torch.lerp(x[items, before], x[items, torch.minimum(before + 1, source - 1)], share[:, None])


def dtw_path(x: Tensor, y: Tensor, lengths_x: Tensor, lengths_y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Find the alignment of each pair of sequences that costs least in squared Euclidean distance.

    A path steps diagonally, right or down from the first two frames to the last two. Where several steps lead to a cell
    at equal cost, the path comes from the diagonal, else from the left (the previous frame of y), else from above (the
    previous frame of x). Costs are float64; padding is never read. The work is done on the processor, wherever the
    tensors are, and without gradient.

    Args:
        x: [B, N, D].
        y: [B, M, D].
        lengths_x: [B] frames.
        lengths_y: [B] frames.

    Returns:
        The cells of all paths, item after item, from first to last: item [C], frame of x [C], frame of y [C].

    Example:
        >>> x, y = torch.tensor([[[0.0], [1.0]]]), torch.tensor([[[0.0], [0.0], [1.0]]])
        >>> [cells.tolist() for cells in dtw_path(x, y, torch.tensor([2]), torch.tensor([3]))]
        [[0, 0, 0], [0, 0, 1], [0, 1, 2]]
    """
    paths = []
    for a, b, n, m in zip(x.detach(), y.detach(), lengths_x.tolist(), lengths_y.tolist(), strict=True):
        a, b = a[:n].cpu().double().numpy(), b[:m].cpu().double().numpy()
        costs = np.square(a).sum(1)[:, None] + np.square(b).sum(1) - 2 * a @ b.T
        paths.append(_compiled_walk()(np.maximum(costs, 0)))
    items = np.repeat(np.arange(len(paths)), [len(path) for path in paths])
    rows, columns = np.concatenate(paths).T
    item, row, column = (torch.from_numpy(index.copy()).to(x.device) for index in (items, rows, columns))
    return item, row, column


@cache
def _compiled_walk() -> Callable[[NDArray[np.float64]], NDArray[np.int64]]:
    from numba import njit  # slow to import, and most losses do not need it

    compiled: Callable[[NDArray[np.float64]], NDArray[np.int64]] = njit(cache=True, nogil=True)(_walk)
    return compiled


def _walk(costs: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the cells [C, 2] of the cheapest path through `costs` [N, M]."""
    rows, columns = costs.shape
    total = np.full((rows + 1, columns + 1), np.inf)
    total[0, 0] = 0.0
    for i in range(rows):
        for j in range(columns):
            total[i + 1, j + 1] = costs[i, j] + min(total[i, j], total[i + 1, j], total[i, j + 1])
    path = np.empty((rows + columns - 1, 2), dtype=np.int64)
    i, j = rows, columns
    first = len(path)
    while i > 0 and j > 0:
        first -= 1
        path[first] = i - 1, j - 1
        # The border is infinite, so that in the first row and the first column only one way is left.
        diagonal, left, above = total[i - 1, j - 1], total[i, j - 1], total[i - 1, j]
        if diagonal <= left and diagonal <= above:
            i, j = i - 1, j - 1
        elif left <= above:
            j -= 1
        else:
            i -= 1
    return path[first:]
