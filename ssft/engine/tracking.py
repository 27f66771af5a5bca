"""What a run writes down while it goes: metrics.jsonl, and a line for whoever watches."""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import torch
from tqdm import tqdm

from ssft.files import write_atomically, writing

_SECONDS_BETWEEN_LINES = 10.0
_RECENT_STEPS = 100


class Metrics:
    """A file of JSON lines, one object per optimizer step.

    Args:
        path: the file.
        resume_at: drop the records of later steps, which a resumed run writes again.

    Raises:
        RunError: it cannot be written, as on a full disk.
    """

    def __init__(self, path: Path, *, resume_at: int = 0) -> None:
        self.path = path
        kept = []
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
                if 0 < _step_of(line) <= resume_at:
                    kept.append(line)
            with writing(self.path):
                write_atomically(path, "".join(kept))

    def write(self, record: Mapping[str, Any]) -> None:
        """Add a line."""
        with writing(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


def _step_of(line: str) -> int:
    """The step of a record; 0 for a line that is none, as a kill or a full disk may leave behind."""
    try:
        return int(json.loads(line)["step"]) if line.endswith("\n") else 0
    except (ValueError, KeyError, TypeError):
        return 0


class Progress:
    """A bar on a terminal, a plain line now and then elsewhere: hours of audio, speed, loss, time left.

    Speed and time left are those of the last 100 steps of this process, whatever came before its first step: an earlier
    process, or audio that had to be encoded for the cache.

    Args:
        steps: of the whole run.
        done: steps that an earlier process has made.
        hours: audio that it has heard.
        stream: where to write.

    Attributes:
        rejected: how many recordings turned out to be unusable; set it when that changes.
    """

    def __init__(self, steps: int, *, done: int = 0, hours: float = 0.0, stream: TextIO | None = None) -> None:
        self.steps = steps
        self.done = done
        self.hours = hours
        self.rejected = 0
        self.stream = sys.stderr if stream is None else stream
        self._begun_at = done
        self._heard = 0.0
        self._fallbacks = 0
        self._line_at = time.monotonic()
        # Moment, steps made and seconds heard by then.
        self._recent = deque([(self._line_at, done, 0.0)], maxlen=_RECENT_STEPS + 1)
        terminal = self.stream.isatty()
        self._bar = (
            tqdm(total=steps, initial=done, unit="step", file=self.stream, dynamic_ncols=True) if terminal else None
        )

    @property
    def audio_per_second(self) -> float:
        """Seconds of original audio per second of time, of late."""
        (began, _, before), (ended, _, heard) = self._recent[0], self._recent[-1]
        return (heard - before) / max(ended - began, 1e-9)

    def advance(self, seconds: float, loss: float, *, fallbacks: int = 0) -> None:
        """Count one step that heard `seconds` of audio, and the augmentations in it that fell back to another."""
        self.done += 1
        self._fallbacks += fallbacks
        self._heard += seconds
        self.hours += seconds / 3600
        now = time.monotonic()
        self._recent.append((now, self.done, self._heard))
        if self.done - self._begun_at == 2:
            self._recent.popleft()  # the first step includes whatever had to be made ready for it
        if self._bar is not None:
            self._bar.set_postfix_str(self._text(loss), refresh=False)
            self._bar.update()
        elif self.done == self.steps or now - self._line_at >= _SECONDS_BETWEEN_LINES:
            self._line_at = now
            print(
                f"step {self.done}/{self.steps}: {self._text(loss)}, {self._left()} left", file=self.stream, flush=True
            )

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

    def _text(self, loss: float) -> str:
        facts = [f"loss {loss:.4f}", f"{self.hours:.2f} h of audio at {self.audio_per_second:.0f}x real time"]
        if self.rejected:
            facts.append(f"{self.rejected:,} rejected")
        if torch.cuda.is_available():
            facts.append(f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB of GPU memory")
        return ", ".join(facts)

    def _left(self) -> str:
        (began, first, _), (ended, last, _) = self._recent[0], self._recent[-1]
        minutes, seconds = divmod(round((ended - began) / (last - first) * (self.steps - self.done)), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
