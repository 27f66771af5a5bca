"""Checkpoints as a table, as curves over steps, and as a page: figures without labels beside errors with them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ssft.analysis.layer_page import CLUSTERS, QUALITY, RANKS, Column
from ssft.analysis.pictures import Panel
from ssft.analysis.trajectory import ENOUGH, Correlation, Moment
from ssft.evaluation.page import NOTHING, table

RECORDED = (
    Column("score", "score", "of train.select=label_free; 0 is the base", arrow="↑"),
    Column("discrimination", "discrimination", "sounds found again in another voice", percent=True, arrow="↑"),
    Column("invariance", "invariance", "of frames to the augmentation", percent=True),
    Column("loss", "loss", "of training, mean since the checkpoint before", arrow="↓"),
)
"""What a run itself writes down."""

Correlations = Mapping[str, Mapping[str, Correlation]]
"""By figure, by error."""


def known_figures(moments: Sequence[Moment]) -> list[Column]:
    """Return the figures that any checkpoint has."""
    every = dict.fromkeys((*QUALITY, *RANKS, *CLUSTERS, *RECORDED))
    return [column for column in every if any(one.figures.get(column.name) is not None for one in moments)]


def checkpoint_table(moments: Sequence[Moment], figures: Sequence[Column], errors: Sequence[str]) -> str:
    """Return a Markdown table with a row for each checkpoint; errors are in percent."""
    rows = [
        [
            moment.run,
            str(moment.step),
            *(column.shown(moment.figures.get(column.name)) for column in figures),
            *(_percent(moment.errors.get(name)) for name in errors),
        ]
        for moment in moments
    ]
    return table(["run", "step", *(column.title for column in figures), *(f"{name} %" for name in errors)], rows)


def correlation_table(correlations: Correlations, figures: Sequence[Column], errors: Sequence[str]) -> str:
    """Return a Markdown table of rank correlations: over all checkpoints with intervals, and within runs."""
    header = ["figure", *(text for name in errors for text in (name, f"{name}, within runs"))]
    rows = [
        [
            column.title,
            *(text for own in correlations[column.name].values() for text in (str(own), _two_digits(own.within))),
        ]
        for column in figures
    ]
    return table(header, rows)


def step_panels(moments: Sequence[Moment], figures: Sequence[Column], errors: Sequence[str]) -> list[Panel]:
    """Return the curves of all runs over steps, a plot for each figure and each error."""

    def curves(read: str, name: str, scale: float) -> dict[str, dict[int, float | None]]:
        found: dict[str, dict[int, float | None]] = {}
        for moment in moments:
            value = getattr(moment, read).get(name)
            found.setdefault(moment.run, {})[moment.step] = None if value is None else scale * value
        return found

    return [
        *(
            Panel(column.title, curves("figures", column.name, 100 if column.percent else 1), note=column.note)
            for column in figures
        ),
        *(Panel(f"{name} % ↓", curves("errors", name, 100), note="needs labels") for name in errors),
    ]


def trajectory_page(
    title: str,
    moments: Sequence[Moment],
    correlations: Correlations,
    figures: Sequence[Column],
    errors: Sequence[str],
    *,
    picture: str,
    notes: Sequence[str],
) -> str:
    """Return a page of Markdown."""
    sections = [
        f"# {title}",
        f"![figures and errors by step]({picture})",
        checkpoint_table(moments, figures, errors),
    ]
    if errors:
        some = next(own for by_error in correlations.values() for own in by_error.values())
        sections += [
            "## What goes with what",
            correlation_table(correlations, figures, errors),
            "Spearman's rank correlation with the error over all checkpoints, with a 95 % interval "
            f"({some.drawn}s drawn again), and the mean of the correlations inside runs. A figure that is better low "
            "should be near 1, one that is better high near -1." + few(some),
        ]
    sections += ["## What this stands on", "\n".join(f"- {note}" for note in notes)]
    return "\n\n".join(sections) + "\n"


def few(some: Correlation) -> str:
    """Say so if there are too few checkpoints to believe a correlation."""
    if some.checkpoints >= ENOUGH:
        return ""
    return (
        f" {some.checkpoints} checkpoints of {some.runs} run{'s' if some.runs > 1 else ''} are few: believe none of "
        f"these before there are {ENOUGH}, of several runs."
    )


def _percent(value: float | None) -> str:
    return NOTHING if value is None or not math.isfinite(value) else f"{100 * value:.2f}"


def _two_digits(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else NOTHING
