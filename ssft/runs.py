"""Run folders: start one from a recipe, go on with it, export what it trained."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from ssft.data import Corpus, PairDataset
from ssft.engine import CheckpointFolder, CorrespondenceModel, CorrespondenceTrainer, TrainResult
from ssft.engine.checkpoint import Checkpoint, refuse_existing_run, write_atomically
from ssft.engine.identity import refuse_changes
from ssft.engine.optim import trainable
from ssft.errors import RunError
from ssft.export import export_encoder, model_card
from ssft.overrides import apply_overrides, parse_overrides
from ssft.recipe import Recipe, load_recipe

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
    """
    recipe = recipe.with_preset(recipe.preset)
    recipe.check()
    recipe.views.check_sources()
    refuse_existing_run(folder)
    recipe = replace(recipe, encoder=recipe.encoder.pinned())
    if (folder / "recipe.yaml").exists() and not (folder / "environment.json").exists():
        raise RunError(f"{folder} holds a recipe.yaml that no run wrote, and would lose it; choose another --out.")
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    corpus = recipe.data.load()
    print(f"audio: {corpus.summary()}" + (f"; see {folder / 'rejects.tsv'}" if corpus.rejects else ""))
    if note := _note_on_crops(recipe, corpus):
        print(note)
    trainer = _trainer(recipe, corpus)
    with _writing(folder):
        write_atomically(folder / "recipe.yaml", recipe.to_yaml())
        write_atomically(folder / "environment.json", json.dumps(environment(), indent=1) + "\n")
        write_atomically(folder / "trained.txt", trainable_table(trainer.model) + "\n")
    print(trainable_table(trainer.model))
    return trainer.fit(folder)


def resume(folder: Path) -> TrainResult:
    """Go on with an interrupted run, exactly where its newest checkpoint stands.

    Raises:
        RunError: no run, nothing saved yet, or a recipe, base weights or audio that are not what they were.
    """
    recipe = recorded_recipe(folder)
    return _trainer(recipe, recipe.data.load()).fit(folder, resume=True)


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


def export(folder: Path, to: Path | None = None, *, adapter_only: bool = False) -> Path:
    """Write the newest checkpoint of a run as a Hugging Face folder, `RUN/adapted` unless told otherwise.

    If the run folder holds a results.md, the model card quotes it.

    Args:
        folder: the run.
        to: where to.
        adapter_only: write the adapter alone, to `RUN/adapter` unless told otherwise.

    Raises:
        RunError: no run, no checkpoint, a recipe or base weights that are not what they were, a target that is
            something else, or no adapter, or more than it, was trained and it is to be written alone.
    """
    recipe = recorded_recipe(folder)
    checkpoint, warnings = CheckpointFolder(folder / "checkpoints").load()
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    model = _model(recipe)
    now = {"base": model.encoder.encoder.weights_hash(), "settings": _lasting_settings(recipe)}
    refuse_changes(checkpoint.progress, now)
    model.load_training_state(checkpoint.model)
    facts = _provenance(recipe, model, checkpoint, folder)
    encoder, text = model.encoder.encoder, recipe.to_yaml()
    results = folder / "results.md"
    measured = results.read_text(encoding="utf-8") if results.is_file() else ""
    card = model_card(encoder, recipe=text, provenance=facts, results=measured, adapter_only=adapter_only)
    to = to or folder / ("adapter" if adapter_only else "adapted")
    return export_encoder(encoder, to, card=card, recipe=text, provenance=facts, adapter_only=adapter_only)


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


def _model(recipe: Recipe) -> CorrespondenceModel:
    views = recipe.views
    return CorrespondenceModel(
        recipe.encoder.load(),
        recipe.head,
        recipe.loss,
        reference=views.reference,
        loss_layers=views.loss_layers,
        mask=views.mask,
    )


def _trainer(recipe: Recipe, corpus: Corpus) -> CorrespondenceTrainer:
    pairs = pairs_of(recipe, corpus, on_device=recipe.views.where == "device")
    return CorrespondenceTrainer(
        encoder=recipe.encoder,
        head=recipe.head,
        loss=recipe.loss,
        pairs=pairs,
        train=recipe.train,
        reference=recipe.views.reference,
        loss_layers=recipe.views.loss_layers,
        mask=recipe.views.mask,
        workers=recipe.data.workers,
        rejects=corpus.rejects,
        settings=_lasting_settings(recipe),
    )


def _lasting_settings(recipe: Recipe) -> dict[str, Any]:
    """The settings that decide what a run computes, and so may not change while it lasts."""
    description = recipe.describe()
    del description["name"]
    for section, names in {"data": ("workers", "verify"), "train": ("keep", "save_every")}.items():
        for name in names:
            del description[section][name]
    return description


def _note_on_crops(recipe: Recipe, corpus: Corpus) -> str:
    """Say it if long recordings will be heard in part only."""
    longest, variants = recipe.data.max_seconds, recipe.train.cache_variants
    long = [utterance.seconds for utterance in corpus.utterances if utterance.seconds > longest]
    if not long:
        return ""
    how = f"in all, {variants} parts" if variants else "in each epoch, one part"
    return (
        f"{len(long):,} recordings ({sum(long) / 3600:.2f} h) are longer than data.max_seconds={longest:g}: {how} of "
        "that length will be heard of each. A manifest with start and duration cuts them into utterances."
    )


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(f"Cannot write into the run folder {folder}: {error}. Choose another --out.") from error


def _provenance(recipe: Recipe, model: CorrespondenceModel, checkpoint: Checkpoint, folder: Path) -> dict[str, Any]:
    progress, record = checkpoint.progress, folder / "environment.json"
    return {
        "name": recipe.name,
        "ssft": version("ssft"),
        "base": {
            "model": recipe.encoder.model,
            "revision": recipe.encoder.revision,
            "sha256": progress["base"],
        },
        "trained_layers": list(model.encoder.trainable_layers),
        "trained_parameters": sum(p.numel() for p in trainable(model.encoder).values()),
        "steps": progress["step"],
        "heard_hours": progress["seconds"] / 3600,
        "data": progress["corpus"],
        "environment": json.loads(record.read_text(encoding="utf-8")) if record.is_file() else None,
        "recipe": recipe.describe(),
    }
