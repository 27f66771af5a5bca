"""Results as Markdown: what differs, layer by layer, under noise, and on how much all of it stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

from ssft.evaluation.frames import CLEAN

Record = dict[str, Any]
NOTHING = "-"
MARKS = {"better": " ▲", "worse": " ▼"}
ARROWS = {"lower": " ↓", "higher": " ↑", "neither": ""}


def to_markdown(results: Record) -> str:
    """Return what `ssft.evaluation.results` made as a page of Markdown.

    Example:
        >>> print(to_markdown(json.loads(Path("evaluation/results.json").read_text())))
    """
    page = _Page(results)
    parts = [f"# Evaluation on {results['corpus']['name']}"]
    parts += map(page.verdict, page.others)
    parts += [*page.last_layer(), *page.every_layer(), *page.conditions(), *_basis(results)]
    return "\n\n".join(parts) + "\n"


def summary(results: Record) -> str:
    """Return the verdicts and what they stand on, for a terminal."""
    page = _Page(results)
    return "\n\n".join([*map(page.verdict, page.others), page.table_of_last_layer()])


def verdict(results: Record, system: str) -> str:
    """Say in a sentence what was shown of a system against the base, on clean audio; it may be nothing."""
    return _Page(results).verdict(system)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return an aligned Markdown table."""
    lines = [list(header), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    text = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    ]
    text.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(text)


class _Line(NamedTuple):
    """What one line of a table is about: a measure of the last layer, or of a probe that weighs all layers."""

    task: str
    measure: str
    weighted: bool


class _Page:
    """The rows of results by what they are about."""

    def __init__(self, results: Record) -> None:
        self.results = results
        self.base = results["base"] if results["base"] in results["systems"] else None
        self.others = [name for name in results["systems"] if name != self.base] if self.base else []
        self.systems = list(dict.fromkeys(name for name in (self.base, *results["systems"]) if name))
        self.scores = {(*_about(row), row["system"], row["layer"]): row for row in results["scores"]}
        self.differences = {
            (*_about(row), row["system"], row["layer"]): row
            for row in results["differences"]
            if row["against"] == "same layer"
        }
        last = {name: facts["last_layer"] for name, facts in results["systems"].items()}
        self.lines = list(
            dict.fromkeys(
                _Line(row["task"], row["measure"], row["layer"] is None)
                for row in results["scores"]
                if row["layer"] in (last[row["system"]], None)
            )
        )

    def score(self, line: _Line, system: str, condition: str = CLEAN) -> Record | None:
        return self.scores.get(self._key(line, system, condition))

    def difference(self, line: _Line, system: str, condition: str = CLEAN) -> Record | None:
        return self.differences.get(self._key(line, system, condition))

    def verdict(self, system: str) -> str:
        """Say what was shown of a system against the base, on clean audio."""
        rows = [self.difference(line, system) for line in self.lines]
        judged = [row for row in rows if row and row["low"] is not None and row["verdict"] != "changed"]
        kinds = {kind: [row["measure"] for row in judged if row["verdict"] == kind] for kind in MARKS}
        if not judged:
            return f"**Nothing can be said** of {system} against {self.base}: no measure has an interval."
        if not any(kinds.values()):
            return f"**No difference shown**: none of {len(judged)} measures sets {system} apart from {self.base}."
        word = "Mixed" if all(kinds.values()) else "Better" if kinds["better"] else "Worse"
        said = [f"{kind} than {self.base} in {', '.join(names)}" for kind, names in kinds.items() if names]
        rest = len(judged) - sum(map(len, kinds.values()))
        tail = f"; no difference shown in {rest} of {len(judged)} measures" if rest else ""
        return f"**{word}**: {system} is {' and '.join(said)}{tail}."

    def table_of_last_layer(self) -> str:
        """A line for each measure; systems as columns, with the differences from the base."""
        rows = []
        for line in self.lines:
            scores = [self.score(line, name) for name in self.systems]
            known = [score for score in scores if score]
            if known:
                differences = [_difference(self.difference(line, name)) for name in self.others]
                intervals = [] if self.base else [_interval(known[0])]
                rows.append([_label(known[0]), *map(_value, scores), *intervals, *differences])
        header = ["", *self.systems, *(f"{name}: difference" for name in self.others)]
        header += [] if self.base else ["interval"]
        return table(header, rows)

    def last_layer(self) -> list[str]:
        """Every measure, and the last layer against the best one of the base."""
        parts = ["## Last layer, clean", self.table_of_last_layer()]
        best = [
            [_label(row), row["system"], str(row["base_layer"]), _difference(row)]
            for row in self.results["differences"]
            if row["against"] == "best layer"
        ]
        if best:
            parts += [
                f"A better layer of {self.base} costs nothing. Against the one that is best at each measure on this "
                "very test set, which favours it:",
                table(["", "last layer of", f"best layer of {self.base}", "difference"], best),
            ]
        return parts

    def every_layer(self) -> list[str]:
        """A row for each layer. One system: a table for each task; several: one for each measure. The best in bold."""
        rows = [row for row in self.results["scores"] if row["layer"] is not None and row["condition"] == CLEAN]
        cells = {(row["task"], row["measure"], row["system"], row["layer"]): row for row in rows}
        layers = sorted({row["layer"] for row in rows})
        measured = Counter(key[:3] for key in cells)
        columns = [
            (task, measure, name)
            for task, measure in dict.fromkeys(key[:2] for key in cells)
            for name in self.systems
            if measured[task, measure, name] > 1
        ]
        several = len(self.systems) > 1
        parts = ["## Every layer, clean"] if columns else []
        for _, together in groupby(columns, key=lambda column: column[: 2 if several else 1]):
            own = list(together)
            best = [_best([cells[key] for layer in layers if (key := (*column, layer)) in cells]) for column in own]
            lines = []
            for layer in layers:
                found = [cells.get((*column, layer)) for column in own]
                shown = [
                    f"**{_value(row)}**" if row and row is top else _value(row)
                    for row, top in zip(found, best, strict=True)
                ]
                if any(found):
                    lines.append([str(layer), *shown])
            labels = [
                _label(next(cells[key] for layer in layers if (key := (*column, layer)) in cells)) for column in own
            ]
            parts += [f"### {labels[0] if several else own[0][0]}"]
            parts += [table(["layer", *([name for *_, name in own] if several else labels)], lines)]
        return parts

    def conditions(self) -> list[str]:
        """What noise and reverberation do to the last layer."""
        names = list(dict.fromkeys(row["condition"] for row in self.results["scores"]))
        if len(names) < 2:
            return []
        rows = []
        for line in self.lines:
            for system in self.systems:
                scores = [self.score(line, system, name) for name in names]
                known = [score for score in scores if score]
                if any(score["condition"] != CLEAN for score in known):
                    verdicts = [(self.difference(line, system, name) or {}).get("verdict") for name in names]
                    marks = [MARKS.get(str(verdict), "") for verdict in verdicts]
                    cells = [f"{_value(score)}{mark}" for score, mark in zip(scores, marks, strict=True)]
                    rows.append([_label(known[0]), system, *cells])
        parts = ["## Last layer, by condition", table(["", "system", *names], rows)]
        if self.base:
            parts.append(f"▲ better and ▼ worse than {self.base} in the same condition, by the interval.")
        return parts

    def _key(self, line: _Line, system: str, condition: str) -> tuple[Any, ...]:
        layer = None if line.weighted else self.results["systems"][system]["last_layer"]
        return line.task, line.measure, condition, system, layer


def _about(row: Record) -> tuple[str, str, str]:
    return row["task"], row["measure"], row["condition"]


def _label(row: Record) -> str:
    """The name of a measure, with which layers, its unit, and an arrow to where it is better."""
    weighted = ", all layers" if row["layer"] is None else ""
    return f"{row['measure']}{weighted}{' %' if row['percent'] else ''}{ARROWS[row['better']]}"


def _value(row: Record | None) -> str:
    if row is None or row["value"] is None:
        return NOTHING
    return f"{100 * row['value']:.1f}" if row["percent"] else f"{row['value']:.3g}"


def _difference(row: Record | None) -> str:
    """A difference with its interval and what follows."""
    if row is None or row["value"] is None:
        return NOTHING
    value = format(100 * row["value"], "+.1f") if row["percent"] else format(row["value"], "+.3g")
    return f"{value} {_interval(row, '+')} {row['verdict']}" if row["low"] is not None else f"{value}, no interval"


def _interval(row: Record, sign: str = "") -> str:
    if row["low"] is None:
        return "no interval"
    scale, form = (100, f"{sign}.1f") if row["percent"] else (1, f"{sign}.3g")
    return f"[{format(scale * row['low'], form)}, {format(scale * row['high'], form)}]"


def _best(rows: Sequence[Record]) -> Record | None:
    known = [row for row in rows if row["value"] is not None and row["better"] != "neither"]
    if not known:
        return None
    return (min if known[0]["better"] == "lower" else max)(known, key=lambda row: row["value"])


def _short(value: object) -> str:
    """A hash by its first digits."""
    text = str(value)
    return text[:16] if len(text) == 64 else text


def _basis(results: Record) -> list[str]:
    corpus, draws = results["corpus"], results["bootstrap"]
    lines = [
        f"{name}: {split['utterances']:,} utterances, {split['hours']:.2f} h"
        for name, split in corpus["splits"].items()
    ]
    lines.append(
        f"{corpus['speakers']} known speakers in test; fingerprint of the corpus {_short(corpus['fingerprint'])}"
    )
    lines += corpus["notes"]
    lines += [f"left out, {reason}: {count:,}" for reason, count in corpus["skipped"].items() if count]
    for name, facts in results["systems"].items():
        known = [f"{key} {_short(value)}" for key, value in facts.items() if isinstance(value, (str, int, float))]
        lines.append(f"{name}: {', '.join(known)}")
        lines += [f"{name}, {task} not measured: {reason}" for task, reason in facts["unmeasured"].items()]
    groups = sorted({f"{row['groups']} {row['grouped_by']}s" for row in results["scores"]})
    lines.append(
        f"intervals: {draws['level']:.0%}, of {draws['replicates']:,} bootstrap draws of {' or '.join(groups)}, and of "
        "seeds; paired, each for itself, not corrected for how many there are"
    )
    lines += [f"{key}: {value}" for key, value in results.get("versions", {}).items()]
    if "command" in results:
        lines.append(f"`{results['command']}`")
    return ["## What this stands on", "\n".join(f"- {line}" for line in lines)]
