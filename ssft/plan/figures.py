"""The figures of a plan."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ssft.recipe import Recipe


@dataclass(frozen=True)
class Audio:
    """What there is to train on.

    Attributes:
        utterances: that are trained on.
        hours: of these.
        speakers: how many are named; None if none is.
        held_out: utterances that are kept from training, to choose a checkpoint by.
        rejected: how many cannot be used, by reason, as far as headers tell and the steps that were tried.
        rejects: which.
    """

    utterances: int
    hours: float
    speakers: int | None
    held_out: int
    rejected: dict[str, int]
    rejects: list[dict[str, str]]


@dataclass(frozen=True)
class Steps:
    """What is made of it: in a step, on average, and in all.

    Attributes:
        utterances_per_step: over all micro-batches.
        seconds_per_step: of original audio.
        micro_batches: that a step is split into.
        steps: of the run.
        steps_per_epoch: of the first epoch.
        epochs: how often each utterance is heard.
        heard_hours: of original audio.
    """

    utterances_per_step: float
    seconds_per_step: float
    micro_batches: int
    steps: int
    steps_per_epoch: int
    epochs: float
    heard_hours: float


@dataclass(frozen=True)
class Time:
    """How long it takes on this machine, in one process.

    Attributes:
        device: what computes.
        minutes: from the loading of the encoder to the last step.
        minutes_range: if all steps were as fast as the fastest that was tried, or as slow as the slowest.
        heard_hours_per_hour: of original audio.
        starting_minutes: of these, before the second step.
        caching_minutes: of these, to fill the cache.
        judging_minutes: of these, to measure checkpoints.
        processor_minutes: of all processors together; whatever else the machine does adds to the minutes, not to these.
        step_seconds: for a step, once the run is going.
        computing_seconds: of these, if no audio had to be read meanwhile.
        reading_seconds: what one of the processes that read needs for the audio of a step.
        waiting: share of the minutes that reading audio adds.
        workers: how many processes read.
        processes: `train.processes`, which would share the work; 1 if it says nothing.
    """

    device: str
    minutes: float
    minutes_range: tuple[float, float]
    heard_hours_per_hour: float
    starting_minutes: float
    caching_minutes: float
    judging_minutes: float
    processor_minutes: float
    step_seconds: float
    computing_seconds: float
    reading_seconds: float
    waiting: float
    workers: int
    processes: int


@dataclass(frozen=True)
class Space:
    """What it fills, and how much of that there is, in bytes.

    Attributes:
        memory: of the machine, with that of readers and cache.
        memory_of_readers: processes that decode and augment.
        memory_of_cache: `train.cache_variants`.
        memory_there: in all; what a container may use, where it may not use all.
        gpu_memory: the most that tensors take; None without a GPU.
        gpu_memory_there: in all.
        checkpoint: one of them.
        checkpoints: how many there are at most, while the last is being written.
        adapted: the adapted model.
        disk: the most that checkpoints and adapted model take together.
        disk_there: free where `runs/` is.
    """

    memory: int
    memory_of_readers: int
    memory_of_cache: int
    memory_there: int
    gpu_memory: int | None
    gpu_memory_there: int | None
    checkpoint: int
    checkpoints: int
    adapted: int
    disk: int
    disk_there: int


@dataclass(frozen=True)
class Plan:
    """A run as it would go.

    Attributes:
        recipe: to be carried out, with what has been found out: the encoder's commit, micro-batches that fit.
        audio, steps, time, space: figures.
        notes: what is worth knowing.
        problems: why it cannot go so; empty if it can.
    """

    recipe: Recipe
    audio: Audio
    steps: Steps
    time: Time
    space: Space
    notes: list[str]
    problems: list[str]

    def described(self) -> dict[str, Any]:
        """Return all but the recipe as plain values."""
        figures = {part: asdict(getattr(self, part)) for part in ("audio", "steps", "time", "space")}
        head = {"recipe": self.recipe.name, "ok": not self.problems}
        return {**head, **figures, "notes": self.notes, "problems": self.problems}
