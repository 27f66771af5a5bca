"""LASER's loss with loops, in float64, from its formula."""

from __future__ import annotations

import math

import numpy as np

from oracles import soft_dtw


def contrastive_idm(x: np.ndarray, sigma: int, margin: float) -> float:
    total = 0.0
    for i, a in enumerate(x):
        for j, b in enumerate(x):
            distance = math.sqrt(sum((float(p) - float(q)) ** 2 for p, q in zip(a, b, strict=True)))
            weight = (i - j) ** 2 + 1
            total += weight * max(0.0, margin - distance) if abs(i - j) > sigma else distance / weight
    return total / len(x) ** 2


def laser(x: np.ndarray, y: np.ndarray, gamma: float, alpha: float, sigma: int, margin: float, norm: str) -> float:
    alignment = soft_dtw.divergence(x, y, gamma)
    moments = [contrastive_idm(view, sigma, margin) for view in (x, y)]
    if norm == "squared":
        return alignment / (len(x) + len(y)) + alpha * (moments[0] / len(x) ** 2 + moments[1] / len(y) ** 2)
    value = alignment + alpha * sum(moments)
    return value / (len(x) + len(y)) if norm == "sum" else value
