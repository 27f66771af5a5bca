"""What verbs share: options, what argparse lacks (settings among options, the nearest name), and saying results."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from ssft.errors import closest

if TYPE_CHECKING:
    from ssft.data import Corpus


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


def add_data(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which audio is meant."""
    parser.add_argument(
        "--data", required=True, metavar="DIR", help="a folder or manifest, or demo, the bundled speech"
    )
    parser.add_argument("--split", metavar="NAME", help="of a manifest, only the rows of this split")
    parser.add_argument("--allow-outside", action="store_true", help="let a manifest name files outside its own folder")


def load_corpus(options: argparse.Namespace, verify: Literal["audio", "header"]) -> Corpus:
    """Return the audio of `add_data`, under the ids that training will know it by."""
    from ssft.data import Data

    root = Data(root=options.data, split=options.split, allow_outside=options.allow_outside, verify=verify)
    return root.load()


def device() -> str:
    """Return where to compute: this process's GPU if there is one."""
    import torch

    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"


def tell(options: argparse.Namespace, text: str) -> None:
    """Print for people, unless the output is to be JSON."""
    if not options.json:
        print(text)


def print_json(options: argparse.Namespace, **facts: Any) -> None:
    """Print facts as JSON, if that is asked for."""
    if options.json:
        print(json.dumps(facts))


class ActionParser(argparse.ArgumentParser):
    """Names the nearest option of an action of a verb, where the verb's own parser knows none."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        options, strays = super().parse_known_args(args, namespace)
        if strays:
            refuse(self, strays)
        return options, strays


def above_0(text: str) -> float:
    """Read a number above 0, such as of hours."""
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number above 0")
    return found


def number(text: str) -> int:
    """Read a whole number of 0 or more."""
    return _at_least(0, text)


def positive(text: str) -> int:
    """Read a whole number of 1 or more."""
    return _at_least(1, text)


def _at_least(least: int, text: str) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of {least} or more")
    return int(text)


def layer_numbers(text: str) -> list[int]:
    """Read numbers of layers, such as 6,9."""
    words = text.split(",")
    if not all(word.isdecimal() for word in words):
        raise argparse.ArgumentTypeError(f"'{text}' is not one or several layer numbers; give them as 6,9")
    return [int(word) for word in words]
