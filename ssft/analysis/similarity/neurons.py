"""Similarity of neurons: whether single features, rather than subspaces, are found again in another representation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ssft.analysis.moments import Floats, JointMoments, Key
from ssft.analysis.similarity.cca import whitening
from ssft.analysis.similarity.enough import FEWEST_PER_DIMENSION, refuse_few_frames
from ssft.errors import DataError


def best_correlations(
    moments: JointMoments[Key], x: Key, y: Key, *, fewest_per_dimension: int = FEWEST_PER_DIMENSION
) -> Floats:
    """Return the largest `|Pearson r|` of each neuron of x with a neuron of y, [D_x]; NaN for constant neurons of x.

    Raises:
        DataError: too few frames, or all neurons of one are constant.

    Example:
        >>> best_correlations(moments, ("A", 6), ("B", 6)).shape
        (768,)
    """
    refuse_few_frames(moments, x, y, fewest_per_dimension=fewest_per_dimension)
    best: Floats = np.minimum(np.abs(moments.correlation(x, y)).max(axis=1), 1.0)
    return np.where(_varies(moments, x, y), best, np.nan)


def max_correlation(
    moments: JointMoments[Key], x: Key, y: Key, *, fewest_per_dimension: int = FEWEST_PER_DIMENSION
) -> float:
    """Return the mean over neurons of x of the largest `|Pearson r|` with a neuron of y. 0 to 1, asymmetric.

    Neurons of x that are constant do not count.

    Raises:
        DataError: too few frames, or all neurons of one are constant.

    Source: Bau et al., ICLR 2019; El Kheir et al., 2024.

    Example:
        >>> max_correlation(moments, ("A", 6), ("B", 6))
        0.47
    """
    return float(np.nanmean(best_correlations(moments, x, y, fewest_per_dimension=fewest_per_dimension)))


def min_correlation(best: Sequence[Floats]) -> float:
    """Return how far neurons of x are found again in every one of several models: the mean of their worst match.

    Args:
        best: `best_correlations` [D_x] of x with each of the other models.

    Source: Bau et al., ICLR 2019; El Kheir et al., 2024.

    Example:
        >>> min_correlation([best_correlations(moments, ("A", 6), (model, 6)) for model in ("B", "C")])
        0.39
    """
    return float(np.nanmean(np.min(best, axis=0)))


def linear_regression(
    moments: JointMoments[Key], x: Key, y: Key, *, fewest_per_dimension: int = FEWEST_PER_DIMENSION
) -> float:
    """Return the mean over neurons of x of the multiple correlation r with all of y. 0 to 1, asymmetric.

    r is the correlation of a neuron with its best linear prediction from y. Neurons of x that are constant do not
    count; axes of y with less than 1e-10 of its largest variance are left out.

    Raises:
        DataError: too few frames, or all neurons of one are constant.

    Source: Wu et al., ACL 2020; El Kheir et al., 2024 ("mixed" similarity).

    Example:
        >>> linear_regression(moments, ("A", 6), ("B", 6))
        0.88
    """
    refuse_few_frames(moments, x, y, fewest_per_dimension=fewest_per_dimension)
    varies = _varies(moments, x, y)
    covariance = (moments.covariance(x, y) @ whitening(moments, y).whiten)[varies]
    multiple = np.linalg.norm(covariance, axis=1) / moments.deviations(x)[varies]
    return float(np.minimum(multiple, 1.0).mean())


def _varies(moments: JointMoments[Key], x: Key, y: Key) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which neurons of x are not constant, [D_x]."""
    for key in (x, y):
        if not moments.deviations(key).any():
            raise DataError(f"All features of {key} are constant, so there is nothing to compare.")
    return moments.deviations(x) > 0
