"""Which checkpoint of a run is the best, by `train.select`, and when to stop waiting for a better one."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from ssft.errors import RecipeError, RunError, closest
from ssft.files import write_atomically, writing

CANDIDATES = "validation.jsonl"
"""The file of a run folder with a line per candidate checkpoint."""


class Selection:
    """Ranks the checkpoints of a run by one number each, and writes it down in validation.jsonl.

    A line has `step`, `select`, `value`, which is what checkpoints are ranked by, and all numbers that were measured.
    For `label_free` the value is the measured `score`, for `min:NAME` and `max:NAME` the mean of a number of
    metrics.jsonl since the candidate before, for `last` the step. A value that is not finite never wins, and of equal
    ones the first does.

    Everything is read back from validation.jsonl and metrics.jsonl, so that a resumed run chooses what an uninterrupted
    one would.

    Args:
        select: `last`, `label_free`, `min:NAME` or `max:NAME`.
        patience: candidates in a row that may be no better than the best; 0 is any number.
        folder: of the run.
        resume_at: forget what came after this step, which a resumed run does again; 0 begins anew.

    Raises:
        RunError: validation.jsonl or metrics.jsonl cannot be read or written.

    Example:
        >>> selection = Selection("min:loss", patience=3, folder=Path("runs/mine"))
        >>> selection.note_step({"step": 1, "loss": 0.7})
        >>> selection.candidate(1, {})
        >>> selection.best(1)
        [1]
    """

    def __init__(self, select: str, *, patience: int, folder: Path, resume_at: int = 0) -> None:
        self.select = select
        self.patience = patience
        self.path = folder / CANDIDATES
        # Lines of a run that was told to choose by something else cannot be compared with its own.
        self._lines = [line for line in _read(self.path, upto=resume_at) if line.get("select") == select]
        self._noted: list[float] = []
        self._known: set[str] = set()
        self._write()
        for record in _read(folder / "metrics.jsonl", upto=resume_at):
            self.note_step(record)

    def note_step(self, record: Mapping[str, Any]) -> None:
        """Count the metrics of one optimizer step, which has to name its `step`."""
        numbers = {name: value for name, value in record.items() if isinstance(value, (int, float))}
        self._known |= set(numbers)
        if record["step"] > self._last_candidate and self._name in numbers:
            self._noted.append(float(numbers[self._name]))

    def candidate(self, step: int, facts: Mapping[str, float]) -> None:
        """Rank the checkpoint of a step, of whose encoder `facts` were measured, and write its line.

        Raises:
            RecipeError: `select` names no number of metrics.jsonl.
            RunError: the line cannot be written.
        """
        value = self._value(step, facts)
        self._noted.clear()
        numbers = {name: number if math.isfinite(number) else None for name, number in facts.items()}
        value_or_none = value if math.isfinite(value) else None  # JSON has no NaN
        self._lines.append({"step": step, "select": self.select, "value": value_or_none, **numbers})
        self._write()

    def missing(self, step: int) -> bool:
        """Whether no candidate of this step was written down, as after a kill between saving and measuring."""
        return step > 0 and all(line["step"] != step for line in self._lines)

    def best(self, count: int) -> list[int]:
        """Return the steps of the `count` best candidates, the best first; fewer if there are not as many."""
        return _ranked(self._lines)[:count]

    @property
    def is_exhausted(self) -> bool:
        """Whether as many candidates as `patience` allows have come after the best one."""
        if not self.patience:
            return False
        best = self.best(1)
        since = len(list(takewhile(lambda line: line["step"] not in best, reversed(self._lines))))
        return self.patience <= since

    @property
    def _name(self) -> str:
        """The number of metrics.jsonl that is averaged; empty if none is."""
        return self.select.partition(":")[2]

    @property
    def _last_candidate(self) -> int:
        return int(self._lines[-1]["step"]) if self._lines else 0

    def _value(self, step: int, facts: Mapping[str, float]) -> float:
        if self.select == "last":
            return step
        if self.select == "label_free":
            return facts["score"]
        if self._name not in self._known:
            raise RecipeError(
                f"train.select='{self.select}': metrics.jsonl has no number '{self._name}'. "
                f"{closest(self._name, self._known - {'step'})}"
            )
        return sum(self._noted) / len(self._noted) if self._noted else math.nan

    def _write(self) -> None:
        if self._lines or self.path.exists():
            with writing(self.path):
                write_atomically(self.path, "".join(json.dumps(line) + "\n" for line in self._lines))


def best_step(folder: Path) -> int | None:
    """Return the step of the best candidate of a run by its own `train.select`; None if no candidate has a value.

    Raises:
        RunError: validation.jsonl cannot be read.
    """
    lines = list(_read(folder / CANDIDATES))
    ranked = _ranked([line for line in lines if line.get("select") == lines[-1].get("select")])
    return ranked[0] if ranked else None


def _ranked(lines: Sequence[Mapping[str, Any]]) -> list[int]:
    """The steps of candidates with a value, the best first."""
    with_value = [line for line in lines if line.get("value") is not None]
    with_value.sort(key=lambda line: line["value"] * (1 if line["select"].startswith("min:") else -1))
    return [int(line["step"]) for line in with_value]


def _read(path: Path, *, upto: float = math.inf) -> Iterator[dict[str, Any]]:
    """Give the records of a file of JSON lines whose step is not above `upto`, without any that a kill cut short."""
    if not path.exists():
        return
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"Cannot read {path}: {error}.") from error
    for line in lines:
        try:
            record = json.loads(line) if line.endswith("\n") else None
        except ValueError:
            continue
        if isinstance(record, dict) and isinstance(record.get("step"), int) and record["step"] <= upto:
            yield record
