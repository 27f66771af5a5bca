import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssft.analysis.rank import GramAccumulator, effective_rank, measure_ranks, saturation
from ssft.errors import DataError, RecipeError


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


def utterances(count: int = 40, dim: int = 12, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((dim, dim)) + 0.3
    return {
        f"u{number:03}": (rng.standard_normal((rng.integers(1, 60), dim)) @ mixing).astype(np.float32)
        for number in range(count)
    }


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("chunk", [1, 50, 10**6])
def test_ranks_of_a_layer_are_those_of_an_svd_of_all_its_frames(monkeypatch, center, chunk):
    monkeypatch.setattr("ssft.analysis.rank._CHUNK", chunk)
    frames = utterances()
    ranks = measure_ranks(frames, center=center)
    wide = {name: own.astype(np.float64) for name, own in frames.items()}
    every = np.concatenate(list(wide.values()))
    assert ranks.global_rank == pytest.approx(by_svd(every, center), rel=1e-8)
    assert ranks.rankme == pytest.approx(ranks.global_rank, rel=1e-8)  # there are fewer than 25,600
    assert ranks.rankme_t == pytest.approx(by_svd(np.stack([own.sum(0) for own in wide.values()]), center), rel=1e-8)
    assert ranks.rankme_mean == pytest.approx(
        by_svd(np.stack([own.mean(0) for own in wide.values()]), center), rel=1e-8
    )
    within = sum(float(own.var(0).sum()) * len(own) for own in wide.values())
    assert ranks.variance_between_utterances == pytest.approx(1 - within / (every.var(0).sum() * len(every)), rel=1e-6)
    assert (ranks.dimensions, ranks.frames, ranks.utterances) == (12, len(every), 40)


def test_rankme_is_of_a_sample_that_the_seed_decides():
    frames = utterances()
    few = [measure_ranks(frames, rankme_frames=40, seed=seed).rankme for seed in (0, 0, 1)]
    assert few[0] == few[1] != few[2]
    assert few[0] < measure_ranks(frames).rankme


def test_epsilon_counts():
    frames = random_frames()
    shares = np.linalg.svd(frames, compute_uv=False)
    shares = shares / (shares.sum() + 0.1)
    expected = np.exp(-(shares * np.log(shares + 0.1)).sum())
    assert effective_rank(frames, epsilon=0.1) == pytest.approx(expected, rel=1e-8)
    with pytest.raises(RecipeError, match="positive"):
        effective_rank(frames, epsilon=0.0)


def test_one_utterance_and_constant_frames_have_ranks():
    one = measure_ranks({"a": random_frames().astype(np.float32)})
    assert (one.rankme_t, one.rankme_mean) == (pytest.approx(1, abs=1e-5), pytest.approx(1, abs=1e-5))
    assert one.variance_between_utterances == pytest.approx(0, abs=1e-6)
    constant = measure_ranks({name: np.full((5, 3), 0.1, np.float32) for name in "abc"})
    assert constant.global_rank == pytest.approx(1, abs=1e-5)
    assert constant.variance_between_utterances is None


def test_too_few_utterances_are_named():
    assert "10 utterances are fewer than the 12 dimensions" in (saturation(utterances=10, dimensions=12) or "")
    assert "less than twice" in (saturation(utterances=20, dimensions=12) or "")
    assert saturation(utterances=24, dimensions=12) is None


def test_a_layer_with_nan_has_no_ranks():
    frames = utterances()
    frames["u003"][0, 0] = np.nan
    with pytest.raises(DataError, match="NaN or infinity"):
        measure_ranks(frames)
