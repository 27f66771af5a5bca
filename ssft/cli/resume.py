"""ssft resume: go on with an interrupted run, exactly, and export it."""

from __future__ import annotations

import argparse
from pathlib import Path

from ssft.cli.train import conclude


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="the run folder")
    parser.add_argument(
        "--allow-change",
        action="append",
        default=[],
        metavar="KEY",
        help="a setting, or a section, that may differ from what the run began with, such as train.steps; also base, "
        "corpus and labels",
    )
    parser.usage = "ssft resume RUN [--SETTING VALUE ... --allow-change KEY ...]"
    parser.epilog = "Settings are given as to `ssft train`, for example --train.steps 2000 --allow-change train.steps."


def run(options: argparse.Namespace) -> None:
    from ssft.runs import resume

    conclude(resume(options.run, overrides=options.overrides, allow_change=options.allow_change))
