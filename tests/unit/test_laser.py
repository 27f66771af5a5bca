"""LASER's loss and its regulariser against their formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import laser as oracle
from torch.nn.functional import normalize

from ssft.errors import RecipeError
from ssft.losses.laser import Laser
from ssft.losses.temporal_contrast import TemporalContrast
from ssft.ops.contrastive_idm import contrastive_idm
from ssft.types import Frames

LOSSES = [Laser(), Laser(sigma=2, length_norm="squared"), TemporalContrast(), TemporalContrast(sigma=2)]


def sequences(*lengths, dim=4, seed=0, spread=1.0, dtype=torch.float64):
    """Frames of unit length; a small `spread` puts them close together, well within the margin."""
    generator = torch.Generator().manual_seed(seed)
    centre = torch.randn(dim, generator=generator, dtype=dtype)
    return Frames.stack(
        [normalize(centre + spread * torch.randn(n, dim, generator=generator, dtype=dtype), dim=-1) for n in lengths]
    )


def naive(x, sigma, margin):
    """The formula on explicit differences, for autograd; distances of equal frames are left out of the graph."""
    n = len(x)
    differences = x[:, None] - x[None]
    same = (differences == 0).all(-1)
    distance = differences.square().sum(-1).masked_fill(same, 1).sqrt().masked_fill(same, 0)
    gap = (torch.arange(n)[:, None] - torch.arange(n)).abs()
    weight = gap.square() + 1
    return torch.where(gap > sigma, weight * (margin - distance).clamp_min(0), distance / weight).sum() / n**2


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(1, 12),
    sigma=st.integers(0, 13),
    margin=st.sampled_from([0.3, 1.1, 2.5]),
    spread=st.sampled_from([0.0, 0.1, 1.0]),
    seed=st.integers(0, 99),
)
def test_moment_equals_the_loop_oracle(n, sigma, margin, spread, seed):
    x = sequences(n, seed=seed, spread=spread)
    expected = oracle.contrastive_idm(x.values[0].numpy(), sigma, margin)
    actual = float(contrastive_idm(x.values, x.lengths, sigma=sigma, margin=margin))
    assert actual == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("sigma", [0, 3, 400])
def test_more_frames_than_are_worked_on_at_a_time(sigma):
    x = sequences(300, dim=8, spread=0.3).values[0].requires_grad_()
    expected = naive(x, sigma, 1.1)
    (gradient,) = torch.autograd.grad(expected, x)
    actual = contrastive_idm(x[None], torch.tensor([300]), sigma=sigma, margin=1.1)
    actual.sum().backward()
    assert actual.item() == pytest.approx(expected.item(), rel=1e-12)
    torch.testing.assert_close(x.grad, gradient, rtol=1e-9, atol=1e-9 * float(gradient.abs().max()))


@pytest.mark.parametrize("sigma", [0, 2])
@pytest.mark.parametrize("spread", [0.1, 1.0])
def test_gradients_of_the_moment(sigma, spread):
    x = sequences(7, 4, spread=spread)
    values = x.values.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda v: contrastive_idm(v, x.lengths, sigma=sigma, margin=1.1), (values,), atol=1e-6
    )


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_gradients_on_both_sides(loss):
    x, y = sequences(5, 3, spread=0.3), sequences(4, 6, seed=1, spread=0.3)
    inputs = (x.values.requires_grad_(), y.values.requires_grad_())
    assert torch.autograd.gradcheck(
        lambda a, b: loss(Frames(a, x.lengths), Frames(b, y.lengths)).loss, inputs, atol=1e-6
    )


def test_second_derivative_is_refused():
    x = sequences(4).values.requires_grad_()
    value = contrastive_idm(x, torch.tensor([4]), sigma=0, margin=1.1)
    with pytest.raises(RuntimeError, match="first derivative only"):
        torch.autograd.grad(value.sum(), x, create_graph=True)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("dim", [3, 256])
@pytest.mark.parametrize("sigma", [0, 2])
def test_equal_frames_have_distance_zero_and_no_gradient_between_them(dtype, dim, sigma):
    """Four frames, each many times: the gradient is that of the distinct frames alone, and exactly 0 if all are one."""
    choice = torch.randint(0, 4, (100,), generator=torch.Generator().manual_seed(0))
    x = sequences(4, dim=dim, spread=0.5, dtype=dtype).values[0][choice].requires_grad_()
    exact = x.detach().double().requires_grad_()
    contrastive_idm(x[None], torch.tensor([100]), sigma=sigma, margin=1.1).sum().backward()
    (expected,) = torch.autograd.grad(naive(exact, sigma, 1.1), exact)
    scale = float(expected.abs().max())
    torch.testing.assert_close(x.grad.double(), expected, rtol=0, atol=1e-5 * scale)

    one = x.detach()[:1].expand(100, dim).clone().requires_grad_()
    value = contrastive_idm(one[None], torch.tensor([100]), sigma=sigma, margin=1.1)
    value.sum().backward()
    assert value.item() == pytest.approx(naive(one.detach().double(), sigma, 1.1).item(), rel=1e-5)
    assert one.grad.abs().max() == 0


@pytest.mark.parametrize("spread", [1e-2, 1.0])
def test_float32_stays_close_to_float64(spread):
    x = sequences(400, dim=64, spread=spread, dtype=torch.float32).values
    results = []
    for dtype in (torch.float64, torch.float32):
        values = x.to(dtype, copy=True).requires_grad_()
        value = contrastive_idm(values, torch.tensor([400]), sigma=0, margin=1.1)
        value.sum().backward()
        results.append((value.detach(), values.grad))
    for exact, rounded in zip(*results, strict=True):
        assert float((exact - rounded).abs().max()) < 1e-4 * float(exact.abs().max())


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_padding_is_never_read(loss):
    x, y = sequences(7, 3, dim=8, spread=0.3), sequences(5, 9, dim=8, seed=1, spread=0.3)
    dirty = [frames.values.masked_fill(~frames.mask[..., None], float("nan")).requires_grad_() for frames in (x, y)]
    actual = loss(*(Frames(values, frames.lengths) for values, frames in zip(dirty, (x, y), strict=True))).loss
    assert torch.equal(actual, loss(x, y).loss)
    actual.backward()
    for values, frames in zip(dirty, (x, y), strict=True):
        assert torch.isfinite(values.grad).all()
        assert values.grad[~frames.mask].abs().max() == 0


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_batch_is_the_mean_of_its_pairs_in_any_order(loss):
    x, y = sequences(12, 3, 7, spread=0.3), sequences(5, 11, 7, seed=1, spread=0.3)
    together = loss(x, y)
    rows = [torch.tensor([row]) for row in range(3)]
    alone = [loss(x.select(row), y.select(row)) for row in rows]
    assert together.weight == 3
    assert [output.weight for output in alone] == [1, 1, 1]
    assert together.loss.item() == pytest.approx(np.mean([output.loss.item() for output in alone]), rel=1e-9)
    order = torch.tensor([2, 0, 1])
    shuffled = loss(Frames(x.values[order], x.lengths[order]), Frames(y.values[order], y.lengths[order]))
    assert shuffled.loss.item() == pytest.approx(together.loss.item(), rel=1e-12)


@pytest.mark.parametrize("norm", ["none", "sum", "squared"])
def test_laser_equals_the_oracle_and_logs_its_parts(norm):
    x, y = sequences(6, 9, spread=0.4), sequences(8, 5, seed=1, spread=0.4)
    pairs = [(a.numpy(), b.numpy()) for a, b in zip(x.items(), y.items(), strict=True)]
    output = Laser(gamma=0.2, alpha=0.3, sigma=1, margin=0.9, length_norm=norm)(x, y)
    expected = [oracle.laser(a, b, 0.2, 0.3, 1, 0.9, norm) for a, b in pairs]
    assert output.loss.item() == pytest.approx(np.mean(expected), rel=1e-9)
    expected = [oracle.laser(a, b, 0.2, 0.0, 1, 0.9, norm) for a, b in pairs]
    assert output.logs["alignment"] == pytest.approx(np.mean(expected), rel=1e-9)
    assert output.loss.item() == pytest.approx(output.logs["alignment"] + 0.3 * output.logs["repulsion"], rel=1e-12)
    assert output.logs["repulsion"] > 0


@pytest.mark.parametrize(("norm", "power"), [("none", 0), ("squared", 2)])
def test_temporal_contrast_equals_the_oracle(norm, power):
    x, y = sequences(6, 9, spread=0.4), sequences(8, 5, seed=1, spread=0.4)
    items = [item.numpy() for item in (*x.items(), *y.items())]
    expected = sum(oracle.contrastive_idm(item, 1, 0.9) / len(item) ** power for item in items) / 2
    actual = TemporalContrast(sigma=1, margin=0.9, length_norm=norm)(x, y)
    assert actual.loss.item() == pytest.approx(expected, rel=1e-9)


def test_squared_is_the_norm_that_does_not_grow_with_the_length():
    def growth(loss):
        short, long = (sequences(n, n, dim=8, spread=0.2) for n in (100, 400))
        return loss(long, long).loss.item() / loss(short, short).loss.item()

    assert growth(Laser(length_norm="none")) > 12
    assert 3 < growth(Laser(length_norm="sum")) < 5
    assert 0.8 < growth(Laser(length_norm="squared")) < 1.2
    assert 0.8 < growth(TemporalContrast(length_norm="squared")) < 1.2


def test_a_step_along_the_gradient_spreads_frames_that_are_close_together():
    """What SoftDTW cannot do: views that agree are pushed off the point on which they agree."""
    x = sequences(40, dim=16, spread=1e-2, dtype=torch.float32)
    values = x.values.requires_grad_()
    Laser()(Frames(values, x.lengths), Frames(values, x.lengths)).loss.backward()
    with torch.no_grad():
        moved = normalize(values - 1e-3 * values.grad, dim=-1)
        assert float(moved[0].var(0).sum()) > 2 * float(values[0].var(0).sum())


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
def test_finite_for_silence_large_values_and_odd_lengths_under_autocast(loss, scale):
    x = sequences(1, 60, 2, dim=8, dtype=torch.float32)
    y = sequences(80, 1, 2, dim=8, seed=1, dtype=torch.float32)
    values = (scale * x.values).bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = loss(Frames(values, x.lengths), Frames((scale * y.values).bfloat16(), y.lengths))
    assert output.loss.dtype == torch.float32
    expected = loss(Frames(values.float(), x.lengths), Frames((scale * y.values).bfloat16().float(), y.lengths))
    assert torch.equal(output.loss, expected.loss)
    output.loss.backward()
    assert torch.isfinite(output.loss)
    assert torch.isfinite(values.grad).all()


def test_a_single_frame_costs_nothing():
    x = Frames(torch.ones(1, 1, 4, requires_grad=True), torch.tensor([1]))
    loss = TemporalContrast()(x, x).loss
    loss.backward()
    assert loss.item() == 0
    assert x.values.grad.abs().max() == 0


@pytest.mark.parametrize("length", [0, 4])
def test_lengths_out_of_range_are_refused(length):
    with pytest.raises(ValueError, match="lengths must be 1 to 3"):
        contrastive_idm(torch.ones(1, 3, 2), torch.tensor([length]), sigma=0, margin=1.1)


@pytest.mark.parametrize(
    ("cls", "settings", "message"),
    [
        (Laser, {"gamma": 0.0}, r"Laser\(gamma=0.0\)"),
        (Laser, {"alpha": -0.1}, r"Laser\(alpha=-0.1\)"),
        (Laser, {"alpha": float("nan")}, r"Laser\(alpha=nan\)"),
        (Laser, {"sigma": -1}, r"Laser\(sigma=-1\)"),
        (Laser, {"margin": 0.0}, r"Laser\(margin=0.0\)"),
        (Laser, {"length_norm": "T^2"}, r"Laser\(length_norm='T\^2'\)"),
        (TemporalContrast, {"sigma": -1}, r"TemporalContrast\(sigma=-1\)"),
        (TemporalContrast, {"margin": -1.0}, r"TemporalContrast\(margin=-1.0\)"),
        (TemporalContrast, {"length_norm": "sum"}, r"TemporalContrast\(length_norm='sum'\)"),
    ],
)
def test_bad_settings_are_refused_by_name(cls, settings, message):
    with pytest.raises(RecipeError, match=message):
        cls(**settings)
