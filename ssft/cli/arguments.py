"""What argparse lacks: a recipe's settings among the options of a verb, and the nearest name for an unknown flag."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

from ssft.errors import closest


def split_settings(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split `arguments` into the parser's own and the recipe's: every long flag that is no option, with its value.

    Example:
        >>> split_settings(parser, ["--loss.gamma", "0.2", "score_tiny", "--out", "runs/x"])
        (['score_tiny', '--out', 'runs/x'], ['--loss.gamma', '0.2'])
    """
    own: list[str] = []
    settings: list[str] = []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        flag, equals, _ = argument.partition("=")
        if not flag.startswith("--") or flag in options_of(parser):
            own.append(argument)
            continue
        settings.append(argument)
        if not equals and rest and not rest[0].startswith("--"):
            settings.append(rest.pop(0))
    return own, settings


def refuse(parser: argparse.ArgumentParser, strays: Sequence[str], remedy: str = "") -> NoReturn:
    """End with usage, exit code 2, and the nearest option for what was not understood."""
    if strays[0].startswith("-"):
        remedy = closest(strays[0].partition("=")[0], options_of(parser))
    parser.error(f"'{strays[0]}' is not understood. {remedy}".rstrip())


def options_of(parser: argparse.ArgumentParser) -> list[str]:
    """Return the long options of a parser."""
    return [option for action in parser._actions for option in action.option_strings if option.startswith("--")]
