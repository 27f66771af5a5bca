"""SPIN's loss with loops, in float64 and in the log domain, from its definition."""

from __future__ import annotations

import math

import numpy as np


def log_sum_exp(values) -> float:
    values = list(values)
    largest = max(values)
    return largest + math.log(sum(math.exp(value - largest) for value in values))


def sinkhorn(logits: np.ndarray, iterations: int) -> np.ndarray:
    """Logits [B, K] to assignments [B, K]: total 1; then codes to 1 / K and frames to 1 / B in turn; then times B."""
    log_q = np.array(logits, dtype=np.float64)
    frames, codes = log_q.shape
    log_q -= log_sum_exp(log_q.ravel())
    for _ in range(iterations):
        for k in range(codes):
            log_q[:, k] -= log_sum_exp(log_q[:, k]) + math.log(codes)
        for b in range(frames):
            log_q[b] -= log_sum_exp(log_q[b]) + math.log(frames)
    return np.exp(log_q + math.log(frames))


def loss(
    first: np.ndarray,
    second: np.ndarray,
    codebook: np.ndarray,
    *,
    epsilon: float = 0.02,
    temperature: float = 0.1,
    iterations: int = 3,
    hard_target: bool = False,
    prob_ratio: float = 1.0,
    earlier: tuple[np.ndarray, np.ndarray] | None = None,
) -> float:
    """Frames [N, D] of two views and a codebook [K, D]; `earlier` frames of both views take part in Sinkhorn only."""
    pooled = [first, second]
    if earlier is not None:
        pooled = [np.concatenate(parts) for parts in zip(pooled, earlier, strict=True)]
    similar = [[[float(z @ c) for c in codebook] for z in view] for view in pooled]
    total = 0.0
    for own, other, predicting in ((0, 1, second), (1, 0, first)):
        mixed = prob_ratio * np.array(similar[own]) + (1 - prob_ratio) * np.array(similar[other])
        q = sinkhorn(mixed / epsilon, iterations)
        for t, frame in enumerate(predicting):
            scores = [float(frame @ c) / temperature for c in codebook]
            log_p = [score - log_sum_exp(scores) for score in scores]
            if hard_target:
                total -= log_p[int(np.argmax(q[t]))]
            else:
                total -= sum(weight * value for weight, value in zip(q[t], log_p, strict=True))
    return total / (2 * len(first))
