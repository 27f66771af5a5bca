"""What the steps of a run cost, as a few of them have shown, and what all of them will."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

from ssft.types import Reject


class Cost(NamedTuple):
    """Seconds that something takes: by the clock, and of all processors together."""

    wall: float = 0.0
    cpu: float = 0.0

    def plus(self, other: Cost) -> Cost:
        return Cost(self.wall + other.wall, self.cpu + other.cpu)

    def times(self, factor: float) -> Cost:
        return Cost(self.wall * factor, self.cpu * factor)


class StepCost(NamedTuple):
    """What one step cost.

    Attributes:
        seconds: original audio in it.
        reading: to decode and augment it, in the one process that did.
        computing: transfer, forward, backward and optimizer; on what the cache holds, if there is one.
    """

    seconds: float
    reading: Cost
    computing: Cost


class Work(NamedTuple):
    """Seconds of audio that a run deals with.

    `heard` is original audio, over all steps. For a cache, `read` is original audio, once for every variant, and
    `encoded` is what the frozen bottom hears.
    """

    heard: float
    read: float = 0.0
    encoded: float = 0.0


@dataclass(frozen=True)
class Costs:
    """What `rehearse` has found.

    Attributes:
        first: the first step, with whatever has to be made ready for it.
        steps: those that count.
        arrival: seconds until the first batch had been read.
        encoding: what the bottom costs for a second of audio, where its output is cached.
        judging: seconds that it takes to measure a checkpoint for `train.select`.
        rejects: what could not be used of what was read.
        discarded: why steps were thrown away, since something in them was not finite.
        halvings: how often micro-batches were halved, since memory ran out.
        checkpoint_bytes: of a checkpoint.
        memory_bytes: the most memory that this process has held, before the steps too.
        device_bytes: the most memory that was held on the GPU; None without one.
        reader_bytes: memory that the processes that read had for themselves.
        workers: how many of these there were.
        cores: how many processors there are.

    Example:
        >>> costs.estimates(Work(heard=3600.0))  # seconds, by each of the steps that count
        [131.2, 127.9, 135.0]
    """

    first: StepCost
    steps: tuple[StepCost, ...]
    arrival: float
    encoding: Cost
    judging: float
    rejects: tuple[Reject, ...]
    discarded: tuple[str, ...]
    halvings: int
    checkpoint_bytes: int
    memory_bytes: int
    device_bytes: int | None
    reader_bytes: int
    workers: int
    cores: int

    @property
    def typical(self) -> StepCost:
        """A step of median costs."""
        return StepCost(
            median(step.seconds for step in self.steps),
            _median([step.reading for step in self.steps]),
            _median([step.computing for step in self.steps]),
        )

    @property
    def starting(self) -> float:
        """Seconds that go by for the first step and not for another."""
        return self.arrival + max(0.0, self.first.computing.wall - self.typical.computing.wall)

    def together(self, reading: Cost, computing: Cost) -> float:
        """Seconds by the clock for both, where workers read ahead: as the slower one, or the processors, allow."""
        if not self.workers:
            return reading.wall + computing.wall
        return max(computing.wall, reading.wall / self.workers, (reading.cpu + computing.cpu) / self.cores)

    def estimates(self, work: Work, *, reading: bool = True) -> list[float]:
        """How many seconds all of the work would take if it went as each of the steps did.

        Args:
            work: of the run.
            reading: False leaves out whatever reading the audio adds.
        """
        return [self._estimate(step if reading else step._replace(reading=Cost()), work) for step in self.steps]

    def filling(self, work: Work) -> float:
        """How many seconds of these go by before the cache is there."""
        return self._filling(self.typical, work)

    def processors(self, work: Work) -> float:
        """How many seconds of all processors together the work takes, however busy they are with something else."""
        step = self.typical
        parts = (
            step.reading.times((work.read if work.encoded else work.heard) / step.seconds),
            self.encoding.times(work.encoded),
            step.computing.times(work.heard / step.seconds),
        )
        return sum(part.cpu for part in parts) + max(0.0, self.first.computing.cpu - step.computing.cpu)

    def _estimate(self, step: StepCost, work: Work) -> float:
        computing = step.computing.times(work.heard / step.seconds)
        if work.encoded:
            return self._filling(step, work) + computing.wall
        return self.together(step.reading.times(work.heard / step.seconds), computing)

    def _filling(self, step: StepCost, work: Work) -> float:
        return self.together(step.reading.times(work.read / step.seconds), self.encoding.times(work.encoded))


def _median(costs: list[Cost]) -> Cost:
    return Cost(median(cost.wall for cost in costs), median(cost.cpu for cost in costs))
