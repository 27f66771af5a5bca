"""Measure every system of the scaled replication on three corpora, and write down how they differ.

    python benchmarks/replication/evaluate.py SPEECH WORK OUT [--corpora fsdd] [--systems 0/2]

SPEECH holds speechocean762_train, fsdd, arabic_speech_commands and noise; WORK is what benchmarks/replication/train.py
made of the first, and keeps the scores of each system, so that processes can share them (`--systems 1/2` is every
second one) and a second call only puts them together; OUT gets a folder of results for each corpus. The three runs of
a method are three seeds of one system. The base is measured at every layer, all others at their last.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import recorded
from shared_bottom import adapted
from train import CONTROLS, METHODS, SEEDS, Run

from ssft.evaluation.bootstrap import Bootstrap
from ssft.evaluation.corpora import open_corpus
from ssft.evaluation.corpus import TEST, LabelledCorpus
from ssft.evaluation.frames import FrameStore
from ssft.evaluation.results_folder import ResultsFolder
from ssft.evaluation.suite import SystemScores, evaluate
from ssft.evaluation.systems import CONTROLS as FREE_CONTROLS
from ssft.evaluation.systems import LastLayer, open_system, parse_conditions
from ssft.evaluation.tasks import make_tasks
from ssft.randomness import derive_seed

BASE, CUT, LAST = "tiny", 4, 6
FREE = ("tiny+mean-removed", "tiny+smoothed", "tiny+whitened", "mfcc", "random:tiny")
CORPORA = {
    "speechocean762_train": ("abx", "pr", "asr", "qbe", "units", "speaker"),
    "fsdd": ("abx", "qbe", "speaker"),
    "arabic_speech_commands": ("abx", "qbe", "speaker"),
}
SETTINGS = (("pr.layers", "last"), ("asr.layers", "last"))
MOST_UTTERANCES = 1000
TRAIN_HOURS, SNR_DB = 0.5, 10.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("speech", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--corpora", nargs="+", default=list(CORPORA), choices=CORPORA)
    parser.add_argument("--systems", default="0/1", help="measure every N-th system, beginning with I: I/N")
    options = parser.parse_args()
    first, step = map(int, options.systems.split("/"))
    names = [BASE, *FREE, *METHODS, *CONTROLS]
    for corpus_name in options.corpora:
        bench = Bench(corpus_name, options.speech, options.work)
        for name in names[first::step]:
            bench.measure(name)
        if step == 1:
            bench.write(names, options.out)


class Bench:
    """A corpus and all systems on it."""

    def __init__(self, name: str, speech: Path, work: Path) -> None:
        self.corpus = some_of(open_corpus(speech / name).limited(train_hours=TRAIN_HOURS))
        self.work = work
        self.tasks = make_tasks(CORPORA[name], [one for one in SETTINGS if one[0].split(".")[0] in CORPORA[name]])
        noise = str(speech / "noise" / "manifest.tsv")
        # One corpus is enough for what noise does.
        self.conditions = parse_conditions(noise=noise, snrs_db=[SNR_DB] if "pr" in CORPORA[name] else [])
        self.bootstrap = Bootstrap()

    def measure(self, name: str) -> None:
        """Measure a system, if that has not been done, and keep the scores."""
        specs = list(self.places(name))
        for spec, path in specs:
            if path.exists():
                continue
            began = time.process_time()
            with tempfile.TemporaryDirectory(dir=self.work) as cache:
                store = self.store(name, spec, Path(cache))
                seeds = len(SEEDS) if len(specs) == 1 else 1
                [found] = evaluate(self.corpus, [store], self.tasks, seeds=seeds)
            recorded.save(found, path, self.bootstrap)
            print(f"{self.corpus.name}: {spec}: {time.process_time() - began:.0f} s of processor time", flush=True)

    def store(self, name: str, spec: str, cache: Path) -> FrameStore:
        method = METHODS.get(CONTROLS.get(name, name))
        base = open_system(
            BASE,
            corpus=self.corpus,
            cache=self.work / "frames",
            conditions=self.conditions,
            condition_layers=[CUT, LAST],
        )
        if name == BASE:
            return base
        if name.startswith(f"{BASE}+"):
            return FREE_CONTROLS[name.removeprefix(f"{BASE}+")](LastLayer(base))
        if method and method != "rspin_tiny":
            return adapted(Path(spec), base, self.corpus, cut=CUT, cache=cache, conditions=self.conditions)
        return open_system(spec, corpus=self.corpus, cache=cache, layers="last", conditions=self.conditions)

    def places(self, name: str) -> Iterator[tuple[str, Path]]:
        """Where a system is, or each run of a method, and where its scores are kept."""
        scores = self.work / "scores" / self.corpus.name
        if name in (BASE, *FREE):
            yield name, scores / f"{name.replace(':', '-')}.npz"
            return
        rate = chosen_rate(self.work, CONTROLS.get(name, name))
        for seed in SEEDS:
            run = Run(name, rate, seed).folder
            yield str(self.work / "runs" / run / "adapted"), scores / f"{run}.npz"

    def write(self, names: Sequence[str], out: Path) -> None:
        facts = {
            "subject": "scaled replication",
            "tasks": list(CORPORA[self.corpus.name]),
            "conditions": [condition.describe() for condition in self.conditions],
        }
        folder = ResultsFolder(out / self.corpus.name, self.corpus, base=BASE, bootstrap=self.bootstrap, facts=facts)
        systems = [merged(name, [recorded.load(path) for _, path in self.places(name)]) for name in names]
        folder.save(systems, complete=True)


def chosen_rate(work: Path, method: str) -> float:
    """What the learning rate of a method was multiplied by in the run that was best in the sweep."""
    records = [json.loads(line) for line in (work / "sweep.jsonl").read_text().splitlines()]
    return float(min((one for one in records if one["name"] == method), key=lambda one: one["error"])["rate"])


def merged(name: str, runs: Sequence[SystemScores]) -> SystemScores:
    """Several runs of one method as one system, of which each run is a seed.

    Its probes were trained with seed 0, so of a single run's probes only that one counts: what one seed of a probe is
    better than another is no difference between systems.
    """
    first = runs[0]
    scores = {}
    for key, score in first.scores.items():
        measures = [measure for run in runs for measure in run.scores[key].measures]
        probed_often = len(runs) == 1 and score.task in ("pr", "asr")
        scores[key] = replace(score, measures=tuple(measures[:1] if probed_often else measures))
    return SystemScores(name, first.facts, first.last_layer, scores, dict(first.unmeasured), dict(first.seconds))


def some_of(corpus: LabelledCorpus) -> LabelledCorpus:
    """A corpus of at most so many test utterances, which follow from their ids."""
    test = list(corpus.splits[TEST])
    kept = set(sorted((u.id for u in test), key=lambda name: derive_seed("replication", name))[:MOST_UTTERANCES])
    return replace(corpus, splits={**corpus.splits, TEST: [u for u in test if u.id in kept]})


if __name__ == "__main__":
    main()
