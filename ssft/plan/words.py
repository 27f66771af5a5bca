"""A plan for people."""

from __future__ import annotations

from collections.abc import Iterator

from ssft.files import size
from ssft.plan.figures import Audio, Plan, Space, Steps, Time

_COLUMN = 12
_SHOWN = 0.02


def in_words(plan: Plan) -> list[str]:
    """Return the figures of a plan line by line, and what is worth knowing."""
    parts = {
        "audio": _audio(plan.audio),
        "batch": [_batch(plan.steps)],
        "run": [_run(plan.steps)],
        "time": _time(plan.time),
        "memory": _memory(plan.space),
        "disk": [_disk(plan.space)],
        "note": plan.notes,
    }
    lines = []
    for name, values in parts.items():
        for number, value in enumerate(values):
            label = name if not number or name == "note" else ""
            lines.append(f"{label:<{_COLUMN}}{value}")
    return lines


def _audio(audio: Audio) -> Iterator[str]:
    speakers = "" if audio.speakers is None else f", {audio.speakers:,} speakers"
    yield f"{audio.utterances:,} utterances, {_hours(audio.hours)}{speakers}"
    if audio.held_out:
        yield f"{audio.held_out:,} more are kept from training, to choose a checkpoint by"
    if audio.rejected:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in audio.rejected.items())
        yield f"{len(audio.rejects):,} rejected ({reasons})"


def _batch(steps: Steps) -> str:
    parts = "" if steps.micro_batches == 1 else f", in {steps.micro_batches} micro-batches"
    return f"{steps.utterances_per_step:.1f} utterances, {steps.seconds_per_step:.1f} s of audio{parts}"


def _run(steps: Steps) -> str:
    times = f"each utterance is heard {steps.epochs:.2g} times"
    if steps.epochs < 1:
        times = f"{steps.epochs:.0%} of the utterances are heard, once"
    return f"{steps.steps:,} steps, {steps.steps_per_epoch:,} an epoch: {times}, {_hours(steps.heard_hours)} in all"


def _time(time: Time) -> Iterator[str]:
    low, high = (_minutes(60 * minutes) for minutes in time.minutes_range)
    yield (
        f"{_minutes(60 * time.minutes)} ({low} to {high}) on {time.device}; "
        f"{time.heard_hours_per_hour:.0f} h of audio an hour"
    )
    parts = {
        "until the first step": time.starting_minutes,
        "to fill the cache": time.caching_minutes,
        "to measure checkpoints": time.judging_minutes,
    }
    if shown := {what: minutes for what, minutes in parts.items() if minutes > _SHOWN * time.minutes}:
        yield "of these " + ", ".join(f"{_minutes(60 * minutes)} {what}" for what, minutes in shown.items())
    reading = f"; {time.reading_seconds:.3g} s to read its audio" if time.reading_seconds else ""
    if time.workers and reading:
        reading += f" in each of {time.workers} processes, side by side" if time.workers > 1 else " in another process"
    yield f"a step takes {time.step_seconds:.3g} s: {time.computing_seconds:.3g} s of computing{reading}"
    if time.processes > 1:
        best = _minutes(60 * time.minutes / time.processes)
        yield f"all of this is one process; {time.processes} that have a device each would take {best} at best"


def _memory(space: Space) -> Iterator[str]:
    if space.gpu_memory is not None and space.gpu_memory_there is not None:
        yield f"{size(space.gpu_memory)} of the GPU's {size(space.gpu_memory_there)}"
    parts = {"read audio": space.memory_of_readers, "are the cache": space.memory_of_cache}
    of_these = ", ".join(f"{size(count)} {what}" for what, count in parts.items() if count)
    yield f"{size(space.memory)} of {size(space.memory_there)}" + (f"; of these {of_these}" if of_these else "")


def _disk(space: Space) -> str:
    return (
        f"{size(space.disk)} of {size(space.disk_there)} that are free: up to {space.checkpoints} checkpoints of "
        f"{size(space.checkpoint)}, adapted model {size(space.adapted)}"
    )


def _hours(hours: float) -> str:
    return f"{hours:,.2f} h" if hours >= 0.1 else f"{60 * hours:.1f} min"


def _minutes(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.1f} min" if seconds < 600 else f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:,.1f} h"
