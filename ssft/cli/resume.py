"""ssft resume: go on with an interrupted run, exactly, and export it."""

from __future__ import annotations

import argparse
from pathlib import Path

from ssft.cli.train import finish


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="the run folder")


def run(options: argparse.Namespace) -> None:
    from ssft.runs import export, resume

    result = resume(options.run)
    print(f"trained {result.steps:,} steps on {result.hours:.2f} h of audio")
    finish(export(options.run))
