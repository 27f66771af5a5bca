"""Subsequence DTW as its definition says it: plain loops in float64, sharing no code with `ssft`."""

from __future__ import annotations

import math


def distances(queries, documents) -> list[list[float]]:
    """Mean scaled distance along the cheapest path, of every query and every document."""
    frames = [[float(x) for x in frame] for sequence in (*queries, *documents) for frame in sequence]
    means, deviations = [], []
    for column in zip(*frames, strict=True):
        mean = sum(column) / len(column)
        means.append(mean)
        deviations.append(math.sqrt(sum((x - mean) ** 2 for x in column) / len(column)))

    def standardise(sequence):
        return [
            [(float(x) - mean) / deviation for x, mean, deviation in zip(frame, means, deviations, strict=True)]
            for frame in sequence
        ]

    queries, documents = [standardise(own) for own in queries], [standardise(own) for own in documents]
    return [[cheapest(scaled_costs(query, document)) for document in documents] for query in queries]


def scaled_costs(query, document) -> list[list[float]]:
    costs = []
    for a in query:
        row = [math.exp(1 - cosine(a, b)) - 1 for b in document]
        low, high = min(row), max(row)
        costs.append([(cost - low) / (high - low) if high - low > 1e-9 else 1.0 for cost in row])
    return costs


def cosine(a, b) -> float:
    lengths = math.sqrt(sum(x * x for x in a)), math.sqrt(sum(x * x for x in b))
    if min(lengths) < 1e-9:  # the mean itself
        return 0.0
    return sum(x * y for x, y in zip(a, b, strict=True)) / (lengths[0] * lengths[1])


def cheapest(costs) -> float:
    """From row to row a path stays in its column, or moves to the right by one or two."""
    total = list(costs[0])
    for row in costs[1:]:
        total = [cost + min(total[i] for i in (j, j - 1, j - 2) if i >= 0) for j, cost in enumerate(row)]
    return min(total) / len(costs)


def cheapest_of_all_paths(costs) -> float:
    """The same by trying every path."""

    def from_cell(i: int, j: int) -> float:
        if i == len(costs) - 1:
            return costs[i][j]
        return costs[i][j] + min(from_cell(i + 1, k) for k in (j, j + 1, j + 2) if k < len(costs[i]))

    return min(from_cell(0, j) for j in range(len(costs[0]))) / len(costs)
