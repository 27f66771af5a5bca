"""How figures that need no labels go with errors, over the checkpoints of one run or of several."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ssft.errors import DataError
from ssft.evaluation.bootstrap import FEWEST_GROUPS
from ssft.randomness import derive_rng

ENOUGH = 20
"""With fewer checkpoints an interval is so wide that little can be said."""
_FEWEST = 4
_FEWEST_OF_RUN = 3


@dataclass(frozen=True)
class Moment:
    """What was measured of one checkpoint.

    Args:
        run: to which it belongs.
        step: of its training; 0 is the base.
        figures: what needs no labels, by name; None where it was not measured.
        errors: what needs labels, by name; lower is better.
    """

    run: str
    step: int
    figures: Mapping[str, float | None]
    errors: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Correlation:
    """Spearman's rank correlation of a figure with an error: 1 if the one rises with the other, -1 if it falls.

    Args:
        value: over all checkpoints; NaN if there are fewer than four, or if one of the two is constant.
        low: of the interval.
        high: of the interval.
        within: the mean of the correlations inside runs of three checkpoints or more, which says whether the figure
            finds the best checkpoint of a run; NaN if there is none.
        checkpoints: how many have both.
        runs: of how many runs.
        drawn: `run` or `checkpoint`, which were drawn again for the interval.
    """

    value: float
    low: float
    high: float
    within: float
    checkpoints: int
    runs: int
    drawn: str

    def __str__(self) -> str:
        if not math.isfinite(self.value):
            return "-"
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


def rank_correlation(
    moments: Sequence[Moment],
    figure: str,
    error: str,
    *,
    replicates: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Correlation:
    """Return how a figure goes with an error over checkpoints.

    The interval is the bootstrap's, by percentiles. Checkpoints of one run resemble each other, so runs are drawn again
    as wholes; with fewer than three runs checkpoints are, which makes the interval too narrow.

    Args:
        moments: checkpoints; those that lack one of the two are left out. A base that several runs share is to be
            among them once.
        figure: a name among their `figures`.
        error: a name among their `errors`.
        replicates: how often is drawn.
        confidence: of the interval.
        seed: of the draws.

    Raises:
        DataError: no checkpoint has such a figure, or such an error.

    Source: Spearman, 1904; Efron and Tibshirani, 1993, for the bootstrap of clusters.

    Example:
        >>> moments = [Moment("a", n, {"rank": 9.0 - n}, {"PER": 10.0 + n}) for n in range(5)]
        >>> rank_correlation(moments, "rank", "PER").value
        -1.0
    """
    for name, kind in ((figure, "figures"), (error, "errors")):
        if not any(name in getattr(moment, kind) for moment in moments):
            raise DataError(f"No checkpoint has '{name}' among its {kind}.")
    known = [
        (moment.run, float(x), float(y))
        for moment in moments
        if (x := moment.figures.get(figure)) is not None
        and (y := moment.errors.get(error)) is not None
        and math.isfinite(x)
        and math.isfinite(y)
    ]
    values = np.array([(x, y) for _, x, y in known]).reshape(-1, 2)
    names = sorted({run for run, _, _ in known})
    of_run = [np.array([index for index, one in enumerate(known) if one[0] == name]) for name in names]
    by_run = len(names) >= FEWEST_GROUPS
    groups = of_run if by_run else [np.array([index]) for index in range(len(known))]
    rng = derive_rng(seed, "rank correlation", figure, error)
    drawn = [
        _spearman(values[np.concatenate([groups[index] for index in rng.integers(len(groups), size=len(groups))])])
        for _ in range(replicates if groups else 0)
    ]
    finite = [value for value in drawn if math.isfinite(value)]
    edges = np.quantile(finite, [(1 - confidence) / 2, (1 + confidence) / 2]) if finite else (math.nan, math.nan)
    within = [_spearman(values[rows], fewest=_FEWEST_OF_RUN) for rows in of_run]
    inside = [value for value in within if math.isfinite(value)]
    return Correlation(
        value=_spearman(values),
        low=float(edges[0]),
        high=float(edges[1]),
        within=math.fsum(inside) / len(inside) if inside else math.nan,
        checkpoints=len(known),
        runs=len(names),
        drawn="run" if by_run else "checkpoint",
    )


def _spearman(pairs: NDArray[np.float64], *, fewest: int = _FEWEST) -> float:
    """Of pairs [N, 2]; NaN where there are too few, or one side is constant."""
    from scipy.stats import rankdata

    if len(pairs) < fewest or (pairs == pairs[0]).all(axis=0).any():
        return math.nan
    return float(np.corrcoef(rankdata(pairs, axis=0).T)[0, 1])
