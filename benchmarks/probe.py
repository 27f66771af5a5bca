"""What the recognition probes cost, and what longer training would give.

    python benchmarks/probe.py [MODEL] --data CORPUS --cache DIR [--hours 1.0] [--seeds 3]

Encodes the corpus first. Then, on about so many hours of whole speakers of its split `train`, it trains `pr` (the
weighted sum, and the last layer) and `asr` (the weighted sum) with the default settings, `pr` once more with greedy
decoding as usual, and both with five times the updates and on the whole split with one seed. Prints a Markdown table:
seconds of processor time and by the clock, and error rates on `test`, mean and range over the seeds.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

from ssft.evaluation.corpora import open_corpus
from ssft.evaluation.corpus import LabelledCorpus
from ssft.evaluation.frames import FrameStore
from ssft.evaluation.measure import Score
from ssft.evaluation.probe import PhoneRecognition, SpeechRecognition
from ssft.evaluation.probe.ctc_probe import CtcProbe
from ssft.evaluation.systems import open_system

LONGER = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("model", nargs="?", default="tiny")
    parser.add_argument("--data", required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--hours", type=float, default=1.0, help="of training speech")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()

    whole = open_corpus(options.data)
    store = open_system(options.model, corpus=whole, cache=options.cache)
    for split in ("train", "dev", "test"):
        for layer in store.layers:
            store.frames(split, layer=layer)
    corpus = shortened(whole, options.hours)
    weighted, last, asr = PhoneRecognition(layers="weighted"), PhoneRecognition(layers="last"), SpeechRecognition()
    print("| probe | train, h | updates | seeds | process, s | clock, s | error rates, mean (lowest to highest), % |")
    print("|---|---|---|---|---|---|---|")
    for task in (weighted, last, asr, replace(weighted, blank_penalties=(0.0,))):
        row(task, corpus, store, options.seeds)
    for task in (weighted, asr):
        row(task, whole, store, 1)
        row(replace(task, updates=task.updates * LONGER), corpus, store, 1)


def shortened(corpus: LabelledCorpus, hours: float) -> LabelledCorpus:
    """The corpus with whole speakers of its split `train`, evenly out of all, until they have spoken for `hours`."""
    speakers = sorted({utterance.speaker or "" for utterance in corpus.splits["train"]})
    share = hours / length(corpus)
    kept = {name for number, name in enumerate(speakers) if int((number + 1) * share) > int(number * share)}
    train = [utterance for utterance in corpus.splits["train"] if (utterance.speaker or "") in kept]
    return replace(corpus, splits={**corpus.splits, "train": train})


def length(corpus: LabelledCorpus) -> float:
    """Hours of the split `train`."""
    return sum(utterance.seconds for utterance in corpus.splits["train"]) / 3600


def row(task: CtcProbe, corpus: LabelledCorpus, store: FrameStore, seeds: int) -> None:
    process, clock = time.process_time(), time.perf_counter()
    scores = list(task.scores(corpus, store, seeds=seeds))
    process, clock = time.process_time() - process, time.perf_counter() - clock
    rates = [score for score in scores if score.measure.name != "layer weight"]
    said = "; ".join(f"{score.measure.name} {spread(score)}" for score in rates)
    greedy = ", no blank penalty" if task.blank_penalties == (0.0,) else ""
    name = f"`{task.name}`, {task.layers}{greedy}"
    facts = f"{length(corpus):.2f} | {task.updates:,} | {seeds} | {process:.0f} | {clock:.0f}"
    print(f"| {name} | {facts} | {said} |", flush=True)


def spread(score: Score) -> str:
    values = [100 * measure.value for measure in score.measures]
    return f"{100 * score.value:.1f} ({min(values):.1f} to {max(values):.1f})"


if __name__ == "__main__":
    main()
