"""ssft plan: make a few steps of a recipe, and say what all of it would take."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ssft import __version__
from ssft.cli.arguments import positive
from ssft.errors import RunError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "ssft plan RECIPE [--out FILE] [--steps N] [--json] [--SETTING VALUE ...]"
    parser.epilog = (
        "Settings are given as to `ssft train`, for example --data.root DIR. The exit code is 0 if the run can go as "
        "planned; `ssft train FILE` carries it out."
    )
    parser.add_argument("recipe", metavar="RECIPE", help="a shipped recipe's name, a script, or a run's recipe.yaml")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the plan to write (default: NAME-plan.yaml)")
    parser.add_argument("--steps", type=positive, default=3, metavar="N", help="steps that are timed (default: 3)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def run(options: argparse.Namespace) -> None:
    """Print a plan, and write it if it can be carried out.

    Raises:
        SsftError: it cannot, or could not even be tried.
    """
    from ssft.recipe_files import find_recipe

    path = find_recipe(options.recipe)

    from ssft.cli.check import examine
    from ssft.engine.interrupt import InterruptFlag
    from ssft.plan import in_words, make_plan, refuse_to_overwrite, write_plan
    from ssft.recipe import load_recipe
    from ssft.runs import with_overrides

    recipe = with_overrides(load_recipe(str(path)), options.overrides)
    recipe = recipe.with_preset(recipe.preset)
    out = options.out or Path(f"{recipe.name}-plan.yaml")
    refuse_to_overwrite(out)
    with InterruptFlag(lambda: "Stopped; no plan was written.", noting=False):
        plan = make_plan(recipe, steps=options.steps, notes=examine(recipe))
    file = None if plan.problems else out
    if file is not None:
        write_plan(plan, file)
    if options.json:
        print(json.dumps({"ssft": __version__, "file": file and str(file), **plan.described()}, indent=1))
    else:
        print("\n".join(in_words(plan)))
    if plan.problems:
        reasons = "\n".join(plan.problems)
        raise RunError(f"The run cannot go as planned, and no plan was written.\n{reasons}")
    if not options.json:
        print(f"carry it out with: ssft train {file}")
