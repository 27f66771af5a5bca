"""Moments in one pass: equal to those of all frames at once, also around a large mean."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssft.analysis.moments import JointMoments
from ssft.errors import DataError


def related(count: int = 400, *, seed: int = 0, mean: float = 0.0) -> dict[str, np.ndarray]:
    """Three representations of the same frames, which share some directions."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 6)) @ rng.normal(size=(6, 6)) + mean
    return {
        "x": x,
        "y": x[:, :4] @ rng.normal(size=(4, 5)) + rng.normal(size=(count, 5)),
        "z": rng.normal(size=(count, 3)),
    }


def streamed(frames: dict[str, np.ndarray], cuts: list[int], **settings: object) -> JointMoments[str]:
    moments: JointMoments[str] = JointMoments(**settings)
    for begin, end in zip([0, *cuts], [*cuts, len(frames["x"])], strict=True):
        moments.update({key: values[begin:end] for key, values in frames.items()})
    return moments


@given(
    cuts=st.lists(st.integers(0, 1500), max_size=5).map(sorted),
    mean=st.sampled_from([0.0, 1.0, 1e4]),
    seed=st.integers(0, 5),
)
def test_streaming_equals_numpy_on_all_frames_whatever_the_chunks(cuts: list[int], mean: float, seed: int) -> None:
    frames = related(1500, seed=seed, mean=mean)
    moments = streamed(frames, cuts)
    assert moments.count == 1500
    for x in frames:
        np.testing.assert_allclose(moments.mean(x), frames[x].mean(axis=0), rtol=1e-12, atol=1e-12)
        for y in frames:
            a, b = (frames[key] - frames[key].mean(axis=0) for key in (x, y))
            np.testing.assert_allclose(moments.covariance(x, y), a.T @ b / 1500, rtol=0, atol=1e-8)
            np.testing.assert_allclose(
                moments.correlation(x, y), np.corrcoef(a.T, b.T)[: a.shape[1], a.shape[1] :], atol=1e-8
            )


def test_a_mean_that_is_a_million_spreads_away_costs_no_precision() -> None:
    frames = related(3000)
    far = {key: values + 1e6 for key, values in frames.items()}
    near, moved = streamed(frames, [700, 1900]), streamed(far, [700, 1900])
    np.testing.assert_allclose(moved.covariance("x", "y"), near.covariance("x", "y"), atol=1e-8)


@pytest.mark.parametrize("cut", [0, 1, 700, 1500])
def test_merging_equals_going_on(cut: int) -> None:
    frames = related(1500, mean=1e4)
    first, second = (
        streamed({key: own[part] for key, own in frames.items()}, []) for part in (slice(cut), slice(cut, None))
    )
    whole = streamed(frames, [])
    first.merge(second)
    assert first.count == 1500
    np.testing.assert_allclose(first.mean("y"), whole.mean("y"), rtol=1e-12)
    np.testing.assert_allclose(first.covariance("x", "y"), whole.covariance("x", "y"), rtol=0, atol=1e-8)
    np.testing.assert_allclose(first.axes("x").variances, whole.axes("x").variances, atol=1e-8)
    with pytest.raises(DataError, match="same representations"):
        first.merge(streamed(frames, [], pairs=[("x", "y")]))


def test_only_the_pairs_that_are_asked_for_are_kept_once_and_in_either_order() -> None:
    frames = related()
    moments = streamed(frames, [], pairs=[("x", "y"), ("y", "x"), ("z", "z")])
    assert set(moments._scatter) == {("x", "x"), ("y", "y"), ("x", "y"), ("z", "z")}
    np.testing.assert_array_equal(moments.covariance("y", "x"), moments.covariance("x", "y").T)
    with pytest.raises(DataError, match=r"moments of x with z were not collected"):
        moments.covariance("x", "z")
    with pytest.raises(DataError, match=r"moments of w were not collected"):
        moments.mean("w")


def test_axes_are_those_of_the_correlation_matrix_and_follow_new_frames() -> None:
    frames = related()
    moments = streamed({key: values[:200] for key, values in frames.items()}, [])
    before = moments.axes("x").variances
    moments.update({key: values[200:] for key, values in frames.items()})
    axes = moments.axes("x")
    correlation = np.corrcoef(frames["x"].T)
    np.testing.assert_allclose(axes.directions * axes.variances @ axes.directions.T, correlation, atol=1e-10)
    assert (np.diff(axes.variances) <= 0).all()
    assert not np.allclose(axes.variances, before)


def test_constant_features_have_no_deviation_and_correlate_with_nothing() -> None:
    frames = related()
    frames["y"][:, 2] = 0.1  # whose mean is not exactly 0.1
    moments = streamed(frames, [100, 101])
    assert moments.deviations("y")[2] == 0
    assert (moments.correlation("y", "x")[2] == 0).all()
    frames["y"][:] = 0.1
    with pytest.raises(DataError, match="All features of y are constant"):
        streamed(frames, [100]).axes("y")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda frames: frames | {"y": frames["y"][:-1]}, r"different numbers of frames: \[399, 400\]"),
        (lambda frames: frames | {"y": frames["y"][:, :2]}, r"y must be \[n, 5\], got \[400, 2\]"),
        (lambda frames: frames | {"y": frames["y"][0]}, r"y must be \[n, 5\]"),
        (lambda frames: {"x": frames["x"], "z": frames["z"]}, "Frames of y are missing"),
        (lambda frames: frames | {"y": np.full_like(frames["y"], np.nan)}, "y contain NaN or infinity"),
        (lambda frames: frames | {"y": np.full_like(frames["y"], np.inf)}, "y contain NaN or infinity"),
    ],
)
def test_frames_that_do_not_fit_are_refused_and_change_nothing(change, said: str) -> None:
    frames = related()
    moments = streamed(frames, [])
    before = moments.covariance("x", "y")
    with pytest.raises(DataError, match=said):
        moments.update(change(frames))
    np.testing.assert_array_equal(moments.covariance("x", "y"), before)
    assert moments.count == 400


def test_a_first_chunk_that_is_refused_leaves_no_trace() -> None:
    moments: JointMoments[str] = JointMoments()
    with pytest.raises(DataError, match=r"y must be \[n, D\], got \[400\]"):
        moments.update({"x": np.zeros((400, 2)), "y": np.zeros(400)})
    moments.update(related())
    assert moments.covariance("x", "y").shape == (6, 5)


def test_without_frames_there_are_no_moments() -> None:
    moments = JointMoments([("x", "y")])
    with pytest.raises(DataError, match="no frames"):
        moments.covariance("x", "y")
    moments.update({key: values[:0] for key, values in related().items()})
    with pytest.raises(DataError, match="no frames"):
        moments.covariance("x", "y")
