"""ssft analyze rank: how many directions frames and utterances use, layer by layer."""

from __future__ import annotations

import argparse

from ssft.cli.looking import add_look, add_rank, report_layers


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_look(parser)
    add_rank(parser)


def run(options: argparse.Namespace) -> None:
    from ssft.analysis.layer_page import RANKS

    report_layers(options, ["ranks"], RANKS)
