"""ssft train: train a recipe and export the adapted encoder."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ssft.errors import RecipeError

if TYPE_CHECKING:
    from ssft.recipe import Recipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", nargs="?", help="a shipped recipe's name, a script, or a run's recipe.yaml")
    add_run_arguments(parser)


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is not a setting of the recipe: where the run goes."""
    parser.add_argument("--out", type=Path, metavar="DIR", help="run folder (default: runs/NAME)")
    parser.add_argument("-h", "--help", action="store_true", help="show every setting of the recipe")
    parser.usage = (
        f"{parser.prog} {'RECIPE ' if parser.prog.endswith('train') else ''}[--out DIR] [--SETTING VALUE ...]"
    )


def run(options: argparse.Namespace) -> None:
    from ssft.recipe import load_recipe

    if options.recipe is None:
        if options.help:
            print(_USAGE)
            return
        raise RecipeError(f"Which recipe?\n{_USAGE}")
    train(load_recipe(options.recipe), options)


def train(recipe: Recipe, options: argparse.Namespace) -> None:
    """Train `recipe` with the overrides in `options`, then export."""
    from ssft.runs import export, start, with_overrides

    if options.help:
        from ssft.cli.settings import settings_table

        print(_USAGE, settings_table(recipe), sep="\n\n")
        return
    recipe = with_overrides(recipe, options.overrides)
    folder = options.out or Path("runs") / recipe.name
    result = start(recipe, folder)
    print(f"trained {result.steps:,} steps on {result.hours:.2f} h of audio; last loss {result.loss:.4f}")
    finish(export(folder))


def finish(adapted: Path) -> None:
    """Say where the adapted encoder is and how to load it."""
    print(f'adapted encoder: {adapted}\n  load it with transformers: AutoModel.from_pretrained("{adapted}")')


_USAGE = """usage: ssft train RECIPE [--out DIR] [--SETTING VALUE ...]

  RECIPE      a shipped recipe's name (ssft recipes), a script that defines one, or the recipe.yaml of a run
  --out DIR   the run folder (default: runs/NAME)

  ssft train score_tiny --data.root DIR
  ssft train score_tiny --data.root DIR --train.steps 50 --loss.gamma 0.2
  ssft train RECIPE --help      lists every setting of that recipe"""
