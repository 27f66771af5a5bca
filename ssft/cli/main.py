"""`ssft VERB ...`: finds the verb, runs it, and turns errors into messages and exit codes."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ssft import __version__
from ssft.cli import check, demo, export, recipes, resume, train
from ssft.errors import SsftError

if TYPE_CHECKING:
    from ssft.recipe import Recipe

VERBS = {"demo": demo, "recipes": recipes, "check": check, "train": train, "resume": resume, "export": export}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; return the exit code, 0 only when the job was done."""
    parser = argparse.ArgumentParser(
        prog="ssft",
        description="Self-supervised fine-tuning of speech encoders: a folder of audio in, an adapted encoder out.",
        epilog="Begin with `ssft demo`, or `ssft train score_tiny --data.root DIR`. Each verb has its own --help.",
    )
    parser.add_argument("--version", action="version", version=f"ssft {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, module in VERBS.items():
        summary = (module.__doc__ or "").split("\n", 1)[0].split(": ", 1)[1]
        verb = verbs.add_parser(name, help=summary, description=summary, add_help=name != "train")
        module.add_arguments(verb)
    options, rest = parser.parse_known_args(arguments)
    if rest and options.verb not in ("train", "check"):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    options.overrides = rest
    return guarded(lambda: VERBS[options.verb].run(options))


def run_script(recipe: Recipe, arguments: Sequence[str]) -> int:
    """Do what `ssft train` does, for a recipe that is running as a script."""
    parser = argparse.ArgumentParser(prog=os.path.basename(sys.argv[0]), add_help=False)
    train.add_run_arguments(parser)
    options, options.overrides = parser.parse_known_args(arguments)
    return guarded(lambda: train.train(recipe, options))


def guarded(job: Callable[[], None]) -> int:
    """Run a job; print an error that the user can mend without a traceback."""
    # Two OpenMP runtimes spinning for work is what slows a busy machine down most. Read when PyTorch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        job()
    except SsftError as error:
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


if __name__ == "__main__":
    sys.exit(main())
