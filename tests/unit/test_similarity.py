"""Similarity of representations: known values, independent implementations on raw frames, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.linalg import subspace_angles
from scipy.stats import ortho_group
from sklearn.linear_model import LinearRegression

from ssft.analysis.moments import JointMoments
from ssft.analysis.similarity.cca import canonical_correlations, mean_cca, pwcca, svcca
from ssft.analysis.similarity.cka import kernel_cka, linear_cka, rbf_kernel
from ssft.analysis.similarity.neurons import best_correlations, linear_regression, max_correlation, min_correlation
from ssft.errors import DataError, RecipeError

LINEAR = (linear_cka, pwcca, svcca, mean_cca, max_correlation, linear_regression)
Measure = Callable[..., float]


def moments_of(**frames: np.ndarray) -> JointMoments[str]:
    moments: JointMoments[str] = JointMoments()
    count = len(next(iter(frames.values())))
    for begin in range(0, count, 137):
        moments.update({key: values[begin : begin + 137] for key, values in frames.items()})
    return moments


def related(count: int = 600, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """x [N, 8] and y [N, 6] with a few directions in common, of unequal variance and with means."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(count, 3))
    x = np.hstack([shared, rng.normal(size=(count, 5))]) @ rng.normal(size=(8, 8)) * np.geomspace(1, 20, 8) + 5
    y = np.hstack([shared + rng.normal(size=(count, 3)), rng.normal(size=(count, 3))]) @ rng.normal(size=(6, 6)) - 3
    return x, y


# --- what is the same


@pytest.mark.parametrize("measure", LINEAR)
def test_a_representation_has_1_with_itself(measure: Measure) -> None:
    x, _ = related()
    assert measure(moments_of(x=x), "x", "x") == pytest.approx(1, abs=1e-10)


def test_cka_is_1_of_a_rotation_and_of_a_scaling_and_not_of_any_linear_map() -> None:
    x, _ = related()
    rotated = x @ ortho_group.rvs(8, random_state=0) * 0.01 + 7
    stretched = x @ np.diag([100.0, *[1.0] * 7])
    moments = moments_of(x=x, rotated=rotated, stretched=stretched)
    assert linear_cka(moments, "x", "rotated") == pytest.approx(1, abs=1e-10)
    assert linear_cka(moments, "x", "stretched") < 0.9
    assert kernel_cka(rbf_kernel(x), rbf_kernel(rotated)) == pytest.approx(1, abs=1e-10)


@pytest.mark.parametrize("measure", [pwcca, mean_cca, linear_regression])
def test_canonical_correlation_is_1_of_any_invertible_map(measure: Measure) -> None:
    x, _ = related()
    mapped = x @ np.random.default_rng(1).normal(size=(8, 8)) + 100
    moments = moments_of(x=x, mapped=mapped)
    assert measure(moments, "x", "mapped") == pytest.approx(1, abs=1e-8)
    assert measure(moments, "mapped", "x") == pytest.approx(1, abs=1e-8)


def test_independent_frames_have_little_in_common() -> None:
    rng = np.random.default_rng(0)
    moments = moments_of(x=rng.normal(size=(20_000, 4)), y=rng.normal(size=(20_000, 4)))
    assert all(measure(moments, "x", "y") < 0.03 for measure in LINEAR)


def test_max_correlation_finds_neurons_in_any_order_and_of_either_sign() -> None:
    x, _ = related()
    moments = moments_of(x=x, y=-2 * x[:, ::-1] + 1, mixed=x @ ortho_group.rvs(8, random_state=0))
    assert max_correlation(moments, "x", "y") == pytest.approx(1, abs=1e-10)
    assert max_correlation(moments, "x", "mixed") < 0.99
    assert linear_regression(moments, "x", "mixed") == pytest.approx(1, abs=1e-10)


# --- independent implementations, on raw frames


def svd_cca(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Canonical correlations, and canonical variates of x as orthonormal columns [N, K], by SVD of the frames."""
    left, right = (np.linalg.svd(frames - frames.mean(axis=0), full_matrices=False)[0] for frames in (x, y))
    own, correlations, _ = np.linalg.svd(left.T @ right, full_matrices=False)
    return correlations, left @ own


def slow_pwcca(x: np.ndarray, y: np.ndarray) -> float:
    correlations, variates = svd_cca(x, y)
    weights = np.abs(variates.T @ (x - x.mean(axis=0))).sum(axis=1)
    return float(correlations @ weights / weights.sum())


def slow_svcca(x: np.ndarray, y: np.ndarray) -> float:
    kept = []
    for frames in (x, y):
        standard = (frames - frames.mean(axis=0)) / frames.std(axis=0)
        left, sizes, _ = np.linalg.svd(standard, full_matrices=False)
        share = np.cumsum(sizes**2) / np.sum(sizes**2)
        kept.append(left[:, : int(np.argmax(share >= 0.99)) + 1])
    return float(np.linalg.svd(kept[0].T @ kept[1], compute_uv=False).mean())


def hsic_cka(x: np.ndarray, y: np.ndarray) -> float:
    """From the kernels [N, N], centred by a matrix."""
    count = len(x)
    centre = np.eye(count) - 1 / count
    p, q = (centre @ (frames @ frames.T) @ centre for frames in (x, y))
    return float(np.trace(p @ q) / np.sqrt(np.trace(p @ p) * np.trace(q @ q)))


def slow_regression(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.mean([np.sqrt(LinearRegression().fit(y, neuron).score(y, neuron)) for neuron in x.T]))


def slow_max_correlation(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.mean([max(abs(np.corrcoef(a, b)[0, 1]) for b in y.T) for a in x.T]))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("measure", "slow"),
    [
        (linear_cka, hsic_cka),
        (pwcca, slow_pwcca),
        (svcca, slow_svcca),
        (mean_cca, lambda x, y: float(svd_cca(x, y)[0].mean())),
        (mean_cca, lambda x, y: float(np.cos(subspace_angles(x - x.mean(axis=0), y - y.mean(axis=0))).mean())),
        (linear_regression, slow_regression),
        (max_correlation, slow_max_correlation),
    ],
)
def test_moments_give_what_slow_ways_give_on_all_frames(measure: Measure, slow: Measure, seed: int) -> None:
    x, y = related(seed=seed)
    moments = moments_of(x=x, y=y)
    assert 0.01 < slow(x, y) < 0.99
    assert measure(moments, "x", "y") == pytest.approx(slow(x, y), abs=1e-8)
    assert measure(moments, "y", "x") == pytest.approx(slow(y, x), abs=1e-8)


def test_pwcca_and_neurons_depend_on_the_side_and_cka_does_not() -> None:
    x, y = related()
    moments = moments_of(x=x, y=y)
    for measure in (pwcca, max_correlation, linear_regression):
        assert abs(measure(moments, "x", "y") - measure(moments, "y", "x")) > 1e-3
    assert linear_cka(moments, "x", "y") == pytest.approx(linear_cka(moments, "y", "x"), abs=1e-12)


def test_rbf_cka_is_that_of_kernels_made_one_by_one() -> None:
    x, y = related(60)
    kernels = []
    for frames in (x, y):
        distances = np.array([[np.linalg.norm(a - b) for a in frames] for b in frames])
        median = np.median(distances[np.triu_indices(60, 1)])
        kernels.append(np.exp(-(distances**2) / (2 * (0.5 * median) ** 2)))
    centre = np.eye(60) - 1 / 60
    p, q = (centre @ kernel @ centre for kernel in kernels)
    expected = np.trace(p @ q) / np.sqrt(np.trace(p @ p) * np.trace(q @ q))
    assert kernel_cka(rbf_kernel(x), rbf_kernel(y)) == pytest.approx(expected, abs=1e-10)
    assert kernel_cka(rbf_kernel(x, width=5.0), rbf_kernel(y, width=5.0)) != pytest.approx(expected, abs=1e-3)


def test_min_correlation_takes_each_neuron_where_its_match_is_worst() -> None:
    x, y = related()
    half = np.hstack([x[:, :4], y[:, :1]])
    moments = moments_of(x=x, y=y, half=half)
    best = [best_correlations(moments, "x", other) for other in ("y", "half")]
    slow = [[max(abs(np.corrcoef(a, b)[0, 1]) for b in other.T) for a in x.T] for other in (y, half)]
    expected = np.mean([min(pair) for pair in zip(*slow, strict=True)])
    assert min_correlation(best) == pytest.approx(expected)
    assert min_correlation(best[:1]) == pytest.approx(max_correlation(moments, "x", "y"))


# --- canonical directions


def test_directions_have_covariance_1_and_the_correlations_that_are_said() -> None:
    x, y = related()
    found = canonical_correlations(moments_of(x=x, y=y), "x", "y")
    a, b = (x - x.mean(axis=0)) @ found.directions_x, (y - y.mean(axis=0)) @ found.directions_y
    np.testing.assert_allclose(a.T @ a / len(a), np.eye(6), atol=1e-9)
    np.testing.assert_allclose(b.T @ b / len(b), np.eye(6), atol=1e-9)
    np.testing.assert_allclose(a.T @ b / len(a), np.diag(found.correlations), atol=1e-9)


# --- degenerate frames


@pytest.mark.parametrize("measure", LINEAR)
def test_too_few_frames_are_refused_with_the_number_that_is_needed(measure: Measure) -> None:
    x, y = related(79)
    with pytest.raises(DataError, match=r"79 frames are too few for 8 dimensions.* At least 80 .*--frames"):
        measure(moments_of(x=x, y=y), "y", "x")
    assert 0 < measure(moments_of(x=x, y=y), "y", "x", fewest_per_dimension=5) < 1


def test_with_as_many_frames_as_dimensions_canonical_correlation_would_be_1_of_anything() -> None:
    rng = np.random.default_rng(0)
    moments = moments_of(x=rng.normal(size=(9, 8)), y=rng.normal(size=(9, 8)))
    assert mean_cca(moments, "x", "y", fewest_per_dimension=0) == pytest.approx(1)


@pytest.mark.parametrize("measure", LINEAR)
def test_constant_features_count_for_nothing(measure: Measure) -> None:
    x, y = related()
    with_constant = {"x": np.insert(x, 3, 0.1, axis=1), "y": np.insert(y, 0, -1e5, axis=1)}
    expected = measure(moments_of(x=x, y=y), "x", "y")
    assert measure(moments_of(**with_constant), "x", "y") == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("measure", LINEAR)
@pytest.mark.parametrize("side", ["x", "y"])
def test_frames_that_are_all_the_same_are_refused(measure: Measure, side: str) -> None:
    x, y = related()
    frames = {"x": x, "y": y}
    frames[side] = np.full_like(frames[side], 0.3)
    with pytest.raises(DataError, match=f"All features of {side} are constant"):
        measure(moments_of(**frames), "x", "y")


@pytest.mark.parametrize("measure", [pwcca, mean_cca, linear_regression])
def test_features_that_repeat_others_but_for_rounding_add_no_directions(measure: Measure) -> None:
    x, y = related()
    repeated = np.hstack([y, y @ np.random.default_rng(0).normal(size=(6, 3))]).astype(np.float32)
    expected = measure(moments_of(x=x, y=y), "x", "y")
    assert measure(moments_of(x=x, y=repeated), "x", "y") == pytest.approx(expected, abs=1e-5)


def test_settings_and_frames_that_make_no_sense_are_refused() -> None:
    x, y = related()
    moments = moments_of(x=x, y=y)
    for variance in (0.0, 1.1, float("nan")):
        with pytest.raises(RecipeError, match="share of the variance"):
            svcca(moments, "x", "y", variance=variance)
    with pytest.raises(RecipeError, match="width=0"):
        rbf_kernel(x, width=0)
    with pytest.raises(DataError, match="NaN"):
        rbf_kernel(np.full((5, 2), np.nan))
    with pytest.raises(DataError, match="at least 3"):
        rbf_kernel(x[:2])
    with pytest.raises(DataError, match="half of the frames are the same"):
        rbf_kernel(np.ones((10, 2)))
