"""Edit distance by its recursion, slowly."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache


def edit_distance(reference: Sequence[str], hypothesis: Sequence[str]) -> int:
    """The fewest insertions, deletions and substitutions that make one the other."""

    @cache
    def of(i: int, j: int) -> int:
        if i == 0 or j == 0:
            return i + j
        substituted = of(i - 1, j - 1) + (reference[i - 1] != hypothesis[j - 1])
        return min(of(i - 1, j) + 1, of(i, j - 1) + 1, substituted)

    return of(len(reference), len(hypothesis))
