"""The file of a plan: a recipe to train, below its figures as comments."""

from __future__ import annotations

import os
from pathlib import Path

from ssft import __version__
from ssft.errors import RunError
from ssft.files import write_atomically
from ssft.plan.figures import Plan
from ssft.plan.words import in_words

_MARK = "# A plan of ssft"


def write_plan(plan: Plan, path: Path) -> None:
    """Write the recipe of a plan, with its figures as comments; `ssft train` carries it out.

    Raises:
        RunError: something else is there, or it cannot be written.
    """
    refuse_to_overwrite(path)
    heading = f"{_MARK} {__version__}, to be carried out with: ssft train {path}"
    comments = "".join(f"# {_printable(line)}".rstrip() + "\n" for line in in_words(plan))
    try:
        write_atomically(path, f"{_printable(heading)}\n#\n{comments}\n{plan.recipe.to_yaml()}")
    except OSError as error:
        raise RunError(f"Cannot write {path}: {error}. Choose another --out.") from error


def refuse_to_overwrite(path: Path) -> None:
    """Raise unless a plan can be written here: nothing is there, or an older plan.

    Raises:
        RunError: it cannot.
    """
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise RunError(f"Cannot write {path}: {path.parent} is no folder that can be written. Choose another --out.")
    if not path.exists():
        return
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            is_plan = file.readline().startswith(_MARK)
    except OSError as error:
        raise RunError(f"Cannot write {path}: {error.strerror}. Choose another --out.") from error
    if not is_plan:
        raise RunError(f"{path} exists and is no plan of ssft, so it would be lost; choose another --out.")


def _printable(text: str) -> str:
    """One line that YAML accepts, whatever a recording is called."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
