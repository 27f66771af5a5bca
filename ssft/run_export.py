"""What a run trained, as a Hugging Face folder."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ssft.engine import CheckpointFolder, CorrespondenceModel
from ssft.engine.changes import refuse_changes
from ssft.engine.checkpoint import Checkpoint
from ssft.engine.interrupt import InterruptFlag
from ssft.engine.optim import trainable
from ssft.engine.selection import CANDIDATES, best_step
from ssft.export import export_encoder, model_card
from ssft.recipe import Recipe
from ssft.runs import lasting_settings, recorded_recipe


def export(folder: Path, to: Path | None = None, *, adapter_only: bool = False, step: int | None = None) -> Path:
    """Write what a run trained as a Hugging Face folder, `RUN/adapted` unless told otherwise.

    It is the newest checkpoint, or the best one where `train.select` chooses. If the run folder holds a results.md, the
    model card quotes it.

    Args:
        folder: the run.
        to: where to.
        adapter_only: write the adapter alone, to `RUN/adapter` unless told otherwise.
        step: the checkpoint of this step instead.

    Raises:
        RunError: no run, no checkpoint, a recipe or base weights that are not what they were, a target that is
            something else, or no adapter, or more than it, was trained and it is to be written alone.
    """
    with InterruptFlag(lambda: f"Stopped. The run is as it was; write it with: ssft export {folder}", noting=False):
        return _export(folder, to, adapter_only=adapter_only, step=step)


def _export(folder: Path, to: Path | None, *, adapter_only: bool, step: int | None) -> Path:
    recipe = recorded_recipe(folder)
    if step is None and recipe.train.select != "last" and (step := best_step(folder)) is not None:
        print(f"step {step} is the best by {recipe.train.select}; {folder / CANDIDATES} has the others")
    checkpoint, warnings = CheckpointFolder(folder / "checkpoints").load(step)
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    model = _model(recipe)
    now = {"base": model.encoder.encoder.weights_hash(), "settings": lasting_settings(recipe)}
    refuse_changes(checkpoint.progress, now)
    model.load_training_state(checkpoint.model)
    facts = _provenance(recipe, model, checkpoint, folder)
    encoder, text = model.encoder.encoder, recipe.to_yaml()
    results = folder / "results.md"
    measured = results.read_text(encoding="utf-8") if results.is_file() else ""
    card = model_card(encoder, recipe=text, provenance=facts, results=measured, adapter_only=adapter_only)
    to = to or folder / ("adapter" if adapter_only else "adapted")
    return export_encoder(encoder, to, card=card, recipe=text, provenance=facts, adapter_only=adapter_only)


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
