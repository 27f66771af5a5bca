"""The layers of the base and of the adapted encoder, as a section of a report; and what they say without labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ssft.analysis.findings import caveats, findings, unmeasured
from ssft.analysis.layer_page import QUALITY, Column, Figures, known_columns, layer_panels, layer_table
from ssft.analysis.layer_quality import layer_quality
from ssft.analysis.pictures import layer_curves
from ssft.analysis.sample import FrameSample
from ssft.evaluation.corpus import LabelledCorpus
from ssft.evaluation.frames import FrameStore
from ssft.report.document import Block, Bullets, Fold, Made, Picture, Table, Text
from ssft.report.markdown import blocks_of

CLUSTERS = 100
"""Of k-means; `ssft analyze clusters` takes 1,024, and ten times as long."""

_MOST_FRAMES = 20_000
_LABEL_FREE = ("moment_error", "alignment", "variance_between_utterances", "global_rank", "relative_inertia")
"""What the verdict quotes where there are no labels."""


def layers(corpus: LabelledCorpus, adapted: FrameStore, base: FrameStore | None, *, seed: int = 0) -> Made:
    """Return figures of every layer before and after, as curves and tables.

    Raises:
        DataError: no frames, or frames of base and adapted that are not of the same moments.
    """
    stores = [store for store in (base, adapted) if store is not None]
    sample = FrameSample(
        [store.frames(layer=layer) for store in stores for layer in store.layers], most_frames=_MOST_FRAMES, seed=seed
    )
    rows = {
        store.name: layer_quality(
            corpus, store, base=base if store is adapted else None, sample=sample, clusters=CLUSTERS, seed=seed
        )
        for store in stores
    }
    figures: Figures = {name: {row.layer: row.values() for row in own} for name, own in rows.items()}
    adapted_first: Figures = dict(reversed(list(figures.items())))
    columns = known_columns(figures, QUALITY)
    said, missing = findings(adapted_first), unmeasured(rows[adapted.name])
    blocks: list[Block] = [
        Picture(
            layer_curves(layer_panels(figures, columns), title=f"{' and '.join(figures)}, {corpus.name}"),
            f"curves of {', '.join(column.title for column in columns)} over layers",
        ),
        Bullets(said),
        _last_layers(figures, columns),
        Fold(
            "every layer, and what the figures cannot show",
            [
                *[Text(f"First {adapted.name}, in brackets {own.name}.", quiet=True) for own in stores[:-1]],
                *blocks_of(layer_table(adapted_first, columns)),
                *map(Text, caveats(adapted_first)),
                *[Text(f"Not measured: {reason}", quiet=True) for reason in missing],
            ],
        ),
    ]
    record = {
        "clusters": CLUSTERS,
        "frames": sample.count,
        "figures": figures,
        "findings": said,
        "unmeasured": missing,
        "label_free": _label_free(figures),
    }
    return blocks, record


def _last(figures: Figures) -> Mapping[str, Mapping[str, float | None]]:
    """The figures of the last layer, by system."""
    return {name: by_layer[max(by_layer)] for name, by_layer in figures.items()}


def _last_layers(figures: Figures, columns: Sequence[Column]) -> Table:
    last = _last(figures)
    rows = [
        [column.title, *(column.shown(values.get(column.name)) for values in last.values()), column.note]
        for column in columns
    ]
    return Table(["last layer", *last, "what it is"], rows)


def _label_free(figures: Figures) -> list[str]:
    """What changed in the last layer, of what needs no labels, in words; nothing without a base."""
    if len(figures) < 2:
        return []
    known = {column.name: column for column in QUALITY}
    said = [_change(known[name], [values.get(name) for values in _last(figures).values()]) for name in _LABEL_FREE]
    return [sentence for sentence in said if sentence]


def _change(column: Column, values: Sequence[float | None]) -> str:
    if any(value is None for value in values):
        return ""
    before, after = (column.shown(value) for value in values)
    return f"{column.title} {before} to {after} ({column.note})"
