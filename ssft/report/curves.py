"""The curves of a training as a picture: every number that it wrote down, over steps."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ssft.analysis.pictures import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Record = Mapping[str, Any]

_NOT_SHOWN = frozenset({"step", "epoch", "hours", "pairs", "audio_per_second", "select"})
"""What says how fast or how far a run is, not how good."""

_FIRST = ("loss", "lr", "grad_norm")
_COLUMNS = 3
_SMOOTHED_FROM = 150
"""With so many steps single ones are drawn pale, and a moving average over a thirtieth of them strong."""


def names_of(records: Sequence[Record]) -> list[str]:
    """Return the numbers that are worth a curve, the loss first."""
    found = dict.fromkeys(
        name
        for record in records
        for name, value in record.items()
        if name not in _NOT_SHOWN and isinstance(value, (int, float)) and not isinstance(value, bool)
    )
    return sorted(found, key=lambda name: _FIRST.index(name) if name in _FIRST else len(_FIRST))


def training_curves(
    metrics: Sequence[Record],
    validation: Sequence[Record] = (),
    *,
    discarded: Sequence[int] = (),
    chosen: int | None = None,
) -> bytes:
    """Return a PNG with a plot for each number of metrics.jsonl and validation.jsonl, over steps.

    Args:
        metrics: a record for each step.
        validation: a record for each checkpoint that was judged.
        discarded: steps that were thrown away.
        chosen: the step of the checkpoint that was exported.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = [(metrics, name, False) for name in names_of(metrics)]
    panels += [(validation, name, True) for name in names_of(validation)]
    columns = min(_COLUMNS, max(1, len(panels)))
    rows = max(1, math.ceil(len(panels) / columns))
    figure = Figure(figsize=(3.9 * columns, 2.2 * rows + 0.5), dpi=120, facecolor="white", layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    last = max((record["step"] for record in (*metrics, *validation)), default=1)
    for axes, (records, name, is_validation) in zip(grid.flat, panels, strict=False):
        _draw(axes, records, name, is_validation=is_validation)
        if chosen is not None:
            axes.axvline(chosen, color=COLOURS[2], linestyle="--", linewidth=1.2, label="chosen checkpoint")
        if discarded:
            ground = axes.get_xaxis_transform()
            marks = {"color": COLOURS[1], "marker": "x", "linestyle": "none", "markersize": 5, "clip_on": False}
            axes.plot(discarded, np.zeros(len(discarded)), transform=ground, label="step thrown away", **marks)
        axes.set_xlim(0, last * 1.02)
        axes.set_title(f"{name} (validation)" if is_validation else name, fontsize=10, loc="left", parse_math=False)
        axes.tick_params(labelsize=8)
        axes.grid(linewidth=0.4, alpha=0.5)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in grid[-1]:
        axes.set_xlabel("step", fontsize=9)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    handles = dict(zip(*reversed(grid.flat[0].get_legend_handles_labels()), strict=True))
    if handles:
        figure.legend(
            handles.values(), handles, loc="outside upper left", ncols=len(handles), fontsize=9, frameon=False
        )
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()


def _draw(axes: Axes, records: Sequence[Record], name: str, *, is_validation: bool) -> None:
    points = [(record["step"], record[name]) for record in records if _is_finite(record.get(name))]
    steps, values = np.array([step for step, _ in points]), np.array([float(value) for _, value in points])
    if is_validation or len(steps) < len(records):  # not measured in every step
        axes.plot(steps, values, color=COLOURS[0], marker="o", markersize=3.5, linewidth=1.2)
    elif len(steps) < _SMOOTHED_FROM:
        axes.plot(steps, values, color=COLOURS[0], linewidth=1.2)
    else:
        axes.plot(steps, values, color=COLOURS[0], linewidth=0.6, alpha=0.35)
        window = len(steps) // 30
        means = np.convolve(values, np.full(window, 1 / window), mode="valid")
        axes.plot(steps[window - 1 :], means, color=COLOURS[0], linewidth=1.4)


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
