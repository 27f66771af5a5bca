"""What a run writes down while it goes: metrics.jsonl, and a line for whoever watches."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from ssft.engine.checkpoint import write_atomically

_SECONDS_BETWEEN_LINES = 10.0


class Metrics:
    """metrics.jsonl: one JSON object per optimizer step.

    Args:
        path: the file.
        resume_at: drop the records of later steps, which a resumed run writes again.
    """

    def __init__(self, path: Path, *, resume_at: int = 0) -> None:
        self.path = path
        kept = []
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
                if 0 < _step_of(line) <= resume_at:
                    kept.append(line)
        write_atomically(path, "".join(kept))

    def write(self, record: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


def _step_of(line: str) -> int:
    """The step of a record; 0 for a line that is none, as a kill or a full disk may leave behind."""
    try:
        return int(json.loads(line)["step"]) if line.endswith("\n") else 0
    except (ValueError, KeyError, TypeError):
        return 0


class Progress:
    """A bar on a terminal, a plain line now and then elsewhere: hours of audio, speed, loss, time left.

    Args:
        steps: of the whole run.
        done: steps that an earlier process has made.
        hours: audio that it has heard.
        stream: where to write.
    """

    def __init__(self, steps: int, *, done: int = 0, hours: float = 0.0, stream: TextIO | None = None) -> None:
        self.steps = steps
        self.done = done
        self.hours = hours
        self.stream = sys.stderr if stream is None else stream
        self._began = self._line_at = time.monotonic()
        self._begun_at = done
        self._heard = 0.0
        self._fallbacks = 0
        terminal = self.stream.isatty()
        self._bar = (
            tqdm(total=steps, initial=done, unit="step", file=self.stream, dynamic_ncols=True) if terminal else None
        )

    @property
    def audio_per_second(self) -> float:
        """Seconds of original audio per second of time, since this process began."""
        return self._heard / max(time.monotonic() - self._began, 1e-9)

    def advance(self, seconds: float, loss: float, *, fallbacks: int = 0) -> None:
        """Count one step that heard `seconds` of audio, and the augmentations in it that fell back to another."""
        self.done += 1
        self._fallbacks += fallbacks
        self._heard += seconds
        self.hours += seconds / 3600
        text = f"loss {loss:.4f}, {self.hours:.2f} h of audio, {self.audio_per_second:.0f} s/s"
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update()
        elif self.done == self.steps or time.monotonic() - self._line_at >= _SECONDS_BETWEEN_LINES:
            self._line_at = time.monotonic()
            print(f"step {self.done}/{self.steps}: {text}, {self._left()} left", file=self.stream, flush=True)

    def say(self, text: str) -> None:
        """Print a line without disturbing the bar."""
        if self._bar is not None:
            self._bar.write(text, file=self.stream)
        else:
            print(text, file=self.stream, flush=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        if self._fallbacks:
            self.say(f"{self._fallbacks:,} augmentations fell back to a simpler one; metrics.jsonl says in which steps")

    def _left(self) -> str:
        per_step = (time.monotonic() - self._began) / (self.done - self._begun_at)
        minutes, seconds = divmod(round(per_step * (self.steps - self.done)), 60)
        return f"{minutes}:{seconds:02d}"
