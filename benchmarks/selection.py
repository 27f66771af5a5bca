"""What choosing a checkpoint without labels is worth: every checkpoint of good and bad runs, with and without labels.

    python benchmarks/selection.py CORPUS WORK

CORPUS is a folder with manifest.tsv (path, speaker, split = train | dev), words.tsv and alignments.tsv. Tiny recipes
are trained on some utterances of the split `train`, with settings that do and do not go well. Every checkpoint is
measured by `Validation` on other utterances of that split, and by phone and word ABX across speakers of `dev`, on which
nothing is trained or chosen. WORK keeps what was trained, so that a second call only measures without labels. Prints
Markdown.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from scipy.stats import spearmanr
from torch import Tensor

from ssft.data import Data, PairDataset, batches_by_length, read_audio
from ssft.data.sampler import DurationBatchSampler
from ssft.encoders import SplitEncoder
from ssft.engine.cache import CachedPairs
from ssft.engine.model import CorrespondenceModel
from ssft.engine.optim import make_optimizer, set_lr, trainable
from ssft.engine.validation import Validation
from ssft.evaluation.abx import abx
from ssft.evaluation.items import phone_items, read_segments, word_items
from ssft.randomness import derive_seed
from ssft.recipe import Recipe, load_recipe
from ssft.runs import with_overrides
from ssft.types import PairBatch, Utterance, Waves

STEPS, SAVE_EVERY, BATCH_SECONDS = 120, 20, 24.0
TRAINING, HELD_OUT = 200, 64

Record = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """A recipe, what its learning rates are multiplied by, what else is changed, and the seed."""

    recipe: str
    lr: float
    override: tuple[str, ...] = ()
    seed: int = 0

    def load(self) -> Recipe:
        recipe = load_recipe(self.recipe)
        rates = {name: rate * self.lr for name in ("lr", "head_lr") if (rate := getattr(recipe.train, name))}
        settings = {**rates, "steps": STEPS, "batch_seconds": BATCH_SECONDS, "seed": self.seed}
        typed = [text for name, value in settings.items() for text in (f"--train.{name}", str(value))]
        return with_overrides(recipe, [*typed, *self.override])


WEAK = ("--loss.alpha", "0.4")
ALIKE = ("--views.augmented", "null")
RUNS = {
    **{f"{name}, lr x{lr}": Run(f"{name}_tiny", lr) for name in ("score", "laser") for lr in (1, 10, 100)},
    "laser, weak regulariser, lr x1": Run("laser_tiny", 1, WEAK),
    "laser, weak regulariser, lr x10": Run("laser_tiny", 10, WEAK),
    **{f"spin, lr x{lr}": Run("spin_tiny", lr) for lr in (1, 10, 100)},
    "spin, no augmentation, lr x10": Run("spin_tiny", 10, ALIKE),
    "laser, lr x3, seed 1": Run("laser_tiny", 3, seed=1),
    "spin, lr x3, seed 1": Run("spin_tiny", 3, seed=1),
}
SEEN = 7
"""The score got its form on so many of these runs, the first ones."""
SAME_AUGMENTATION = {"laser_tiny": "score_tiny"}
SIGNS = {"loss": 1, "invariance": -1, "discrimination": -1, "rank": -1, "drift": 1, "score": -1}
"""1 for numbers of which the least is thought the best, -1 for others."""
ERRORS = ("phone ABX", "word ABX")


class Benchmark:
    """A corpus, cut into what is trained on, what is held out, and speakers whose words and phones are known."""

    def __init__(self, corpus: Path, work: Path) -> None:
        def load(split: str) -> list[Utterance]:
            return list(Data(str(corpus / "manifest.tsv"), split=split, verify="header").load().utterances)

        self.work = work
        work.mkdir(parents=True, exist_ok=True)
        utterances = load("train")
        self.training = utterances[::7][:TRAINING]
        others = [utterance for index, utterance in enumerate(utterances) if index % 7]
        self.held_out = others[:: len(others) // HELD_OUT][:HELD_OUT]
        dev = load("dev")[::2]
        speakers = {utterance.id: utterance.speaker or "" for utterance in dev}
        self.items = {
            kind: make([s for s in read_segments(corpus / table, kind) if s.utterance in speakers], speakers).items
            for kind, table, make in (("phone", "alignments.tsv", phone_items), ("word", "words.tsv", word_items))
        }
        self.encoder = load_recipe("score_tiny").encoder.load()  # all these recipes train the same layers of it
        self.base = {name: tensor.clone() for name, tensor in self.encoder.state_dict().items()}
        self.dev = [
            ([dev[index].id for index in batch], self.encoder.bottom(_waves([dev[index] for index in batch])))
            for batch in batches_by_length([utterance.seconds for utterance in dev], 60.0)
        ]
        self.pairs = lru_cache(self._pairs)
        self.validation = lru_cache(self._validation)

    def train(self, name: str) -> list[Record]:
        """Train a run, save what its checkpoints train of the encoder, and return a record of each; once per WORK."""
        path = self.work / f"{name}.jsonl"
        if not path.exists():
            path.write_text("".join(json.dumps(record) + "\n" for record in self._train(name)))
        return [json.loads(line) for line in path.read_text().splitlines()]

    def validate(self, name: str, records: Sequence[Record]) -> list[Record]:
        """Return the records with what can be said without labels, by twins as the recipe makes them.

        A run without augmentation is judged by the twins that its recipe would have made.
        """
        recipe = RUNS[name].recipe
        validation = self.validation(SAME_AUGMENTATION.get(recipe, recipe))
        found = []
        for record in records:
            self.encoder.load_state_dict({**self.base, **load_file(self._weights(name, record["step"]))})
            found.append({**record, **validation.measure(self.encoder)})
        return found

    @torch.no_grad()
    def errors(self, encoder: SplitEncoder) -> dict[str, float]:
        """ABX errors across speakers, in percent."""
        encoder.eval()
        frames: dict[str, Tensor] = {}
        for ids, bottom in self.dev:
            frames.update(zip(ids, encoder.top(bottom).items(), strict=True))
        encoder.train()
        return {
            f"{kind} ABX": 100 * abx(frames, items, speaker="across", max_group=3, max_x_speakers=3).error
            for kind, items in self.items.items()
        }

    def _train(self, name: str) -> list[Record]:
        run = RUNS[name]
        recipe = run.load()
        pairs = self.pairs(SAME_AUGMENTATION.get(run.recipe, run.recipe), run.override != ALIKE)
        pairs.pairs.swap = recipe.views.swap
        encoder = recipe.encoder.load()
        model = CorrespondenceModel(encoder, recipe.head, recipe.loss, reference=recipe.views.reference, seed=run.seed)
        optimizer = make_optimizer(model, recipe.train)
        sampler = DurationBatchSampler(pairs.pairs.seconds, batch_seconds=BATCH_SECONDS, seed=run.seed)
        records: list[Record] = []
        losses: list[float] = []
        for step, keys in enumerate(islice(sampler, STEPS)):
            set_lr(optimizer, step, recipe.train)
            torch.manual_seed(derive_seed(run.seed, step, 0))
            loss = model(PairBatch.collate([pairs[key] for key in keys]))["loss"]
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trainable(model).values(), recipe.train.clip_norm)
            optimizer.step()
            optimizer.zero_grad()
            model.after_step()
            losses.append(loss.item())
            if (step + 1) % SAVE_EVERY == 0:
                weights = {key: value.detach().clone() for key, value in trainable(encoder).items()}
                save_file(weights, self._weights(name, step + 1))
                mean = math.fsum(losses[-SAVE_EVERY:]) / SAVE_EVERY
                records.append({"run": name, "step": step + 1, "loss": mean, **self.errors(encoder)})
        return records

    def _pairs(self, recipe: str, is_augmented: bool) -> CachedPairs:
        augment = load_recipe(recipe).views.augmented if is_augmented else None
        pairs = PairDataset(self.training, augment=augment, max_seconds=4.0, variants=2)
        keys = [(variant, index) for variant in range(2) for index in range(len(pairs))]
        return CachedPairs(pairs, load_recipe(recipe).encoder.load(), keys=keys)

    def _validation(self, recipe: str) -> Validation:
        pairs = PairDataset(self.held_out, augment=load_recipe(recipe).views.augmented, max_seconds=4.0, variants=1)
        return Validation(pairs, load_recipe(recipe).encoder.load())

    def _weights(self, name: str, step: int) -> Path:
        return self.work / f"{name}-{step}.safetensors"


def _waves(utterances: Sequence[Utterance]) -> Waves:
    return Waves.stack([torch.from_numpy(read_audio(utterance.path)) for utterance in utterances])


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a Markdown table."""
    print(f"\n| {' | '.join(header)} |\n|{'---|' * len(header)}")
    for row in rows:
        print(f"| {' | '.join(cell if isinstance(cell, str) else f'{cell:.2f}' for cell in row)} |")


def show_runs(runs: dict[str, list[Record]], base: dict[str, float]) -> None:
    """Print, for each run and error, what it is for the last, the best and the chosen checkpoints."""
    rows = []
    for name, records in runs.items():
        row: list[Any] = [name]
        chosen = {by: min(records, key=lambda one, by=by: SIGNS[by] * one[by]) for by in ("score", "loss")}  # type: ignore[misc]
        for error in ERRORS:
            row += [records[-1][error], min(record[error] for record in records)]
            row += [record[error] for record in chosen.values()]
        row += [f"{chosen['score']['step']}", chosen["score"]["score"], records[-1]["score"]]
        rows.append(row)
    good = [row for row in rows if row[2] < base[ERRORS[0]]]
    means = [math.fsum(values) / len(good) for values in zip(*(row[1:9] for row in good), strict=True)]
    rows.append([f"mean of the {len(good)} runs that were ever better than the base", *means, "", "", ""])
    choices = ("last", "best", "by score", "by loss")
    table(["run", *(f"{error}: {c}" for error in ERRORS for c in choices), "step", "its score", "last score"], rows)
    print("\nbase: " + ", ".join(f"{name} {base[name]:.2f}" for name in ERRORS))


def show_correlations(runs: dict[str, list[Record]], base: dict[str, float]) -> None:
    """Print Spearman's rank correlation of every number, its best first, with every error."""
    everything = [record for records in runs.values() for record in records]
    late = [record for name in list(runs)[SEEN:] for record in runs[name]]
    sets = {
        "all checkpoints": everything,
        "of runs that the score's form was not decided on": late,
        "that are better than the base": [one for one in everything if one["phone ABX"] < base["phone ABX"]],
        "the last of every run": [records[-1] for records in runs.values()],
    }
    rows = []
    for name, records in sets.items():
        for error in ERRORS:
            row: list[Any] = [f"{name} ({len(records)})", error]
            for number, sign in SIGNS.items():
                # Losses of different recipes cannot be compared.
                row.append("" if number == "loss" else _spearman(records, number, sign, error))
            rows.append(row)
    for error in ERRORS:
        row = ["within a run, mean over runs", error]
        for number, sign in SIGNS.items():
            values = [_spearman(records, number, sign, error) for records in runs.values()]
            row.append(math.fsum(values) / len(values))
        rows.append(row)
    table(["checkpoints", "error", *SIGNS], rows)


def _spearman(records: Sequence[Record], number: str, sign: int, error: str) -> float:
    return float(spearmanr([sign * record[number] for record in records], [record[error] for record in records])[0])


def show_checkpoints(runs: dict[str, list[Record]]) -> None:
    """Print everything."""
    columns = ["step", "loss", *ERRORS, *list(SIGNS)[1:]]
    rows = [
        [name, str(record["step"]), *(f"{record[column]:.3f}" for column in columns[1:])]
        for name, records in runs.items()
        for record in records
    ]
    table(["run", *columns], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("work", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    began = time.process_time()
    benchmark = Benchmark(options.corpus, options.work)
    base = benchmark.errors(benchmark.encoder)
    runs = {name: benchmark.train(name) for name in RUNS}
    trained = time.process_time()
    runs = {name: benchmark.validate(name, records) for name, records in runs.items()}
    show_runs(runs, base)
    show_correlations(runs, base)
    show_checkpoints(runs)
    print(
        f"\n{trained - began:.0f} s of one core for training and ABX, "
        f"{time.process_time() - trained:.0f} s for what needs no labels"
    )


if __name__ == "__main__":
    main()
