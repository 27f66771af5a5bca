"""ssft check: build and cross-check a recipe without loading weights or audio."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from ssft.errors import EncoderError

if TYPE_CHECKING:
    from ssft.recipe import Recipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", metavar="RECIPE", help="a shipped recipe's name, a script, or a run's recipe.yaml")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(options: argparse.Namespace) -> None:
    from ssft.recipe import load_recipe
    from ssft.runs import with_overrides

    recipe = with_overrides(load_recipe(options.recipe), options.overrides)
    notes = examine(recipe)
    if options.json:
        print(json.dumps({"recipe": recipe.describe(), "notes": notes}, indent=1))
        return
    print(recipe.to_yaml())
    print("\n".join([*notes, f"{recipe.name}: the recipe is sound"]))


def examine(recipe: Recipe) -> list[str]:
    """Cross-check a recipe; return what is worth knowing and no error."""
    notes: list[Any] = []
    try:
        layers = recipe.check(local_files_only=True)
        notes.append(f"layers {', '.join(map(str, layers))} of {recipe.encoder.model} will train")
    except EncoderError:
        if "/" not in recipe.encoder.model:
            raise
        notes.append(f"{recipe.encoder.model} is not on this machine yet, so its layers were not checked")
    if not recipe.data.path.exists():
        notes.append(f"no audio at {recipe.data.path}; pass --data.root DIR to train")
    return notes
