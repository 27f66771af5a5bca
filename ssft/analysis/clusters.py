"""How well the frames of a layer fall into clusters: k-means, and indices of its partition."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssft.errors import DataError, RecipeError
from ssft.randomness import derive_rng, derive_seed

CLUSTERS = 1024
"""As Whetten et al. have."""

PASSES = 3
"""Over the sample; of tiny, ten lower the inertia by another percent."""

_BATCH_FRAMES = 4096
_ROWS = 4096
_SAME = 1e-7
"""Means that are apart by less than this share of their size are the same but for rounding."""


@dataclass(frozen=True)
class ClusterQuality:
    """Indices of a partition of N frames into K clusters by k-means; clusters without frames are left out.

    Args:
        inertia: mean squared distance of a frame to its nearest centre. It depends on the scale of the features.
        relative_inertia: inertia divided by the total variance: 0 if clusters explain all of it, near 1 if nothing.
        davies_bouldin: how wide clusters are against how far apart, the worst neighbour of each; lower is better.
        calinski_harabasz: variance between clusters against within, by degrees of freedom; higher is better.
        silhouette: simplified, from centroids: mean of (b - a) / max(a, b), a frame's distances to its own and to the
            nearest other one; from -1 to 1, higher is better.
        perplexity: exp(entropy) of how many frames clusters have: how many are really used.
        used_clusters: how many have any frame.
        clustered_frames: N.

    Source: inertia and Davies-Bouldin (1979): Whetten et al., Interspeech 2025. Additions: division by the variance;
    Calinski and Harabasz (1974); simplified silhouette, Hruschka et al., 2004; perplexity.
    """

    inertia: float
    relative_inertia: float | None
    davies_bouldin: float | None
    calinski_harabasz: float | None
    silhouette: float | None
    perplexity: float
    used_clusters: int
    clustered_frames: int


def fit_centres(
    frames: NDArray[np.floating], *, clusters: int = CLUSTERS, passes: int = PASSES, seed: int = 0
) -> NDArray[np.float32]:
    """Return the centres [K, D] that mini-batch k-means finds for frames [N, D].

    It begins at frames that were drawn by their place, not by what they are: with the same seed and number of frames,
    all layers and systems begin at the same moments.

    Raises:
        DataError: fewer frames than clusters, NaN or infinity.
        RecipeError: fewer than two clusters, or no pass.

    Example:
        >>> fit_centres(sample.of(store.frames(layer=6)), clusters=100).shape
        (100, 192)
    """
    from sklearn.cluster import MiniBatchKMeans

    if clusters < 2 or passes < 1:
        raise RecipeError(f"clusters={clusters}, passes={passes}: give two clusters and one pass at least.")
    if len(frames) < clusters:
        raise DataError(
            f"{clusters:,} clusters need at least as many frames, but there are {len(frames):,}. Give more audio, or "
            "fewer clusters."
        )
    values, mean = _centred(frames)
    beginning = derive_rng(seed, "beginnings of clusters").permutation(len(values))[:clusters]
    kmeans = MiniBatchKMeans(
        clusters,
        init=values[beginning],
        n_init=1,
        init_size=clusters,  # of what it tries beginnings on, which are given
        batch_size=_BATCH_FRAMES,
        max_iter=passes,
        max_no_improvement=None,
        compute_labels=False,
        random_state=derive_seed(seed, "clusters") % 2**32,
    )
    return np.asarray(kmeans.fit(values).cluster_centers_ + mean, dtype=np.float32)


def nearest_centres(frames: NDArray[np.floating], centres: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return the number [N] of the nearest of centres [K, D] to each of frames [N, D].

    Raises:
        DataError: no frames, NaN or infinity.
    """
    values, mean = _centred(frames)
    return _nearest_two(values, centres - mean)[0]


def cluster_quality(frames: NDArray[np.floating], centres: NDArray[np.floating]) -> ClusterQuality:
    """Return how good the partition of frames [N, D] is that the nearest of centres [K, D] make.

    Davies-Bouldin and Calinski-Harabasz are of the mean frames of the clusters, as scikit-learn has them; inertia and
    silhouette of the centres.

    Raises:
        DataError: no frames, NaN or infinity.

    Example:
        >>> frames = sample.of(store.frames(layer=6))
        >>> quality = cluster_quality(frames, fit_centres(frames, clusters=100))
    """
    values, mean = _centred(frames)
    centred = np.asarray(centres - mean, dtype=np.float32)
    labels, nearest, second = _nearest_two(values, centred)
    inertia = float(np.square(nearest).mean())
    variance = float(np.square(values).sum(axis=1, dtype=np.float64).mean())
    labels, sizes = np.unique(labels, return_inverse=True, return_counts=True)[1:]
    means = _sums(values, labels, clusters=len(sizes)) / sizes[:, None]
    distances = _distances(values, means, labels)
    spread = np.bincount(labels, weights=distances) / sizes
    within = float(np.square(distances).sum())
    between = float((sizes * np.square(means).sum(axis=1)).sum())
    count, used = len(values), len(sizes)
    shares = sizes / count
    return ClusterQuality(
        inertia=inertia,
        relative_inertia=inertia / variance if variance > 0 else None,
        davies_bouldin=_davies_bouldin(means, spread),
        calinski_harabasz=between / (used - 1) * (count - used) / within if used > 1 and within > 0 else None,
        silhouette=_silhouette(nearest, second),
        perplexity=math.exp(-float(np.sum(shares * np.log(shares)))),
        used_clusters=used,
        clustered_frames=count,
    )


def _centred(frames: NDArray[np.floating]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Frames without their mean, which changes no distance, and would cost digits; and the mean."""
    if not len(frames) or not np.isfinite(frames).all():
        raise DataError("There are no frames." if not len(frames) else "Frames contain NaN or infinity.")
    mean = frames.mean(axis=0, dtype=np.float64)
    return (frames - mean.astype(frames.dtype)).astype(np.float32, copy=False), mean


def _nearest_two(
    values: NDArray[np.float32], centres: NDArray[np.floating]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """The nearest centre of each frame [N], and the distances [N] to it and to the second nearest."""
    import torch

    columns = torch.from_numpy(np.asarray(centres, dtype=np.float32))
    found = [
        # |c|^2 - 2xc: |x|^2 is the same for all centres.
        torch.addmm(columns.square().sum(1), torch.from_numpy(values[begin : begin + _ROWS]), columns.T, alpha=-2)
        .topk(2, dim=1, largest=False)
        .indices.numpy()
        for begin in range(0, len(values), _ROWS)
    ]
    first, second = np.concatenate(found).T
    return first, _distances(values, centres, first), _distances(values, centres, second)


def _distances(
    values: NDArray[np.float32], centres: NDArray[np.floating], labels: NDArray[np.int64]
) -> NDArray[np.float64]:
    """How far each frame [N] is from the centre with the given number."""
    found = [
        np.sqrt(
            np.square(values[begin : begin + _ROWS] - centres[labels[begin : begin + _ROWS]]).sum(
                axis=1, dtype=np.float64
            )
        )
        for begin in range(0, len(values), _ROWS)
    ]
    return np.concatenate(found)


def _sums(values: NDArray[np.float32], labels: NDArray[np.int64], *, clusters: int) -> NDArray[np.float64]:
    """The sums [K, D] of the frames of each cluster."""
    from scipy.sparse import csr_array

    sums = np.zeros((clusters, values.shape[1]))
    for begin in range(0, len(values), _ROWS):
        own = labels[begin : begin + _ROWS]
        members = csr_array((np.ones(len(own)), (own, np.arange(len(own)))), shape=(clusters, len(own)))
        sums += members @ values[begin : begin + _ROWS].astype(np.float64)
    return sums


def _davies_bouldin(means: NDArray[np.float64], spread: NDArray[np.float64]) -> float | None:
    """mean_k max_l (S_k + S_l) / |m_k - m_l|; None for one cluster, or if two have the same mean."""
    import torch

    columns = torch.from_numpy(means)
    apart = torch.cdist(columns, columns).numpy()
    np.fill_diagonal(apart, np.inf)
    if len(means) < 2 or not apart.min() > _SAME * np.abs(means).max():
        return None
    return float(((spread[:, None] + spread) / apart).max(axis=1).mean())


def _silhouette(nearest: NDArray[np.float64], second: NDArray[np.float64]) -> float | None:
    """Average (b - a) / max(a, b), where b >= a up to rounding; None if all of them are 0."""
    farther = np.maximum(nearest, second)
    known = farther > 0
    return float(((second - nearest)[known] / farther[known]).mean()) if known.any() else None
