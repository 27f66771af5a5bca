"""`Measure`: a number that knows what it would be, had other speakers been recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ssft.errors import DataError

Floats = NDArray[np.float64]
Resampled = Callable[[Floats], Floats]
"""Weights [R, G] of the groups to values [R]: a group of weight 2 counts as if it were there twice, 0 as if absent."""


@dataclass(frozen=True, eq=False)
class Measure:
    """One figure of an evaluation, and how it follows from who was recorded.

    Args:
        name: what is measured, e.g. `phone ABX across`; with the task, the layer and the condition it is unique.
        better: which direction is an improvement; `neither` for what only describes.
        groups: who or what is drawn again in a bootstrap: names of speakers, of utterances or of queries.
        grouped_by: which of these, in the singular.
        of: the figure for given weights of the groups; `nan` where nothing is left to measure.
        percent: the figure is a share, and is shown times 100.
        counts: on how much it was measured, and what was left out and why.

    Example:
        >>> measure = ratio("PER", [3, 1], [10, 10], groups=["kim", "lee"], percent=True)
        >>> measure.value, measure.of(np.array([[2.0, 0.0]])).tolist()
        (0.2, [0.3])
    """

    name: str
    better: Literal["lower", "higher", "neither"]
    groups: tuple[str, ...]
    of: Resampled = field(repr=False)
    grouped_by: str = "speaker"
    percent: bool = False
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def value(self) -> float:
        """The figure with every group counted once."""
        return float(self.of(np.ones((1, len(self.groups))))[0])


def ratio(
    name: str,
    numerators: Sequence[float] | Floats,
    denominators: Sequence[float] | Floats,
    *,
    groups: Sequence[str],
    better: Literal["lower", "higher", "neither"] = "lower",
    grouped_by: str = "speaker",
    percent: bool = False,
    counts: Mapping[str, int] | None = None,
) -> Measure:
    """Return the measure that is a sum over a sum: errors over words, right answers over all.

    Entries of one group are added up, so that there may be one for each utterance.

    Args:
        name: of the measure.
        numerators: [N].
        denominators: [N].
        groups: [N], of each entry.
        better: as in `Measure`.
        grouped_by: as in `Measure`.
        percent: as in `Measure`.
        counts: as in `Measure`.

    Raises:
        DataError: no entries.
    """
    if not len(groups):
        raise DataError(f"There is nothing to measure {name} on.")
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    above, below = (
        np.bincount(index, weights=np.asarray(values, dtype=np.float64), minlength=len(names))
        for values in (numerators, denominators)
    )

    def of(weights: Floats) -> Floats:
        return divide(weights @ above, weights @ below)

    return Measure(name, better, tuple(names.tolist()), of, grouped_by, percent, counts or {})


def divide(above: Floats, below: Floats) -> Floats:
    """Return the quotients, NaN where there is nothing below."""
    quotients = np.full(np.broadcast_shapes(above.shape, below.shape), np.nan)
    np.divide(above, below, out=quotients, where=below > 0)
    return quotients


@dataclass(frozen=True, eq=False)
class Score:
    """A measure of one layer in one condition.

    Args:
        task: which task it belongs to, by its name in `TASKS`.
        layer: whose frames; None for a probe that weighs all layers.
        condition: `clean`, or the name of what was done to the audio.
        measures: one for each seed of what was trained; a single one where nothing is.
    """

    task: str
    layer: int | None
    condition: str
    measures: tuple[Measure, ...]

    @property
    def measure(self) -> Measure:
        """The first one, for what all have in common."""
        return self.measures[0]

    @property
    def key(self) -> tuple[str, str, int | None, str]:
        """What two systems are compared by."""
        return self.task, self.measure.name, self.layer, self.condition

    @property
    def value(self) -> float:
        """The mean over the seeds."""
        return float(np.mean([measure.value for measure in self.measures]))
