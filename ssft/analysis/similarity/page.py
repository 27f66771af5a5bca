"""What a comparison of layers says, as words, tables and heat maps."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from ssft.analysis.comparison import ATTENTION, MEASURES, Comparison
from ssft.analysis.pictures import HeatMap
from ssft.analysis.similarity.neurons import min_correlation
from ssft.evaluation.page import NOTHING, table

_TITLES = {**MEASURES, **ATTENTION}
_ALIKE = 0.9995


def verdict(comparison: Comparison) -> str:
    """Say in a sentence where two systems differ most, or where one changes most from layer to layer.

    It rests on the first measure that there is, in the order of `MEASURES`.
    """
    measure = next(iter(comparison.similarity))
    name, x, y = _TITLES[measure], comparison.x, comparison.y
    if x == y:
        steps = {
            (low, high): float(comparison.similarity[measure][row, row + 1])
            for row, (low, high) in enumerate(pairwise(comparison.layers_x))
        }
        known = {pair: value for pair, value in steps.items() if np.isfinite(value)}
        if not known:
            return f"{x} has only one layer to look at."
        low, high = min(known, key=lambda pair: known[pair])
        return f"Neighbouring layers of {x} differ most between {low} and {high}: {name} {known[low, high]:.3f}."
    if comparison.layers_x != comparison.layers_y:
        nearest = comparison.nearest_layer(measure)
        most, least = (
            max(nearest, key=lambda layer: nearest[layer][1]),
            min(nearest, key=lambda layer: nearest[layer][1]),
        )
        return (
            f"Layer {most} of {x} and layer {nearest[most][0]} of {y} are most alike: {name} {nearest[most][1]:.3f}. "
            f"Layer {least} of {x} is least like any of {y}: {nearest[least][1]:.3f} with layer {nearest[least][0]}."
        )
    same = comparison.same_layer(measure)
    most, least = min(same, key=lambda layer: same[layer]), max(same, key=lambda layer: same[layer])
    if same[most] >= _ALIKE:
        return f"**No layer differs** between {x} and {y}: {name} of the same layer is at least {same[most]:.4f}."
    if most == least:
        return f"Layer {most} of {x} and that of {y} have a {name} of {same[most]:.3f}."
    return (
        f"**Layer {most} differs most** between {x} and {y}: {name} {same[most]:.3f}; layer {least} differs least: "
        f"{same[least]:.3f}."
    )


def layer_table(comparison: Comparison) -> str:
    """Return a Markdown table of how alike layers of the same number are; or if the systems do not have the same
    layers, of how alike each is to the layer of y that is most alike.
    """
    has_same = comparison.layers_x == comparison.layers_y
    columns: dict[str, dict[int, str]] = {}
    for name in comparison.similarity:
        same = {layer: f"{value:.3f}" for layer, value in comparison.same_layer(name).items()}
        best = {layer: f"{value:.3f} ({other})" for layer, (other, value) in comparison.nearest_layer(name).items()}
        columns[_TITLES[name]] = same if has_same else best
    header = ["layer", *(title if has_same else f"{title} (with)" for title in columns)]
    rows = [[str(layer), *(own.get(layer, NOTHING) for own in columns.values())] for layer in comparison.layers_x]
    return table(header, rows)


def min_correlations(comparisons: Sequence[Comparison]) -> dict[int, float]:
    """Return the min-correlation of each layer of the first system with the layers of that number of all others.

    Others are those with the same layers. It is empty unless there are several, and `neurons` was measured.
    """
    x, layers = comparisons[0].x, comparisons[0].layers_x
    best = [
        one.best_correlations
        for one in comparisons
        if one.x == x != one.y and one.layers_y == layers and one.best_correlations is not None
    ]
    if len(best) < 2:
        return {}
    return {layer: min_correlation([own[row, row] for own in best]) for row, layer in enumerate(layers)}


def maps_of(comparison: Comparison) -> list[HeatMap]:
    """Return a heat map of each measure."""
    labels = f"layer of {comparison.x}", f"layer of {comparison.y}"
    return [
        HeatMap(_TITLES[name], values, comparison.layers_x, comparison.layers_y, *labels)
        for name, values in comparison.similarity.items()
    ]


def to_markdown(comparisons: Sequence[Comparison], *, pictures: Sequence[str], corpus: str) -> str:
    """Return a page: for each comparison a sentence, a table, a picture; and on how much it stands.

    Args:
        comparisons: in order.
        pictures: file names, of each.
        corpus: its name.
    """
    parts = [f"# Similarity of layers on {corpus}"]
    for one, picture in zip(comparisons, pictures, strict=True):
        title = f"{one.x} within itself" if one.x == one.y else f"{one.x} and {one.y}"
        parts += [f"## {title}", verdict(one)]
        if one.x != one.y:
            parts.append(layer_table(one))
        parts.append(f"![All pairs of layers]({picture})")
    if found := min_correlations(comparisons):
        parts += [
            f"## Neurons of {comparisons[0].x} that all others have",
            "Min-correlation: of each neuron its best match in the layer of the same number, in the system where that "
            "is worst; then the mean over neurons.",
            table(["layer", "min-correlation"], [[str(layer), f"{value:.3f}"] for layer, value in found.items()]),
        ]
    return "\n\n".join([*parts, "## On how much this stands", _basis(comparisons[0])]) + "\n"


def _basis(comparison: Comparison) -> str:
    lines = []
    if comparison.frames:
        lines.append(f"- {comparison.frames:,} frames, a uniform sample; the same moments in both systems.")
    if comparison.kernel_frames:
        lines.append(f"- RBF CKA: {comparison.kernel_frames:,} frames, a kernel of half the median distance.")
    if comparison.attention_utterances:
        lines.append(
            f"- Attention: {comparison.attention_utterances} utterances, of each the first 20 s and 32 query frames."
        )
    lines += [
        "- PWCCA, max-correlation, linear regression and attention are seen from the system that is named first.",
        "- What is the same has 1. What has nothing in common has not 0, and how much differs by measure: compare with "
        "`random:MODEL`, too.",
        "- There are no intervals: what differs in the third digit may be the sample of frames.",
    ]
    return "\n".join(lines)
