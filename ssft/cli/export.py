"""ssft export: write a run's newest checkpoint as a Hugging Face folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from ssft.cli.train import finish


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="the run folder")
    parser.add_argument("--to", type=Path, metavar="DIR", help="where to (default: RUN/adapted)")


def run(options: argparse.Namespace) -> None:
    from ssft.runs import export

    finish(export(options.run, options.to))
