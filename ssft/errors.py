"""What can go wrong for a user, as one family of exceptions whose messages say what is wrong, where, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SsftError(Exception):
    """Anything the user can mend: the command line prints the message, without a traceback, and exits with the code."""

    exit_code = 1
    is_said_elsewhere = False
    """Whether another process prints the same message."""


class RecipeError(SsftError):
    """A recipe names something that does not exist, or combines things that do not fit."""

    exit_code = 2


class DataError(SsftError):
    """A folder or manifest cannot be used."""


class EncoderError(SsftError):
    """A checkpoint cannot be loaded, or is not of a known family."""


class RunError(SsftError):
    """A run folder cannot be created, resumed or exported."""


def closest(name: str, known: Iterable[str]) -> str:
    """Return the tail of an error message: the nearest known name, if any is near, and all of them.

    Example:
        >>> closest("gama", ["gamma", "divergence"])
        "Did you mean 'gamma'? Known: divergence, gamma."
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    guess = f"Did you mean '{near[0]}'? " if near else ""
    return f"{guess}Known: {', '.join(names)}."
