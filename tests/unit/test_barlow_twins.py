"""Barlow Twins against its definition."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import barlow_twins as oracle

from ssft.errors import RecipeError
from ssft.losses.barlow_twins import BarlowTwins
from ssft.ops.pooling import pool_segments
from ssft.types import Frames


def sequences(*lengths, dim=4, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return Frames.stack([torch.randn(n, dim, generator=generator, dtype=dtype) for n in lengths])


@settings(max_examples=25, deadline=None)
@given(lengths=st.lists(st.integers(1, 8), min_size=2, max_size=4), dim=st.integers(1, 5), seed=st.integers(0, 99))
def test_equals_the_loop_oracle(lengths, dim, seed):
    x, y = sequences(*lengths, dim=dim, seed=seed), sequences(*lengths, dim=dim, seed=seed + 100)
    invariance, redundancy = oracle.terms(x.valid().numpy(), y.valid().numpy())
    output = BarlowTwins(redundancy=0.3)(x, y)
    assert output.loss.item() == pytest.approx(invariance + 0.3 * redundancy, rel=1e-9)
    assert output.logs == pytest.approx({"invariance": invariance, "redundancy": redundancy})
    assert output.weight == sum(lengths)


def test_segments_are_what_is_compared():
    x, y = sequences(7, 4), sequences(7, 4, seed=1)
    pooled = [Frames(*pool_segments(side.values, side.lengths, size=3)).valid().numpy() for side in (x, y)]
    output = BarlowTwins(segment_frames=3)(x, y)
    assert list(output.logs.values()) == pytest.approx(oracle.terms(*pooled))
    assert output.weight == 5


def test_gradients_on_both_sides():
    x, y = sequences(5, 2), sequences(5, 2, seed=1)
    inputs = (x.values.requires_grad_(), y.values.requires_grad_())
    loss = BarlowTwins(redundancy=0.5)
    assert torch.autograd.gradcheck(lambda a, b: loss(Frames(a, x.lengths), Frames(b, x.lengths)).loss, inputs)


def test_padding_is_never_read():
    x, y = sequences(7, 1, 3), sequences(7, 1, 3, seed=1)
    dirty = [frames.values.masked_fill(~frames.mask[..., None], float("nan")).requires_grad_() for frames in (x, y)]
    actual = BarlowTwins()(*(Frames(values, x.lengths) for values in dirty)).loss
    assert torch.equal(actual, BarlowTwins()(x, y).loss)
    actual.backward()
    for values in dirty:
        assert torch.isfinite(values.grad).all()
        assert values.grad[~x.mask].abs().max() == 0


def test_order_of_the_batch_does_not_matter():
    x, y = sequences(12, 1, 7), sequences(12, 1, 7, seed=1)
    order, loss = torch.tensor([2, 0, 1]), BarlowTwins()
    assert loss(x.select(order), y.select(order)).loss.item() == pytest.approx(loss(x, y).loss.item(), rel=1e-9)


def test_scale_and_place_of_the_frames_do_not_matter():
    x, y = sequences(50), sequences(50, seed=1)
    moved = Frames(x.values * 30 + 5, x.lengths)
    assert BarlowTwins()(moved, y).loss.item() == pytest.approx(BarlowTwins()(x, y).loss.item(), rel=1e-4)


def test_collapse_costs_one_per_dimension_and_decorrelated_views_that_agree_cost_nothing():
    constant = Frames(torch.full((1, 20, 8), 0.7, dtype=torch.float64), torch.tensor([20]))
    assert BarlowTwins()(constant, constant).loss.item() == pytest.approx(8, rel=1e-9)
    square = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
    hadamard = torch.kron(square, torch.kron(square, square))[:, 1:]
    spread = Frames(hadamard[None], torch.tensor([8]))
    assert BarlowTwins()(spread, spread).loss.item() == pytest.approx(0, abs=1e-8)
    one_dead = Frames(torch.cat([hadamard, torch.ones(8, 1, dtype=torch.float64)], 1)[None], torch.tensor([8]))
    assert BarlowTwins()(one_dead, one_dead).loss.item() == pytest.approx(1, abs=1e-8)


def test_one_frame_has_zero_loss_and_zero_gradient():
    x, y = sequences(1), sequences(1, seed=1)
    x.values.requires_grad_()
    y.values.requires_grad_()
    output = BarlowTwins()(x, y)
    output.loss.backward()
    assert (output.loss.item(), output.weight) == (0.0, 1)
    assert x.values.grad.abs().max() == 0
    assert y.values.grad.abs().max() == 0


def test_autocast_silence_and_huge_values_stay_finite():
    x, y = sequences(40, 1, dim=8, dtype=torch.float32), sequences(40, 1, dim=8, seed=1, dtype=torch.float32)
    rounded = x.values.bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = BarlowTwins()(Frames(rounded, x.lengths), y).loss
    assert actual.dtype == torch.float32
    assert torch.equal(actual, BarlowTwins()(Frames(rounded.float(), x.lengths), y).loss)
    zeros = torch.zeros(2, 40, 8)
    for left, right in ((rounded, y.values), (zeros, zeros), (x.values * 1e4, y.values * 1e4)):
        left, right = left.detach().requires_grad_(), right.detach().requires_grad_()
        output = BarlowTwins()(Frames(left, x.lengths), Frames(right, x.lengths))
        output.loss.backward()
        assert torch.isfinite(output.loss)
        assert torch.isfinite(left.grad).all()
        assert torch.isfinite(right.grad).all()


def test_other_lengths_are_refused():
    with pytest.raises(RecipeError, match=r"BarlowTwins compares frame t with frame t"):
        BarlowTwins()(sequences(5), sequences(6))


@pytest.mark.parametrize("bad", [{"redundancy": -1.0}, {"redundancy": float("nan")}, {"segment_frames": 0}])
def test_bad_settings_are_refused_by_name(bad):
    with pytest.raises(RecipeError, match=rf"BarlowTwins\({next(iter(bad))}="):
        BarlowTwins(**bad)
