import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ssft.ops.dtw as module
from ssft.ops.dtw import LANES, angular_dtw, angular_dtw_table, pack
from tests.oracles import abx as oracle


def distance(first, second) -> float:
    return float(angular_dtw(*pack([np.asarray(first, float), np.asarray(second, float)]), np.array([[0, 1]]))[0])


def random_sequences(seed: int, count: int, longest: int = 9, dim: int = 3) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((int(rng.integers(1, longest + 1)), dim)) for _ in range(count)]


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(0, 10**6))
def test_agrees_with_the_table_and_the_walk_back(seed):
    first, second = random_sequences(seed, 2)
    assert distance(first, second) == pytest.approx(oracle.dtw(first, second), abs=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_breaks_ties_as_stated(seed):
    # One-hot frames: distances are 0 or 1/2, so that most cells have several best predecessors.
    rng = np.random.default_rng(seed)
    first, second = (np.eye(2)[rng.integers(0, 2, rng.integers(1, 8))] for _ in range(2))
    assert distance(first, second) == pytest.approx(oracle.dtw(first, second), abs=1e-7)


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
    assert distance(first, second) == pytest.approx(cost / cells, abs=1e-6)


def test_many_pairs_over_several_blocks(monkeypatch):
    sequences = random_sequences(0, 3 * LANES - 5, longest=12)
    frames, offsets = pack(sequences)
    pairs = np.random.default_rng(1).integers(0, len(sequences), (200, 2))
    whole = angular_dtw(frames, offsets, pairs)
    expected = [oracle.dtw(sequences[i], sequences[j]) for i, j in pairs]
    np.testing.assert_allclose(whole, expected, atol=1e-6)
    for size in (1, 5, 17):  # smaller than a sequence, and blocks that no sequence begins in
        monkeypatch.setattr(module, "BLOCK_FRAMES", size)
        np.testing.assert_allclose(angular_dtw(frames, offsets, pairs), whole, atol=1e-6)


@pytest.mark.parametrize("columns", [1, 2, LANES - 1, LANES, LANES + 1, 2 * LANES + 3])
def test_a_table_is_all_pairs_whatever_they_are_beside(columns):
    # Few distinct frames: equal costs and equal distances abound, and must stay equal in every company.
    rng = np.random.default_rng(columns)
    kinds = rng.standard_normal((3, 5))
    sequences = [kinds[rng.integers(0, 3, rng.integers(1, 14))] for _ in range(5 + columns)]
    frames, offsets = pack(sequences)
    spans = np.stack([offsets[:-1], offsets[1:]], axis=1)
    table = angular_dtw_table(frames, spans[:5], spans[5:])
    expected = [[oracle.dtw(x, y, parts=2**20) for y in sequences[5:]] for x in sequences[:5]]
    alone = [[float(angular_dtw_table(frames, x[None], y[None])[0, 0]) for y in spans[5:]] for x in spans[:5]]
    np.testing.assert_allclose(table, expected, atol=1e-6)
    np.testing.assert_array_equal(table, np.array(alone, dtype=np.float32))
    assert angular_dtw_table(frames, spans[:0], spans[5:]).shape == (0, columns)


@pytest.mark.parametrize("angle", [0.0, 1e-5, 1e-4, 1e-3, 1e-2, 0.0201, 0.1, 0.5, 0.9, 0.99, 0.9999, 1.0])
@pytest.mark.parametrize("dim", [2, 7, 192, 1024])
def test_angles_are_exact_where_cosines_are_not(angle, dim):
    # In float32 the cosine of an angle of 1e-4 half turns is 1.
    basis = np.linalg.qr(np.random.default_rng(dim).standard_normal((dim, 2)))[0].T
    other = np.cos(np.pi * angle) * basis[0] + np.sin(np.pi * angle) * basis[1]
    assert distance(basis[:1], other[None]) == pytest.approx(angle, abs=1e-6)


def test_long_sequences_do_not_overflow():
    long = np.tile([[1.0, 0.0]], (3000, 1))
    assert distance(long, -long) == 1.0
    assert distance(long, long[:1] @ [[0.0, 1.0], [1.0, 0.0]]) == 0.5


def test_is_zero_with_itself_symmetric_and_blind_to_scale_and_rotation():
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    for seed in range(5):
        first, second = random_sequences(seed, 2)
        assert distance(first, first) == 0
        assert distance(first, second) == pytest.approx(distance(second, first), abs=1e-7)
        assert distance(7 * first, 1e-3 * second) == pytest.approx(distance(first, second), abs=1e-6)
        assert distance(first @ rotation, second @ rotation) == pytest.approx(distance(first, second), abs=1e-6)
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
