"""ssft recipes: list the shipped recipes, or take an editable copy of one."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from ssft.errors import RecipeError, RunError, closest
from ssft.recipe_files import shipped_recipes, summary


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "ssft recipes [--json] [copy NAME FILE]"
    parser.add_argument("copy", nargs="*", metavar="copy NAME FILE", help="copy recipe NAME to FILE, to edit it")
    parser.add_argument("--json", action="store_true", help="print the list as JSON")


def run(options: argparse.Namespace) -> None:
    if not options.copy:
        show({name: summary(path) for name, path in shipped_recipes().items()}, as_json=options.json)
    elif options.copy[0] == "copy" and len(options.copy) == 3:
        copy(options.copy[1], Path(options.copy[2]))
    else:
        raise RecipeError(
            f"'{' '.join(options.copy)}' is not understood. `ssft recipes` lists the recipes, "
            "`ssft recipes copy NAME FILE` copies one."
        )


def show(summaries: dict[str, str], *, as_json: bool) -> None:
    """Print name and first line of every recipe."""
    if as_json:
        print(json.dumps(summaries, indent=1))
        return
    width = max(map(len, summaries))
    print("\n".join(f"{name:<{width}}  {text}" for name, text in summaries.items()))
    print("\ntrain one:     ssft train NAME --data.root DIR\ncopy and edit: ssft recipes copy NAME my_recipe.py")


def copy(name: str, target: Path) -> None:
    """Copy a shipped recipe to a new file.

    Raises:
        RecipeError: no such recipe, or a file name that would not be taken for a recipe.
        RunError: the file exists or cannot be written.
    """
    shipped = shipped_recipes()
    if name not in shipped:
        raise RecipeError(f"There is no shipped recipe '{name}'. {closest(name, shipped)}")
    if target.exists():
        raise RunError(f"{target} exists and is left as it is. Give another file name.")
    if target.suffix != ".py":
        raise RecipeError(f"A recipe is a Python script, but '{target}' does not end in .py. Try {target}.py")
    try:
        shutil.copyfile(shipped[name], target)
    except OSError as error:
        raise RunError(f"Cannot write {target}: {error.strerror}. Give a file in a folder that exists.") from None
    print(f"{target} is yours to edit; then: ssft train {target} --data.root DIR")
