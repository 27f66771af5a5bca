"""ssft compare: how alike the layers of encoders are, all pairs, before and after training or across models."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssft.cli.arguments import above_0, device, layer_numbers, number, positive, tell

if TYPE_CHECKING:
    from ssft.analysis.comparison import Comparison

ATTENTION = "attention"
MEASURES = ("cka", "rbf", "svcca", "pwcca", "cca", "neurons", "regression", "units", ATTENTION)
SETTINGS = ("split", "max_hours", "measures", "frames", "rbf_frames", "clusters", "attention_utterances", "seed")
"""What goes on record, beside what is said of the systems."""


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
        help="the first is compared with each of the others, one alone with itself; a Hub id, a folder (also a run), "
        "tiny, mfcc, or random:MODEL, untrained",
    )
    add = parser.add_argument
    add("--data", required=True, metavar="CORPUS", help="audio, with or without labels, or demo")
    add("--split", default="test", metavar="NAME", help="of the corpus (default: test, which is all without splits)")
    add("--max-hours", type=above_0, default=1.0, metavar="H", help="of more audio, draw H hours (default: 1)")
    add("--layers", type=layer_numbers, metavar="L,L", help="which layers (default: all)")
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
    add("--seed", type=number, default=0, metavar="N", help="of the samples (default: 0)")
    add("--out", type=Path, metavar="DIR", help="for results (default: analysis/compare-A-B-CORPUS)")
    add("--cache", type=Path, metavar="DIR", help="keep frames there, for further calls")
    add("--json", action="store_true", help="print the results as JSON")


def run(options: argparse.Namespace) -> None:
    from ssft.analysis.comparison import compare
    from ssft.analysis.folder import PAGE, RECORD, analysis_facts, refuse_foreign, save_analysis
    from ssft.analysis.part import analysed_part
    from ssft.analysis.pictures import heat_maps
    from ssft.analysis.similarity.attention import attention_similarity
    from ssft.analysis.similarity.page import maps_of, min_correlations, to_markdown, verdict
    from ssft.evaluation.corpora import open_corpus
    from ssft.evaluation.corpus import TEST
    from ssft.evaluation.systems import open_encoder, open_system
    from ssft.files import remove_folder
    from ssft.runs import environment

    names = list(dict.fromkeys(options.models))
    pairs = [(names[0], other) for other in names[1:] or names]
    if options.within and len(names) > 1:
        pairs += [(name, name) for name in names]
    corpus = analysed_part(
        open_corpus(options.data), split=options.split, max_hours=options.max_hours, seed=options.seed
    )
    out = options.out or _default_folder(names, options.data)
    subject = f"similarity of {', '.join(names)}"
    refuse_foreign(out, subject)
    encoders = {name: open_encoder(name, seed=options.seed) for name in names if ATTENTION in options.measures}
    tell(options, f"corpus: {corpus.summary()}")

    cache = options.cache or out / "features"
    stores = {
        name: open_system(name, corpus=corpus, cache=cache, layers=options.layers, seed=options.seed) for name in names
    }
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
                corpus.splits[TEST],
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
            maps_of(one), title=f"{one.x} against {one.y}, on {corpus.name}"
        )
        for number, one in enumerate(comparisons, start=1)
    }
    facts = analysis_facts(
        options.command,
        corpus,
        list(stores.values()),
        {name: getattr(options, name) for name in SETTINGS},
        subject=subject,
        environment=environment(),
    )
    record = save_analysis(
        out,
        {
            **facts,
            "comparisons": [_record(one) for one in comparisons],
            "min_correlation": min_correlations(comparisons),
        },
        to_markdown(comparisons, pictures=[f"{name}.png" for name in pictures], corpus=corpus.name),
        pictures,
    )
    if not options.cache:
        remove_folder(out / "features")
    if options.json:
        print(json.dumps(record))
    tell(options, f"\nall of it: {out / PAGE}, {out / RECORD}")


def _record(comparison: Comparison) -> dict[str, Any]:
    """A comparison without the match of every single neuron."""
    return {name: value for name, value in vars(comparison).items() if name != "best_correlations"}


def _default_folder(models: Sequence[str], corpus: str) -> Path:
    """analysis/compare-tiny-score-demo for `ssft compare tiny runs/score --data demo`."""
    parts = ("compare", *(Path(name).name or name for name in (*models, corpus)))
    return Path("analysis") / "-".join(part.replace(":", "-") for part in parts)
