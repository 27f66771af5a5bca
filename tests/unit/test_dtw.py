import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ssft.ops.dtw as module
from ssft.ops.dtw import angular_dtw, pack
from tests.oracles import abx as oracle


def distance(first, second) -> float:
    return float(angular_dtw(*pack([np.asarray(first, float), np.asarray(second, float)]), np.array([[0, 1]]))[0])


def random_sequences(seed: int, count: int, longest: int = 9, dim: int = 3) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((int(rng.integers(1, longest + 1)), dim)) for _ in range(count)]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_agrees_with_the_table_and_the_walk_back(seed):
    first, second = random_sequences(seed, 2)
    assert distance(first, second) == pytest.approx(oracle.dtw(first, second), abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_breaks_ties_as_stated(seed):
    # One-hot frames: distances are 0 or 1/2, so that most cells have several best predecessors.
    rng = np.random.default_rng(seed)
    first, second = (np.eye(2)[rng.integers(0, 2, rng.integers(1, 8))] for _ in range(2))
    assert distance(first, second) == oracle.dtw(first, second)


@pytest.mark.parametrize("rows", [1, 2, 4])
@pytest.mark.parametrize("columns", [1, 3, 5])
def test_no_path_is_cheaper(rows, columns):
    rng = np.random.default_rng(rows * 10 + columns)
    first, second = rng.standard_normal((rows, 4)), rng.standard_normal((columns, 4))
    costs = [
        (sum(oracle.frame_distance(first[i], second[j]) for i, j in path), len(path))
        for path in oracle.all_paths(rows, columns)
    ]
    cost, cells = min(costs)
    assert distance(first, second) == pytest.approx(cost / cells, abs=1e-9)


def test_many_pairs_over_several_blocks(monkeypatch):
    sequences = random_sequences(0, 30, longest=12)
    frames, offsets = pack(sequences)
    pairs = np.random.default_rng(1).integers(0, len(sequences), (200, 2))
    whole = angular_dtw(frames, offsets, pairs)
    expected = [oracle.dtw(sequences[i], sequences[j]) for i, j in pairs]
    np.testing.assert_allclose(whole, expected, atol=1e-6)
    for size in (1, 5, 17):  # smaller than a sequence, and blocks that no sequence begins in
        monkeypatch.setattr(module, "BLOCK_FRAMES", size)
        np.testing.assert_allclose(angular_dtw(frames, offsets, pairs), whole, atol=1e-12)


def test_is_zero_with_itself_symmetric_and_blind_to_scale():
    for seed in range(5):
        first, second = random_sequences(seed, 2)
        assert distance(first, first) == pytest.approx(0, abs=1e-7)
        assert distance(first, second) == pytest.approx(distance(second, first), abs=1e-12)
        assert distance(7 * first, 1e-3 * second) == pytest.approx(distance(first, second), abs=1e-9)
        assert 0 <= distance(first, second) <= 1


def test_known_values():
    assert distance([[1, 0]], [[0, 1]]) == pytest.approx(0.5)
    assert distance([[1, 0]], [[-1, 0]]) == pytest.approx(1.0)
    assert distance([[1, 0]], [[1, 1]]) == pytest.approx(0.25)
    # The sum of a path is divided by its cells: two of distance 0 and one of 1/2.
    assert distance([[1, 0], [0, 1]], [[1, 0], [0, 1], [1, 0]]) == pytest.approx(0.5 / 3)


def test_zero_frames_are_at_a_half_from_everything():
    assert distance([[0, 0]], [[3, 4]]) == pytest.approx(0.5)
    assert distance([[0, 0]], [[0, 0]]) == pytest.approx(0.5)


def test_no_pairs_give_no_distances():
    assert angular_dtw(*pack([np.ones((2, 2))]), np.empty((0, 2), dtype=int)).shape == (0,)


def test_accepts_float32():
    sequences = random_sequences(3, 2)
    frames, offsets = pack(sequences)
    found = angular_dtw(frames.astype(np.float32), offsets.astype(np.int32), np.array([[0, 1]], dtype=np.int32))
    assert found[0] == pytest.approx(oracle.dtw(*sequences), abs=1e-5)


@pytest.mark.parametrize(
    ("sequences", "message"),
    [
        ([], "no sequence"),
        ([np.ones(3)], "F, D"),
        ([np.ones((0, 3))], "F, D"),
        ([np.ones((2, 3)), np.ones((2, 4))], "F, D"),
        ([np.array([[1.0, np.nan]])], "NaN"),
    ],
)
def test_refuses_to_pack(sequences, message):
    with pytest.raises(ValueError, match=message):
        pack(sequences)


@pytest.mark.parametrize(
    ("frames", "offsets", "pairs", "message"),
    [
        (np.ones((3, 2)), [0, 2, 3], [[0, 2]], "below 2"),
        (np.ones((3, 2)), [0, 2, 3], [[-1, 0]], "below 2"),
        (np.ones((3, 2)), [0, 3, 3], [[0, 1]], "offsets"),
        (np.ones((3, 2)), [0, 2], [[0, 0]], "offsets"),
        (np.ones((3, 2)), [0, 2, 3], [0, 1], "shapes"),
        (np.full((3, 2), np.nan), [0, 2, 3], [[0, 1]], "NaN"),
    ],
)
def test_refuses_what_does_not_fit(frames, offsets, pairs, message):
    with pytest.raises(ValueError, match=message):
        angular_dtw(frames, np.array(offsets), np.array(pairs))
