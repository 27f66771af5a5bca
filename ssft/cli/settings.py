"""The table behind `ssft train RECIPE --help`: every setting, its value, and its docstring's words."""

from __future__ import annotations

import re
from typing import Any

from ssft.components import settings_of
from ssft.recipe import Recipe


def settings_table(recipe: Recipe) -> str:
    """Return one line per setting of a recipe: flag, current value, meaning."""
    rows = [("name", recipe.name, "of the run folder, runs/NAME")]
    description = recipe.describe()
    for section in ("encoder", "views", "head", "loss", "data", "train"):
        rows += _rows(section, getattr(recipe, section), description[section])
    return "\n".join(f"  --{key} {_shown(value)}\n      {meaning}" for key, value, meaning in rows)


def _rows(prefix: str, component: Any, description: Any) -> list[tuple[str, Any, str]]:
    rows = [(prefix, description["name"], type(component).__doc__.split("\n", 1)[0])] if "name" in description else []
    meanings = argument_docs(type(component))
    for name in settings_of(type(component)):
        key, value = f"{prefix}.{name}", getattr(component, name)
        if isinstance(description[name], dict) and "name" in description[name]:
            rows += _rows(key, value, description[name])
        elif isinstance(value, (list, tuple)) and value and hasattr(value[0], "draw"):
            for index, (item, described) in enumerate(zip(value, description[name], strict=True)):
                rows += _rows(f"{key}.{index}", item, described)
        else:
            rows.append((key, description[name], meanings.get(name, "")))
    return rows


def argument_docs(cls: type) -> dict[str, str]:
    """Return the meaning of each constructor argument from the class docstring's Args section."""
    section = re.search(r"^ +Args:\n((?: {8,}.*\n|\n)+)", cls.__doc__ or "", flags=re.MULTILINE)
    if section is None:
        return {}
    items = re.findall(r"^ {8}(\w+): (.*(?:\n {9,}.*)*)", section[1], flags=re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in items}


def _shown(value: Any) -> str:
    text = "null" if value is None else str(value)
    return f"'{text}'" if " " in text else text
