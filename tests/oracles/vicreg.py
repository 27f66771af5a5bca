"""VICReg with loops, in float64, from its definition."""

from __future__ import annotations

import math

import numpy as np


def covariance(x: np.ndarray) -> list[list[float]]:
    count, dims = x.shape
    means = [sum(row[d] for row in x) / count for d in range(dims)]
    return [
        [sum((row[a] - means[a]) * (row[b] - means[b]) for row in x) / (count - 1) for b in range(dims)]
        for a in range(dims)
    ]


def terms(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """Invariance, variance (mean of both sides) and covariance (sum of both sides)."""
    count, dims = x.shape
    invariance = sum((x[t, d] - y[t, d]) ** 2 for t in range(count) for d in range(dims)) / (count * dims)
    if count < 2:
        return invariance, 0.0, 0.0
    variance = redundancy = 0.0
    for side in (x, y):
        matrix = covariance(side)
        variance += sum(max(0.0, 1 - math.sqrt(matrix[d][d] + 1e-4)) for d in range(dims)) / dims / 2
        redundancy += sum(matrix[a][b] ** 2 for a in range(dims) for b in range(dims) if a != b) / dims
    return invariance, variance, redundancy
