"""`Vocabulary`: the symbols that a probe can say, and what it says in the most likely symbol of every frame."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLANK = 0
"""Says nothing, and parts a symbol from the same symbol."""


@dataclass(frozen=True)
class Vocabulary:
    """Symbols in the order of their numbers, which begin at 1.

    Example:
        >>> vocabulary = Vocabulary.of([["B", "AE", "G"], ["G"]])
        >>> vocabulary.encode(["G", "AE"]), vocabulary.decode(np.array([3, 3, 0, 3, 1]))
        ([3, 1], ['G', 'G', 'AE'])
    """

    symbols: tuple[str, ...]

    @staticmethod
    def of(targets: Iterable[Sequence[str]]) -> Vocabulary:
        """Return the vocabulary of all symbols that occur, in alphabetical order."""
        return Vocabulary(tuple(sorted({symbol for target in targets for symbol in target})))

    def __len__(self) -> int:
        """How many there are to choose from, the blank included."""
        return len(self.symbols) + 1

    def unknown(self, target: Iterable[str]) -> int:
        """Return how many of the symbols cannot be said."""
        known = set(self.symbols)
        return sum(symbol not in known for symbol in target)

    def encode(self, target: Iterable[str]) -> list[int]:
        """Return the numbers of symbols, all of which it knows."""
        numbers = {symbol: number for number, symbol in enumerate(self.symbols, start=BLANK + 1)}
        return [numbers[symbol] for symbol in target]

    def decode(self, best: NDArray[Any]) -> list[str]:
        """Return what the best numbers [F] of the frames say: repetitions joined, then blanks left out."""
        starts = np.diff(best, prepend=BLANK) != 0
        return [self.symbols[number - 1] for number in best[starts & (best != BLANK)].tolist()]
