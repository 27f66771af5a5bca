"""All tasks, by the name that `ssft evaluate` knows them by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ssft.components import construct
from ssft.errors import RecipeError, closest
from ssft.evaluation.abx.task import Abx
from ssft.evaluation.probe import PhoneRecognition, SpeechRecognition
from ssft.evaluation.search import QueryByExample
from ssft.evaluation.speaker import Speaker
from ssft.evaluation.task import Task
from ssft.evaluation.unit_quality import Units

TASKS: dict[str, type[Task]] = {
    task.name: task for task in (Abx, PhoneRecognition, SpeechRecognition, QueryByExample, Units, Speaker)
}


def make_tasks(names: Sequence[str], settings: Sequence[tuple[str, Any]] = ()) -> list[Task]:
    """Return tasks with settings such as `("abx.max_group", 5)`.

    Raises:
        RecipeError: no such task or setting, or a setting of a task that is not asked for; with the nearest name.

    Example:
        >>> [task.name for task in make_tasks(["abx", "units"], [("units.clusters", 50)])]
        ['abx', 'units']
    """
    own: dict[str, dict[str, Any]] = {name: {} for name in names}
    for key, value in settings:
        name, _, setting = key.partition(".")
        if name not in own or not setting:
            known = ", ".join(f"--{name}.SETTING" for name in own)
            raise RecipeError(f"--{key} is no setting of what is evaluated. Settings are given as {known}.")
        own[name][setting] = value
    return [_make(name, chosen) for name, chosen in own.items()]


def _make(name: str, settings: Mapping[str, Any]) -> Task:
    if name not in TASKS:
        raise RecipeError(f"There is no task '{name}'. {closest(name, TASKS)}")
    return construct(TASKS[name], settings, where=name)
