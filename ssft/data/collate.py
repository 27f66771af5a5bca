"""From the pairs of one step to the micro-batches that the engine accumulates over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from ssft.types import Pair, PairBatch, Reject


@dataclass(frozen=True)
class StepBatch:
    """Everything one optimizer step sees: its micro-batches, and the utterances that turned out to be unusable."""

    micro_batches: list[PairBatch]
    rejects: list[Reject]


class Collate:
    """Splits a step's pairs into at most `accumulate` micro-batches of equally many pairs.

    A rejected utterance leaves its place empty; the others are not affected.
    """

    def __init__(self, accumulate: int = 1) -> None:
        self.accumulate = accumulate

    def __call__(self, items: Sequence[Pair | Reject]) -> StepBatch:
        pairs = [item for item in items if isinstance(item, Pair)]
        parts = min(self.accumulate, len(pairs))
        edges = [round(part * len(pairs) / parts) for part in range(parts + 1)] if parts else []
        return StepBatch(
            [PairBatch.collate(pairs[first:last]) for first, last in pairwise(edges)],
            [item for item in items if isinstance(item, Reject)],
        )
