"""Query by example beside scipy and dtw-python, which SUPERB's code calls for every query and document.

    python benchmarks/qbe.py CORPUS --cache DIR [--model tiny] [--layers 0 6] [--queries 20] [--rounds 3]

CORPUS and MODEL are as for `ssft evaluate`; frames are kept in DIR. Needs `dtw-python`. In each round both compute the
distances of the same queries and documents once, normalisation of the frames included, in one thread. Then the whole
task is measured in all layers: what it takes beside the encoding. Times are of the process's own clock, which stands
still while something else runs. Prints Markdown.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import dtw
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from ssft.evaluation.bootstrap import Bootstrap
from ssft.evaluation.corpora import open_corpus
from ssft.evaluation.search import QueryByExample, make_search_task
from ssft.evaluation.systems.opening import open_system
from ssft.ops.subsequence_dtw import subsequence_dtw

Frames = NDArray[np.float32]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("corpus")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--layers", type=int, nargs="+", default=[0, 6])
    parser.add_argument("--queries", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    corpus = open_corpus(options.corpus)
    store = open_system(options.model, corpus=corpus, cache=options.cache)
    search = make_search_task(corpus)
    print(f"{platform.python_version()}, torch {torch.__version__}, dtw-python {dtw.__version__}\n")

    rows = []
    for layer in options.layers:
        features, rate = store.frames(layer=layer), store.frame_rate(layer)
        documents = [np.asarray(features[name]) for name in search.documents]
        chosen = search.queries[:: max(1, len(search.queries) // options.queries)][: options.queries]
        queries = [
            np.asarray(features[query.utterance])[round(query.start * rate) : round(query.end * rate)]
            for query in chosen
        ]
        rows.append([layer, *compare(queries, documents, options.rounds)])
    print(f"### {len(queries)} queries in {len(documents)} documents, {sum(map(len, documents)):,} frames\n")
    header = ["layer", "ssft, s", "cdist + dtw-python, s", "ratio", "largest difference of distances", "of scores"]
    table(header, rows)

    print(f"\n### The whole task, {len(search.queries)} queries, {len(store.layers)} layers\n")
    began = time.process_time()
    scores = list(QueryByExample().scores(corpus, store))
    took = time.process_time() - began
    began = time.process_time()
    bootstrap = Bootstrap()
    intervals = [bootstrap.interval(score) for score in scores]
    print(f"{took:.1f} s; {1000 * (time.process_time() - began):.0f} ms for {len(scores)} intervals of 1,000 draws.\n")
    table(
        ["layer", "measure", "%", "95 %", "queries"],
        [
            [score.layer, score.measure.name, f"{100 * score.value:.1f}",
             f"{100 * own.low:.1f} to {100 * own.high:.1f}", score.measure.counts["queries"]]
            for score, own in zip(scores, intervals, strict=True)
        ],
    )  # fmt: skip


def compare(queries: Sequence[Frames], documents: Sequence[Frames], rounds: int) -> list[Any]:
    """Medians of both, their ratio, and how far results lie apart."""
    subsequence_dtw(queries[:1], documents[:1])  # compiled, or loaded
    times: list[tuple[float, float]] = []
    for _ in range(rounds):
        ours, took = timed(lambda: subsequence_dtw(queries, documents))
        theirs, took_them = timed(lambda: pair_by_pair(queries, documents))
        times.append((took, took_them))
    own, other = (statistics.median(each) for each in zip(*times, strict=True))
    apart, scores_apart = np.abs(ours - theirs).max(), np.abs(standard(ours) - standard(theirs)).max()
    return [f"{own:.2f}", f"{other:.2f}", f"{other / own:.1f}", f"{apart:.1e}", f"{scores_apart:.1e}"]


def timed(compute: Callable[[], NDArray[Any]]) -> tuple[NDArray[Any], float]:
    began = time.process_time()
    result = compute()
    return result, time.process_time() - began


def pair_by_pair(queries: Sequence[Frames], documents: Sequence[Frames]) -> NDArray[np.float64]:
    """The same by scipy and dtw-python, float64 from the beginning."""
    everything = np.concatenate([*queries, *documents]).astype(np.float64)
    mean, deviation = everything.mean(axis=0), everything.std(axis=0)
    queries, documents = ([(own - mean) / deviation for own in side] for side in (queries, documents))
    distances = np.empty((len(queries), len(documents)))
    for q, query in enumerate(queries):
        for d, document in enumerate(documents):
            costs = np.exp(cdist(query, document, "cosine")) - 1
            low, high = costs.min(axis=1, keepdims=True), costs.max(axis=1, keepdims=True)
            costs = (costs - low) / np.maximum(high - low, 1e-9)
            path = dtw.dtw(costs, step_pattern="asymmetric", open_begin=True, open_end=True)
            distances[q, d] = path.normalizedDistance
    return distances


def standard(distances: NDArray[Any]) -> NDArray[np.float64]:
    """Scores of each query, before they are rounded."""
    scores = -distances.astype(np.float64)
    return (scores - scores.mean(axis=1, keepdims=True)) / scores.std(axis=1, keepdims=True)


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    for cells in (header, ["---"] * len(header), *rows):
        print("| " + " | ".join(map(str, cells)) + " |")


if __name__ == "__main__":
    main()
