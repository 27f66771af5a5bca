"""The table behind `ssft train RECIPE --help`: every setting, its value, and its docstring's words."""

from __future__ import annotations

import inspect
import re
import shlex
import shutil
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from ssft.augment import AUGMENTATIONS, PRESETS
from ssft.components import settings_of
from ssft.conversion import shown
from ssft.encoders import ADAPTERS, MASKS
from ssft.engine.anchors import ANCHORS
from ssft.heads import HEADS
from ssft.losses import LOSSES
from ssft.recipe import Recipe

TABLES: dict[str, Mapping[str, Any]] = {
    "views.augmented": {**AUGMENTATIONS, **PRESETS},
    "views.original": {**AUGMENTATIONS, **PRESETS},
    "encoder.adapter": ADAPTERS,
    "views.mask": MASKS,
    "train.anchor": ANCHORS,
    "head": HEADS,
    "loss": LOSSES,
}


def settings_table(recipe: Recipe) -> str:
    """Return every setting of a recipe: flag, current value, and below it the meaning."""
    width = max(60, min(120, shutil.get_terminal_size((120, 24)).columns))
    lines = []
    for key, value, meaning in settings_rows(recipe):
        lines.append(f"  --{key} {shlex.quote(value if isinstance(value, str) else shown(value))}")
        if key in TABLES:
            meaning = f"{meaning} Known: {', '.join(sorted(TABLES[key]))}."
        lines += textwrap.wrap(meaning, width, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return "\n".join(lines)


def settings_rows(recipe: Recipe) -> Iterator[tuple[str, Any, str]]:
    """Give key, plain value and meaning of every setting, in the order of the recipe."""
    description, meanings = recipe.describe(), argument_docs(Recipe)
    for part, value in description.items():
        if isinstance(value, Mapping):
            yield from _rows(part, getattr(recipe, part), value, meanings[part])
        else:
            yield part, value, meanings[part]


def argument_docs(cls: type) -> dict[str, str]:
    """Return the meaning of each constructor argument from the class docstring's Args section."""
    section = re.search(r"^Args:\n((?: {4,}.*\n?|\n)+)", inspect.getdoc(cls) or "", flags=re.MULTILINE)
    if section is None:
        return {}
    items = re.findall(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", section[1], flags=re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in items}


def _rows(key: str, value: Any, description: Any, meaning: str) -> Iterator[tuple[str, Any, str]]:
    """Walk an object and its description side by side; a component gives a row for itself, then its settings."""
    if isinstance(description, list) and any(isinstance(item, Mapping) for item in description):
        for index, (item, described) in enumerate(zip(value, description, strict=True)):
            yield from _rows(f"{key}.{index}", item, described, meaning)
    elif isinstance(value, Mapping) and value:
        for name, item in value.items():
            yield from _rows(f"{key}.{name}", item, description[name], meaning)
    elif isinstance(description, Mapping) and not isinstance(value, Mapping):
        cls = type(value)
        if "name" in description:
            yield key, description["name"], (inspect.getdoc(cls) or "").split("\n", 1)[0]
        meanings = argument_docs(cls)
        for name in settings_of(cls):
            yield from _rows(f"{key}.{name}", getattr(value, name), description[name], meanings.get(name, ""))
    else:
        yield key, description, meaning
