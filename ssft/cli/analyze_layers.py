"""ssft analyze layers: content against speaker, rank, clusters, and drift from the base, layer by layer."""

from __future__ import annotations

import argparse

from ssft.cli.looking import add_clusters, add_look, add_rank, report_layers

NONE = "none"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_look(parser)
    add_rank(parser)
    add_clusters(parser)
    parser.add_argument(
        "--augmented",
        default="pitch_shift",
        metavar="NAME",
        help="what is done to voices, to see which frames move (default: pitch_shift); none leaves it out",
    )


def run(options: argparse.Namespace) -> None:
    from ssft.analysis.layer_page import QUALITY
    from ssft.analysis.layer_quality import USUAL

    left_out = {"drift"} if not options.against else set()
    if options.augmented == NONE:
        left_out.add("alignment")
    report_layers(options, [name for name in USUAL if name not in left_out], QUALITY)
