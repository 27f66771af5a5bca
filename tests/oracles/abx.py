"""ABX and its DTW as the definitions say them: plain loops in float64, sharing no code with `ssft`."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from fractions import Fraction


def frame_distance(a, b) -> float:
    dot = sum(float(x) * float(y) for x, y in zip(a, b, strict=True))
    norms = math.sqrt(sum(float(x) ** 2 for x in a)) * math.sqrt(sum(float(y) ** 2 for y in b))
    cosine = dot / norms if norms > 0 else 0.0
    return math.acos(max(-1.0, min(1.0, cosine))) / math.pi


def dtw(first, second) -> float:
    """Fill a table of costs, then walk back from its end: diagonal before left before up where costs are equal."""
    costs = {}
    for i, j in itertools.product(range(len(first)), range(len(second))):
        before = [costs[p] for p in ((i - 1, j - 1), (i, j - 1), (i - 1, j)) if p in costs]
        costs[i, j] = frame_distance(first[i], second[j]) + (min(before) if before else 0.0)
    i, j = len(first) - 1, len(second) - 1
    cells = 1
    while (i, j) != (0, 0):
        steps = [p for p in ((i - 1, j - 1), (i, j - 1), (i - 1, j)) if p in costs]
        i, j = min(steps, key=costs.__getitem__)
        cells += 1
    return costs[len(first) - 1, len(second) - 1] / cells


def all_paths(rows: int, columns: int) -> list[list[tuple[int, int]]]:
    """Every monotonic path through a table, by recursion."""
    if (rows, columns) == (1, 1):
        return [[(0, 0)]]
    shorter = [(rows - 1, columns - 1), (rows, columns - 1), (rows - 1, columns)]
    return [[*path, (rows - 1, columns - 1)] for r, c in shorter if r > 0 and c > 0 for path in all_paths(r, c)]


def frames_inside(onset: str, offset: str, frame_rate: int, frames: int) -> list[int]:
    """Indices of the frames whose centre lies in the closed interval, in exact arithmetic."""
    start, end = Fraction(onset), Fraction(offset)
    return [i for i in range(frames) if start <= Fraction(2 * i + 1, 2 * frame_rate) <= end]


def abx(features, items, speaker: str, frame_rate: int = 50, tie: float = 1e-6) -> dict[tuple[str, str], float]:
    """Errors of all ordered pairs of labels, from every triple of items.

    An item is (utterance, onset, offset, label, context, speaker). Nothing is subsampled; every item must have frames.
    """
    items = sorted(items)
    slices = []
    for name, onset, offset, *_ in items:
        inside = frames_inside(str(onset), str(offset), frame_rate, len(features[name]))
        slices.append([features[name][i] for i in inside])
    distances = {}
    for i, j in itertools.combinations(range(len(items)), 2):
        distances[i, j] = distances[j, i] = dtw(slices[i], slices[j])

    cells = defaultdict(list)
    for a, b, x in itertools.permutations(range(len(items)), 3):
        (_, _, _, label_a, context_a, who_a) = items[a]
        (_, _, _, label_b, context_b, who_b) = items[b]
        (_, _, _, label_x, context_x, who_x) = items[x]
        if label_a != label_x or label_a == label_b or who_a != who_b or not context_a == context_b == context_x:
            continue
        if (who_a == who_x) != (speaker == "within"):
            continue
        excess = distances[x, a] - distances[x, b]
        wrong = 0.5 if abs(excess) <= tie else float(excess > 0)
        cells[label_a, label_b, who_a, who_x, context_a].append(wrong)

    means = {key: sum(values) / len(values) for key, values in cells.items()}
    for level in (4, 2):  # the context goes, then both speakers
        rest = defaultdict(list)
        for key, value in means.items():
            rest[key[:level]].append(value)
        means = {key: sum(values) / len(values) for key, values in rest.items()}
    return means
