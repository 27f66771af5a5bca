"""What tiny recipes do to real speech: word and phone ABX and effective rank of held-out speakers, before and after.

    python benchmarks/real_speech.py CORPUS [--recipes score_tiny spin_tiny] [--seeds 0 1 2]

CORPUS is a folder with manifest.tsv (path, speaker, split = train | dev), words.tsv and alignments.tsv, like the demo
speech. Trains on the split `train`, without labels, measures on `dev`, and prints a Markdown table, a row per system.
A recipe that needs labels of the frames gets acoustic pieces of k-means units of the base encoder, made here.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from torch import Tensor

from ssft.analysis.rank import effective_rank
from ssft.augment import AddNoise
from ssft.cli.main import main as main_of_ssft
from ssft.data import Data
from ssft.encoders import PretrainedEncoder
from ssft.evaluation.abx import abx
from ssft.evaluation.items import phone_items, read_segments, word_items
from ssft.features import stream_features
from ssft.randomness import derive_rng
from ssft.recipe import load_recipe
from ssft.run_export import export
from ssft.runs import start, with_overrides
from ssft.types import Utterance

TABLES = {"word": "words", "phone": "alignments"}
NOISE_SNR_DB = 5.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--recipes", nargs="+", default=["score_tiny"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--override", nargs=argparse.REMAINDER, default=[], help="settings of the recipe, --key value")
    options = parser.parse_args()
    base = PretrainedEncoder.load("tiny")
    scores = measure(base, options.corpus)
    print(f"| last hidden state | {' | '.join(scores)} |\n|---|{'---|' * len(scores)}")
    show("base", scores)
    show("base, utterance mean removed", measure(base, options.corpus, lambda frames: frames - frames.mean(0)))
    for name, seed in itertools.product(options.recipes, options.seeds):
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
            began = time.monotonic()
            recipe = load_recipe(name)
            settings = ["--data.root", str(options.corpus / "manifest.tsv"), "--data.split", "train"]
            if recipe.data.targets:
                settings += ["--data.targets", str(label(options.corpus, Path(folder)))]
            recipe = with_overrides(recipe, [*settings, "--train.seed", str(seed), *options.override])
            start(recipe, Path(folder) / "run")
            adapted = PretrainedEncoder.load(str(export(Path(folder) / "run")))
            seconds = time.monotonic() - began
            scores = measure(adapted, options.corpus)
        show(f"{name}, seed {seed} ({seconds:.0f} s)", scores)


def show(name: str, scores: dict[str, float]) -> None:
    """Print a row of the table as soon as it is known."""
    print(f"| {name} | {' | '.join(f'{score:.2f}' for score in scores.values())} |", flush=True)


def label(corpus: Path, folder: Path) -> Path:
    """Return a file of labels of the training split, made as docs/units.md says."""
    units, pieces = folder / "units.safetensors", folder / "pieces.safetensors"
    data = ["--data", str(corpus / "manifest.tsv"), "--split", "train"]
    fit = ["fit", "tiny", *data, "--layer", "4", "--clusters", "128", "--mean-removed", "--max-hours", "0.5"]
    for arguments in (
        [*fit, "--out", str(units)],
        ["encode", str(units), *data, "--pieces", "512", "--out", str(pieces)],
    ):
        if main_of_ssft(["units", *arguments]):
            sys.exit("making labels failed")
    return pieces


def measure(
    encoder: PretrainedEncoder, folder: Path, transform: Callable[[Tensor], Tensor] = lambda frames: frames
) -> dict[str, float]:
    corpus = Data(str(folder / "manifest.tsv"), split="dev", verify="header").load()
    speakers = {utterance.id: utterance.speaker or "" for utterance in corpus.utterances}
    segments = {kind: read_segments(folder / f"{table}.tsv", kind) for kind, table in TABLES.items()}
    own = {kind: [s for s in read if s.utterance in speakers] for kind, read in segments.items()}
    items = {"word": word_items(own["word"], speakers).items, "phone": phone_items(own["phone"], speakers).items}
    scores: dict[str, float] = {}
    rank = 0.0
    for condition, change in (("", None), (f", pink noise {NOISE_SNR_DB:g} dB", add_noise)):
        stream = stream_features(encoder, corpus.utterances, transform=change, progress="encoding")
        frames = {utterance.id: transform(values) for utterance, values in stream}
        rank = rank or effective_rank(list(frames.values()))
        for kind, own_items in items.items():
            for mode in ("across",) if condition else ("across", "within"):
                error = abx(frames, own_items, speaker=mode, max_group=5).error
                scores[f"{kind} ABX {mode}{condition} %"] = 100 * error
    return scores | {"effective rank": rank}


def add_noise(wave: np.ndarray, utterance: Utterance) -> np.ndarray:
    return AddNoise("pink", snr_db=(NOISE_SNR_DB,))(wave, derive_rng("benchmark noise", utterance.id))


if __name__ == "__main__":
    main()
