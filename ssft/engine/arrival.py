"""What the processes tell each other before every step."""

from __future__ import annotations

from dataclasses import dataclass

from ssft.data import StepBatch
from ssft.types import Reject


@dataclass(frozen=True)
class Arrival:
    """What a process has read for a step, and what it has heard: all then do the same.

    Attributes:
        pairs: how many it has.
        seconds: how much original audio these are.
        rejects: what it could not use.
        signal: the signal that asked it to stop, if one did.
        is_exhausted: whether it finds that more steps would not help.
    """

    pairs: int
    seconds: float
    rejects: list[Reject]
    signal: int | None
    is_exhausted: bool

    @staticmethod
    def of(batch: StepBatch, *, signal: int | None, is_exhausted: bool) -> Arrival:
        pairs, seconds = sum(map(len, batch.micro_batches)), sum(part.seconds for part in batch.micro_batches)
        return Arrival(pairs, seconds, batch.rejects, signal, is_exhausted)
