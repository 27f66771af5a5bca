"""What a run writes down and says while it trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ssft.engine.reject_log import RejectLog
from ssft.engine.settings import Train
from ssft.engine.state import RunState
from ssft.engine.step import Discarded
from ssft.engine.trackers import Trackers
from ssft.engine.tracking import Metrics, Progress
from ssft.errors import RunError
from ssft.types import Reject


class RunRecord:
    """metrics.jsonl, rejects.tsv, discarded.jsonl, trackers and the line for whoever watches.

    Every process has one and is told the same; only one of them writes and speaks.

    Args:
        folder: the run's.
        train: its settings.
        state: how far it has come.
        rejects: what is known to be unusable; it knows whether this process writes.
        settings: the recipe's, for trackers.
    """

    def __init__(
        self, folder: Path, *, train: Train, state: RunState, rejects: RejectLog, settings: Mapping[str, Any]
    ) -> None:
        self.folder = folder
        self.rejects = rejects
        self.writes = rejects.writes
        if self.writes:
            self.metrics = Metrics(folder / "metrics.jsonl", resume_at=state.step)
            self.discarded = Metrics(folder / "discarded.jsonl", resume_at=state.step)
            self.progress = Progress(train.steps, done=state.step, hours=state.seconds / 3600)
            self.progress.rejected = len(rejects.rejects)
            self.trackers = Trackers(
                train.trackers, folder=folder, settings=settings, done=state.step, say=self.progress.say
            )

    def step(self, record: Mapping[str, Any], *, seconds: float) -> None:
        """Write down a step that heard `seconds` of audio."""
        if not self.writes:
            return
        self.progress.advance(seconds, record["loss"], fallbacks=record.get("fallbacks", 0))
        speed = {
            "hours": round(self.progress.hours, 6),
            "audio_per_second": round(self.progress.audio_per_second, 1),
        }
        self.metrics.write({**record, **speed})
        self.trackers.log({**record, **speed}, step=record["step"])

    def reject(self, rejects: Sequence[Reject], *, batches_of_epoch: int, is_empty: bool) -> None:
        """Write down what cannot be used.

        Raises:
            DataError: that is too much by now.
        """
        self.rejects.note(rejects, self.say)
        if self.writes:
            self.progress.rejected = len(self.rejects.rejects)
        self.rejects.count_batch(is_empty=is_empty, batches_of_epoch=batches_of_epoch)
        if rejects and (problem := self.rejects.problem()) is not None:
            raise problem

    def discard(self, discarded: Discarded, state: RunState, *, epoch: int, limit: int) -> None:
        """Write down that the step after those made was thrown away.

        Raises:
            RunError: more than `limit` in a row were.
        """
        ids = ", ".join(discarded.ids)
        self.say(f"step {state.step + 1} was thrown away: {discarded.what}, on {ids}")
        if self.writes:
            self.discarded.write({"step": state.step + 1, "epoch": epoch, "what": discarded.what, "ids": discarded.ids})
        if state.discarded > limit:
            raise RunError(
                f"{state.discarded} steps in a row were thrown away. {discarded.what}, on {ids}. The weights are those "
                f"of step {state.step}. Lower train.lr, or look at these recordings; {self.folder / 'discarded.jsonl'} "
                "names all of them."
            )

    def say(self, text: str) -> None:
        """Print a line without disturbing the progress."""
        if self.writes:
            self.progress.say(text)

    def close(self) -> None:
        if self.writes:
            self.progress.close()
            self.trackers.close()
