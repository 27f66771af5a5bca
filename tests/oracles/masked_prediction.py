"""HuBERT's masked prediction with loops, in float64, from its definition."""

from __future__ import annotations

import math

import numpy as np


def frame_loss(frame: np.ndarray, label: int, embeddings: np.ndarray, temperature: float) -> tuple[float, bool]:
    """Minus the log probability of the label, and whether it is the most probable one."""
    cosines = []
    for embedding in embeddings:
        dot = sum(p * q for p, q in zip(frame, embedding, strict=True))
        cosines.append(dot / math.sqrt(sum(p * p for p in frame)) / math.sqrt(sum(q * q for q in embedding)))
    odds = [math.exp(cosine / temperature) for cosine in cosines]
    return -math.log(odds[label] / sum(odds)), cosines.index(max(cosines)) == label


def masked_prediction(
    items: list[np.ndarray],
    masked: list[list[bool]],
    labels: list[list[int]],
    embeddings: np.ndarray,
    *,
    temperature: float = 0.1,
    masked_weight: float = 1.0,
    unmasked_weight: float = 0.0,
) -> tuple[float, float]:
    """The mean over weighted frames, and the sum of the weights."""
    loss = total = 0.0
    for frames, hidden, item in zip(items, masked, labels, strict=True):
        for frame, is_hidden, label in zip(frames, hidden, item, strict=False):
            weight = masked_weight if is_hidden else unmasked_weight
            if label >= 0 and weight > 0:
                loss += weight * frame_loss(frame, label, embeddings, temperature)[0]
                total += weight
    return (loss / total if total else 0.0), total
