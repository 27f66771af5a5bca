"""What an evaluation writes down: every score with its interval, and every difference from the base."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ssft.evaluation.bootstrap import Bootstrap, Interval
from ssft.evaluation.corpus import LabelledCorpus
from ssft.evaluation.measure import Score
from ssft.evaluation.suite import SystemScores, primary

VERSION = 1

Record = dict[str, Any]


def results(
    corpus: LabelledCorpus,
    systems: Sequence[SystemScores],
    *,
    base: str | None = None,
    bootstrap: Bootstrap | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Record:
    """Return plain values for JSON: scores and differences as rows of a table each; what is not known is None.

    Args:
        corpus: what was measured on.
        systems: what `evaluate` returned.
        base: the system that the others are compared with, once it is among them.
        bootstrap: what makes the intervals.
        facts: what else belongs on record: the command, versions, the settings of tasks and conditions.

    Example:
        >>> results(corpus, systems, base="tiny")["differences"][0]["verdict"]
        'better'
    """
    bootstrap = bootstrap or Bootstrap()
    of_base = next((system for system in systems if system.name == base), None)
    others = [system for system in systems if of_base and system is not of_base]
    return {
        "version": VERSION,
        **(facts or {}),
        "corpus": corpus.describe(),
        "bootstrap": {"replicates": bootstrap.replicates, "level": bootstrap.level, "seed": bootstrap.seed},
        "base": base,
        "systems": {
            system.name: {
                **system.facts,
                "last_layer": system.last_layer,
                "unmeasured": system.unmeasured,
                "seconds": system.seconds,
            }
            for system in systems
        },
        "scores": [_score(system.name, score, bootstrap) for system in systems for score in system.scores.values()],
        "differences": [
            difference
            for system in others
            if of_base
            for difference in [*_same_layer(system, of_base, bootstrap), *_best_layer(system, of_base, bootstrap)]
        ],
    }


def _score(system: str, score: Score, bootstrap: Bootstrap) -> Record:
    measure = score.measure
    return {
        "system": system,
        "task": score.task,
        "measure": measure.name,
        "layer": score.layer,
        "condition": score.condition,
        **_limits(bootstrap.interval(score)),
        "seeds": [_known(own.value) for own in score.measures],
        "better": measure.better,
        "percent": measure.percent,
        "grouped_by": measure.grouped_by,
        "groups": len(measure.groups),
        "counts": dict(measure.counts),
    }


def _same_layer(system: SystemScores, base: SystemScores, bootstrap: Bootstrap) -> list[Record]:
    """Each score of a system against the same of the base; the last layer against the last, whatever their numbers."""
    rows = []
    for score in system.scores.values():
        layer = base.last_layer if score.layer == system.last_layer else score.layer
        other = base.scores.get((score.task, score.measure.name, layer, score.condition))
        if other is not None:
            rows.append(_difference(system, score, base, other, bootstrap, against="same layer"))
    return rows


def _best_layer(system: SystemScores, base: SystemScores, bootstrap: Bootstrap) -> list[Record]:
    """The last layer of a system against that layer of the base which is best on this very corpus."""
    rows = []
    for score in primary(system):
        other = base.scores.get((score.task, score.measure.name, base.last_layer, score.condition))
        if score.layer is not None and other is not None and score.measure.better != "neither":
            best = base.best_layer(other)
            rows.append(_difference(system, score, base, best, bootstrap, against="best layer"))
    return rows


def _difference(
    system: SystemScores, score: Score, base: SystemScores, other: Score, bootstrap: Bootstrap, *, against: str
) -> Record:
    difference = bootstrap.difference(score, other)
    return {
        "system": system.name,
        "base": base.name,
        "against": against,
        "task": score.task,
        "measure": score.measure.name,
        "layer": score.layer,
        "base_layer": other.layer,
        "condition": score.condition,
        **_limits(difference),
        "better": score.measure.better,
        "percent": score.measure.percent,
        "verdict": difference.verdict,
    }


def _limits(interval: Interval) -> dict[str, float | None]:
    return {name: _known(getattr(interval, name)) for name in ("value", "low", "high")}


def _known(value: float) -> float | None:
    """JSON has no NaN."""
    return value if math.isfinite(value) else None
