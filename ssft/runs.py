"""Run folders: start one from a recipe, and go on with it."""

from __future__ import annotations

import json
import platform
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from ssft.data import Corpus, PairDataset
from ssft.data.rejects import read_rejects, refuse_too_many, write_rejects
from ssft.engine import CheckpointFolder, CorrespondenceModel, CorrespondenceTrainer, TrainResult
from ssft.engine.changes import refuse_changes
from ssft.engine.checkpoint import refuse_existing_run
from ssft.engine.interrupt import InterruptFlag
from ssft.engine.lock import RunLock
from ssft.engine.optim import trainable
from ssft.engine.ranks import Ranks
from ssft.engine.trackers import refuse_missing_trackers
from ssft.errors import RecipeError, RunError
from ssft.files import write_atomically, writing
from ssft.overrides import apply_overrides, parse_overrides
from ssft.recipe import Recipe, load_recipe
from ssft.types import Reject

_CORPUS = "corpus.safetensors"
_ELSEWHERE = "Choose another --out."
_FEWEST_HELD_OUT, _MOST_HELD_OUT = 8, 64
_MAY_CHANGE = {
    "data": ("workers", "verify", "max_rejects"),
    "train": (
        "keep", "keep_best", "patience", "max_discarded", "on_collapse", "processes", "trackers", "save_every",
    ),
}  # fmt: skip
"""Settings that decide nothing of what a step computes."""

_PACKAGES = ("ssft", "torch", "torchaudio", "transformers", "accelerate", "peft", "soundfile", "soxr", "numpy", "numba")


def with_overrides(recipe: Recipe, arguments: list[str]) -> Recipe:
    """Return a new recipe, built from the description of `recipe` after `--key value` arguments have changed it.

    Raises:
        RecipeError: an argument that leads nowhere or a value that does not fit.
    """
    overrides = parse_overrides(arguments)
    # A preset first, so that whatever else was typed changes what it has set.
    description = recipe.with_preset(str(dict(overrides).get("preset", recipe.preset))).describe()
    apply_overrides(description, [(key, value) for key, value in overrides if key != "preset"])
    return Recipe.from_description(description)


def start(recipe: Recipe, folder: Path) -> TrainResult:
    """Train a recipe in a new run folder.

    Raises:
        SsftError: anything the user can mend: recipe, audio, encoder or folder.
        InterruptedRunError: SIGINT, SIGTERM or SIGUSR1 came.
    """
    recipe = recipe.with_preset(recipe.preset)
    recipe.check()
    recipe.views.check_sources()
    refuse_missing_trackers(recipe.train.trackers)
    ranks = Ranks(expected=recipe.train.processes)
    with ExitStack() as stack:
        stack.enter_context(InterruptFlag(lambda: "Stopped; there is nothing to resume yet.", noting=False))
        ranks.on_main(lambda: _begin(recipe, folder, stack))
        recipe = replace(recipe, encoder=recipe.encoder.pinned())
        trainer = _trainer(recipe, folder)
        ranks.on_main(lambda: _write_down(recipe, folder, trainer))
        return trainer.fit(folder)


def resume(folder: Path, *, overrides: Sequence[str] = (), allow_change: Collection[str] = ()) -> TrainResult:
    """Go on with an interrupted run, exactly where its newest checkpoint stands.

    Args:
        folder: the run.
        overrides: settings to change, as `--key value` arguments.
        allow_change: which settings, or sections of them, may differ from what the checkpoint recorded; also `base`,
            `corpus` and `labels`.

    Raises:
        RunError: no run, nothing saved yet, or a recipe, base weights or audio that are not what they were.
        InterruptedRunError: SIGINT, SIGTERM or SIGUSR1 came.
    """
    recipe = recorded_recipe(folder)
    if overrides:
        recipe = with_overrides(recipe, list(overrides))
    refuse_missing_trackers(recipe.train.trackers)
    ranks = Ranks(expected=recipe.train.processes)
    with ExitStack() as stack:
        stack.enter_context(InterruptFlag(lambda: f"Stopped. Continue with: ssft resume {folder}", noting=False))
        ranks.on_main(lambda: _reenter(recipe, folder, stack, allow_change))
        return _trainer(recipe, folder).fit(folder, resume=True, allow_change=allow_change)


def _begin(recipe: Recipe, folder: Path, stack: ExitStack) -> None:
    """Take the folder, and write down which audio is used; only the main process does."""
    refuse_existing_run(folder)
    if (folder / "recipe.yaml").exists() and not (folder / "environment.json").exists():
        raise RunError(f"{folder} holds a recipe.yaml that no run wrote, and would lose it; choose another --out.")
    stack.enter_context(RunLock(folder))
    rejects = folder / "rejects.tsv"
    corpus = _scan(recipe, folder, rejects)
    print(f"audio: {corpus.summary()}" + (f"; see {rejects}" if corpus.rejects else ""))
    if note := note_on_crops(recipe, corpus):
        print(note)
    total = len(corpus.utterances) + len(corpus.rejects)
    refuse_too_many(corpus.rejects, total=total, limit=recipe.data.max_rejects, where=rejects)


def _scan(recipe: Recipe, folder: Path, rejects: Path) -> Corpus:
    """Find the audio, and write down what there is and what cannot be used."""
    corpus = recipe.data.load()
    with writing(folder, _ELSEWHERE):
        folder.mkdir(parents=True, exist_ok=True)
        write_rejects(corpus.rejects, rejects)
    corpus.save(folder / _CORPUS)
    return corpus


def _write_down(recipe: Recipe, folder: Path, trainer: CorrespondenceTrainer) -> None:
    with writing(folder, _ELSEWHERE):
        write_atomically(folder / "recipe.yaml", recipe.to_yaml())
        write_atomically(folder / "environment.json", json.dumps(environment(), indent=1) + "\n")
        write_atomically(folder / "trained.txt", trainable_table(trainer.model) + "\n")
    print(trainable_table(trainer.model))


def _reenter(recipe: Recipe, folder: Path, stack: ExitStack, allow_change: Collection[str]) -> None:
    """Take the folder again, and write down a recipe that was changed on purpose; only the main process does."""
    stack.enter_context(RunLock(folder))
    if "corpus" in allow_change or not (folder / _CORPUS).exists():
        _scan(recipe, folder, folder / "rejects.tsv")
    text = recipe.to_yaml()
    if text != (folder / "recipe.yaml").read_text(encoding="utf-8"):
        checkpoint, _ = CheckpointFolder(folder / "checkpoints").load()
        refuse_changes(checkpoint.progress, {"settings": lasting_settings(recipe)}, allowed=allow_change)
        with writing(folder, _ELSEWHERE):
            write_atomically(folder / "recipe.yaml", text)


def pairs_of(recipe: Recipe, corpus: Corpus, *, on_device: bool = False) -> PairDataset:
    """Return the pairs that a recipe makes of a corpus; `on_device` leaves the augmentations to the engine."""
    return PairDataset(
        corpus.utterances,
        augment=recipe.views.augmented,
        augment_original=recipe.views.original,
        targets=corpus.targets,
        pad_jitter=recipe.views.pad_jitter,
        seed=recipe.train.seed,
        max_seconds=recipe.data.max_seconds,
        swap=recipe.views.swap,
        variants=recipe.train.cache_variants,
        on_device=on_device,
    )


def holds_run(folder: Path) -> bool:
    """Return whether a run in this folder has got as far as a checkpoint."""
    return bool(CheckpointFolder(folder / "checkpoints"))


def recorded_recipe(folder: Path) -> Recipe:
    """Return the recipe that a run wrote down.

    Raises:
        RunError: the folder is not a run.
        RecipeError: its recipe cannot be read.
    """
    path = folder / "recipe.yaml"
    if not path.is_file():
        raise RunError(f"{folder} is not a run folder: it holds no recipe.yaml.")
    return load_recipe(str(path))


def environment() -> dict[str, Any]:
    """Return what else the numbers of a run depend on: versions, machine, device."""
    cuda = torch.cuda.is_available()
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name() if cuda else "cpu",
        "threads": torch.get_num_threads(),
        "packages": {name: version(name) for name in _PACKAGES},
    }


def trainable_table(model: CorrespondenceModel) -> str:
    """Return the list of everything that will be trained: name, shape, parameters."""
    prefix = "encoder.encoder.model."
    rows = [
        (name.removeprefix(prefix), "x".join(map(str, tensor.shape)), tensor.numel())
        for name, tensor in trainable(model).items()
    ]
    width = max(len(name) for name, _, _ in rows)
    lines = [f"  {name:<{width}}  {shape:>10}  {count:>10,}" for name, shape, count in rows]
    total = sum(parameter.numel() for parameter in model.encoder.parameters())
    in_encoder = sum(tensor.numel() for tensor in trainable(model.encoder).values())
    lines.append(f"  {in_encoder:,} of the encoder's {total:,} parameters; the others are frozen")
    layers = ", ".join(map(str, model.encoder.trainable_layers))
    return f"training layers {layers} (numbered from 1; tensors are named from 0):\n" + "\n".join(lines)


def _trainer(recipe: Recipe, folder: Path) -> CorrespondenceTrainer:
    """Return the trainer of a run whose audio has been scanned."""
    corpus = recipe.data.reload(folder / _CORPUS)
    rejects = {reject.id: reject for reject in read_rejects(folder / "rejects.tsv")}
    for name in corpus.utterances.ids if rejects else ():
        rejects.pop(name, None)  # it was found unusable while training, which the trainer finds in the file itself
    return trainer_of(recipe, corpus, rejects=list(rejects.values()))


def trainer_of(recipe: Recipe, corpus: Corpus, *, rejects: Sequence[Reject] = ()) -> CorrespondenceTrainer:
    """Return what trains a recipe on a corpus, of which `rejects` could not be used."""
    training, held_out = corpus, None
    if count := held_out_count(recipe, corpus):
        training, others = corpus.held_out(count)
        held_out = PairDataset(
            others,
            augment=recipe.views.augmented,
            seed=recipe.train.seed,
            max_seconds=recipe.data.max_seconds,
            variants=1,
        )
    return CorrespondenceTrainer(
        encoder=recipe.encoder,
        head=recipe.head,
        loss=recipe.loss,
        pairs=pairs_of(recipe, training, on_device=recipe.views.where == "device"),
        train=recipe.train,
        reference=recipe.views.reference,
        loss_layers=recipe.views.loss_layers,
        mask=recipe.views.mask,
        workers=recipe.data.workers,
        held_out=held_out,
        rejects=rejects,
        max_rejects=recipe.data.max_rejects,
        settings=lasting_settings(recipe),
    )


def held_out_count(recipe: Recipe, corpus: Corpus) -> int:
    """Return how many utterances of a corpus a run keeps from training.

    Raises:
        RecipeError: more than half of them.
    """
    total, count = len(corpus.utterances), recipe.data.held_out
    if count is None:
        count = min(_MOST_HELD_OUT, max(_FEWEST_HELD_OUT, total // 20)) if recipe.train.select == "label_free" else 0
    if count > total // 2:
        raise RecipeError(
            f"{count} of {total} utterances would be kept from training, more than half. Set data.held_out lower, or "
            "train.select to last."
        )
    return count


def lasting_settings(recipe: Recipe) -> dict[str, Any]:
    """The settings that decide what a run computes, and so may not change while it lasts."""
    description = recipe.describe()
    del description["name"]
    for section, names in _MAY_CHANGE.items():
        for name in names:
            del description[section][name]
    return description


def note_on_crops(recipe: Recipe, corpus: Corpus) -> str:
    """Say it if long recordings will be heard in part only."""
    longest, variants = recipe.data.max_seconds, recipe.train.cache_variants
    seconds = corpus.utterances.seconds
    long = seconds[seconds > longest]
    if not len(long):
        return ""
    how = f"in all, {variants} parts" if variants else "in each epoch, one part"
    return (
        f"{len(long):,} recordings ({sum(long) / 3600:.2f} h) are longer than data.max_seconds={longest:g}: {how} of "
        "that length will be heard of each. A manifest with start and duration cuts them into utterances."
    )
