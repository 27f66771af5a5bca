"""`ssft VERB ...`: finds the verb, runs it, and turns errors into messages and exit codes."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ssft import __version__
from ssft.cli import (
    analyze,
    check,
    compare,
    demo,
    doctor,
    evaluate,
    export,
    features,
    listen,
    plan,
    recipes,
    report,
    resume,
    train,
    units,
)
from ssft.cli.arguments import refuse, split_settings
from ssft.errors import SsftError, closest

if TYPE_CHECKING:
    from ssft.recipe import Recipe

VERBS = {
    "demo": demo,
    "recipes": recipes,
    "check": check,
    "plan": plan,
    "listen": listen,
    "train": train,
    "resume": resume,
    "export": export,
    "units": units,
    "features": features,
    "evaluate": evaluate,
    "analyze": analyze,
    "compare": compare,
    "report": report,
    "doctor": doctor,
}
TAKE_SETTINGS = ("check", "evaluate", "listen", "plan", "resume", "train")
_SETTINGS = "Settings are given as --train.steps 50 or --train.steps=50."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; return the exit code, 0 only when the job was done."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    command = shlex.join(("ssft", *arguments))
    parser = argparse.ArgumentParser(
        prog="ssft",
        usage="ssft VERB ...",
        description="Self-supervised fine-tuning of speech encoders: a folder of audio in, an adapted encoder out.",
        epilog="Begin with `ssft demo`, or `ssft train score_tiny --data.root DIR`. Each verb has its own --help.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"ssft {__version__}")
    subparsers = parser.add_subparsers(dest="verb", metavar="VERB", title="verbs", prog="ssft")
    verbs: dict[str, argparse.ArgumentParser] = {}
    for name, module in VERBS.items():
        summary = (module.__doc__ or "").split("\n", 1)[0].split(": ", 1)[1].rstrip(".")
        verbs[name] = subparsers.add_parser(
            name, help=summary, description=f"{summary.capitalize()}.", add_help=name != "train", allow_abbrev=False
        )
        module.add_arguments(verbs[name])

    first = next(iter(arguments), "")
    settings: list[str] = []
    if first in TAKE_SETTINGS:
        arguments, settings = split_settings(verbs[first], arguments)
    elif first not in VERBS and not first.startswith("-") and first:
        parser.error(f"there is no verb '{first}'. {closest(first, VERBS)}")
    options, strays = parser.parse_known_args(arguments)
    if strays:
        refuse(verbs.get(options.verb, parser), strays, _SETTINGS if options.verb in TAKE_SETTINGS else "")
    if options.verb is None:
        parser.print_help(sys.stderr)
        return 2
    options.overrides = settings
    options.command = command
    # As under `python script.py`: a recipe may name a class in a module beside it.
    if "" not in sys.path:
        sys.path.append("")
    return guarded(lambda: VERBS[options.verb].run(options))


def run(recipe: Recipe) -> None:
    """Train what a recipe script defines, with overrides from the command line; the last line of every recipe.

    Example:
        >>> if __name__ == "__main__":
        ...     run(recipe)
    """
    parser = argparse.ArgumentParser(prog=f"python {sys.argv[0]}", add_help=False, allow_abbrev=False)
    train.add_run_arguments(parser)
    own, settings = split_settings(parser, sys.argv[1:])
    options, strays = parser.parse_known_args(own)
    if strays:
        refuse(parser, strays, _SETTINGS)
    options.overrides = settings
    about = (sys.modules["__main__"].__doc__ or "").strip().split("\n", 1)[0]
    sys.exit(guarded(lambda: train.train(recipe, options, usage=parser.format_usage(), about=about)))


def guarded(job: Callable[[], None]) -> int:
    """Run a job; print an error that the user can mend without a traceback."""
    # Two OpenMP runtimes spinning for work is what slows a busy machine down most. Read when PyTorch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        with warnings.catch_warnings():
            # transformers' WavLM warns about itself in every layer.
            warnings.filterwarnings("ignore", message="Support for mismatched key_padding_mask")
            warnings.showwarning = _show_warning
            job()
    except SsftError as error:
        if not error.is_said_elsewhere:
            print(f"ssft: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("ssft: stopped.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output has gone, as in `ssft recipes | head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return 0


def _show_warning(message: Warning | str, *where: Any, **how: Any) -> None:
    """Print what a user should know, without the line of code that found it out."""
    print(f"warning: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
