"""Agreement of discrete units: whether the clusters of two representations put the same frames together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ssft.analysis.clusters import CLUSTERS, fit_centres, nearest_centres
from ssft.randomness import derive_seed


def unit_codes(frames: NDArray[np.floating], *, clusters: int = 100, seed: int = 0) -> NDArray[np.int64]:
    """Return the k-means cluster [N] of each of the frames [N, D] that the clusters are fitted to.

    With the same seed, clusters of all representations begin at the same moments.

    Raises:
        DataError: fewer frames than clusters, NaN or infinity.
        RecipeError: fewer than two clusters.

    Example:
        >>> unit_codes(sample.of(store.frames(layer=6))).shape
        (20012,)
    """
    return nearest_centres(frames, fit_centres(frames, clusters=clusters, seed=seed))


def unit_agreement(x: NDArray[np.int64], y: NDArray[np.int64]) -> float:
    """Return the adjusted mutual information of units [N] of the same frames: 1 if they only differ in name, 0 is
    chance.

    Two runs of k-means on the same frames do not agree wholly: how far they do is `cluster_stability`.

    Source: Vinh, Epps and Bailey, JMLR 2010.

    Example:
        >>> unit_agreement(np.array([0, 0, 1, 1]), np.array([5, 5, 2, 2]))
        1.0
    """
    from sklearn.metrics import adjusted_mutual_info_score

    return float(adjusted_mutual_info_score(x, y))


def cluster_stability(frames: NDArray[np.floating], *, clusters: int = CLUSTERS, seed: int = 0) -> float:
    """Return how far the clusters of frames [N, D] from two beginnings agree: 1 if they are the same.

    Raises:
        DataError: fewer frames than clusters, NaN or infinity.

    Example:
        >>> cluster_stability(frames, clusters=100)
        0.61
    """
    seeds = seed, derive_seed(seed, "another beginning")
    return unit_agreement(*(unit_codes(frames, clusters=clusters, seed=own) for own in seeds))
