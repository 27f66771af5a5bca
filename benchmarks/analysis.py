"""What the label-free measures of all layers cost beside encoding, and beside an SVD of stored features.

    OMP_WAIT_POLICY=passive python benchmarks/analysis.py --data CORPUS --cache DIR [--minutes 60] [--layers 12]

Encodes so many minutes of the corpus, repeated if it is shorter, with random weights of the size of HuBERT-base, then
measures every layer: ranks of all frames and of utterances, 1,024 clusters, uniformity, and alignment between clean
frames and those of 12 minutes with another pitch. Prints a Markdown table: seconds of processor time and by the clock,
the share of the clock time of encoding clean audio, and the most memory that a step held. Anonymous memory is what
cannot be given back; pages of features that are mapped from the disk are not in it. The last rows are the global rank
of one layer by numpy's SVD of all its frames at once, and by this toolkit; and how far the two differ.
"""

from __future__ import annotations

import argparse
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor

from ssft.analysis.clusters import cluster_quality, fit_centres
from ssft.analysis.part import analysed_part
from ssft.analysis.rank import measure_ranks
from ssft.analysis.sample import FrameSample
from ssft.analysis.uniformity import Augmented, uniformity
from ssft.encoders import PretrainedEncoder
from ssft.evaluation.corpora import open_corpus
from ssft.evaluation.corpus import TEST, LabelledCorpus
from ssft.evaluation.systems import EncoderFrames, parse_conditions

AUGMENTED_HOURS = 0.2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--layers", type=int, default=12, help="of the encoder")
    parser.add_argument("--frames", type=int, default=50_000, help="of the sample")
    options = parser.parse_args()

    torch.manual_seed(0)
    config = HubertConfig(num_hidden_layers=options.layers)
    encoder = PretrainedEncoder(HubertModel(config), Wav2Vec2FeatureExtractor(), source="random HuBERT-base")
    corpus = analysed_part(
        repeated(open_corpus(options.data), hours=options.minutes / 60),
        max_hours=options.minutes / 60,
        augmented_hours=min(AUGMENTED_HOURS, options.minutes / 60),
    )
    shutil.rmtree(options.cache, ignore_errors=True)
    store = EncoderFrames(
        encoder,
        corpus,
        name="hubert",
        cache=options.cache,
        conditions=parse_conditions(augmentations=["pitch_shift"]),
        condition_layers="all",
    )
    print(corpus.summary(), f"; {torch.get_num_threads()} threads\n", sep="")
    print("| step | process, s | clock, s | of encoding, % | anonymous memory, GB |")
    print("|---|---|---|---|---|")
    table = Table()
    with table.row("encoding, all layers"):
        every = [store.frames(layer=layer) for layer in store.layers]
    with table.row("encoding again with another pitch"):
        changed = [store.frames("augmented", layer=layer, condition="pitch_shift") for layer in store.layers]
    with table.row("all measures"):
        with table.row("- sample"):
            sample = FrameSample(every, most_frames=options.frames)
        for frames, other in zip(every, changed, strict=True):
            with table.part("- ranks"):
                measure_ranks(frames)
            with table.part("- reading the sample"):
                values = sample.of(frames)
            with table.part("- k-means"):
                centres = fit_centres(values, clusters=min(1024, len(values)))
            with table.part("- indices of clusters"):
                cluster_quality(values, centres)
            with table.part("- uniformity"):
                uniformity(values, sample.places)
            with table.part("- alignment and moment error"):
                both = Augmented(frames, other)
                both.alignment()
                both.moment_error()
        table.parts()
    del values, both
    with table.row("global rank of the last layer by SVD"):
        stored = np.concatenate([np.asarray(every[-1][name], dtype=np.float64) for name in every[-1]])
        shares = np.linalg.svd(stored, compute_uv=False)
        shares /= shares.sum() + 1e-7
        by_svd = float(np.exp(-(shares * np.log(shares + 1e-7)).sum()))
    del stored
    with table.row("ranks of the last layer"):
        rank = measure_ranks(every[-1]).global_rank
    print(f"\n{sample.count:,} frames sampled. Global rank {rank:.6f}; by SVD {by_svd:.6f}: {rank / by_svd - 1:+.1e}.")


def repeated(corpus: LabelledCorpus, *, hours: float) -> LabelledCorpus:
    """All utterances, under new names as often as it takes."""
    whole = [utterance for split in sorted(corpus.splits) for utterance in corpus.splits[split]]
    times = 1 + int(3600 * hours / sum(utterance.seconds for utterance in whole))
    again = [replace(utterance, id=f"{number}/{utterance.id}") for number in range(times) for utterance in whole]
    return replace(corpus, splits={TEST: again}, phones={}, words={})


class Table:
    """Prints a row for each step, or one for all parts of the same name."""

    def __init__(self) -> None:
        self.encoding = 0.0
        self._sums: dict[str, tuple[float, float, float]] = {}

    @contextmanager
    def row(self, name: str) -> Iterator[None]:
        with self._timed(partial(self._print, name)):
            yield

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        with self._timed(partial(self._add, name)):
            yield

    def parts(self) -> None:
        for name, sums in self._sums.items():
            self._print(name, *sums)

    @contextmanager
    def _timed(self, then: partial[None]) -> Iterator[None]:
        memory = PeakMemory()
        process, clock = time.process_time(), time.perf_counter()
        yield
        process, clock = time.process_time() - process, time.perf_counter() - clock
        then(process, clock, memory.stop())

    def _print(self, name: str, process: float, clock: float, memory: float) -> None:
        self.encoding = self.encoding or clock
        share = 100 * clock / self.encoding
        print(f"| {name} | {process:.1f} | {clock:.1f} | {share:.1f} | {memory:.2f} |", flush=True)

    def _add(self, name: str, process: float, clock: float, memory: float) -> None:
        before = self._sums.get(name, (0.0, 0.0, 0.0))
        self._sums[name] = (before[0] + process, before[1] + clock, max(before[2], memory))


class PeakMemory:
    """The most anonymous memory of this process while it is looked at, twenty times a second (Linux)."""

    def __init__(self) -> None:
        self._most = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> float:
        self._ended.set()
        self._thread.join()
        return self._most

    def _watch(self) -> None:
        while True:
            lines = Path("/proc/self/status").read_text().splitlines()
            kilobytes = next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
            self._most = max(self._most, kilobytes / 1e6)
            if self._ended.wait(0.05):
                return


if __name__ == "__main__":
    main()
