"""Alignments and frame-wise distances with loops, in float64, from their definitions."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np


def resample(x: np.ndarray, frames: int) -> np.ndarray:
    """Frames of x at the relative times of `frames` frames; positions in exact arithmetic."""
    result = []
    for i in range(frames):
        position = min(max(Fraction(2 * i + 1, 2 * frames) * len(x) - Fraction(1, 2), 0), len(x) - 1)
        before = math.floor(position)
        share = float(position - before)
        result.append(x[before] if share == 0 else x[before] * (1 - share) + x[before + 1] * share)
    return np.array(result)


def dtw_path(x: np.ndarray, y: np.ndarray) -> list[tuple[int, int]]:
    """Every path, walked from the end; the cheapest of all, and of equals the first in the order of the steps tried."""
    costs = [[sum((float(a) - float(b)) ** 2 for a, b in zip(row, column, strict=True)) for column in y] for row in x]

    def best(i: int, j: int) -> tuple[float, list[tuple[int, int]]]:
        if (i, j) == (0, 0):
            return costs[0][0], [(0, 0)]
        ways = [best(a, b) for a, b in ((i - 1, j - 1), (i, j - 1), (i - 1, j)) if a >= 0 and b >= 0]
        total, path = min(ways, key=lambda way: way[0])  # the first of the smallest
        return total + costs[i][j], [*path, (i, j)]

    return best(len(x) - 1, len(y) - 1)[1]


def distance(a: np.ndarray, b: np.ndarray, kind: str) -> float:
    """Of one frame from another: summed over dimensions, or one minus the cosine."""
    if kind == "mse":
        return sum((float(p) - float(q)) ** 2 for p, q in zip(a, b, strict=True))
    norms = math.sqrt(sum(float(p) ** 2 for p in a)) * math.sqrt(sum(float(q) ** 2 for q in b))
    return 1 - (sum(float(p) * float(q) for p, q in zip(a, b, strict=True)) / norms if norms else 0.0)


def frame_regression(pairs: list[tuple[np.ndarray, np.ndarray]], kind: str, reduction: str, align: str) -> float:
    values = []
    for x, y in pairs:
        if align == "linear":
            aligned = list(zip(x, resample(y, len(x)), strict=True))
        elif align == "dtw":
            aligned = [(x[i], y[j]) for i, j in dtw_path(x, y)]
        else:
            aligned = list(zip(x, y, strict=True))
        values.append([distance(a, b, kind) for a, b in aligned])
    flat = [value for item in values for value in item]
    if reduction == "sum":
        return sum(flat) / len(pairs)
    return sum(flat) / len(flat) / (pairs[0][0].shape[1] if kind == "mse" else 1)
