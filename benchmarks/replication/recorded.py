"""Scores of a system on disk, with what every bootstrap draw made of them: systems can be measured one at a time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ssft.evaluation.bootstrap import Bootstrap
from ssft.evaluation.measure import Floats, Measure, Score
from ssft.evaluation.suite import SystemScores

_MEASURE = ("name", "better", "grouped_by", "percent")


def save(system: SystemScores, path: Path, bootstrap: Bootstrap) -> None:
    """Write an .npz file of plain arrays: values and draws [R] of every measure, and all else as JSON."""
    arrays: dict[str, Any] = {}
    scores = []
    for score in system.scores.values():
        measures = []
        for measure in score.measures:
            arrays[f"{len(arrays)}"] = np.append(measure.value, bootstrap.draws(measure))
            measures.append(
                {key: getattr(measure, key) for key in _MEASURE}
                | {"groups": measure.groups, "counts": dict(measure.counts)}
            )
        scores.append({"task": score.task, "layer": score.layer, "condition": score.condition, "measures": measures})
    about = {key: getattr(system, key) for key in ("name", "last_layer", "unmeasured", "seconds")}
    facts = {"about": about | {"facts": dict(system.facts)}, "scores": scores}
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, facts=np.array(json.dumps(facts)), **arrays)


def load(path: Path) -> SystemScores:
    """Read what `save` wrote; its measures know the draws of that bootstrap, and no others."""
    with np.load(path, allow_pickle=False) as file:
        facts = json.loads(str(file["facts"]))
        system = SystemScores(**facts["about"])
        number = 0
        for record in facts["scores"]:
            measures = []
            for own in record["measures"]:
                known = file[str(number)]
                number += 1
                measures.append(Measure(**{**own, "groups": tuple(own["groups"])}, of=_Known(known)))
            score = Score(record["task"], record["layer"], record["condition"], tuple(measures))
            system.scores[score.key] = score
    return system


class _Known:
    def __init__(self, known: Floats) -> None:
        self.known = known

    def __call__(self, weights: Floats) -> Floats:
        return self.known[:1] if len(weights) == 1 else self.known[1:]
