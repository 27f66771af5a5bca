"""What figures without labels say of errors: many checkpoints of good and bad runs of several recipes.

    python benchmarks/trajectory.py CORPUS WORK [--steps 20 60 120] [--part 0/2]
    python benchmarks/trajectory.py CORPUS WORK --table

CORPUS and WORK are those of benchmarks/selection.py, which trains the runs and measures ABX (those that WORK lacks are
trained here). Each of their checkpoints is then measured by a phone probe (PER) and by all label-free figures of
`ssft analyze layers`, on the speakers of `dev`. WORK keeps what was measured; `--table` prints it as Markdown.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).resolve().parent / "replication"))
import selection
from shared_bottom import SharedBottom

from ssft.analysis.layer_quality import layer_quality
from ssft.analysis.trajectory import Moment, rank_correlation
from ssft.analysis.trajectory_page import known_figures
from ssft.evaluation.corpora import open_corpus
from ssft.evaluation.corpus import TEST, LabelledCorpus
from ssft.evaluation.page import table
from ssft.evaluation.probe import PhoneRecognition
from ssft.evaluation.suite import evaluate
from ssft.evaluation.systems import CachedFrames, LastLayer, open_system, parse_conditions

RUNS = (
    "score, lr x1",
    "spin, lr x1",
    "laser, lr x1",
    "laser, lr x10",
    "score, lr x10",
    "spin, lr x10",
    "laser, weak regulariser, lr x1",
    "spin, no augmentation, lr x10",
)
"""Of benchmarks/selection.py: good ones, and some that go wrong slowly; not those that collapse at once."""
BASE, CUT, LAST = "tiny", 4, 6
TRAIN_HOURS, CLUSTERS, FRAMES = 0.5, 1024, 50_000
MEASURES = ("ranks", "clusters", "uniformity", "alignment", "drift")
ERRORS = ("phone ABX", "word ABX", "PER")
SHOWN = ("global_rank", "rankme_t", "relative_inertia", "davies_bouldin", "alignment", "score")
VALIDATED = ("loss", "score", "discrimination", "invariance")


class Benchmark:
    """A corpus, and the base's frames of it."""

    def __init__(self, corpus: Path, work: Path) -> None:
        whole = open_corpus(corpus).limited(train_hours=TRAIN_HOURS)
        self.corpus: LabelledCorpus = replace(whole, splits={**whole.splits, TEST: whole.splits[TEST][::2]})
        self.work = work
        self.selection = selection.Benchmark(corpus, work)
        self.conditions = parse_conditions(augmentations=["pitch_shift"])
        self.base = open_system(
            BASE, corpus=self.corpus, cache=work / "frames", conditions=self.conditions, condition_layers=[CUT, LAST]
        )

    def measure(self, name: str, step: int) -> None:
        """Measure a checkpoint of a run, step 0 being the base, if that has not been done."""
        path = self._record(name, step)
        if path.exists():
            return
        began = time.process_time()
        encoder = self.selection.encoder
        weights = load_file(self.selection._weights(name, step)) if step else {}
        encoder.load_state_dict({**self.selection.base, **weights})
        encoder.eval()
        source = SharedBottom(encoder.encoder, self.base, self.corpus, cut=CUT)
        with tempfile.TemporaryDirectory(dir=self.work) as cache:
            store = CachedFrames(
                lambda layers: source,
                source.layers,
                self.corpus,
                name=f"{name}, step {step}",
                cache=Path(cache),
                conditions=self.conditions,
            )
            [quality] = layer_quality(
                self.corpus, store, base=LastLayer(self.base), measures=MEASURES, most_frames=FRAMES, clusters=CLUSTERS
            )
            [probed] = evaluate(self.corpus, [store], [PhoneRecognition(layers="last", updates=400)], seeds=1)
        per = next(100 * score.value for score in probed.scores.values() if score.measure.name == "PER")
        record: dict[str, Any] = {"run": name, "step": step, "PER": per, "figures": quality.values()}
        if not step:
            record |= self.selection.errors(encoder)
        path.write_text(json.dumps(record) + "\n")
        print(f"{name}, step {step}: PER {per:.2f}, {time.process_time() - began:.0f} s of processor time", flush=True)

    def moments(self, names: Sequence[str], steps: Sequence[int]) -> list[Moment]:
        """Put together what is known of all checkpoints, the base first."""
        found = [self._moment(json.loads(self._record(names[0], 0).read_text()), {"loss": None})]
        for name in names:
            trained = self.selection.validate(name, self.selection.train(name))
            by_step = {record["step"]: record for record in trained}
            for step in steps:
                own = json.loads(self._record(name, step).read_text())
                found.append(self._moment({**by_step[step], **own}, by_step[step]))
        return found

    def _moment(self, record: dict[str, Any], validated: dict[str, Any]) -> Moment:
        figures = record["figures"] | {name: validated[name] for name in VALIDATED if name in validated}
        return Moment(record["run"], record["step"], figures, {name: record[name] for name in ERRORS})

    def _record(self, name: str, step: int) -> Path:
        folder = self.work / "trajectory"
        folder.mkdir(exist_ok=True)
        return folder / (f"{name}-{step}.json" if step else "base.json")


def show(moments: Sequence[Moment]) -> None:
    """Print how every figure goes with every error, over all checkpoints and over those that beat the base."""
    base = moments[0]
    columns = known_figures(moments)
    better = [one for one in moments if one.errors["phone ABX"] < base.errors["phone ABX"]]
    for title, some in (("All checkpoints", moments), ("Those with less phone ABX than the base", better)):
        print(f"\n## {title} ({len(some)} of {len({one.run for one in some})} runs)\n")
        rows = []
        for column in columns:
            cells = []
            for error in ERRORS:
                own = rank_correlation(some, column.name, error)
                # Losses of different recipes cannot be compared.
                cells += [
                    "" if column.name == "loss" else str(own),
                    f"{own.within:.2f}" if math.isfinite(own.within) else "-",
                ]
            rows.append([column.title, *cells])
        print(table(["figure", *(text for error in ERRORS for text in (error, "within runs"))], rows))
    print("\n## What would have been chosen\n")
    rows = [[title, *cells] for title, cells in chosen(moments).items()]
    print(table(["checkpoint", *(f"{error} %" for error in ERRORS)], rows))
    print("\n## All of them\n")
    shown = [column for column in columns if column.name in SHOWN]
    rows = [
        [
            one.run,
            str(one.step),
            *(f"{one.errors[name]:.2f}" for name in ERRORS),
            *(column.shown(one.figures.get(column.name)) for column in shown),
        ]
        for one in moments
    ]
    print(table(["run", "step", *ERRORS, *(column.title for column in shown)], rows))


def chosen(moments: Sequence[Moment]) -> dict[str, list[str]]:
    """The mean errors, over runs that were ever better than the base, of what each rule takes of a run."""
    base, *others = moments
    runs = {name: [one for one in others if one.run == name] for name in {one.run for one in others}}
    good = [own for own in runs.values() if min(one.errors["phone ABX"] for one in own) < base.errors["phone ABX"]]
    rules = {
        "the base": lambda own: base,
        "last": lambda own: own[-1],
        "by score (label_free)": lambda own: max(own, key=lambda one: one.figures["score"]),
        "by score, or the base if it is below 0": lambda own: max(
            [base, *own], key=lambda one: one.figures.get("score") or 0.0
        ),
        "by least training loss": lambda own: min(own, key=lambda one: one.figures["loss"]),
        "by global rank": lambda own: max(own, key=lambda one: one.figures["global_rank"]),
        "by RankMe-t": lambda own: max(own, key=lambda one: one.figures["rankme_t"]),
        "by Davies-Bouldin": lambda own: min(own, key=lambda one: one.figures["davies_bouldin"]),
        "by inertia / variance": lambda own: min(own, key=lambda one: one.figures["relative_inertia"]),
    }
    found = {
        f"{title}, {len(of)} {kind} runs": [f"{sum(rule(own).errors[e] for own in of) / len(of):.2f}" for e in ERRORS]
        for kind, of in (("good", good), ("all", list(runs.values())))
        for title, rule in rules.items()
    }
    for error in ERRORS:
        best = [min(one.errors[error] for one in own) for own in good]
        found.setdefault(f"the best of each, {len(good)} good runs", []).append(f"{sum(best) / len(best):.2f}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--steps", nargs="+", type=int, default=[20, 60, 120])
    parser.add_argument("--part", default="0/1", help="do every N-th run, beginning with I: I/N")
    parser.add_argument("--table", action="store_true", help="print what is known")
    options = parser.parse_args()
    torch.set_num_threads(1)
    bench = Benchmark(options.corpus, options.work)
    names = list(RUNS)
    first, step = map(int, options.part.split("/"))
    bench.measure(names[0], 0)
    for name in names[first::step]:
        bench.selection.train(name)
        for checkpoint in options.steps:
            bench.measure(name, checkpoint)
    if options.table:
        show(bench.moments(names, options.steps))


if __name__ == "__main__":
    main()
