import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssft.analysis.rank import GramAccumulator, effective_rank
from ssft.errors import DataError


def by_svd(frames: np.ndarray, center: bool = False) -> float:
    values = np.linalg.svd(frames - frames.mean(0) if center else frames, compute_uv=False)
    shares = values / (values.sum() + 1e-7)
    return float(np.exp(-(shares * np.log(shares + 1e-7)).sum()))


def random_frames(seed: int = 0, count: int = 200, dim: int = 12) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, dim)) @ rng.standard_normal((dim, dim)) + rng.standard_normal(dim)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.booleans(), st.lists(st.integers(0, 60), max_size=4))
def test_streamed_equals_batch_equals_svd(seed, center, cuts):
    frames = random_frames(seed, count=60)
    gram = GramAccumulator()
    for part in np.split(frames, sorted(cuts)):
        gram.update(part)
    assert gram.count == 60
    assert effective_rank(gram, center=center) == pytest.approx(effective_rank(frames, center=center), rel=1e-8)
    assert effective_rank(gram, center=center) == pytest.approx(by_svd(frames, center), rel=1e-8)
    np.testing.assert_allclose(gram.mean, frames.mean(0), atol=1e-8)
    np.testing.assert_allclose(gram.singular_values(), np.linalg.svd(frames, compute_uv=False), rtol=1e-8)


@pytest.mark.parametrize("rank", [1, 3, 12])
def test_rank_r_identity_has_rank_r(rank):
    frames = np.zeros((40, 12))
    frames[:rank, :rank] = np.eye(rank)
    assert effective_rank(frames) == pytest.approx(rank, rel=1e-5)


def test_blind_to_rotation_and_scale():
    frames = random_frames()
    rotation = np.linalg.qr(np.random.default_rng(1).standard_normal((12, 12)))[0]
    for center in (False, True):
        expected = effective_rank(frames, center=center)
        assert effective_rank(frames @ rotation, center=center) == pytest.approx(expected, rel=1e-8)
        assert effective_rank(1e3 * frames, center=center) == pytest.approx(expected, rel=1e-6)


def test_low_rank_hidden_by_a_rotation():
    rng = np.random.default_rng(0)
    frames = np.linalg.qr(rng.standard_normal((500, 5)))[0] @ np.linalg.qr(rng.standard_normal((96, 5)))[0].T
    assert effective_rank(frames) == pytest.approx(5, rel=1e-5)


def test_centring_survives_a_huge_mean():
    frames = random_frames()
    assert effective_rank(frames + 1e6, center=True) == pytest.approx(effective_rank(frames, center=True), rel=1e-6)
    assert effective_rank(frames + 1e6) < 1.01


def test_constant_frames_have_rank_one():
    for frames in (np.ones((10, 4)), np.zeros((10, 4))):
        for center in (False, True):
            assert effective_rank(frames, center=center) == pytest.approx(1, abs=1e-5)


def test_takes_tensors_parts_and_few_frames():
    frames = random_frames().astype(np.float32)
    expected = effective_rank(frames)
    assert effective_rank(torch.from_numpy(frames).requires_grad_()) == expected
    assert effective_rank([frames[:50], torch.from_numpy(frames[50:])]) == pytest.approx(expected, rel=1e-8)
    assert effective_rank(frames[:3]) <= 3 + 1e-5


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([], "no frames"),
        ([np.ones((0, 3))], "no frames"),
        ([np.ones(3)], "N, D"),
        ([np.ones((2, 3)), np.ones((2, 4))], "N, 3"),
        ([np.array([[1.0, np.inf]])], "NaN or infinity"),
        ([torch.tensor([[1.0, float("nan")]])], "NaN or infinity"),
    ],
)
def test_refuses(parts, message):
    with pytest.raises(DataError, match=message):
        effective_rank(parts)
