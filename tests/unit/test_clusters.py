import numpy as np
import pytest
from sklearn.cluster import MiniBatchKMeans
from sklearn.metrics import calinski_harabasz_score, davies_bouldin_score

from ssft.analysis.clusters import cluster_quality, fit_centres
from ssft.analysis.similarity.units import cluster_stability
from ssft.errors import DataError, RecipeError


def blobs(count: int = 600, dim: int = 6, groups: int = 8, seed: int = 0, spread: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    middles = 4 * rng.standard_normal((groups, dim)) + 30
    return (middles[rng.integers(groups, size=count)] + spread * rng.standard_normal((count, dim))).astype(np.float32)


def distances(frames: np.ndarray, centres: np.ndarray) -> np.ndarray:
    return np.linalg.norm(frames[:, None].astype(np.float64) - centres.astype(np.float64), axis=2)


@pytest.mark.parametrize("clusters", [2, 7, 40])
def test_indices_are_those_of_scikit_learn(clusters):
    frames = blobs()
    centres = fit_centres(frames, clusters=clusters)
    quality = cluster_quality(frames, centres)
    apart = distances(frames, centres)
    labels = apart.argmin(axis=1)
    assert quality.inertia == pytest.approx(np.square(apart.min(axis=1)).mean(), rel=1e-5)
    assert quality.relative_inertia == pytest.approx(quality.inertia / frames.astype(np.float64).var(0).sum(), rel=1e-5)
    assert quality.davies_bouldin == pytest.approx(davies_bouldin_score(frames.astype(np.float64), labels), rel=1e-5)
    assert quality.calinski_harabasz == pytest.approx(
        calinski_harabasz_score(frames.astype(np.float64), labels), rel=1e-5
    )
    first, second = np.sort(apart, axis=1).T[:2]
    assert quality.silhouette == pytest.approx(((second - first) / second).mean(), rel=1e-4)
    shares = np.unique(labels, return_counts=True)[1] / len(frames)
    assert quality.perplexity == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-8)
    assert (quality.used_clusters, quality.clustered_frames) == (len(shares), 600)


def test_centres_are_as_good_as_those_of_scikit_learn():
    """On overlapping groups; where they lie far apart, k-means++, which depends on what frames are, finds more."""
    frames = blobs(2000, spread=4.0)
    reference = MiniBatchKMeans(40, n_init=10, random_state=0).fit(frames)
    ours = cluster_quality(frames, fit_centres(frames, clusters=40, passes=10))
    assert ours.inertia < 1.05 * reference.inertia_ / len(frames)


def test_clusters_begin_at_the_same_moments_whatever_the_features():
    frames = blobs()
    rotation = np.linalg.qr(np.random.default_rng(1).standard_normal((6, 6)))[0].astype(np.float32)
    before = fit_centres(frames, clusters=20)
    after = fit_centres(frames @ rotation, clusters=20)
    np.testing.assert_allclose(before @ rotation, after, atol=1e-3)
    assert not np.allclose(before, fit_centres(frames, clusters=20, seed=1), atol=1e-3)


def test_a_large_mean_changes_nothing():
    frames = np.random.default_rng(0).integers(-8, 8, size=(400, 4)).astype(np.float32)
    near = cluster_quality(frames, fit_centres(frames, clusters=5))
    far = cluster_quality(frames + 2**16, fit_centres(frames + 2**16, clusters=5))
    for name, value in vars(near).items():
        assert getattr(far, name) == pytest.approx(value, rel=1e-3), name


def test_empty_clusters_are_left_out():
    frames = blobs(groups=2)
    centres = np.vstack([fit_centres(frames, clusters=2), np.full((3, 6), 1e3, np.float32)])
    quality = cluster_quality(frames, centres)
    assert quality.used_clusters == 2
    labels = distances(frames, centres).argmin(axis=1)
    assert quality.davies_bouldin == pytest.approx(davies_bouldin_score(frames, labels), rel=1e-4)


def test_constant_frames_have_one_cluster_and_no_indices():
    frames = np.ones((50, 3), np.float32)
    quality = cluster_quality(frames, fit_centres(frames, clusters=4))
    assert (quality.used_clusters, quality.perplexity, quality.inertia) == (1, 1.0, 0.0)
    assert quality.relative_inertia is quality.davies_bouldin is quality.calinski_harabasz is quality.silhouette is None


def test_stable_clusters_are_told_from_unstable_ones():
    assert cluster_stability(blobs(2000, groups=2, spread=0.1), clusters=2) == pytest.approx(1, abs=1e-6)
    noise = np.random.default_rng(0).standard_normal((2000, 6)).astype(np.float32)
    assert cluster_stability(noise, clusters=40) < 0.7


@pytest.mark.parametrize(
    ("frames", "settings", "error", "message"),
    [
        (blobs(10), {"clusters": 11}, DataError, "11 clusters need at least as many frames, but there are 10"),
        (blobs(10), {"clusters": 1}, RecipeError, "two clusters"),
        (blobs(10), {"clusters": 2, "passes": 0}, RecipeError, "one pass"),
        (
            np.where(np.arange(60).reshape(10, 6) == 7, np.nan, 1.0).astype(np.float32),
            {"clusters": 2},
            DataError,
            "NaN",
        ),
        (
            np.where(np.arange(60).reshape(10, 6) == 7, np.inf, 1.0).astype(np.float32),
            {"clusters": 2},
            DataError,
            "NaN",
        ),
    ],
)
def test_refuses(frames, settings, error, message):
    with pytest.raises(error, match=message):
        fit_centres(frames, **settings)


def test_there_is_no_quality_of_no_frames():
    with pytest.raises(DataError, match="no frames"):
        cluster_quality(np.zeros((0, 3), np.float32), np.zeros((2, 3), np.float32))
