"""`RunFiles`: what a run wrote down, as far as it can be read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ssft.data.rejects import read_rejects
from ssft.errors import RunError
from ssft.types import Reject

Record = dict[str, Any]


@dataclass(frozen=True)
class RunFiles:
    """The files of a run folder; one that is missing or damaged is empty, and `problems` says what is wrong.

    Args:
        folder: the run's.
        recipe: the settings.
        recipe_text: the same as YAML.
        environment: versions, machine, device.
        metrics: a record for each step.
        validation: a record for each checkpoint that was judged.
        discarded: a record for each step that was thrown away.
        rejects: what could not be used.
        exported: what `adapted/ssft.json` says; empty if nothing was exported.
        problems: sentences.

    Example:
        >>> RunFiles.read(Path("runs/score_tiny")).metrics[-1]["step"]
        80
    """

    folder: Path
    recipe: Mapping[str, Any]
    recipe_text: str
    environment: Mapping[str, Any] = field(default_factory=dict)
    metrics: Sequence[Record] = ()
    validation: Sequence[Record] = ()
    discarded: Sequence[Record] = ()
    rejects: Sequence[Reject] = ()
    exported: Mapping[str, Any] = field(default_factory=dict)
    problems: Sequence[str] = ()

    @staticmethod
    def read(folder: Path) -> RunFiles:
        """Read a run folder.

        Raises:
            RunError: it is none.
        """
        if not (folder / "recipe.yaml").is_file():
            raise RunError(f"{folder} is not a run folder: it holds no recipe.yaml.")
        problems: list[str] = []
        text = _text(folder / "recipe.yaml", problems)
        try:
            rejects = read_rejects(folder / "rejects.tsv")
        except OSError as error:
            rejects = []
            problems.append(f"rejects.tsv cannot be read: {error}.")
        return RunFiles(
            folder,
            recipe=_mapping(folder / "recipe.yaml", text, problems),
            recipe_text=text,
            environment=_optional(folder / "environment.json", problems),
            metrics=_lines(folder / "metrics.jsonl", problems),
            validation=_lines(folder / "validation.jsonl", problems),
            discarded=_lines(folder / "discarded.jsonl", problems),
            rejects=rejects,
            exported=_optional(folder / "adapted" / "ssft.json", problems),
            problems=problems,
        )

    def setting(self, *keys: str) -> Any:
        """Return a setting of the recipe, such as `setting("train", "steps")`; None if it is not there."""
        value: Any = self.recipe
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        return value

    @property
    def chosen_step(self) -> int | None:
        """The step of the checkpoint that was exported."""
        step = self.exported.get("steps")
        return step if isinstance(step, int) else None

    @property
    def steps_made(self) -> int:
        """The last step that was written down."""
        return max((record["step"] for record in self.metrics), default=0)


def _text(path: Path, problems: list[str]) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        problems.append(f"{path.name} cannot be read: {error}.")
        return ""


def _optional(path: Path, problems: list[str]) -> Record:
    return _mapping(path, _text(path, problems), problems) if path.exists() else {}


def _mapping(path: Path, text: str, problems: list[str]) -> Record:
    try:
        found = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError):
        found = None
    if not isinstance(found, dict):
        problems.append(f"{path.name} is damaged, and what it says is missing here.")
        return {}
    return found


def _lines(path: Path, problems: list[str]) -> list[Record]:
    """The records of a file of JSON lines that name their step, in the order of steps."""
    if not path.exists():
        return []
    records, damaged = [], 0
    for line in _text(path, problems).splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if isinstance(record, dict) and isinstance(record.get("step"), int):
            records.append(record)
        else:
            damaged += 1
    if damaged:
        problems.append(f"Lines of {path.name} that cannot be read and are left out: {damaged:,}.")
    return sorted(records, key=lambda record: record["step"])
