"""Cross entropy of a linear classifier with loops, in float64, from its definition."""

from __future__ import annotations

import math

import numpy as np


def cross_entropy(logits: list[float], label: int, smoothing: float = 0.0) -> float:
    total = sum(math.exp(logit) for logit in logits)
    log_probabilities = [logit - math.log(total) for logit in logits]
    target = [smoothing / len(logits)] * len(logits)
    target[label] += 1 - smoothing
    return -sum(p * q for p, q in zip(target, log_probabilities, strict=True))


def pseudo_label(
    views: list[list[np.ndarray]],
    labels: list[list[int]],
    weight: np.ndarray,
    bias: np.ndarray,
    smoothing: float = 0.0,
) -> tuple[float, float, int]:
    """Mean loss and accuracy over both views, each a list of items [F, D], and how many frames have a label."""
    losses, hits, known = [], [], sum(label >= 0 for item in labels for label in item)
    for view in views:
        for frames, item in zip(view, labels, strict=True):
            for frame, label in zip(frames, item, strict=False):
                if label >= 0:
                    logits = [
                        float(sum(w * v for w, v in zip(row, frame, strict=True)) + b)
                        for row, b in zip(weight, bias, strict=True)
                    ]
                    losses.append(cross_entropy(logits, label, smoothing))
                    hits.append(logits.index(max(logits)) == label)
    return sum(losses) / len(losses), sum(hits) / len(hits), known
