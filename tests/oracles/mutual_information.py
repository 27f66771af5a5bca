"""What units tell of labels, as the definitions say it: plain loops in float64, sharing no code with `ssft`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from fractions import Fraction


def entropy(values: Sequence) -> float:
    """In nats."""
    shares = [count / len(values) for count in Counter(values).values()]
    return -math.fsum(share * math.log(share) for share in shares)


def normalized_information(pairs: Sequence[tuple]) -> float:
    """I(label; unit) / H(label) of (label, unit) of every frame; NaN without two labels."""
    joint, labels, units = Counter(pairs), Counter(label for label, _ in pairs), Counter(unit for _, unit in pairs)
    total = len(pairs)
    information = math.fsum(
        count / total * math.log(count / total / (labels[label] / total * units[unit] / total))
        for (label, unit), count in joint.items()
    )
    return information / entropy([label for label, _ in pairs]) if len(labels) > 1 else math.nan


def purity(pairs: Sequence[tuple]) -> float:
    """Share of frames whose label (first of the pair) is the most frequent one of their unit (second)."""
    by_unit: dict = {}
    for label, unit in pairs:
        by_unit.setdefault(unit, Counter())[label] += 1
    return sum(max(counts.values()) for counts in by_unit.values()) / len(pairs)


def deduplicated(codes: Iterable) -> list:
    kept: list = []
    for code in codes:
        if not kept or kept[-1] != code:
            kept.append(code)
    return kept


def bitrate(utterances: Sequence[Sequence], seconds: float) -> float:
    """Bits per second: units that do not repeat the one before, per second, times their entropy in bits."""
    units = [unit for codes in utterances for unit in deduplicated(codes)]
    return len(units) / seconds * entropy(units) / math.log(2)


def levenshtein(first: Sequence, second: Sequence) -> int:
    table = [list(range(len(second) + 1))]
    for i, left in enumerate(first, 1):
        row = [i]
        for j, right in enumerate(second, 1):
            row.append(min(row[j - 1] + 1, table[-1][j] + 1, table[-1][j - 1] + (left != right)))
        table.append(row)
    return table[-1][-1]


def unit_edit_distance(clean: Sequence[Sequence], changed: Sequence[Sequence]) -> float:
    pairs = [(deduplicated(before), deduplicated(after)) for before, after in zip(clean, changed, strict=True)]
    return sum(levenshtein(*pair) for pair in pairs) / sum(len(before) for before, _ in pairs)


def label_at(segments: Sequence[tuple[str, str, str]], frame: int, frame_rate: int) -> str | None:
    """The label of the (start, end, label), in exact decimals, that holds the centre of a frame; its end is outside."""
    centre = Fraction(2 * frame + 1, 2 * frame_rate)
    held = [label for start, end, label in segments if Fraction(start) <= centre < Fraction(end)]
    return held[-1] if held else None
