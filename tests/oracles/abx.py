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


def dtw(first, second, parts: int | None = None) -> float:
    """Fill a table of costs, then walk back from its end: diagonal before left before up where costs are equal.

    With `parts`, distances of frames are rounded to so many parts of 1, and their sums are exact.
    """
    costs = {}
    for i, j in itertools.product(range(len(first)), range(len(second))):
        before = [costs[p] for p in ((i - 1, j - 1), (i, j - 1), (i - 1, j)) if p in costs]
        own = frame_distance(first[i], second[j])
        costs[i, j] = (round(own * parts) if parts else own) + (min(before) if before else 0)
    i, j = len(first) - 1, len(second) - 1
    cells = 1
    while (i, j) != (0, 0):
        steps = [p for p in ((i - 1, j - 1), (i, j - 1), (i - 1, j)) if p in costs]
        i, j = min(steps, key=costs.__getitem__)
        cells += 1
    return costs[len(first) - 1, len(second) - 1] / cells / (parts or 1)


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
    return label_pairs(cell_errors(features, items, speaker, frame_rate, tie), {})


def label_pairs(errors, weights) -> dict[tuple[str, str], float]:
    """Means over contexts and speakers of X, then over speakers of A and B, who weigh 1 unless stated."""
    for who, rest in ((lambda key: key[3], lambda key: (*key[:3], None)), (lambda key: key[2], lambda key: key[:2])):
        sums = defaultdict(lambda: [0.0, 0.0])
        for key, error in errors.items():
            weight = weights.get(who(key), 1)
            sums[rest(key)][0] += weight * error
            sums[rest(key)][1] += weight
        errors = {key: above / below for key, (above, below) in sums.items() if below > 0}
    return errors


def cell_errors(features, items, speaker: str, frame_rate: int = 50, tie: float = 1e-6):
    """Errors by label of A, label of B, speaker of A and B, speaker of X if it is another, and context."""
    items = sorted(items)
    slices = []
    for name, onset, offset, *_ in items:
        inside = frames_inside(str(onset), str(offset), frame_rate, len(features[name]))
        slices.append([features[name][i] for i in inside])
    distances = {}
    for i, j in itertools.permutations(range(len(items)), 2):
        distances[i, j] = dtw(slices[i], slices[j])

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
        cells[label_a, label_b, who_a, who_x if speaker == "across" else None, context_a].append(wrong)

    return {key: sum(values) / len(values) for key, values in cells.items()}
