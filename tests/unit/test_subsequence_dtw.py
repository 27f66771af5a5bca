import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ssft.ops.subsequence_dtw as module
from ssft.ops.subsequence_dtw import subsequence_dtw
from tests.oracles import subsequence_dtw as oracle


def sequences(seed: int, count: int, longest: int = 9, dim: int = 4) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, longest + 1, count)
    return [rng.standard_normal((length, dim)).astype(np.float32) for length in lengths]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 5))
def test_agrees_with_plain_loops(seed, queries, documents):
    # Lengths from 1 to 9 on both sides: documents of one frame, and queries longer than every document, are among them.
    own = sequences(seed, queries + documents)
    # Two points become cosines of exactly plus and minus one, which rounding would tell apart by luck.
    if sum(map(len, own)) > 2:
        found = subsequence_dtw(own[:queries], own[queries:])
        np.testing.assert_allclose(found, oracle.distances(own[:queries], own[queries:]), atol=2e-6)


@pytest.mark.parametrize("rows", [1, 2, 5])
@pytest.mark.parametrize("columns", [1, 2, 4])
def test_no_path_is_cheaper(rows, columns):
    costs = np.random.default_rng(rows * 10 + columns).random((rows, columns)).tolist()
    assert oracle.cheapest(costs) == pytest.approx(oracle.cheapest_of_all_paths(costs), abs=1e-12)


def test_finds_what_is_there_also_slower_or_faster():
    rng = np.random.default_rng(0)
    query, other = rng.standard_normal((8, 16)), rng.standard_normal((40, 16))

    def holding(part: np.ndarray) -> np.ndarray:
        return np.concatenate([other[:20], part, other[20:]])

    documents = [holding(query), holding(np.repeat(query, 2, axis=0)), holding(query[::2]), other]
    as_it_is, half_as_fast, twice_as_fast, absent = subsequence_dtw([query], documents)[0].tolist()
    assert max(as_it_is, half_as_fast) < 1e-6
    # Every frame of the query is matched: those that are not there cost something.
    assert 0.01 < twice_as_fast < absent
    # Each frame of a document may be passed over if the next is not.
    assert subsequence_dtw([query[::2]], documents)[0, 0] < 1e-6


def test_blocks_groups_and_threads_change_nothing(monkeypatch):
    own = sequences(1, 45, longest=20, dim=8)
    whole = subsequence_dtw(own[:15], own[15:])
    threads = torch.get_num_threads()
    for frames, cells in ((1, 1), (7, 60), (50, 1000), (10**6, 10**7)):
        monkeypatch.setattr(module, "BLOCK_FRAMES", frames)
        monkeypatch.setattr(module, "BLOCK_CELLS", cells)
        one = subsequence_dtw(own[:15], own[15:])
        np.testing.assert_allclose(one, whole, atol=1e-6)
        try:
            torch.set_num_threads(3)
            np.testing.assert_array_equal(subsequence_dtw(own[:15], own[15:]), one)
            assert torch.get_num_threads() == 3
        finally:
            torch.set_num_threads(threads)


def test_scale_shift_and_order_change_nothing():
    own = sequences(2, 12, longest=15, dim=8)
    queries, documents = own[:4], own[4:]
    whole = subsequence_dtw(queries, documents)
    rng = np.random.default_rng(3)
    scale, shift = 10.0 ** rng.uniform(-6, 6, 8), rng.standard_normal(8)
    moved = [[(frames + shift) * scale for frames in side] for side in (queries, documents)]
    np.testing.assert_allclose(subsequence_dtw(*moved), whole, atol=1e-6)
    order = rng.permutation(len(documents))
    np.testing.assert_allclose(
        subsequence_dtw(queries[::-1], [documents[i] for i in order]), whole[::-1, order], atol=1e-6
    )


def test_a_dimension_that_does_not_vary_says_nothing():
    own = sequences(4, 10, longest=12)
    whole = subsequence_dtw(own[:3], own[3:])
    for value in (0.0, 0.1, 12345.678):  # the sum of many times 0.1 is not many times 0.1
        wider = [np.concatenate([frames, np.full((len(frames), 1), value)], axis=1) for frames in own]
        np.testing.assert_allclose(subsequence_dtw(wider[:3], wider[3:]), whole, atol=1e-6)


def test_where_all_frames_are_alike_nothing_is_found():
    rng = np.random.default_rng(5)
    query, document = rng.standard_normal((6, 8)), rng.standard_normal((30, 8))
    silence = np.tile(rng.standard_normal(8), (30, 1))
    zeros = np.zeros((30, 8))
    found = subsequence_dtw([query], [document, silence, zeros, document[:1]])[0]
    assert found[1:].tolist() == [1.0, 1.0, 1.0]
    assert found[0] < 1


def test_all_frames_equal_are_no_failure():
    same = [np.ones((3, 2), np.float32), np.ones((9, 2), np.float32)]
    assert subsequence_dtw(same, same).tolist() == [[1.0, 1.0], [1.0, 1.0]]


def test_a_frame_that_is_the_mean_has_no_direction():
    half = np.random.default_rng(6).standard_normal((5, 3))
    document = np.concatenate([half, np.zeros((1, 3)), -half]) + 7.0  # symmetric about 7
    queries = [document[::-1], document[5:6]]
    found = subsequence_dtw(queries, [document])
    np.testing.assert_allclose(found, oracle.distances(queries, [document]), atol=2e-6)
    assert found[1, 0] == 1.0


@pytest.mark.parametrize(
    ("queries", "documents"),
    [
        ([], [np.ones((2, 3)), np.ones((2, 3))]),
        ([np.ones((2, 3)), np.ones((2, 3))], []),
        ([np.ones((2, 3))], [np.ones((0, 3))]),
        ([np.ones((2, 3))], [np.ones((2, 4))]),
        ([np.ones(3)], [np.ones(3)]),
        ([np.ones((2, 3))], [np.full((2, 3), np.nan)]),
        ([np.full((2, 3), np.inf)], [np.ones((2, 3))]),
    ],
)
def test_refuses_what_cannot_be_compared(queries, documents):
    with pytest.raises(ValueError, match=r"need queries and documents|NaN or infinity"):
        subsequence_dtw(queries, documents)
