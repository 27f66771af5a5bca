"""Train every system of the scaled replication: a sweep of learning rates with one seed, then the chosen ones again.

    python benchmarks/replication/train.py CORPUS WORK [--methods score spin] [--rates 1]

CORPUS is a folder like speechocean762_train (docs/evaluation.md); its split `train` is trained on, without labels, and
the learning rate is chosen by phone ABX across the speakers of `dev`. Every run sees as much audio in as many steps as
every other. WORK gets a run folder for each, and `sweep.jsonl`; what is there already is not done again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ssft.cli.main import main as main_of_ssft
from ssft.data import Data
from ssft.encoders import PretrainedEncoder
from ssft.evaluation.abx import abx
from ssft.evaluation.items import phone_items, read_segments
from ssft.features import stream_features
from ssft.recipe import load_recipe

STEPS, BATCH_SECONDS = 80, 24
RATES = (1.0, 3.0)
"""What a recipe's learning rates are multiplied by in the sweep."""
SEEDS = (0, 1, 2)
METHODS = {
    "score": "score_tiny",
    "laser": "laser_tiny",
    "spin": "spin_tiny",
    "nr-mse": "noise_robust_mse_tiny",
    "nr-softdtw": "noise_robust_softdtw_tiny",
    "rspin": "rspin_tiny",
}
CONTROLS = {"spin, no augmentation": "spin"}
"""Same steps, same learning rate, but both views alike."""


@dataclass(frozen=True)
class Run:
    """A system: its method or control, what the learning rates are multiplied by, and the seed."""

    name: str
    rate: float
    seed: int

    @property
    def folder(self) -> str:
        return f"{self.name.replace(', ', '-').replace(' ', '-')}-lr{self.rate:.3g}-seed{self.seed}"

    def command(self, corpus: Path, work: Path) -> list[str]:
        """What is typed to train it."""
        recipe = load_recipe(METHODS[CONTROLS.get(self.name, self.name)])
        rates = {name: rate * self.rate for name in ("lr", "head_lr") if (rate := getattr(recipe.train, name))}
        settings = {
            "data.root": corpus / "manifest.tsv",
            "data.split": "train",
            "data.verify": "header",
            "data.workers": 0,
            **{f"train.{name}": rate for name, rate in rates.items()},
            "train.steps": STEPS,
            "train.batch_seconds": BATCH_SECONDS,
            "train.save_every": STEPS,
            "train.seed": self.seed,
        }
        if recipe.data.targets:
            settings["data.targets"] = labels(corpus, work)
        if self.name in CONTROLS:
            settings["views.augmented"] = "null"
        typed = [text for key, value in settings.items() for text in (f"--{key}", str(value))]
        return ["train", recipe.name, *typed, "--out", str(work / "runs" / self.folder)]


@cache
def labels(corpus: Path, work: Path) -> Path:
    """Labels of the training frames for R-Spin, made as docs/units.md says: pieces of k-means units of the base."""
    units, pieces = work / "units.safetensors", work / "pieces.safetensors"
    data = ["--data", str(corpus / "manifest.tsv"), "--split", "train"]
    fit = ["fit", "tiny", *data, "--layer", "4", "--clusters", "128", "--mean-removed", "--max-hours", "0.5"]
    for path, arguments in (
        (units, [*fit, "--out", str(units)]),
        (pieces, ["encode", str(units), *data, "--pieces", "512", "--out", str(pieces)]),
    ):
        if not path.exists() and main_of_ssft(["units", *arguments]):
            sys.exit("making labels failed")
    return pieces


def adapt(run: Run, corpus: Path, work: Path) -> Path:
    """Return the adapted encoder of a run, trained if it is not there; in a process of its own."""
    adapted = work / "runs" / run.folder / "adapted"
    if not adapted.exists():
        print(f"training {run.folder}", flush=True)
        subprocess.run([sys.executable, "-m", "ssft", *run.command(corpus, work)], check=True, stdout=sys.stderr)
    return adapted


def dev_error(model: Path, corpus: Path) -> float:
    """Phone ABX across speakers of dev, in percent."""
    utterances = Data(str(corpus / "manifest.tsv"), split="dev", verify="header").load().utterances
    speakers = {utterance.id: utterance.speaker or "" for utterance in utterances}
    phones = [s for s in read_segments(corpus / "alignments.tsv", "phone") if s.utterance in speakers]
    stream = stream_features(PretrainedEncoder.load(str(model)), utterances)
    frames = {utterance.id: values for utterance, values in stream}
    return 100 * abx(frames, phone_items(phones, speakers).items, speaker="across", max_group=5).error


def sweep(run: Run, corpus: Path, work: Path) -> float:
    """Return the error by which a learning rate is chosen, measured once."""
    path = work / "sweep.jsonl"
    known = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    for record in known:
        if record["run"] == run.folder:
            return float(record["error"])
    error = dev_error(adapt(run, corpus, work), corpus)
    record = {"run": run.folder, "name": run.name, "rate": run.rate, "error": error}
    with path.open("a") as file:
        file.write(json.dumps(record) + "\n")
    print(f"{run.folder}: {error:.2f}", flush=True)
    return error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--rates", nargs="+", type=float, default=RATES)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    for method in options.methods:
        errors = {rate: sweep(Run(method, rate, 0), options.corpus, options.work) for rate in options.rates}
        best = min(errors, key=lambda rate: errors[rate])
        for name in (method, *(control for control, of in CONTROLS.items() if of == method)):
            for seed in SEEDS:
                adapt(Run(name, best, seed), options.corpus, options.work)
        print(f"{method}: learning rate x {best:.3g} of {', '.join(f'x {r:.3g}: {e:.2f}' for r, e in errors.items())}")


if __name__ == "__main__":
    main()
