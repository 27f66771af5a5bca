"""Print the tables of recipes/README.md from what benchmarks/replication/evaluate.py wrote.

python benchmarks/replication/table.py OUT
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, NamedTuple

from ssft.evaluation.page import ARROWS, MARKS, table

NAMES = {
    "tiny": "base",
    "tiny+mean-removed": "base, utterance mean removed",
    "tiny+smoothed": "base, smoothed over 5 frames",
    "tiny+whitened": "base, whitened",
    "mfcc": "MFCC",
    "random:tiny": "random encoder",
    "score": "`score_tiny`",
    "laser": "`laser_tiny`",
    "spin": "`spin_tiny`",
    "nr-mse": "`noise_robust_mse_tiny`",
    "nr-softdtw": "`noise_robust_softdtw_tiny`",
    "rspin": "`rspin_tiny`",
    "spin, no augmentation": "SPIN, same steps, no augmentation",
}


class Column(NamedTuple):
    """A measure on a corpus in a condition, and what stands above it."""

    corpus: str
    measure: str
    head: str
    noisy: bool = False


DEV, FSDD, ARABIC = "speechocean762_train", "fsdd", "arabic_speech_commands"
TABLES = {
    "What is said: speechocean762, 21 dev speakers": (
        Column(DEV, "phone ABX across (any context)", "phone ABX across"),
        Column(DEV, "phone ABX within (any context)", "within"),
        Column(DEV, "word ABX across", "word ABX across"),
        Column(DEV, "word ABX within", "within"),
        Column(DEV, "PER", "PER"),
        Column(DEV, "CER", "CER"),
        Column(DEV, "MAP across", "MAP across"),
        Column(DEV, "PNMI", "PNMI"),
    ),
    "Who says it, and noise of recordings at 10 dB: the same speakers": (
        Column(DEV, "SNMI", "SNMI"),
        Column(DEV, "speaker probe", "speaker probe"),
        Column(DEV, "speaker ABX", "speaker ABX"),
        Column(DEV, "phone ABX across (any context)", "noise: phone ABX across", noisy=True),
        Column(DEV, "word ABX across", "word ABX across", noisy=True),
        Column(DEV, "PER", "PER", noisy=True),
        Column(DEV, "unit edit distance", "unit edit distance", noisy=True),
    ),
    "Corpora that nothing was chosen on: English digits (2 speakers, too few for marks), Arabic words (6 speakers)": (
        Column(FSDD, "word ABX across", "digits: ABX across"),
        Column(FSDD, "word ABX within", "within"),
        Column(FSDD, "MAP across", "MAP across"),
        Column(FSDD, "speaker probe", "speaker probe"),
        Column(ARABIC, "word ABX across", "Arabic: ABX across"),
        Column(ARABIC, "word ABX within", "within"),
        Column(ARABIC, "MAP across", "MAP across"),
        Column(ARABIC, "speaker probe", "speaker probe"),
    ),
}


class Results:
    """What was measured on all corpora."""

    def __init__(self, folder: Path) -> None:
        self.records = {
            path.parent.name: json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*/results.json")
        }

    def rows(self, column: Column, system: str, kind: str) -> list[dict[str, Any]]:
        """Rows of `scores` or `differences` that a column is about."""
        return [
            row
            for row in self.records[column.corpus][kind]
            if (row["system"], row["measure"]) == (system, column.measure)
            and (row["condition"] != "clean") == column.noisy
            and row.get("against", "same layer") == "same layer"
        ]

    def cell(self, column: Column, system: str) -> str:
        """The value at the last layer, marked by whether it differs from the base's."""
        record = self.records[column.corpus]
        last = record["systems"][system]["last_layer"]
        values = [row for row in self.rows(column, system, "scores") if row["layer"] == last]
        if not values:
            return "-"
        verdicts = [row["verdict"] for row in self.rows(column, system, "differences") if row["layer"] == last]
        return _number(values[0]) + MARKS.get(verdicts[0] if verdicts else "", "")

    def best_layer(self, column: Column, base: str) -> str:
        """The best value of any layer of the base, and which."""
        rows = self.rows(column, base, "scores")
        if len({row["layer"] for row in rows}) < 2:
            return "-"
        best = (min if rows[0]["better"] == "lower" else max)(rows, key=lambda row: row["value"])
        return f"{_number(best)} ({best['layer']})"

    def head(self, column: Column, base: str) -> str:
        return column.head + ARROWS[self.rows(column, base, "scores")[0]["better"]]


def _number(row: dict[str, Any]) -> str:
    return f"{100 * row['value']:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("out", type=Path)
    results = Results(parser.parse_args().out)
    for title, columns in TABLES.items():
        rows = []
        for system, name in NAMES.items():
            rows.append([name, *(results.cell(column, system) for column in columns)])
            if system == "tiny":
                best = [results.best_layer(column, system) for column in columns]
                if any(cell != "-" for cell in best):
                    rows.append(["base, best layer (which)", *best])
        print(f"**{title}**\n\n{table(['%', *(results.head(column, 'tiny') for column in columns)], rows)}\n")


if __name__ == "__main__":
    main()
