"""Soft-DTW with loops, in float64, from its definition."""

from __future__ import annotations

import itertools
import math

import numpy as np


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
