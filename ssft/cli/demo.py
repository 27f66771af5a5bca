"""ssft demo: the whole job offline on bundled speech: train, compare before and after, export."""

from __future__ import annotations

import argparse
import json
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ssft.cli.train import finish
from ssft.errors import RunError

if TYPE_CHECKING:
    import numpy as np

    from ssft.data import Corpus
    from ssft.encoders import PretrainedEncoder
    from ssft.types import Utterance

Scores = dict[str, float]

NOISE_SNR_DB = 5.0
ROWS = {
    "word_abx": "word ABX across speakers, error %",
    "phone_abx": "phone ABX across speakers, error %",
    "word_abx_noisy": f"word ABX, pink noise at {NOISE_SNR_DB:g} dB",
    "phone_abx_noisy": f"phone ABX, pink noise at {NOISE_SNR_DB:g} dB",
    "effective_rank": "effective rank of the frames",
}
ERRORS = tuple(key for key in ROWS if "abx" in key)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", type=Path, default=Path("ssft-demo"), metavar="DIR", help="run folder (default: ssft-demo)"
    )
    parser.add_argument("--json", action="store_true", help="print the results as JSON, after the table")


def run(options: argparse.Namespace) -> None:
    from ssft.data import Data
    from ssft.encoders import PretrainedEncoder
    from ssft.recipe import load_recipe
    from ssft.run_export import export
    from ssft.runs import holds_run, recorded_recipe, resume, start

    began = time.monotonic()
    recipe = load_recipe("score_tiny")
    print(f"Adapting the embedded encoder with SCORE to {len(_speakers('train'))} synthetic voices, without labels.\n")
    # A demo that was made or interrupted before continues from where it is.
    if holds_run(options.out):
        if recorded_recipe(options.out).describe() != recipe.describe():
            raise RunError(f"{options.out} holds another run than the demo's; choose another --out.")
        result = resume(options.out)
    else:
        result = start(recipe, options.out)
    adapted = export(options.out)
    trained = time.monotonic()

    print("\ncomparing before and after on held-out voices and sentences ...")
    heldout = Data(root="demo", split="heldout").load()
    before, after = PretrainedEncoder.load("tiny"), PretrainedEncoder.load(str(adapted))
    base, mean_removed = measure(before, heldout)
    scores = {"base": base, "base, mean removed": mean_removed, "adapted": measure(after, heldout)[0]}
    table = markdown_table(scores)
    print(f"\n{table}\n\n{verdict(scores)}\n")
    (options.out / "results.md").write_text(f"{table}\n\n{verdict(scores)} {ABOUT}\n", encoding="utf-8")
    export(options.out)
    seconds = {"training": trained - began, "in all": time.monotonic() - began}
    record = {"scores": scores, "seconds": {name: round(value, 1) for name, value in seconds.items()}}
    (options.out / "results.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"run folder:      {options.out}\nresults:         {options.out / 'results.json'}")
    finish(adapted)
    print(f"a page about it: ssft report {shlex.quote(str(options.out))}")
    print(f"{result.hours * 60:.0f} minutes of audio heard, {seconds['in all']:.0f} s in all")
    if options.json:
        print(json.dumps(record))


ABOUT = (
    "Last hidden state; synthetic speech of eSpeak NG voices and sentences that training did not hear, times from the "
    "synthesiser; one run, no intervals. `mean removed` subtracts the mean frame of each utterance, which costs "
    "nothing: an adaptation should beat it. This shows that the tool works, not what it does to natural speech."
)


def measure(encoder: PretrainedEncoder, corpus: Corpus) -> tuple[Scores, Scores]:
    """Return what an encoder's last hidden state tells apart in the held-out demo speech, quiet and in noise.

    First as it is, then with the mean frame of each utterance removed.
    """
    from ssft.analysis.rank import effective_rank
    from ssft.evaluation.abx import abx
    from ssft.evaluation.items import phone_items, read_segments, word_items
    from ssft.features import stream_features

    folder = _folder()
    speakers = {utterance.id: utterance.speaker or "" for utterance in corpus.utterances}
    words = word_items(read_segments(folder / "words.tsv", "word"), speakers).items
    phones = phone_items(read_segments(folder / "alignments.tsv", "phone"), speakers).items
    results: tuple[Scores, Scores] = ({}, {})
    for condition, transform in (("", None), ("_noisy", _add_noise)):
        stream = stream_features(encoder, corpus.utterances, transform=transform, progress="encoding")
        as_it_is = {utterance.id: values for utterance, values in stream}
        centred = {name: values - values.mean(0) for name, values in as_it_is.items()}
        for scores, frames in zip(results, (as_it_is, centred), strict=True):
            scores[f"word_abx{condition}"] = 100 * abx(frames, words, speaker="across", max_group=2).error
            scores[f"phone_abx{condition}"] = 100 * abx(frames, phones, speaker="across", max_group=5).error
            if not condition:
                scores["effective_rank"] = effective_rank(list(frames.values()))
    return results


def markdown_table(scores: dict[str, Scores]) -> str:
    """Return scores as an aligned Markdown table, one column per system."""
    from ssft.evaluation.page import table

    rows = [[label, *(f"{own[key]:.2f}" for own in scores.values())] for key, label in ROWS.items()]
    return table(["", *scores], rows)


def verdict(scores: dict[str, Scores]) -> str:
    """Say in one sentence on how many error rates the adapted encoder beats the base, and the free control."""
    adapted = scores["adapted"]
    wins = [sum(adapted[key] < scores[other][key] for key in ERRORS) for other in ("base", "base, mean removed")]
    word = "Better" if min(wins) == len(ERRORS) else "Not better" if max(wins) == 0 else "Mixed"
    return (
        f"{word}: the adapted encoder makes fewer errors than the base on {wins[0]} of {len(ERRORS)} measures, "
        f"and than removing each utterance's mean on {wins[1]}."
    )


def _add_noise(wave: np.ndarray, utterance: Utterance) -> np.ndarray:
    """Mix pink noise in, the same for the same utterance."""
    from ssft.augment import AddNoise
    from ssft.randomness import derive_rng

    return AddNoise("pink", snr_db=(NOISE_SNR_DB,))(wave, derive_rng("demo noise", utterance.id))


def _folder() -> Path:
    from ssft.data import Data

    return Data(root="demo").path.parent


def _speakers(split: str) -> set[str]:
    from ssft.evaluation.items import read_table

    return {speaker for speaker, part in read_table(_folder() / "manifest.tsv", ("speaker", "split")) if part == split}
