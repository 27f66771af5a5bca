"""ssft analyze clusters: how well frames fall into clusters of k-means, layer by layer."""

from __future__ import annotations

import argparse

from ssft.cli.looking import add_clusters, add_look, report_layers


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_look(parser)
    add_clusters(parser)


def run(options: argparse.Namespace) -> None:
    from ssft.analysis.layer_page import CLUSTERS

    report_layers(options, ["clusters", "cluster_stability"], CLUSTERS)
