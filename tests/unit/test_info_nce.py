"""Frame InfoNCE against its definition, and segments, which three losses share."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import info_nce as oracle

from ssft.errors import RecipeError
from ssft.losses.info_nce import FrameInfoNCE, _negatives
from ssft.ops.pooling import pool_segments
from ssft.types import Frames


def sequences(*lengths, dim=4, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return Frames.stack([torch.randn(n, dim, generator=generator, dtype=dtype) for n in lengths])


def pairs_of(x, y):
    return [(a.detach().numpy(), b.detach().numpy()) for a, b in zip(x.items(), y.items(), strict=True)]


# --- segments ------------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=4), size=st.integers(1, 6), seed=st.integers(0, 99))
def test_segments_are_means_of_windows_and_read_no_padding(lengths, size, seed):
    x = sequences(*lengths, dim=3, seed=seed)
    dirty = x.values.masked_fill(~x.mask[..., None], float("nan"))
    values, windows = pool_segments(dirty, x.lengths, size=size)
    assert windows.tolist() == [math.ceil(length / size) for length in lengths]
    for item, pooled, count in zip(x.items(), values, windows.tolist(), strict=True):
        expected = [item[start : start + size].mean(0) for start in range(0, len(item), size)]
        torch.testing.assert_close(pooled[:count], torch.stack(expected))
        assert (pooled[count:] == 0).all()


def test_segments_of_one_frame_are_the_frames():
    x = sequences(5, 3, dtype=torch.float32)
    values, lengths = pool_segments(torch.cat([x.values, torch.ones(2, 4, 4)], 1), x.lengths, size=1)
    assert torch.equal(values, x.values)
    assert torch.equal(lengths, x.lengths)


def test_gradient_of_segments():
    x = sequences(5, 3, dim=2)
    values = x.values.requires_grad_()
    assert torch.autograd.gradcheck(lambda v: pool_segments(v, x.lengths, size=2)[0], (values,))


# --- negatives -----------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(length=st.integers(1, 40), count=st.one_of(st.none(), st.integers(1, 50)))
def test_negatives_are_the_documented_frames(length, count):
    chosen = _negatives(torch.tensor([length, 41]), 41, count)[0]
    wanted = length - 1 if count is None else min(count, length - 1)
    for frame in range(length):
        expected = set(oracle.negatives(frame, length, count)) if length > 1 else set()
        assert set(chosen[frame].nonzero().flatten().tolist()) == expected
        assert len(expected) == wanted
        assert frame not in expected
    assert not chosen[length:].any()


def test_few_negatives_lie_evenly_around_the_utterance():
    assert oracle.negatives(0, 501, 5) == [51, 151, 251, 351, 451]
    assert _negatives(torch.tensor([501]), 501, 5)[0, 0].nonzero().flatten().tolist() == [51, 151, 251, 351, 451]


# --- the loss ------------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    count=st.sampled_from([None, 1, 3, 100]),
    temperature=st.sampled_from([0.1, 1.0]),
    seed=st.integers(0, 99),
)
def test_equals_the_loop_oracle(lengths, count, temperature, seed):
    x, y = sequences(*lengths, seed=seed), sequences(*lengths, seed=seed + 100)
    expected, frames = oracle.info_nce(pairs_of(x, y), temperature=temperature, count=count)
    output = FrameInfoNCE(temperature=temperature, negatives=count)(x, y)
    assert output.loss.item() == pytest.approx(expected, rel=1e-8, abs=1e-12)
    assert output.weight == frames


def test_segments_are_what_is_contrasted():
    x, y = sequences(7, 4), sequences(7, 4, seed=1)
    pooled = [Frames(*pool_segments(side.values, side.lengths, size=3)) for side in (x, y)]
    expected, segments = oracle.info_nce(pairs_of(*pooled), count=None)
    output = FrameInfoNCE(negatives=None, segment_frames=3)(x, y)
    assert output.loss.item() == pytest.approx(expected, rel=1e-9)
    assert output.weight == segments == 5


@pytest.mark.parametrize(("count", "segment_frames"), [(None, 1), (2, 1), (None, 2)])
def test_gradients_on_both_sides(count, segment_frames):
    x, y = sequences(5, 4, 1), sequences(5, 4, 1, seed=1)
    loss = FrameInfoNCE(temperature=0.5, negatives=count, segment_frames=segment_frames)
    inputs = (x.values.requires_grad_(), y.values.requires_grad_())
    assert torch.autograd.gradcheck(lambda a, b: loss(Frames(a, x.lengths), Frames(b, x.lengths)).loss, inputs)


def test_views_may_be_exchanged():
    x, y = sequences(6, 9), sequences(6, 9, seed=1)
    loss = FrameInfoNCE(negatives=4)
    assert loss(x, y).loss.item() == pytest.approx(loss(y, x).loss.item(), rel=1e-12)


def test_padding_is_never_read():
    x, y = sequences(7, 1, 3), sequences(7, 1, 3, seed=1)
    clean = FrameInfoNCE(negatives=3)(x, y)
    dirty = [frames.values.masked_fill(~frames.mask[..., None], float("nan")).requires_grad_() for frames in (x, y)]
    longer = torch.cat([dirty[1], torch.full((3, 2, 4), float("nan"), dtype=torch.float64)], 1)
    actual = FrameInfoNCE(negatives=3)(Frames(dirty[0], x.lengths), Frames(longer, x.lengths))
    assert torch.equal(actual.loss, clean.loss)
    actual.loss.backward()
    for values in dirty:
        assert torch.isfinite(values.grad).all()
        assert values.grad[~x.mask].abs().max() == 0


def test_order_of_the_batch_does_not_matter_and_it_is_the_weighted_mean_of_its_items():
    x, y = sequences(12, 1, 7, 150), sequences(12, 1, 7, 150, seed=1)
    loss = FrameInfoNCE()
    together = loss(x, y)
    order = torch.tensor([2, 0, 3, 1])
    assert loss(x.select(order), y.select(order)).loss.item() == pytest.approx(together.loss.item(), rel=1e-9)
    alone = [loss(x.select(torch.tensor([i])), y.select(torch.tensor([i]))) for i in range(4)]
    assert [output.weight for output in alone] == [12, 0, 7, 150]
    mean = sum(output.loss.item() * output.weight for output in alone) / 169
    assert together.loss.item() == pytest.approx(mean, rel=1e-9)


def test_an_utterance_of_one_frame_has_zero_loss_and_zero_gradient():
    x, y = sequences(1, 1), sequences(1, 1, seed=1)
    x.values.requires_grad_()
    y.values.requires_grad_()
    output = FrameInfoNCE()(x, y)
    output.loss.backward()
    assert (output.loss.item(), output.weight, output.logs["accuracy"]) == (0.0, 0, 0.0)
    assert x.values.grad.abs().max() == 0
    assert y.values.grad.abs().max() == 0


def test_accuracy_counts_frames_whose_positive_scores_highest():
    x = Frames(torch.eye(6)[None], torch.tensor([6]))
    assert FrameInfoNCE()(x, x).logs["accuracy"] == 1.0
    swapped = Frames(torch.eye(6)[[1, 0, 2, 3, 4, 5]][None], torch.tensor([6]))
    assert FrameInfoNCE()(x, swapped).logs["accuracy"] == pytest.approx(4 / 6)


def test_collapse_costs_as_much_as_guessing():
    x = Frames(torch.eye(8, dtype=torch.float64)[0].expand(2, 30, 8), torch.tensor([30, 25]))
    output = FrameInfoNCE(negatives=10)(x, x)
    assert output.loss.item() == pytest.approx(math.log(11), rel=1e-12)
    assert output.logs["accuracy"] == 0.0
    spread = sequences(30, 25, dim=8)
    assert FrameInfoNCE(negatives=10)(spread, spread).loss.item() < 0.5


def test_autocast_silence_and_huge_values_stay_finite():
    x, y = sequences(40, 1, dim=8, dtype=torch.float32), sequences(40, 1, dim=8, seed=1, dtype=torch.float32)
    rounded = x.values.bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = FrameInfoNCE()(Frames(rounded, x.lengths), y).loss
    assert actual.dtype == torch.float32
    assert torch.equal(actual, FrameInfoNCE()(Frames(rounded.float(), x.lengths), y).loss)
    zeros = torch.zeros(2, 40, 8)
    for left, right in ((rounded, y.values), (zeros, zeros), (x.values * 1e4, y.values * 1e4)):
        left, right = left.detach().requires_grad_(), right.detach().requires_grad_()
        output = FrameInfoNCE()(Frames(left, x.lengths), Frames(right, x.lengths))
        output.loss.backward()
        assert torch.isfinite(output.loss)
        assert torch.isfinite(left.grad).all()
        assert torch.isfinite(right.grad).all()


def test_other_lengths_are_refused():
    with pytest.raises(RecipeError, match=r"FrameInfoNCE compares frame t with frame t"):
        FrameInfoNCE()(sequences(5), sequences(6))


@pytest.mark.parametrize(
    "bad", [{"temperature": 0.0}, {"temperature": float("inf")}, {"negatives": 0}, {"segment_frames": 0}]
)
def test_bad_settings_are_refused_by_name(bad):
    with pytest.raises(RecipeError, match=rf"FrameInfoNCE\({next(iter(bad))}="):
        FrameInfoNCE(**bad)
