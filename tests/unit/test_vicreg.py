"""VICReg against its definition."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import vicreg as oracle

from ssft.errors import RecipeError
from ssft.losses.vicreg import VICReg
from ssft.ops.pooling import pool_segments
from ssft.types import Frames


def sequences(*lengths, dim=4, seed=0, dtype=torch.float64, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return Frames.stack([scale * torch.randn(n, dim, generator=generator, dtype=dtype) for n in lengths])


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 8), min_size=1, max_size=4),
    scale=st.sampled_from([0.1, 1.0, 5.0]),
    dim=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_equals_the_loop_oracle(lengths, scale, dim, seed):
    x, y = (sequences(*lengths, dim=dim, seed=seed + side, scale=scale) for side in (0, 100))
    invariance, variance, covariance = oracle.terms(x.valid().numpy(), y.valid().numpy())
    output = VICReg(invariance=3.0, variance=2.0, covariance=0.5)(x, y)
    assert output.loss.item() == pytest.approx(3 * invariance + 2 * variance + 0.5 * covariance, rel=1e-9)
    assert output.logs == pytest.approx({"invariance": invariance, "variance": variance, "covariance": covariance})
    assert output.weight == sum(lengths)


def test_segments_are_what_is_compared():
    x, y = sequences(7, 4), sequences(7, 4, seed=1)
    pooled = [Frames(*pool_segments(side.values, side.lengths, size=3)).valid().numpy() for side in (x, y)]
    output = VICReg(segment_frames=3)(x, y)
    assert list(output.logs.values()) == pytest.approx(oracle.terms(*pooled))
    assert output.weight == 5


@pytest.mark.parametrize("scale", [0.3, 3.0])
def test_gradients_on_both_sides(scale):
    x, y = sequences(5, 2, scale=scale), sequences(5, 2, seed=1, scale=scale)
    inputs = (x.values.requires_grad_(), y.values.requires_grad_())
    assert torch.autograd.gradcheck(lambda a, b: VICReg()(Frames(a, x.lengths), Frames(b, x.lengths)).loss, inputs)


def test_padding_is_never_read():
    x, y = sequences(7, 1, 3), sequences(7, 1, 3, seed=1)
    dirty = [frames.values.masked_fill(~frames.mask[..., None], float("nan")).requires_grad_() for frames in (x, y)]
    actual = VICReg()(*(Frames(values, x.lengths) for values in dirty)).loss
    assert torch.equal(actual, VICReg()(x, y).loss)
    actual.backward()
    for values in dirty:
        assert torch.isfinite(values.grad).all()
        assert values.grad[~x.mask].abs().max() == 0


def test_order_of_the_batch_does_not_matter():
    x, y = sequences(12, 1, 7), sequences(12, 1, 7, seed=1)
    order = torch.tensor([2, 0, 1])
    assert VICReg()(x.select(order), y.select(order)).loss.item() == pytest.approx(VICReg()(x, y).loss.item(), rel=1e-9)


def test_collapse_costs_the_variance_term_and_spread_frames_that_agree_cost_nothing():
    constant = Frames(torch.full((1, 20, 8), 0.7, dtype=torch.float64), torch.tensor([20]))
    assert VICReg()(constant, constant).loss.item() == pytest.approx(25 * 0.99, rel=1e-9)
    # A Hadamard matrix: dimensions of deviation above 1 that are uncorrelated.
    square = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
    hadamard = torch.kron(square, torch.kron(square, square))[:, 1:] * 2
    spread = Frames(hadamard[None], torch.tensor([8]))
    assert VICReg()(spread, spread).loss.item() == pytest.approx(0, abs=1e-12)


def test_unit_frames_cannot_satisfy_the_variance_term():
    """Why the Requirements ask for a head that does not normalise."""
    unit = torch.nn.functional.normalize(sequences(500, dim=64).values, dim=-1)
    logs = VICReg()(Frames(unit, torch.tensor([500])), Frames(unit, torch.tensor([500]))).logs
    assert logs["variance"] == pytest.approx(1 - 64**-0.5, abs=0.01)


def test_one_frame_has_only_the_invariance_term():
    x, y = sequences(1), sequences(1, seed=1)
    x.values.requires_grad_()
    output = VICReg(segment_frames=1)(x, y)
    output.loss.backward()
    assert output.loss.item() == pytest.approx(25 * (x.values - y.values).square().mean().item())
    assert (output.logs["variance"], output.logs["covariance"], output.weight) == (0.0, 0.0, 1)
    assert torch.isfinite(x.values.grad).all()


def test_autocast_silence_and_huge_values_stay_finite():
    x, y = sequences(40, 1, dim=8, dtype=torch.float32), sequences(40, 1, dim=8, seed=1, dtype=torch.float32)
    rounded = x.values.bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = VICReg()(Frames(rounded, x.lengths), y).loss
    assert actual.dtype == torch.float32
    assert torch.equal(actual, VICReg()(Frames(rounded.float(), x.lengths), y).loss)
    zeros = torch.zeros(2, 40, 8)
    for left, right in ((rounded, y.values), (zeros, zeros), (x.values * 1e4, y.values * 1e4)):
        left, right = left.detach().requires_grad_(), right.detach().requires_grad_()
        output = VICReg()(Frames(left, x.lengths), Frames(right, x.lengths))
        output.loss.backward()
        assert torch.isfinite(output.loss)
        assert torch.isfinite(left.grad).all()
        assert torch.isfinite(right.grad).all()


def test_float32_stays_close_to_float64_far_from_the_origin():
    x, y = sequences(300, dim=16), sequences(300, dim=16, seed=1)
    sides = [Frames(side.values + 100, side.lengths) for side in (x, y)]
    exact = VICReg()(*sides).loss
    rounded = VICReg()(*(Frames(side.values.float(), side.lengths) for side in sides)).loss
    assert float(rounded) == pytest.approx(float(exact), rel=1e-4)


def test_other_lengths_are_refused():
    with pytest.raises(RecipeError, match=r"VICReg compares frame t with frame t"):
        VICReg()(sequences(5), sequences(6))


@pytest.mark.parametrize(
    "bad", [{"invariance": -1.0}, {"variance": float("nan")}, {"covariance": float("inf")}, {"segment_frames": 0}]
)
def test_bad_settings_are_refused_by_name(bad):
    with pytest.raises(RecipeError, match=rf"VICReg\({next(iter(bad))}="):
        VICReg(**bad)
