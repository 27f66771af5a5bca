"""ssft listen: hear the pairs that training would hear, and see what was drawn."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssft.errors import RecipeError

if TYPE_CHECKING:
    from ssft.recipe import Recipe

_WIDEST = 44  # columns for the id of an utterance


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "ssft listen RECIPE [--count N] [--data DIR] [--out DIR] [--SETTING VALUE ...]"
    parser.epilog = "Settings are given as to `ssft train`, for example --views.augmented.steps.0.factors [0.8,1.2]."
    parser.add_argument("recipe", metavar="RECIPE", help="a shipped recipe's name, a script, or a run's recipe.yaml")
    parser.add_argument("--count", type=int, default=5, metavar="N", help="how many pairs (default: 5)")
    parser.add_argument("--epoch", type=int, default=0, metavar="E", help="of which epoch of training (default: 0)")
    parser.add_argument("--data", metavar="DIR", help="a folder or manifest, the same as --data.root")
    parser.add_argument("--out", type=Path, metavar="DIR", help="what to write (default: listen-NAME)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(options: argparse.Namespace) -> None:
    from ssft.recipe_files import find_recipe

    path = find_recipe(options.recipe)
    for name, least in (("count", 1), ("epoch", 0)):
        if getattr(options, name) < least:
            raise RecipeError(f"--{name} {getattr(options, name)}: give a whole number of {least} or more.")

    from ssft.recipe import load_recipe
    from ssft.runs import with_overrides

    root = [] if options.data is None else ["--data.root", options.data]
    recipe = with_overrides(load_recipe(str(path)), [*options.overrides, *root])
    listen(recipe.with_preset(recipe.preset), options)


def listen(recipe: Recipe, options: argparse.Namespace) -> None:
    """Write the pairs of a recipe into a folder, and say what was drawn.

    Raises:
        SsftError: no audio, no noise that the recipe asks for, or a folder that is not ours or cannot be written.
    """
    from dataclasses import replace

    import yaml

    from ssft.report.listening import write_listening
    from ssft.runs import pairs_of

    recipe.views.check_sources()
    # Labels are not heard, so they may still be missing; what is played is decoded anyway.
    corpus = replace(recipe.data, verify="header", targets=None).load()
    say: Callable[[str], None] = _nothing if options.json else print
    width = min(_WIDEST, max(len(utterance.id) for utterance in corpus.utterances))
    notes = notes_on(recipe)
    for text in (f"audio: {corpus.summary()}", *notes, f"epoch {options.epoch}, seed {recipe.train.seed}:"):
        say(text)
    described = recipe.describe()["views"]
    views = {name: described[name] for name in ("augmented", "original", "swap", "pad_jitter", "where")}
    summary = write_listening(
        options.out or Path(f"listen-{recipe.name}"),
        pairs_of(recipe, corpus),
        count=options.count,
        epoch=options.epoch,
        about={
            "recipe": recipe.name,
            "corpus": f"{recipe.data.path}: {corpus.summary()}",
            "seed": recipe.train.seed,
            "views": yaml.safe_dump(views, sort_keys=False, default_flow_style=None, width=100, allow_unicode=True),
            "notes": notes,
        },
        tell=lambda record: say(in_words(record, width)),
    )
    if options.json:
        print(json.dumps(summary, indent=1))
        return
    if len(summary["pairs"]) < options.count:
        print("that is all: the corpus has no more utterances that can be used")
    print(f"open {Path(summary['folder']) / 'index.html'}")


def notes_on(recipe: Recipe) -> list[str]:
    """Return what to know about the views of a recipe before listening."""
    views, notes = recipe.views, []
    if views.augmented is None:
        rest = views.original is not None or views.pad_jitter
        but = ", but for what views.original and views.pad_jitter do to the original" if rest else ""
        notes.append(f"views.augmented is null: the two waveforms of a pair are equal{but}")
    if views.where == "device":
        notes.append("views.where='device': training makes these waveforms on the device, to within rounding")
    return notes


def in_words(record: Mapping[str, Any], width: int) -> str:
    """Return what the terminal shows of a pair, or of an utterance that is rejected."""
    if "reason" in record:
        return f"rejected {record['id']}: {record['reason']}, {record['detail']}"
    before, after = record["original"], record["augmented"]
    seconds = f"{before['seconds']:5.2f} -> {after['seconds']:5.2f} s"
    pitches = [f"{hz:4.0f}" if (hz := side["f0_median_hz"]) else "none" for side in (before, after)]
    head = f"{record['number']:>3}  {_shortened(record['id'], width):<{width}}  {seconds}  F0 {' -> '.join(pitches)} Hz"
    steps = [*(f"original: {words}" for words in record["words"]["original"]), *record["words"]["augmented"]]
    fallen = ["fell back: an augmentation could not be applied as it should"] if record["fallbacks"] else []
    return "\n".join([head, *(f"     {words}" for words in [*steps, *fallen])])


def _shortened(name: str, width: int) -> str:
    """The end of a long name, which is what differs."""
    return name if len(name) <= width else f"...{name[3 - width :]}"


def _nothing(_: str) -> None:
    pass
