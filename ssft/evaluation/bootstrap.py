"""The bootstrap over speakers: how far a figure, or the difference of two, could have come out otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ssft.errors import DataError, RecipeError
from ssft.evaluation.measure import Measure, Score
from ssft.randomness import derive_rng

Floats = NDArray[np.float64]
Verdict = Literal["better", "worse", "changed", "no difference shown"]

FEWEST_GROUPS = 3
"""With fewer there is no interval: two draws of two say nothing."""


@dataclass(frozen=True)
class Interval:
    """A figure with the limits of its interval; they are NaN if there are too few groups for one."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Difference(Interval):
    """A score minus that of the base, and what follows."""

    verdict: Verdict


class Bootstrap:
    """Draws groups with replacement, and for what was trained also seeds, and takes percentiles of what results.

    Two systems are compared on the same draws of groups, which takes out what makes a speaker hard for both. Seeds are
    drawn for each of the two by itself; with few of them an interval is somewhat too narrow.

    Args:
        replicates: how many draws.
        level: share of the draws that an interval holds, in the middle.
        seed: of the draws, which depend on nothing else but the number of groups.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13; over speakers, because utterances
    of one speaker are alike.

    Example:
        >>> Bootstrap().difference(score_of_adapted, score_of_base)
        Difference(value=-0.021, low=-0.028, high=-0.014, verdict='better')
    """

    def __init__(self, *, replicates: int = 1000, level: float = 0.95, seed: int = 0) -> None:
        if replicates < 2 or not 0 < level < 1:
            raise RecipeError(f"replicates={replicates}, level={level}: give at least 2 draws and a level below 1.")
        self.replicates = replicates
        self.level = level
        self.seed = seed
        self._draws = lru_cache(maxsize=None)(self.draws)

    def interval(self, score: Score) -> Interval:
        """Return the score with its interval."""
        return Interval(score.value, *self._limits(self._values(score, "own"), score))

    def difference(self, score: Score, base: Score) -> Difference:
        """Return the score minus that of the base, with its interval and a verdict.

        Raises:
            DataError: they are not of the same measure, or not of the same speakers.
        """
        if score.measure.name != base.measure.name or score.measure.groups != base.measure.groups:
            raise DataError(
                f"{score.measure.name} and {base.measure.name} cannot be compared: they must be one measure of the "
                f"same {score.measure.grouped_by}s. Evaluate both systems on the same corpus."
            )
        values = self._values(score, "own") - self._values(base, "base")
        value = score.value - base.value
        low, high = self._limits(values, score)
        return Difference(value, low, high, _verdict(Interval(value, low, high), score.measure.better))

    def draws(self, measure: Measure) -> Floats:
        """Return the figure [R] of every draw."""
        groups = len(measure.groups)
        rng = derive_rng(self.seed, "bootstrap", groups)
        return measure.of(rng.multinomial(groups, np.full(groups, 1 / groups), size=self.replicates).astype(np.float64))

    def _values(self, score: Score, role: str) -> Floats:
        """[R] the score of every draw."""
        values = np.stack([self._draws(measure) for measure in score.measures])
        seeds = len(values)
        drawn = derive_rng(self.seed, "seeds", role, seeds).integers(seeds, size=(seeds, self.replicates))
        return np.asarray(np.take_along_axis(values, drawn, axis=0).mean(axis=0))

    def _limits(self, values: Floats, score: Score) -> tuple[float, float]:
        known = values[np.isfinite(values)]
        if len(score.measure.groups) < FEWEST_GROUPS or len(known) < self.replicates / 2:
            return np.nan, np.nan
        tail = (1 - self.level) / 2
        low, high = np.quantile(known, [tail, 1 - tail])
        return float(low), float(high)


def _verdict(difference: Interval, better: str) -> Verdict:
    if not difference.excludes_zero:
        return "no difference shown"
    if better == "neither":
        return "changed"
    return "better" if (difference.value < 0) == (better == "lower") else "worse"
