"""Pictures of an analysis: curves over layers, and layers against layers."""

from __future__ import annotations

import io
import math
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Of Okabe and Ito, which most colour-blind people can tell apart; the light yellow is left out."""

_MARKERS = ("o", "^", "s", "D", "v", "P", "X")
_DASHES = ("-", "--", "-.", ":")
_FONT = 9
_DPI = 120


@dataclass(frozen=True)
class Panel:
    """One plot of curves: `{name: {layer: value}}`; what is None or not finite is left out.

    Args:
        title: what is measured.
        curves: by what is measured, or of what; the same name has the same colour in all panels.
        note: a short line below the title, such as `higher: more directions`.
        limits: of the values, if not those of the curves.
        errors: how far intervals reach to either side of values, of those curves that have some.
    """

    title: str
    curves: Mapping[str, Mapping[int, float | None]]
    note: str = ""
    limits: tuple[float, float] | None = None
    errors: Mapping[str, Mapping[int, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class HeatMap:
    """One matrix [rows, columns], such as the similarity of each layer of a model to each of another.

    Args:
        title: what is measured.
        values: [len(rows), len(columns)], between 0 and 1; NaN is left empty.
        rows: numbers or names.
        columns: the same.
        row_label: what the rows are, e.g. `layer of tiny`.
        column_label: what the columns are.
    """

    title: str
    values: NDArray[np.floating]
    rows: Sequence[object]
    columns: Sequence[object]
    row_label: str
    column_label: str


def layer_curves(panels: Sequence[Panel], *, title: str, axis: str = "layer", columns: int = 3) -> bytes:
    """Return a PNG of several plots over layers, or over whatever `axis` says, such as `step`.

    Example:
        >>> png = layer_curves([Panel("effective rank", {"tiny": {0: 31.0, 1: 48.2}})], title="tiny on demo")
    """
    names = list(dict.fromkeys(name for panel in panels for name in panel.curves))
    columns = min(columns, len(panels))
    rows = math.ceil(len(panels) / columns)
    legend = 0.27 * math.ceil(len(names) / columns) if len(names) > 1 else 0.0
    figure, head = _figure(3.9 * columns, 2.7 * rows, title, legend=legend)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, panel in zip(grid.flat, panels, strict=False):
        _draw_curves(axes, panel, names, axis)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    handles = {
        name: handle for axes in grid.flat for handle, name in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    if len(names) > 1:
        anchor = 0.12 / figure.get_figwidth(), 1 - (head - legend) / figure.get_figheight()
        texts = figure.legend(
            handles.values(),
            handles,
            loc="upper left",
            bbox_to_anchor=anchor,
            ncols=columns,
            fontsize=_FONT,
            frameon=False,
            borderaxespad=0,
        ).get_texts()
        for text in texts:
            text.set_parse_math(False)
    return _png(figure)


def heat_maps(maps: Sequence[HeatMap], *, title: str, columns: int = 3) -> bytes:
    """Return a PNG of one or several matrices with their values in the cells, on one scale of colours from 0 to 1.

    Example:
        >>> square = HeatMap("linear CKA", np.eye(2), [0, 1], [0, 1], "layer of a", "layer of b")
        >>> png = heat_maps([square], title="a against b")
    """
    columns = min(columns, len(maps))
    rows = math.ceil(len(maps) / columns)
    wide = max(max(3.2, 0.36 * len(one.columns) + 0.7) for one in maps)
    high = max(max(2.6, 0.32 * len(one.rows) + 0.9) for one in maps)
    figure, _ = _figure(wide * columns + 0.9, high * rows, title)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, one in zip(grid.flat, maps, strict=False):
        image = axes.imshow(one.values, cmap="cividis", vmin=0, vmax=1, aspect="auto", origin="lower")
        axes.set_title(one.title, fontsize=_FONT + 1, loc="left", fontweight="bold", parse_math=False)
        axes.set_xticks(range(len(one.columns)), [str(name) for name in one.columns], fontsize=_FONT - 1)
        axes.set_yticks(range(len(one.rows)), [str(name) for name in one.rows], fontsize=_FONT - 1)
        axes.set_xlabel(one.column_label, fontsize=_FONT, parse_math=False)
        axes.set_ylabel(one.row_label, fontsize=_FONT, parse_math=False)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        for (row, column), value in np.ndenumerate(one.values):
            if math.isfinite(value):
                colour = "white" if value < 0.55 else "black"
                axes.text(column, row, _cell(value), ha="center", va="center", fontsize=_FONT - 1.5, color=colour)
    for axes in grid.flat[len(maps) :]:
        axes.set_axis_off()
    bar = figure.colorbar(image, ax=list(grid.flat), fraction=0.03, pad=0.015, aspect=30)
    bar.ax.tick_params(labelsize=_FONT - 1)
    bar.outline.set_visible(False)  # type: ignore[operator]
    return _png(figure)


def _draw_curves(axes: Axes, panel: Panel, names: Sequence[str], axis: str) -> None:
    for name, curve in panel.curves.items():
        known = {place: value for place, value in sorted(curve.items()) if value is not None and math.isfinite(value)}
        number = names.index(name)
        axes.plot(
            list(known),
            list(known.values()),
            color=COLOURS[number % len(COLOURS)],
            marker=_MARKERS[number % len(_MARKERS)],
            linestyle=_DASHES[number % len(_DASHES)],
            linewidth=1.4,
            markersize=4,
            label=name,
        )
        if errors := panel.errors.get(name):
            reach = [errors[place] for place in known]
            colour = COLOURS[number % len(COLOURS)]
            axes.errorbar(list(known), list(known.values()), reach, color=colour, linestyle="none", capsize=2.5)
    axes.set_title(panel.title, fontsize=_FONT + 1, loc="left", fontweight="bold", pad=18 if panel.note else 6)
    if panel.note:
        axes.text(0, 1.03, panel.note, transform=axes.transAxes, fontsize=_FONT - 1, color="#555555")
    axes.set_xlabel(axis, fontsize=_FONT)
    axes.tick_params(labelsize=_FONT - 1)
    axes.grid(linewidth=0.4, alpha=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    places = sorted({place for curve in panel.curves.values() for place in curve})
    if axis == "layer" and places:
        step = math.ceil(len(places) / 13)
        axes.set_xticks(places[::step])
        axes.set_xlim(places[0] - 0.4, places[-1] + 0.4)
    if panel.limits:
        axes.set_ylim(*panel.limits)
    elif not any(line.get_xdata().size for line in axes.lines):  # type: ignore[union-attr]
        axes.set_yticks([])
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", va="center", fontsize=_FONT)


def _figure(width: float, height: float, title: str, *, legend: float = 0.0) -> tuple[Figure, float]:
    """A figure with a title above what is `width` x `height` inches, and how high the title and a legend are."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    lines = textwrap.wrap(title, round(10 * width))
    head = 0.2 + 0.19 * len(lines) + legend
    layout = ConstrainedLayoutEngine(rect=(0, 0, 1, height / (head + height)), hspace=0.06, wspace=0.04)
    figure = Figure(figsize=(width, head + height), dpi=_DPI, facecolor="white", layout=layout)
    place = 0.12 / width, 1 - 0.1 / (head + height)
    style: dict[str, Any] = {"fontsize": _FONT + 2, "va": "top", "fontweight": "bold"}
    # No parse_math: a file name may hold dollar signs.
    figure.text(*place, "\n".join(lines), parse_math=False, **style)
    return figure, head


def _png(figure: Figure) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a name in a script that the font lacks
        FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()


def _cell(value: float) -> str:
    """Two digits, without the 0 that all of them have."""
    return f"{value:.2f}".removeprefix("0")
