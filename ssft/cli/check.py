"""ssft check: build and cross-check a recipe without loading weights or audio."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from ssft.errors import EncoderError, RecipeError

if TYPE_CHECKING:
    from ssft.encoders import Encoder
    from ssft.recipe import Recipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "ssft check RECIPE [--json] [--SETTING VALUE ...]"
    parser.epilog = "Settings are given as to `ssft train`, for example --loss.gamma 0.2."
    parser.add_argument("recipe", metavar="RECIPE", help="a shipped recipe's name, a script, or a run's recipe.yaml")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(options: argparse.Namespace) -> None:
    from ssft.recipe_files import find_recipe

    path = find_recipe(options.recipe)

    from ssft.recipe import load_recipe
    from ssft.runs import with_overrides

    recipe = with_overrides(load_recipe(str(path)), options.overrides)
    notes = examine(recipe)
    if options.json:
        print(json.dumps({"recipe": recipe.describe(), "notes": notes}, indent=1))
        return
    print(recipe.to_yaml())
    print("\n".join([*notes, f"{recipe.name}: no problems found"]))


def examine(recipe: Recipe) -> list[str]:
    """Cross-check a recipe; return what is worth knowing and no error.

    Raises:
        SsftError: what `Recipe.check` raises, but for an encoder that is still to be downloaded.
    """
    from ssft.data.formats import is_missing
    from ssft.losses import SwappedPrediction

    notes = []
    try:
        layers = recipe.check(local_files_only=True)
        notes.append(f"layers {', '.join(map(str, layers))} of {recipe.encoder.model} will train")
    except EncoderError:
        if not is_remote(recipe.encoder):
            raise
        notes.append(f"{recipe.encoder.model} is not on this machine yet, so its layers were not checked")
    if recipe.views.reference != "frozen" and getattr(recipe.loss, "lets_collapse", False):
        name = type(recipe.loss).__name__
        notes.append(f"{name} alone lets all frames become equal where the reference follows the student")
    frames = 50 * recipe.train.batch_seconds / recipe.train.accumulate
    for loss in recipe.loss.modules():
        needed = loss.frames_needed() if isinstance(loss, SwappedPrediction) else 0
        if frames < needed:
            notes.append(
                f"a batch has about {frames:,.0f} frames, but the codebook wants {needed:,}; raise "
                "train.batch_seconds, set queue_frames, or take fewer codes"
            )
    if recipe.data.root != "demo" and is_missing(recipe.data.root):
        notes.append(f"no audio at {recipe.data.path}; pass --data.root DIR to train")
    if recipe.data.targets_path and not recipe.data.targets_path.exists():
        notes.append(f"no labels at {recipe.data.targets}; make them with `ssft units` and pass --data.targets FILE")
    try:
        recipe.views.check_sources()
    except RecipeError as error:
        notes.append(str(error))
    return notes


def is_remote(encoder: Encoder) -> bool:
    """Whether an encoder is named by a Hub id, `owner/name`, whose configuration has not been downloaded."""
    from huggingface_hub import try_to_load_from_cache

    owner, slash, name = encoder.model.partition("/")
    if not slash or "/" in name or not name or owner in ("", ".", "..", "~") or Path(encoder.model).exists():
        return False
    try:
        cached = try_to_load_from_cache(encoder.model, "config.json", revision=encoder.revision)
    except ValueError:  # not what a Hub id may look like
        return False
    return not isinstance(cached, str)
