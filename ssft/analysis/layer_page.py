"""What is known of layers as a table, as curves and as a page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ssft.analysis.pictures import Panel
from ssft.evaluation.page import NOTHING, table


@dataclass(frozen=True)
class Column:
    """One figure of layers.

    Args:
        name: as in the record.
        label: in tables and above curves.
        note: what it says, in a few words.
        percent: whether it is a share, shown in percent.
        arrow: where it is better, if that can be said: ↓ or ↑.
    """

    name: str
    label: str
    note: str
    percent: bool = False
    arrow: str = ""

    @property
    def title(self) -> str:
        """The label with its unit and arrow."""
        return f"{self.label}{' %' if self.percent else ''}{self.arrow and ' ' + self.arrow}"

    def shown(self, value: float | None) -> str:
        """The value as in a table."""
        if value is None or not math.isfinite(value):
            return NOTHING
        if self.percent:
            return f"{100 * value:.1f}"
        return f"{value:,.0f}" if isinstance(value, int) or abs(value) >= 100 else f"{value:.3g}"


RANKS = (
    Column("global_rank", "global rank", "directions that all frames use"),
    Column("rankme", "RankMe", "the same, of a sample of frames"),
    Column("rankme_t", "RankMe-t", "directions of utterances, summed"),
    Column("rankme_mean", "RankMe (mean)", "directions of utterances, averaged"),
)
CLUSTERS = (
    Column("inertia", "inertia", "squared distance to the nearest centre", arrow="↓"),
    Column("relative_inertia", "inertia / variance", "what clusters leave unexplained", percent=True, arrow="↓"),
    Column("davies_bouldin", "Davies-Bouldin", "width of clusters against distance", arrow="↓"),
    Column("calinski_harabasz", "Calinski-Harabasz", "between clusters against within", arrow="↑"),
    Column("silhouette", "silhouette", "simplified: own centre against the next", arrow="↑"),
    Column("perplexity", "perplexity", "clusters that are really used"),
    Column("cluster_stability", "stability", "mutual information of two partitions", arrow="↑"),
)
QUALITY = (
    Column("phone_accuracy", "phones", "right in held-out speech, linear", percent=True, arrow="↑"),
    Column("speaker_accuracy", "speakers", "right from mean frames, linear", percent=True),
    Column("variance_between_utterances", "between utterances", "share of variance: voice, channel", percent=True),
    *(column for column in RANKS if column.name in ("global_rank", "rankme_t")),
    *(column for column in CLUSTERS if column.name in ("relative_inertia", "davies_bouldin")),
    Column("uniformity", "uniformity", "0: all frames alike; about -4: spread out"),
    Column("alignment", "alignment", "squared distance to another voice", arrow="↓"),
    Column("moment_error", "moment error", "another moment mistaken for this one", percent=True, arrow="↓"),
    Column("cosine_distance", "drift, cosine", "from the base; sees rotation"),
    Column("cka_distance", "drift, CKA", "from the base; blind to rotation"),
)

Figures = Mapping[str, Mapping[int, Mapping[str, float | None]]]
"""Values by name, by layer, by system; the first system is the one that is looked at, another its base."""


def layer_table(figures: Figures, columns: Sequence[Column]) -> str:
    """Return a Markdown table with a row for each layer, and the values of a second system in brackets.

    Example:
        >>> print(layer_table({"tiny": {0: {"global_rank": 101.4}, 1: {"global_rank": 96.3}}}, RANKS))
        | layer | global rank |
        |-------|-------------|
        | 0     | 101         |
        | 1     | 96.3        |
    """
    shown = known_columns(figures, columns)
    rows = []
    for layer in sorted({layer for by_layer in figures.values() for layer in by_layer}):
        cells = []
        for column in shown:
            first, *others = (column.shown(by_layer.get(layer, {}).get(column.name)) for by_layer in figures.values())
            known = [other for other in others if other != NOTHING]
            cells.append(f"{first} ({', '.join(known)})" if known else first)
        rows.append([str(layer), *cells])
    return table(["layer", *(column.title for column in shown)], rows)


def layer_panels(figures: Figures, columns: Sequence[Column]) -> list[Panel]:
    """Return the curves of every figure that is known."""
    return [
        Panel(column.title, {name: _curve(by_layer, column) for name, by_layer in figures.items()}, note=column.note)
        for column in known_columns(figures, columns)
    ]


def layer_page(
    title: str,
    figures: Figures,
    columns: Sequence[Column],
    *,
    picture: str,
    findings: Sequence[str] = (),
    caveats: Sequence[str] = (),
    unmeasured: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> str:
    """Return a page of Markdown: what stands out, the picture, the table, what all of it means and stands on.

    Example:
        >>> page = layer_page("Ranks of tiny", figures, RANKS, picture="rank.png", findings=findings(figures))
    """
    first, *others = figures
    meanings = [f"{column.label}: {column.note}." for column in known_columns(figures, columns)]
    sections = [
        f"# {title}",
        _bullets(findings),
        f"![the figures by layer]({picture})",
        layer_table(figures, columns),
        f"First {first}; in brackets {', '.join(others)}." if others else "",
        "## What the figures are",
        _bullets([*meanings, *caveats]),
        "## What could not be measured" if unmeasured else "",
        _bullets(unmeasured),
        "## What this stands on" if notes else "",
        _bullets(notes),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def known_columns(figures: Figures, columns: Sequence[Column]) -> list[Column]:
    """Return the figures that any layer has."""
    return [
        column
        for column in columns
        if any(value is not None for by_layer in figures.values() for value in _curve(by_layer, column).values())
    ]


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _curve(by_layer: Mapping[int, Mapping[str, float | None]], column: Column) -> dict[int, float | None]:
    scale = 100 if column.percent else 1
    values = {layer: own.get(column.name) for layer, own in by_layer.items()}
    return {layer: None if value is None else scale * value for layer, value in values.items()}
