"""ssft export: write what a run trained as a Hugging Face folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from ssft.cli.arguments import positive
from ssft.cli.train import finish


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="the run folder")
    parser.add_argument("--to", type=Path, metavar="DIR", help="where to (default: RUN/adapted, or RUN/adapter)")
    parser.add_argument("--adapter", action="store_true", help="only the adapter, to be put on the base with peft")
    parser.add_argument(
        "--step", type=positive, metavar="N", help="of this checkpoint (default: what train.select chooses)"
    )


def run(options: argparse.Namespace) -> None:
    from ssft.run_export import export

    folder = export(options.run, options.to, adapter_only=options.adapter, step=options.step)
    if options.adapter:
        print(f"adapter: {folder}\n  its README.md says how to put it on its base")
    else:
        finish(folder)
