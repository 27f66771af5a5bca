"""What was measured of the base and of the adapted encoder, as sections of a report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ssft.errors import DataError
from ssft.evaluation.bootstrap import Bootstrap
from ssft.evaluation.corpus import LabelledCorpus
from ssft.evaluation.frames import FrameStore
from ssft.evaluation.page import to_markdown
from ssft.evaluation.page import verdict as sentence
from ssft.evaluation.results import Record, results
from ssft.evaluation.suite import evaluate
from ssft.evaluation.systems import LastLayer, MeanRemoved
from ssft.evaluation.task import Task
from ssft.report.document import Block, Fold, Heading, Made, Text
from ssft.report.markdown import blocks_of

ADAPTED, BASE = "adapted", "base"
"""What the two are called in a report."""

_KEYS = ("systems", "scores", "differences", "base", "corpus", "bootstrap")


def measure(
    corpus: LabelledCorpus, adapted: FrameStore, base: FrameStore | None, tasks: Sequence[Task], *, bootstrap: Bootstrap
) -> Record:
    """Return the results of tasks on the last layers: adapted, base, and the base with the utterance means removed.

    Beside what `ssft.evaluation.results.results` returns, `against_control` says what is shown against the latter.

    Raises:
        DataError: no task can be measured; with the reason for each.
    """
    control = None if base is None else MeanRemoved(LastLayer(base, clean=True))
    stores: list[FrameStore] = [LastLayer(store, clean=True) for store in (base, adapted) if store is not None]
    if control is not None:
        stores.append(control)
    free = [control.name] if control is not None else []
    systems = evaluate(corpus, stores, tasks, seeds=1, untrained_only=free)
    facts = {"tasks": [task.name for task in tasks], "seeds": 1}
    record = results(corpus, systems, base=BASE, bootstrap=bootstrap, facts=facts)
    # Of one layer, the last is the best.
    record["differences"] = [row for row in record["differences"] if row["against"] == "same layer"]
    if control is not None:
        pair = [system for system in systems if system.name in (control.name, ADAPTED)]
        against = results(corpus, pair, base=control.name, bootstrap=bootstrap)
        record["against_control"] = sentence(against, ADAPTED)
    return record


def scores(record: Record, adapted: str = ADAPTED, *, source: Path | None = None) -> Made:
    """ABX, probes and what else was measured with labels, by the page that `ssft evaluate` writes."""
    blocks: list[Block] = []
    if source is not None:
        blocks.append(Text(f"Taken from {source}, which was made by `{record.get('command', 'an unknown command')}`."))
    if notes := record["corpus"].get("notes"):
        blocks.append(Text(" ".join(notes), quiet=True))
    page = blocks_of(to_markdown(record))
    headings = [place for place, block in enumerate(page) if isinstance(block, Heading)]
    first, second = headings[0], (*headings[1:], len(page))[0]
    blocks += [*page[:first], *page[first + 1 : second]]
    if against := against_control(record):
        blocks.append(Text(against))
    if source is None:
        model = record["systems"].get(BASE, {}).get("model", "BASE")
        more = f"`ssft evaluate suite RUN --against {model} --data CORPUS`"
        blocks.append(Text(f"Last layers only. {more} measures every layer, noise, rooms and probes.", quiet=True))
    blocks.append(Fold("what this stands on, and the rest", page[second:]))
    return blocks, {**record, "adapted": adapted, "source": None if source is None else str(source)}


def against_control(record: Record) -> str:
    """Return what was shown against the free control, as a sentence; nothing if that was not measured."""
    said = record.get("against_control")
    return f"Against a free control, the base with each utterance's mean removed: {said}" if said else ""


def read_results(path: Path, weights: str) -> tuple[Record, str]:
    """Return the results of an earlier evaluation, and what the adapted encoder is called there.

    Args:
        path: results.json.
        weights: the hash of the adapted encoder's weights, by which it is found.

    Raises:
        DataError: it cannot be read, or is of other encoders.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        systems: Mapping[str, Any] = {name: dict(facts) for name, facts in record["systems"].items()}
        if lacking := [key for key in _KEYS if key not in record]:
            raise KeyError(lacking[0])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise DataError(f"{path} is no results.json of `ssft evaluate`. Give the folder that it wrote.") from None
    for name, facts in systems.items():
        if facts.get("weights") == weights and not facts.get("controls") and name != record["base"]:
            return record, name
    raise DataError(
        f"{path} has results of {', '.join(systems)}, none of which is the adapted encoder of this run as it is now. "
        "Evaluate it, or leave out --results."
    )
