"""`Estimate`: a figure measured on several held-out parts; and canonical correlation measured so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssft.analysis.moments import Floats, JointMoments
from ssft.analysis.similarity.cca import CanonicalCorrelations, canonical_correlations
from ssft.analysis.similarity.cka import linear_cka
from ssft.errors import DataError, RecipeError
from ssft.randomness import derive_rng

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A figure in each of K folds, each measured where nothing was fitted.

    The interval is Student's, of the mean over folds. Any two folds share most of what they were fitted on, so the
    variance is `s^2 * (1 / K + 1 / (K - 1))` in place of `s^2 / K`.

    Source: Nadeau and Bengio, Machine Learning 2003, section 3, with a test share of 1 in K.

    Example:
        >>> estimate = Estimate((0.80, 0.82, 0.81, 0.79, 0.83))
        >>> f"{estimate.mean:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]"
        '0.81 [0.78, 0.84]'
    """

    folds: tuple[float, ...]

    @property
    def mean(self) -> float:
        return float(np.mean(self.folds))

    @property
    def standard_error(self) -> float:
        count = len(self.folds)
        return float(np.std(self.folds, ddof=1) * np.sqrt(1 / count + 1 / (count - 1)))

    @property
    def half_width(self) -> float:
        """How far the 95 % interval reaches to either side."""
        from scipy.stats import t

        return float(t.ppf((1 + LEVEL) / 2, len(self.folds) - 1) * self.standard_error)

    @property
    def low(self) -> float:
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        return self.mean + self.half_width

    def __sub__(self, other: Estimate) -> Estimate:
        """The difference, fold by fold."""
        return Estimate(tuple(a - b for a, b in zip(self.folds, other.folds, strict=True)))


@dataclass(frozen=True)
class Likeness:
    """How alike a representation and a target are: held-out PWCCA, weighted by the target, and linear CKA of all."""

    pwcca: Estimate
    cka: float


def draw_folds(names: Sequence[str], count: int, *, seed: int = 0) -> dict[str, int]:
    """Return to which of `count` folds each utterance belongs; all folds have as many, but for one.

    Raises:
        DataError: fewer utterances than folds.
        RecipeError: fewer than two folds.
    """
    if count < 2:
        raise RecipeError(f"folds={count}: directions are found in all folds but one; give 2 or more, 5 by default.")
    if len(names) < count:
        raise DataError(
            f"There are {len(names)} utterances, too few for {count} folds: similarity is measured in other utterances "
            "than it is fitted to. Give more audio, or fewer --folds (2 at least)."
        )
    order = derive_rng(seed, "folds").permutation(len(names))
    return {sorted(names)[place]: int(number) % count for number, place in enumerate(order)}


def held_out_likeness(
    frames: NDArray[np.floating], targets: Mapping[str, NDArray[np.floating]], fold: NDArray[np.int64], *, name: str
) -> dict[str, Likeness]:
    """Return how alike a representation is to each target.

    Canonical directions are found in all folds but one, and their correlations measured in that one. Weights are those
    of the target's side, which no invertible linear map of the representation changes.

    Args:
        frames: the representation, [N, D].
        targets: of the same moments, [N, d] each, by name.
        fold: of each moment, [N], from 0.
        name: of the representation, for messages.

    Raises:
        DataError: too few frames outside of a fold, constant frames, NaN or infinity.

    Source: Pasad, Chou and Livescu, ASRU 2021, section 3: PWCCA on utterances that directions were not found in.
    """
    pairs = [(target, name) for target in targets]
    parts = [JointMoments(pairs) for _ in range(int(fold.max()) + 1)]
    for number, part in enumerate(parts):
        own = fold == number
        part.update({name: frames[own], **{target: values[own] for target, values in targets.items()}})
    rest = [_sum(parts[:number] + parts[number + 1 :]) for number in range(len(parts))]
    whole = _sum(parts)
    found = {}
    for target in targets:
        fitted = [canonical_correlations(moments, target, name) for moments in rest]
        measured = [
            float(np.average(_correlations(own, part, target, name), weights=own.weights))
            for own, part in zip(fitted, parts, strict=True)
        ]
        found[target] = Likeness(Estimate(tuple(measured)), linear_cka(whole, target, name))
    return found


def _sum(parts: Sequence[JointMoments[str]]) -> JointMoments[str]:
    whole: JointMoments[str] = JointMoments()
    for part in parts:
        whole.merge(part)
    return whole


def _correlations(found: CanonicalCorrelations, moments: JointMoments[str], x: str, y: str) -> Floats:
    """Correlations [K] of canonical variates in other frames than those in which they were found."""
    to_x, to_y = found.directions_x, found.directions_y

    def products(a: Floats, b: Floats, between: Floats) -> Floats:
        return np.asarray(np.einsum("dk,de,ek->k", a, between, b, optimize=True))

    scale = np.sqrt(products(to_x, to_x, moments.covariance(x, x)) * products(to_y, to_y, moments.covariance(y, y)))
    together = products(to_x, to_y, moments.covariance(x, y))
    return np.divide(together, scale, out=np.zeros_like(together), where=scale > 0)
