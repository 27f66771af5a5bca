"""ssft compare: how alike the layers of encoders are, all pairs, before and after training or across models."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ssft.cli.arguments import device, positive, tell
from ssft.cli.looking import MODEL, add_audio, looking

if TYPE_CHECKING:
    from ssft.analysis.comparison import Comparison

ATTENTION = "attention"
MEASURES = ("cka", "rbf", "svcca", "pwcca", "cca", "neurons", "regression", "units", ATTENTION)
SETTINGS = ("measures", "frames", "rbf_frames", "clusters", "attention_utterances")
"""What goes on record, beside which audio it is."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "ssft compare A B [C ...] --data CORPUS [--measures NAME ...] [options]"
    parser.epilog = (
        "Measures: cka (linear CKA), rbf (RBF CKA), svcca, pwcca, cca (canonical correlation), neurons "
        "(max-correlation), regression (linear), units (agreement of k-means), attention (Frobenius, Pearson, "
        "Jensen-Shannon). What they mean: docs/similarity.md."
    )
    parser.add_argument(
        "models",
        nargs="+",
        metavar="MODEL",
        help=f"the first is compared with each of the others, one alone with itself; {MODEL}",
    )
    add_audio(parser)
    add = parser.add_argument
    add(
        "--measures",
        nargs="+",
        choices=MEASURES,
        default=["cka", "pwcca", "neurons"],
        metavar="NAME",
        help="some of these (default: cka pwcca neurons)",
    )
    add("--within", action="store_true", help="also compare the layers of each model among themselves")
    add("--frames", type=positive, default=50_000, metavar="N", help="how many to look at (default: 50000)")
    add("--rbf-frames", type=positive, default=2_000, metavar="N", help="how many for RBF CKA (default: 2000)")
    add("--clusters", type=positive, default=100, metavar="K", help="of k-means, for units (default: 100)")
    add("--attention-utterances", type=positive, default=20, metavar="N", help="for attention (default: 20)")


def run(options: argparse.Namespace) -> None:
    from ssft.analysis.comparison import compare
    from ssft.analysis.pictures import heat_maps
    from ssft.analysis.similarity.attention import attention_similarity
    from ssft.analysis.similarity.page import maps_of, min_correlations, to_markdown, verdict
    from ssft.evaluation.corpus import TEST
    from ssft.evaluation.systems import open_encoder

    names = list(dict.fromkeys(options.models))
    pairs = [(names[0], other) for other in names[1:] or names]
    if options.within and len(names) > 1:
        pairs += [(name, name) for name in names]
    encoders = {name: open_encoder(name, seed=options.seed) for name in names if ATTENTION in options.measures}
    with looking(options, "compare", names, SETTINGS) as look:
        stores = dict(zip(names, look.stores, strict=True))
        comparisons = []
        for x, y in pairs:
            found = compare(
                stores[x],
                stores[y],
                measures=[name for name in options.measures if name != ATTENTION],
                most_frames=options.frames,
                kernel_frames=options.rbf_frames,
                clusters=options.clusters,
                seed=options.seed,
            )
            if encoders:
                attention = attention_similarity(
                    encoders[x].to(device()),
                    encoders[y].to(device()),
                    look.corpus.splits[TEST],
                    layers_x=[layer for layer in found.layers_x if layer],
                    layers_y=[layer for layer in found.layers_y if layer],
                    most_utterances=options.attention_utterances,
                    seed=options.seed,
                )
                found = found.with_attention(attention)
            tell(options, verdict(found).replace("**", ""))
            comparisons.append(found)
        pictures = {
            f"similarity-{number}" if len(comparisons) > 1 else "similarity": heat_maps(
                maps_of(one), title=f"{one.x} against {one.y}, on {look.corpus.name}"
            )
            for number, one in enumerate(comparisons, start=1)
        }
        look.save(
            options,
            {
                "comparisons": [_record(one) for one in comparisons],
                "min_correlation": min_correlations(comparisons),
            },
            to_markdown(comparisons, pictures=[f"{name}.png" for name in pictures], corpus=look.corpus.name),
            pictures,
        )


def _record(comparison: Comparison) -> dict[str, Any]:
    """A comparison without the match of every single neuron."""
    return {name: value for name, value in vars(comparison).items() if name != "best_correlations"}
