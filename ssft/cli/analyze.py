"""ssft analyze: look inside an encoder, with or without labels: what each layer is good for, and what became of it."""

from __future__ import annotations

import argparse

from ssft.cli import analyze_autoencoder, analyze_clusters, analyze_layers, analyze_rank, analyze_trajectory
from ssft.cli.arguments import ActionParser

ACTIONS = {
    "layers": analyze_layers,
    "rank": analyze_rank,
    "clusters": analyze_clusters,
    "autoencoder": analyze_autoencoder,
    "trajectory": analyze_trajectory,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = f"ssft analyze {'|'.join(ACTIONS)} MODEL [options]"
    parser.epilog = "What the figures mean: docs/analysis.md. To set encoders beside each other: ssft compare."
    actions = parser.add_subparsers(
        dest="action", metavar="ACTION", title="actions", required=True, parser_class=ActionParser, prog="ssft analyze"
    )
    for name, module in ACTIONS.items():
        about = (module.__doc__ or "").split("\n", 1)[0].split(": ", 1)[1].rstrip(".")
        action = actions.add_parser(name, help=about, description=f"{about.capitalize()}.", allow_abbrev=False)
        module.add_arguments(action)


def run(options: argparse.Namespace) -> None:
    ACTIONS[options.action].run(options)
