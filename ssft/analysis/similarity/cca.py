"""Canonical correlation: whether two representations hold the same information, up to a linear map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ssft.analysis.moments import Floats, JointMoments, Key
from ssft.analysis.similarity.enough import FEWEST_PER_DIMENSION, refuse_few_frames
from ssft.errors import RecipeError

FLOOR = 1e-10
"""Axes with less than this share of the largest variance are rounding, and are left out."""


@dataclass(frozen=True)
class Whitening:
    """A linear map of centred frames to axes without correlation.

    Args:
        whiten: the map, [D, K].
        features: covariances of the features with what it gives, [D, K].
    """

    whiten: Floats
    features: Floats


@dataclass(frozen=True)
class CanonicalCorrelations:
    """The canonical correlations of two representations x and y, with how much of each they are about.

    Args:
        correlations: [K], largest first, where K is the smaller rank.
        weights: [K], the absolute covariances of each canonical variate of x with the features of x, summed.
        directions_x: what makes canonical variates, as columns [D_x, K], of centred frames.
        directions_y: the same of y.
    """

    correlations: Floats
    weights: Floats
    directions_x: Floats
    directions_y: Floats

    @property
    def mean(self) -> float:
        """The mean correlation."""
        return float(self.correlations.mean())

    @property
    def projection_weighted(self) -> float:
        """PWCCA: the mean correlation, weighted by how much of x they are about."""
        return float(np.average(self.correlations, weights=self.weights))


def canonical_correlations(
    moments: JointMoments[Key],
    x: Key,
    y: Key,
    *,
    variance: float = 1.0,
    fewest_per_dimension: int = FEWEST_PER_DIMENSION,
) -> CanonicalCorrelations:
    """Return the canonical correlations of two representations, from their covariances.

    Features are standardised first, which changes no canonical correlation and makes the arithmetic better
    conditioned. Axes of less than 1e-10 of the largest variance are left out on each side; constant features with them.

    Args:
        moments: of both representations.
        x: one of them.
        y: the other.
        variance: keep the largest principal axes that hold so much of the variance of the standardised features.
        fewest_per_dimension: refuse fewer frames than so many times the larger D.

    Raises:
        DataError: too few frames, or all features of one are constant.
        RecipeError: a share of the variance not in (0, 1].

    Source: Hotelling, Biometrika 1936; by whitening and SVD.

    Example:
        >>> canonical_correlations(moments, ("A", 6), ("A", 6)).mean
        1.0
    """
    if not 0 < variance <= 1:
        raise RecipeError(f"variance={variance}: give a share of the variance, above 0 and up to 1.")
    refuse_few_frames(moments, x, y, fewest_per_dimension=fewest_per_dimension)
    white_x, white_y = (whitening(moments, key, variance=variance) for key in (x, y))
    between = white_x.whiten.T @ moments.covariance(x, y) @ white_y.whiten
    left, correlations, right = np.linalg.svd(between, full_matrices=False)
    return CanonicalCorrelations(
        correlations=np.minimum(correlations, 1.0),
        weights=np.abs(white_x.features @ left).sum(axis=0),
        directions_x=white_x.whiten @ left,
        directions_y=white_y.whiten @ right.T,
    )


def pwcca(moments: JointMoments[Key], x: Key, y: Key, *, fewest_per_dimension: int = FEWEST_PER_DIMENSION) -> float:
    """Return projection-weighted CCA: correlations weighted by how much of x they are about. 0 to 1, asymmetric.

    The weight of a canonical variate is the sum of its absolute covariances with the features of x, which keep their
    scale.

    Raises:
        DataError: too few frames, or all features of one are constant.

    Source: Morcos et al., NeurIPS 2018, equation 2.

    Example:
        >>> pwcca(moments, ("A", 6), ("B", 6))
        0.91
    """
    return canonical_correlations(moments, x, y, fewest_per_dimension=fewest_per_dimension).projection_weighted


def svcca(
    moments: JointMoments[Key],
    x: Key,
    y: Key,
    *,
    variance: float = 0.99,
    fewest_per_dimension: int = FEWEST_PER_DIMENSION,
) -> float:
    """Return the mean canonical correlation of the principal axes of each side that hold `variance`. 0 to 1.

    Axes are those of standardised features, as in El Kheir et al.; Raghu et al. only centre them.

    Raises:
        DataError: too few frames, or all features of one are constant.
        RecipeError: a share of the variance not in (0, 1].

    Source: Raghu et al., NIPS 2017; El Kheir et al., 2024.

    Example:
        >>> svcca(moments, ("A", 6), ("B", 6))
        0.78
    """
    return canonical_correlations(moments, x, y, variance=variance, fewest_per_dimension=fewest_per_dimension).mean


def mean_cca(moments: JointMoments[Key], x: Key, y: Key, *, fewest_per_dimension: int = FEWEST_PER_DIMENSION) -> float:
    """Return the mean canonical correlation, of as many as the smaller side has dimensions that vary. 0 to 1.

    Raises:
        DataError: too few frames, or all features of one are constant.

    Source: Hotelling, Biometrika 1936.

    Example:
        >>> mean_cca(moments, ("A", 6), ("B", 6))
        0.85
    """
    return canonical_correlations(moments, x, y, fewest_per_dimension=fewest_per_dimension).mean


def whitening(moments: JointMoments[Key], key: Key, *, variance: float = 1.0) -> Whitening:
    """Return what gives the centred frames of a representation covariance 1.

    Raises:
        DataError: there were no frames, or all features are constant.
    """
    axes = moments.axes(key)
    share = np.cumsum(axes.variances) / axes.variances.sum()
    # The first axes that together have the share: rounding must not ask for one more.
    kept = int(np.searchsorted(share, variance * (1 - 1e-12))) + 1
    kept = min(kept, int(np.count_nonzero(axes.variances > FLOOR * axes.variances[0])))
    directions, deviations = axes.directions[:, :kept], np.sqrt(axes.variances[:kept])
    inverse = np.divide(1.0, axes.scale, out=np.zeros_like(axes.scale), where=axes.scale > 0)
    return Whitening(
        whiten=inverse[:, None] * directions / deviations,
        features=axes.scale[:, None] * directions * deviations,
    )
