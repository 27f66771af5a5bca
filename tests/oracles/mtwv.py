"""Term-weighted value and average precision by brute force: every threshold, every order of equal scores."""

from __future__ import annotations

import itertools


def mtwv(trials, beta: float) -> float:
    """The best of all thresholds, one above all scores included; a trial is (scores of hits, scores of others)."""
    scores = sorted({score for hits, others in trials for score in (*hits, *others)})
    between = [(a + b) / 2 for a, b in itertools.pairwise(scores)]
    return max(twv(trials, beta, threshold) for threshold in (*scores, *between, scores[-1] + 1))


def twv(trials, beta: float, threshold: float) -> float:
    losses = []
    for hits, others in trials:
        misses = sum(score < threshold for score in hits) / len(hits)
        false_alarms = sum(score >= threshold for score in others) / len(others)
        losses.append(misses + beta * false_alarms)
    return 1 - sum(losses) / len(losses)


def average_precision(hits, others) -> float:
    """The mean over all orders of the documents in which no score rises."""
    documents = [(score, True) for score in hits] + [(score, False) for score in others]
    values = []
    for order in itertools.permutations(documents):
        if any(before[0] < after[0] for before, after in itertools.pairwise(order)):
            continue
        precisions, found = [], 0
        for rank, (_, hit) in enumerate(order, start=1):
            if hit:
                found += 1
                precisions.append(found / rank)
        values.append(sum(precisions) / len(hits))
    return sum(values) / len(values)
