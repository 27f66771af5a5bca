"""ssft train: train a recipe and export the adapted encoder."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ssft.errors import RecipeError

if TYPE_CHECKING:
    from ssft.engine import TrainResult
    from ssft.recipe import Recipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", metavar="RECIPE", nargs="?")
    add_run_arguments(parser)
    parser.usage = "ssft train RECIPE [--out DIR] [--SETTING VALUE ...]"


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is not a setting of the recipe: where the run goes."""
    parser.add_argument("--out", type=Path, metavar="DIR")
    parser.add_argument("-h", "--help", action="store_true")
    parser.usage = f"{parser.prog} [--out DIR] [--SETTING VALUE ...]"


def run(options: argparse.Namespace) -> None:
    from ssft.recipe_files import find_recipe, summary

    if options.recipe is None:
        if options.help:
            print(_HELP)
            return
        raise RecipeError(f"Which recipe?\n{_HELP}")
    path = find_recipe(options.recipe)

    from ssft.recipe import load_recipe

    usage = f"usage: ssft train {options.recipe} [--out DIR] [--SETTING VALUE ...]"
    train(load_recipe(str(path)), options, usage=usage, about=summary(path))


def train(recipe: Recipe, options: argparse.Namespace, *, usage: str, about: str) -> None:
    """Train `recipe` with the overrides in `options`, then export; or, with --help, show every setting."""
    from ssft.runs import start, with_overrides

    recipe = with_overrides(recipe, options.overrides)
    if options.help:
        from ssft.cli.settings import settings_table

        parts = [usage.strip(), about, _OUT, "settings of the recipe:", settings_table(recipe)]
        print("\n\n".join(filter(None, parts)))
        return
    folder = options.out or Path("runs") / recipe.name
    conclude(start(recipe, folder))


def conclude(result: TrainResult) -> None:
    """Export what a run trained, and say how to load it; of several processes, one does."""
    from ssft.run_export import export

    if result.is_main:
        print(f"trained {result.steps:,} steps on {result.hours:.2f} h of audio; last loss {result.loss:.4f}")
        finish(export(result.folder))


def finish(adapted: Path) -> None:
    """Say where the adapted encoder is and how to load it."""
    print(f'adapted encoder: {adapted}\n  load it with transformers: AutoModel.from_pretrained("{adapted}")')


_OUT = "  --out DIR   the run folder (default: runs/NAME)"
_HELP = f"""usage: ssft train RECIPE [--out DIR] [--SETTING VALUE ...]

  RECIPE      a shipped recipe's name (`ssft recipes`), a script that defines one, or the recipe.yaml of a run
{_OUT}

  ssft train score_tiny --data.root DIR
  ssft train score_tiny --data.root DIR --train.steps 50 --loss.gamma 0.2
  ssft train RECIPE --help      lists every setting of that recipe"""
