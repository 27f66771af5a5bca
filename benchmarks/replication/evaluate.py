"""Measure every system of the scaled replication on three corpora, and print what is in recipes/README.md.

    python benchmarks/replication/evaluate.py SPEECH WORK OUT

SPEECH holds speechocean762_train, fsdd, arabic_speech_commands and noise; WORK is what benchmarks/replication/train.py
made of the first; OUT gets a folder of results for each corpus. The three runs of a method count as three seeds of one
system. The encoder that all start from is measured at every layer, whatever else at its last.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ssft.evaluation.systems import open_system, parse_conditions
from train import CONTROLS, METHODS, SEEDS, Run

from ssft.evaluation.corpora import open_corpus
from ssft.evaluation.corpus import LabelledCorpus
from ssft.evaluation.results_folder import ResultsFolder
from ssft.evaluation.suite import SystemScores, evaluate
from ssft.evaluation.tasks import make_tasks

BASE = "tiny"
FREE = ("tiny+mean-removed", "tiny+smoothed", "tiny+whitened", "mfcc", "random:tiny")
CORPORA = {
    "speechocean762_train": ("abx", "pr", "asr", "qbe", "units", "speaker"),
    "fsdd": ("abx", "qbe", "speaker"),
    "arabic_speech_commands": ("abx", "qbe", "speaker"),
}
SNR_DB = 10.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("speech", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--corpora", nargs="+", default=list(CORPORA), choices=CORPORA)
    options = parser.parse_args()
    for name in options.corpora:
        corpus = open_corpus(options.speech / name).limited(train_hours=1.0)
        measure(corpus, CORPORA[name], options)


def measure(corpus: LabelledCorpus, names: Sequence[str], options: argparse.Namespace) -> None:
    """Measure all systems on a corpus, and save after each."""
    noise = str(options.speech / "noise" / "manifest.tsv")
    conditions = parse_conditions(noise=noise, snrs_db=(SNR_DB,), reverb="rooms")
    folder = ResultsFolder(
        options.out / corpus.name,
        corpus,
        base=BASE,
        facts={"subject": "scaled replication", "conditions": [condition.name for condition in conditions]},
    )
    tasks = make_tasks(names)
    found: list[SystemScores] = []
    for name, specs in systems(options.work):
        began = time.process_time()
        runs = []
        for spec in specs:
            with tempfile.TemporaryDirectory() as cache:
                layers = None if spec == BASE else "last"
                store = open_system(spec, corpus=corpus, cache=Path(cache), layers=layers, conditions=conditions)
                runs += evaluate(corpus, [store], tasks, seeds=len(SEEDS) if len(specs) == 1 else 1)
        found.append(merged(name, runs))
        folder.save(found, complete=False)
        print(f"{corpus.name}: {name} in {time.process_time() - began:.0f} s of processor time", flush=True)
    folder.save(found, complete=True)


def systems(work: Path) -> Iterator[tuple[str, list[str]]]:
    """Every system by name, and where it is; several places for the runs of one method."""
    for spec in (BASE, *FREE):
        yield spec, [spec]
    best = {}
    for line in (work / "sweep.jsonl").read_text().splitlines():
        record = json.loads(line)
        best[record["name"]] = min(record, best.get(record["name"], record), key=lambda one: one["error"])
    for name in (*METHODS, *CONTROLS):
        rate = best[CONTROLS.get(name, name)]["rate"]
        yield name, [str(work / "runs" / Run(name, rate, seed).folder / "adapted") for seed in SEEDS]


def merged(name: str, runs: Sequence[SystemScores]) -> SystemScores:
    """Several runs of one method as one system, of which each run is a seed."""
    first = runs[0]
    scores = {
        key: replace(score, measures=tuple(measure for run in runs for measure in run.scores[key].measures))
        for key, score in first.scores.items()
    }
    return SystemScores(name, first.facts, first.last_layer, scores, dict(first.unmeasured), dict(first.seconds))


if __name__ == "__main__":
    main()
