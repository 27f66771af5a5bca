"""What stands out among layers, in sentences that claim no more than the figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ssft.analysis.layer_page import Figures
from ssft.analysis.layer_quality import LayerQuality
from ssft.analysis.rank import saturation

COLLAPSED = 0.3
"""A layer that uses less than this share of the base's directions has collapsed; nobody has published a threshold."""

_UNRELATED = 0.8
"""Of two encoders that were not made from each other, frames are as good as orthogonal."""

_CAVEATS = {
    "speaker_accuracy": "Phones and speakers are what linear classifiers find. That one finds less of a speaker does "
    "not show that the voice is gone.",
    "variance_between_utterances": "Variance between utterances is voice and channel, but also what is said in them.",
    "moment_error": "A moment is mistaken where the changed voice weighs more than what is said.",
    "global_rank": "Ranks compare checkpoints of one model, layer by layer, not layers or models with each other. An "
    "objective that removes what is not content may lower them.",
    "davies_bouldin": "Indices of clusters compare systems with the same number of clusters on the same frames.",
}


def findings(figures: Figures) -> list[str]:
    """Return what stands out of the first system, against the second if there is one: a sentence each.

    Example:
        >>> findings({"tiny": {row.layer: row.values() for row in layer_quality(corpus, store)}})[0]
        'Phones are told apart best in layer 4 (45.2 %); in the last, 6, 44.1 %.'
    """
    system = next(iter(figures.values()))
    said = [
        _best(system, "phone_accuracy", "Phones are told apart best", highest=True),
        _range(system, "speaker_accuracy", "Speakers are told apart best", "worst"),
        _best(system, "moment_error", "Another voice disturbs least", highest=False),
        _range(system, "variance_between_utterances", "Most of the variance lies between utterances", "least"),
        *_collapse(figures),
        _drift(system),
        *_saturated(figures),
    ]
    return [sentence for sentence in said if sentence]


def caveats(figures: Figures) -> list[str]:
    """Return what the figures that are known cannot show."""
    known = {
        name
        for by_layer in figures.values()
        for values in by_layer.values()
        for name, value in values.items()
        if value is not None
    }
    return [sentence for name, sentence in _CAVEATS.items() if name in known]


def unmeasured(system: Sequence[LayerQuality]) -> list[str]:
    """Return what could not be measured, in which layers if not in all, and why."""
    layers: dict[tuple[str, str], list[int]] = {}
    for row in system:
        for name, why in row.why.items():
            layers.setdefault((name, why), []).append(row.layer)
    return [
        f"{name.replace('_', ' ')}{'' if len(own) == len(system) else f' (layer {_list(own)})'}: {why}"
        for (name, why), own in layers.items()
    ]


def _known(system: Mapping[int, Mapping[str, float | None]], name: str) -> dict[int, float]:
    values = {layer: own.get(name) for layer, own in system.items()}
    return {layer: value for layer, value in values.items() if value is not None}


def _best(system: Mapping[int, Mapping[str, float | None]], name: str, what: str, *, highest: bool) -> str:
    values = _known(system, name)
    if len(values) < 2:
        return ""
    best, last = (max if highest else min)(values, key=lambda layer: values[layer]), max(values)
    rest = ", the last" if best == last else f"; in the last, {last}, {100 * values[last]:.1f} %"
    return f"{what} in layer {best} ({100 * values[best]:.1f} %){rest}."


def _range(system: Mapping[int, Mapping[str, float | None]], name: str, what: str, opposite: str) -> str:
    values = _known(system, name)
    if len(values) < 2:
        return ""
    most, least = (pick(values, key=lambda layer: values[layer]) for pick in (max, min))
    low = f"{opposite} in layer {least} ({100 * values[least]:.1f} %)"
    return f"{what} in layer {most} ({100 * values[most]:.1f} %), {low}."


def _collapse(figures: Figures) -> list[str]:
    """Whether a layer uses hardly any direction, or far fewer than the base's."""
    names = list(figures)
    own, *others = (_known(system, "global_rank") for system in figures.values())
    said = []
    if flat := [layer for layer, rank in own.items() if rank < 2]:
        said.append(f"**Collapsed**: frames of layer {_list(flat)} use hardly more than one direction.")
    shares = {layer: own[layer] / others[0][layer] for layer in own if others and layer in others[0]}
    if low := [layer for layer, share in shares.items() if share < COLLAPSED]:
        said.append(
            f"**Collapsed**: layer {_list(low)} has less than {100 * COLLAPSED:.0f} % of the global rank of {names[1]}."
        )
    elif shares:
        span = f"{100 * min(shares.values()):.0f} to {100 * max(shares.values()):.0f} %"
        said.append(f"No collapse: the global rank of every layer is {span} of that of {names[1]}.")
    return said


def _drift(system: Mapping[int, Mapping[str, float | None]]) -> str:
    values = _known(system, "cosine_distance")
    if not values:
        return ""
    most = max(values, key=lambda layer: values[layer])
    if values[most] < 1e-6:
        return "No layer has moved from the base."
    if min(values.values()) > _UNRELATED:
        return "No feature of any layer is that of the base: cosine distances are about 1. See CKA instead."
    return f"Layer {most} has moved most from the base (cosine distance {values[most]:.3f})."


def _saturated(figures: Figures) -> list[str]:
    every = [values for by_layer in figures.values() for values in by_layer.values() if "rankme_t" in values]
    said = [
        saturation(utterances=int(values["utterances"] or 0), dimensions=int(values["dimensions"] or 0))
        for values in every
    ]
    return list(dict.fromkeys(sentence for sentence in said if sentence))


def _list(layers: Sequence[int]) -> str:
    return ", ".join(map(str, layers))
