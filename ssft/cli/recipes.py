"""ssft recipes: list the shipped recipes, or take an editable copy of one."""

from __future__ import annotations

import argparse
import ast
import json
import shutil
from pathlib import Path

from ssft.errors import RecipeError, RunError, closest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("copy", nargs="*", metavar="copy NAME FILE", help="copy recipe NAME to FILE, to edit it")
    parser.add_argument("--json", action="store_true", help="print the list as JSON")


def run(options: argparse.Namespace) -> None:
    from ssft.recipe import shipped_recipes

    shipped = shipped_recipes()
    if not options.copy:
        summaries = {name: summary(path) for name, path in shipped.items()}
        if options.json:
            print(json.dumps(summaries, indent=1))
            return
        width = max(map(len, summaries))
        print("\n".join(f"{name:<{width}}  {text}" for name, text in summaries.items()))
        print("\nTake a copy to edit: ssft recipes copy NAME my_recipe.py")
        return
    if options.copy[0] != "copy" or len(options.copy) != 3:
        raise RecipeError("Usage: ssft recipes [copy NAME FILE]")
    name, target = options.copy[1], Path(options.copy[2])
    if name not in shipped:
        raise RecipeError(f"There is no shipped recipe '{name}'. {closest(name, shipped)}")
    if target.exists():
        raise RunError(f"{target} exists; give another file name.")
    shutil.copyfile(shipped[name], target)
    print(f"{target} is yours to edit; then: ssft train {target} --data.root DIR")


def summary(path: Path) -> str:
    """Return the first line of a recipe's docstring, without importing it."""
    doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return doc.split("\n", 1)[0]
