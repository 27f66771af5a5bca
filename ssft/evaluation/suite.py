"""`evaluate`: every task on every system, on one corpus."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ssft.errors import DataError
from ssft.evaluation.corpus import LabelledCorpus
from ssft.evaluation.frames import CLEAN, FrameStore
from ssft.evaluation.lanes import measure
from ssft.evaluation.measure import Score
from ssft.evaluation.task import Task

Key = tuple[str, str, int | None, str]
"""Task, measure, layer and condition."""


@dataclass(eq=False)
class SystemScores:
    """What was measured of a system, and why the rest was not.

    Attributes:
        name: of the system.
        facts: what its frames depend on, as `FrameStore.describe` says.
        last_layer: the number of its last layer.
        scores: by task, measure, layer and condition.
        unmeasured: why a task gave nothing, by its name.
        seconds: how long each task took, encoding included.
    """

    name: str
    facts: Mapping[str, Any]
    last_layer: int
    scores: dict[Key, Score] = field(default_factory=dict)
    unmeasured: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def best_layer(self, score: Score) -> Score:
        """Return the score of the layer that is best at what `score` measures, in its condition."""
        task, measure, _, condition = score.key
        same = [own for key, own in self.scores.items() if (key[0], key[1], key[3]) == (task, measure, condition)]
        sign = 1.0 if score.measure.better == "lower" else -1.0
        known = [own for own in same if own.layer is not None and math.isfinite(own.value)]
        return min(known, key=lambda own: sign * own.value, default=score)


def evaluate(
    corpus: LabelledCorpus,
    systems: Sequence[FrameStore],
    tasks: Sequence[Task],
    *,
    seeds: int = 3,
    untrained_only: Collection[str] = (),
    after_each: Callable[[Sequence[SystemScores], str], None] = lambda systems, task: None,
) -> list[SystemScores]:
    """Measure every task on every system.

    Args:
        corpus: what to measure on.
        systems: where frames come from.
        tasks: what to measure.
        seeds: how often whatever is trained or fitted is.
        untrained_only: names of systems of which only tasks that train nothing are measured, e.g. free controls.
        after_each: is told of all that is known so far, and the name of the task, after each task.

    Raises:
        DataError: no task can be measured on the corpus; with the reason for each.

    Example:
        >>> corpus = open_corpus("demo")
        >>> store = open_system("tiny", corpus=corpus, cache=Path("features"))
        >>> [system] = evaluate(corpus, [store], [Abx()])
        >>> system.scores["abx", "word ABX across", 6, "clean"].value
    """
    names = [task.name for task in tasks]
    obstacles = {task.name: reason for task in tasks if (reason := task.obstacle(corpus))}
    if len(obstacles) == len(tasks):
        raise DataError(
            "\n".join(f"{name} cannot be measured on {corpus.name}: {why}" for name, why in obstacles.items())
        )
    found = []
    for store in systems:
        own = SystemScores(store.name, store.describe(), max(store.layers), unmeasured=dict(obstacles))
        found.append(own)

        def note(task: Task, scores: Sequence[Score], seconds: float, own: SystemScores = own) -> None:
            own.scores |= {score.key: score for score in scores}
            own.seconds[task.name] = round(seconds, 1)
            after_each(found, task.name)

        chosen = [
            task
            for task in tasks
            if task.name not in obstacles and not (task.needs_training and store.name in untrained_only)
        ]
        for task, why in measure(corpus, store, chosen, seeds=seeds, note=note).items():
            if len(tasks) == 1:
                raise why
            own.unmeasured[task] = str(why)
        own.scores = dict(sorted(own.scores.items(), key=lambda item: names.index(item[0][0])))
    return found


def primary(system: SystemScores) -> list[Score]:
    """Return what a system is judged by: clean audio, the last layer, or a probe's weighted sum of all of them."""
    return [
        score
        for score in system.scores.values()
        if score.condition == CLEAN and score.layer in (system.last_layer, None)
    ]
