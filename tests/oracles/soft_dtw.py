"""Soft-DTW with loops, in float64, from its definition."""

from __future__ import annotations

import itertools
import math

import numpy as np
from numba import njit


def cost(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.array([[sum((a - b) ** 2 for a, b in zip(row, column, strict=True)) for column in y] for row in x])


def soft_dtw(x: np.ndarray, y: np.ndarray, gamma: float) -> float:
    """Algorithm 1 of Cuturi and Blondel (2017), cell by cell."""
    costs = cost(x, y)
    rows, columns = costs.shape
    table = np.full((rows + 1, columns + 1), math.inf)
    table[0, 0] = 0.0
    for i, j in itertools.product(range(1, rows + 1), range(1, columns + 1)):
        ways = [table[i - 1, j - 1], table[i - 1, j], table[i, j - 1]]
        least = min(ways)
        soft = least - gamma * math.log(sum(math.exp((least - way) / gamma) for way in ways))
        table[i, j] = costs[i - 1, j - 1] + soft
    return float(table[rows, columns])


def soft_dtw_by_paths(x: np.ndarray, y: np.ndarray, gamma: float) -> float:
    """The definition itself: a soft minimum over every monotonic path, feasible for a few frames."""
    costs = cost(x, y)
    totals: list[float] = []

    def walk(i: int, j: int, total: float) -> None:
        total += costs[i, j]
        if (i, j) == (costs.shape[0] - 1, costs.shape[1] - 1):
            totals.append(total)
        for a, b in ((1, 1), (1, 0), (0, 1)):
            if i + a < costs.shape[0] and j + b < costs.shape[1]:
                walk(i + a, j + b, total)

    walk(0, 0, 0.0)
    least = min(totals)
    return least - gamma * math.log(sum(math.exp((least - total) / gamma) for total in totals))


def divergence(x: np.ndarray, y: np.ndarray, gamma: float) -> float:
    return soft_dtw(x, y, gamma) - (soft_dtw(x, x, gamma) + soft_dtw(y, y, gamma)) / 2


def divergence_and_gradients(x: np.ndarray, y: np.ndarray, gamma: float) -> tuple[float, np.ndarray, np.ndarray]:
    """The divergence, and its gradients in x and in y; compiled, for sequences as long as they are in practice."""
    cross, of_x, of_y = (alignment(fast_cost(a, b), gamma) for a, b in ((x, y), (x, x), (y, y)))
    value = cross[0] - (of_x[0] + of_y[0]) / 2
    gradient_x = pull(cross[1], x, y) - (pull(of_x[1], x, x) + pull(of_x[1].T, x, x)) / 2
    gradient_y = pull(cross[1].T, y, x) - (pull(of_y[1], y, y) + pull(of_y[1].T, y, y)) / 2
    return value, gradient_x, gradient_y


def fast_cost(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.stack([((row - y) ** 2).sum(1) for row in x])


def pull(expected: np.ndarray, own: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Gradient of sum_ij E_ij |own_i - other_j|^2 in `own`."""
    return 2 * (expected.sum(1)[:, None] * own - expected @ other)


@njit
def alignment(costs: np.ndarray, gamma: float) -> tuple[float, np.ndarray]:
    """Algorithms 1 and 2 of Cuturi and Blondel (2017), cell by cell: value, and its derivative in every cost."""
    rows, columns = costs.shape
    table = np.full((rows + 2, columns + 2), math.inf)
    table[0, 0] = 0.0
    for i in range(1, rows + 1):
        for j in range(1, columns + 1):
            least = min(table[i - 1, j - 1], table[i - 1, j], table[i, j - 1])
            total = 0.0
            for way in (table[i - 1, j - 1], table[i - 1, j], table[i, j - 1]):
                total += math.exp((least - way) / gamma)
            table[i, j] = costs[i - 1, j - 1] + least - gamma * math.log(total)
    expected = np.zeros((rows + 2, columns + 2))
    for i in range(rows, 0, -1):
        for j in range(columns, 0, -1):
            if i == rows and j == columns:
                expected[i, j] = 1.0
            for di, dj in ((1, 0), (0, 1), (1, 1)):
                if i + di <= rows and j + dj <= columns:
                    share = (table[i + di, j + dj] - table[i, j] - costs[i + di - 1, j + dj - 1]) / gamma
                    expected[i, j] += expected[i + di, j + dj] * math.exp(share)
    return table[rows, columns], expected[1 : rows + 1, 1 : columns + 1]
