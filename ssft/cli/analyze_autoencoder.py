"""ssft analyze autoencoder: whether top layers go back towards the sound, and which layers to train."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from ssft.cli.arguments import positive, tell
from ssft.cli.looking import add_look, looking


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "What is measured, and the rule behind the recommendation: docs/autoencoder.md."
    add_look(parser)
    add = parser.add_argument
    add("--frames", type=positive, default=50_000, metavar="N", help="how many to look at (default: 50000)")
    add("--folds", type=positive, default=5, metavar="K", help="parts that are held out in turn (default: 5)")


def run(options: argparse.Namespace) -> None:
    from ssft.analysis.autoencoder import Material
    from ssft.analysis.autoencoder_page import advice, panels, record_of, to_markdown
    from ssft.analysis.fold_back import recommend
    from ssft.analysis.pictures import layer_curves
    from ssft.evaluation.systems import open_encoder

    if options.layers:
        options.layers = sorted({0, *options.layers, open_encoder(options.model).num_layers})
    with looking(options, "autoencoder", [options.model, options.against], ("frames", "folds")) as look:
        material = Material(
            look.corpus,
            look.stores,
            cache=options.cache or look.out / "features",
            most_frames=options.frames,
            folds=options.folds,
            seed=options.seed,
        )
        profiles = [material.profile(store) for store in look.stores]
        recommendation = recommend(profiles[0].fold_backs(), last=profiles[0].layers[-1])
        tell(options, f"\n{advice(recommendation)}")
        names = " and ".join(profile.name for profile in profiles)
        title = f"Autoencoder behaviour of {names} on {look.corpus.name}"
        look.save(
            options,
            {
                "profiles": {profile.name: record_of(profile) for profile in profiles},
                "recommendation": {**asdict(recommendation), "settings": recommendation.settings},
            },
            to_markdown(profiles, recommendation, corpus=look.corpus.name, notes=look.corpus.notes),
            {"autoencoder": layer_curves(panels(profiles), title=title)},
        )
