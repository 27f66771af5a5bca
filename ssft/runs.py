"""Run folders: start one from a recipe, go on with it, export what it trained."""

from __future__ import annotations

import json
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml

from ssft.data import Corpus, PairDataset
from ssft.engine import CheckpointFolder, CorrespondenceModel, CorrespondenceTrainer, TrainResult
from ssft.engine.checkpoint import Checkpoint, hash_tensors, refuse_existing_run, write_atomically
from ssft.engine.optim import trainable
from ssft.engine.trainer import load_trained
from ssft.errors import RunError
from ssft.export import export_encoder, model_card
from ssft.overrides import apply_overrides, parse_overrides
from ssft.recipe import Recipe

_PACKAGES = ("ssft", "torch", "torchaudio", "transformers", "accelerate", "peft", "soundfile", "soxr", "numpy", "numba")


def with_overrides(recipe: Recipe, arguments: list[str]) -> Recipe:
    """Return a new recipe, built from the description of `recipe` after `--key value` arguments have changed it.

    Raises:
        RecipeError: an argument that leads nowhere or a value that does not fit.
    """
    description = recipe.describe()
    apply_overrides(description, parse_overrides(arguments))
    return Recipe.from_description(description)


def start(recipe: Recipe, folder: Path) -> TrainResult:
    """Train a recipe in a new run folder.

    Raises:
        SsftError: anything the user can mend: recipe, audio, encoder or folder.
    """
    recipe.check()
    refuse_existing_run(folder)
    folder.mkdir(parents=True, exist_ok=True)
    corpus = recipe.data.load()
    print(f"audio: {corpus.summary()}" + (f"; see {folder / 'rejects.tsv'}" if corpus.rejects else ""))
    trainer = _trainer(recipe, corpus)
    recipe = _with_revision(recipe, trainer.model)
    write_atomically(folder / "recipe.yaml", recipe.to_yaml())
    write_atomically(folder / "environment.json", json.dumps(environment(), indent=1) + "\n")
    print(trainable_table(trainer.model))
    return trainer.fit(folder)


def resume(folder: Path) -> TrainResult:
    """Go on with an interrupted run, exactly where its newest checkpoint stands.

    Raises:
        RunError: no run, nothing saved yet, or base weights or audio that are not what they were.
    """
    recipe = recorded_recipe(folder)
    return _trainer(recipe, recipe.data.load()).fit(folder, resume=True)


def export(folder: Path, to: Path | None = None, *, results: str = "") -> Path:
    """Write the newest checkpoint of a run as a Hugging Face folder, `RUN/adapted` unless told otherwise.

    Raises:
        RunError: no run, no checkpoint, base weights that are not what they were, or a target that is something else.
    """
    recipe = recorded_recipe(folder)
    checkpoint, warnings = CheckpointFolder(folder / "checkpoints").load()
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    model = _model(recipe)
    if hash_tensors(model.encoder.encoder.model.state_dict()) != checkpoint.progress["base"]:
        raise RunError(f"{recipe.encoder.model} is not what {folder} was trained from: its weights have changed since.")
    load_trained(model, checkpoint)
    facts = _provenance(recipe, model, checkpoint, folder)
    encoder, text = model.encoder.encoder, recipe.to_yaml()
    card = model_card(encoder, settings=recipe.describe(), recipe=text, provenance=facts, results=results)
    return export_encoder(encoder, to or folder / "adapted", card=card, recipe=text, provenance=facts)


def holds_run(folder: Path) -> bool:
    """Return whether a run in this folder has got as far as a checkpoint."""
    return bool(CheckpointFolder(folder / "checkpoints"))


def recorded_recipe(folder: Path) -> Recipe:
    """Return the recipe that a run wrote down.

    Raises:
        RunError: the folder is no run.
    """
    path = folder / "recipe.yaml"
    if not path.is_file():
        raise RunError(f"{folder} is no run folder: it holds no recipe.yaml.")
    return Recipe.from_yaml(path.read_text(encoding="utf-8"), where=str(path))


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
    return "training:\n" + "\n".join(lines)


def _model(recipe: Recipe) -> CorrespondenceModel:
    return CorrespondenceModel(recipe.encoder.load(), recipe.head, recipe.loss, reference=recipe.views.reference)


def _trainer(recipe: Recipe, corpus: Corpus) -> CorrespondenceTrainer:
    pairs = PairDataset(
        corpus.utterances,
        augment=recipe.views.augmented,
        seed=recipe.train.seed,
        max_seconds=recipe.data.max_seconds,
        swap=recipe.views.swap,
        variants=recipe.train.cache_variants,
    )
    return CorrespondenceTrainer(
        encoder=recipe.encoder,
        head=recipe.head,
        loss=recipe.loss,
        pairs=pairs,
        train=recipe.train,
        reference=recipe.views.reference,
        workers=recipe.data.workers,
        rejects=corpus.rejects,
    )


def _with_revision(recipe: Recipe, model: CorrespondenceModel) -> Recipe:
    """Pin the encoder to the commit that was loaded, so that a replay loads the same."""
    description = recipe.describe()
    description["encoder"]["revision"] = model.encoder.encoder.revision
    return Recipe.from_description(description)


def _provenance(recipe: Recipe, model: CorrespondenceModel, checkpoint: Checkpoint, folder: Path) -> dict[str, Any]:
    progress = checkpoint.progress
    return {
        "name": recipe.name,
        "ssft": version("ssft"),
        "base": {
            "model": recipe.encoder.model,
            "revision": model.encoder.encoder.revision,
            "sha256": progress["base"],
        },
        "trained_layers": list(model.encoder.trainable_layers),
        "trained_parameters": sum(p.numel() for p in trainable(model.encoder).values()),
        "steps": progress["step"],
        "heard_hours": progress["seconds"] / 3600,
        "data": progress["corpus"],
        "environment": json.loads((folder / "environment.json").read_text(encoding="utf-8")),
        "recipe": yaml.safe_load(recipe.to_yaml()),
    }
