"""Barlow Twins with loops, in float64, from its definition."""

from __future__ import annotations

import math

import numpy as np


def standardised(x: np.ndarray) -> np.ndarray:
    result = np.zeros_like(x)
    for d in range(x.shape[1]):
        mean = sum(x[:, d]) / len(x)
        variance = sum((value - mean) ** 2 for value in x[:, d]) / len(x)
        result[:, d] = [(value - mean) / math.sqrt(variance + 1e-5) for value in x[:, d]]
    return result


def terms(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """What the diagonal and what the rest of the correlation matrix cost, both without a weight."""
    count, dims = x.shape
    p, q = standardised(x), standardised(y)
    diagonal = rest = 0.0
    for a in range(dims):
        for b in range(dims):
            correlation = sum(p[t, a] * q[t, b] for t in range(count)) / count
            if a == b:
                diagonal += (1 - correlation) ** 2
            else:
                rest += correlation**2
    return diagonal, rest
