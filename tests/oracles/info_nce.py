"""Frame InfoNCE with loops, in float64, from its definition."""

from __future__ import annotations

import math

import numpy as np


def negatives(frame: int, frames: int, count: int | None) -> list[int]:
    """The frames that frame `frame` is contrasted with: evenly around the circle of all frames, or all others."""
    others = frames - 1
    wanted = others if count is None else min(count, others)
    return [(frame + 1 + math.floor((k + 0.5) * others / wanted)) % frames for k in range(wanted)]


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    dot = sum(p * q for p, q in zip(a, b, strict=True))
    return dot / math.sqrt(sum(p * p for p in a)) / math.sqrt(sum(q * q for q in b))


def one_way(x: np.ndarray, y: np.ndarray, temperature: float, count: int | None) -> list[float]:
    """Minus the log probability of the positive, for every frame of x."""
    losses = []
    for t in range(len(x)):
        positive = math.exp(cosine(x[t], y[t]) / temperature)
        rest = sum(math.exp(cosine(x[t], y[j]) / temperature) for j in negatives(t, len(x), count))
        losses.append(-math.log(positive / (positive + rest)))
    return losses


def info_nce(
    pairs: list[tuple[np.ndarray, np.ndarray]], *, temperature: float = 0.1, count: int | None = 100
) -> tuple[float, int]:
    """The mean over frames and both directions, and how many frames that are."""
    losses: list[float] = []
    for x, y in pairs:
        if len(x) > 1:
            losses += one_way(x, y, temperature, count) + one_way(y, x, temperature, count)
    return (sum(losses) / len(losses) if losses else 0.0), len(losses) // 2
