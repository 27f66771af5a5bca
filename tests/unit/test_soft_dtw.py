"""Soft-DTW and SCORE's loss against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import soft_dtw as oracle
from torch.nn.functional import normalize

from ssft.errors import RecipeError
from ssft.losses import SoftDTW
from ssft.ops.soft_dtw import soft_dtw, soft_dtw_divergence
from ssft.types import Frames


def sequences(*lengths, dim=4, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return Frames.stack([normalize(torch.randn(n, dim, generator=generator, dtype=dtype), dim=-1) for n in lengths])


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(1, 12), m=st.integers(1, 12), gamma=st.sampled_from([0.01, 0.1, 1.0, 10.0]), seed=st.integers(0, 99)
)
def test_equals_the_loop_oracle(n, m, gamma, seed):
    x, y = sequences(n, seed=seed), sequences(m, seed=seed + 100)
    expected = oracle.soft_dtw(x.values[0].numpy(), y.values[0].numpy(), gamma)
    actual = float(soft_dtw(x.values, y.values, x.lengths, y.lengths, gamma=gamma))
    assert actual == pytest.approx(expected, rel=1e-9, abs=1e-9)
    expected = oracle.divergence(x.values[0].numpy(), y.values[0].numpy(), gamma)
    actual = float(soft_dtw_divergence(x.values, y.values, x.lengths, y.lengths, gamma=gamma))
    assert actual == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(("n", "m"), [(1, 1), (2, 3), (5, 4)])
def test_oracle_is_the_soft_minimum_over_all_paths(n, m):
    x, y = sequences(n).values[0].numpy(), sequences(m, seed=1).values[0].numpy()
    assert oracle.soft_dtw(x, y, 0.3) == pytest.approx(oracle.soft_dtw_by_paths(x, y, 0.3), rel=1e-12)


@pytest.mark.parametrize("function", [soft_dtw, soft_dtw_divergence])
@pytest.mark.parametrize("gamma", [0.1, 1.0])
def test_gradients_on_both_sides(function, gamma):
    x, y = sequences(5, 3), sequences(4, 7, seed=1)
    inputs = (x.values.requires_grad_(), y.values.requires_grad_())
    assert torch.autograd.gradcheck(lambda a, b: function(a, b, x.lengths, y.lengths, gamma=gamma), inputs, atol=1e-6)


def test_gradient_is_the_expected_alignment():
    """d value / d cost sums to at least one over every row and column: each frame is aligned with something."""
    from ssft.ops.soft_dtw.scan import SoftDTWScan

    cost = torch.rand(2, 6, 8, dtype=torch.float64, requires_grad=True)
    SoftDTWScan.apply(cost, torch.tensor([6, 4]), torch.tensor([8, 5]), 0.1).sum().backward()
    assert (cost.grad >= 0).all()
    assert (cost.grad[0].sum(0) >= 1 - 1e-9).all()
    assert (cost.grad[0].sum(1) >= 1 - 1e-9).all()
    assert cost.grad[0, -1, -1] == 1
    assert cost.grad[1, 4:].abs().max() == 0  # behind the end of the second item
    assert cost.grad[1, :, 5:].abs().max() == 0


def test_second_derivative_is_refused():
    x = sequences(4).values.requires_grad_()
    value = soft_dtw(x, sequences(5, seed=1).values, torch.tensor([4]), torch.tensor([5]), gamma=0.1)
    with pytest.raises(RuntimeError, match="first derivative only"):
        torch.autograd.grad(value.sum(), x, create_graph=True)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_divergence_of_a_sequence_with_itself_is_zero_with_zero_gradient(dtype):
    x = sequences(40, 25, dim=16, dtype=dtype)
    values = x.values.requires_grad_()
    distance = soft_dtw_divergence(values, values.detach(), x.lengths, x.lengths, gamma=0.1)
    distance.sum().backward()
    assert distance.abs().max() <= 1e-9
    # What the cross term pulls, the self term gives back; the other half belongs to the second argument.
    assert values.grad.abs().max() <= 3e-7


def test_padding_is_never_read():
    x, y = sequences(7, 3, dim=8), sequences(5, 9, dim=8, seed=1)
    clean = soft_dtw_divergence(x.values, y.values, x.lengths, y.lengths, gamma=0.1)
    dirty = [frames.values.masked_fill(~frames.mask[..., None], float("nan")).requires_grad_() for frames in (x, y)]
    actual = soft_dtw_divergence(*dirty, x.lengths, y.lengths, gamma=0.1)
    assert torch.equal(actual, clean)
    actual.sum().backward()
    for values, frames in zip(dirty, (x, y), strict=True):
        assert torch.isfinite(values.grad).all()
        assert values.grad[~frames.mask].abs().max() == 0


def test_each_item_of_a_batch_is_what_it_is_alone_and_order_does_not_matter():
    x, y = sequences(12, 3, 7, dtype=torch.float32), sequences(5, 11, 7, seed=1, dtype=torch.float32)
    together = soft_dtw_divergence(x.values, y.values, x.lengths, y.lengths, gamma=0.1)
    for item in range(3):
        one = slice(item, item + 1)
        n, m = x.lengths[one], y.lengths[one]
        alone = soft_dtw_divergence(x.values[one, : int(n)], y.values[one, : int(m)], n, m, gamma=0.1)
        torch.testing.assert_close(alone, together[one], atol=1e-6, rtol=1e-6)
    order = torch.tensor([2, 0, 1])
    shuffled = soft_dtw_divergence(x.values[order], y.values[order], x.lengths[order], y.lengths[order], gamma=0.1)
    torch.testing.assert_close(shuffled, together[order], atol=1e-6, rtol=1e-6)


def test_small_gamma_tends_to_classical_dtw():
    x, y = sequences(9), sequences(7, seed=1)
    cost = oracle.cost(x.values[0].numpy(), y.values[0].numpy())
    table = np.full((10, 8), np.inf)
    table[0, 0] = 0
    for i in range(9):
        for j in range(7):
            table[i + 1, j + 1] = cost[i, j] + min(table[i, j], table[i, j + 1], table[i + 1, j])
    for gamma in (1e-1, 1e-2, 1e-3):
        value = float(soft_dtw(x.values, y.values, x.lengths, y.lengths, gamma=gamma))
        assert table[9, 7] - gamma * np.log(3) * (9 + 7) <= value <= table[9, 7] + 1e-9


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_input_is_computed_in_float32(dtype):
    x, y = sequences(30, 20, dim=16, dtype=torch.float32), sequences(25, 33, dim=16, seed=1, dtype=torch.float32)
    rounded = x.values.to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = soft_dtw_divergence(rounded, y.values, x.lengths, y.lengths, gamma=0.1)
    expected = soft_dtw_divergence(x.values.to(dtype).float(), y.values, x.lengths, y.lengths, gamma=0.1)
    assert actual.dtype == torch.float32
    assert torch.equal(actual, expected)
    actual.sum().backward()
    assert rounded.grad.dtype == dtype
    assert torch.isfinite(rounded.grad).all()


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 200), (200, 1), (300, 20)])
def test_float32_stays_close_to_float64_for_odd_shapes(n, m):
    x, y = sequences(n, dim=32), sequences(m, dim=32, seed=1)
    gradients = []
    for dtype in (torch.float64, torch.float32):
        a, b = (frames.values.to(dtype, copy=True).requires_grad_() for frames in (x, y))
        value = soft_dtw_divergence(a, b, x.lengths, y.lengths, gamma=0.1)
        value.sum().backward()
        gradients.append((value.detach(), a.grad, b.grad))
    for exact, rounded in zip(*gradients, strict=True):
        scale = float(exact.abs().max()) + 1e-3
        assert float((exact - rounded).abs().max()) / scale < 2e-4


def test_constant_frames_are_a_minimum_without_gradient():
    """The collapse that SCORE's frozen reference prevents (documented in the loss)."""
    x = torch.ones(1, 20, 4, dtype=torch.float64, requires_grad=True)
    length = torch.tensor([20])
    value = soft_dtw_divergence(x, torch.ones(1, 20, 4, dtype=torch.float64), length, length, gamma=0.1)
    value.sum().backward()
    assert value.item() == pytest.approx(0, abs=1e-9)
    assert float(x.grad.abs().max()) == pytest.approx(0, abs=1e-9)
    # With other lengths what is left does not depend on the frames: 0.027 for 20 against 24 and gamma 0.1.
    other = torch.ones(1, 24, 4, dtype=torch.float64)
    value = soft_dtw_divergence(x, other, torch.tensor([20]), torch.tensor([24]), gamma=0.1)
    assert value.item() == pytest.approx(0.027, abs=0.001)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gamma": 0.0}, "gamma must be positive"),
        ({"gamma": -1.0}, "gamma must be positive"),
        ({"lengths_x": torch.tensor([0])}, "lengths of x must be 1 to 3"),
        ({"lengths_y": torch.tensor([5])}, "lengths of y must be 1 to 4"),
        ({"x": torch.full((1, 3, 2), torch.nan)}, "x has frames that are NaN"),
        ({"y": torch.full((1, 4, 2), torch.inf)}, "y has frames that are NaN or infinite"),
    ],
)
def test_input_without_a_meaning_is_refused(change, message):
    good = {
        "x": torch.ones(1, 3, 2),
        "y": torch.ones(1, 4, 2),
        "lengths_x": torch.tensor([3]),
        "lengths_y": torch.tensor([4]),
        "gamma": 0.1,
    }
    with pytest.raises(ValueError, match=message):
        soft_dtw(**(good | change))


def test_loss_is_the_mean_of_normalised_divergences():
    x, y = sequences(6, 9), sequences(8, 5, seed=1)
    pairs = [(a.numpy(), b.numpy()) for a, b in zip(x.items(), y.items(), strict=True)]
    raw = [oracle.divergence(a, b, 0.1) for a, b in pairs]
    by_length = [value / (len(a) + len(b)) for value, (a, b) in zip(raw, pairs, strict=True)]
    output = SoftDTW(gamma=0.1, divergence=True, normalize="total_length")(x, y)
    assert float(output.loss) == pytest.approx(np.mean(by_length), rel=1e-9)
    assert output.weight == 2
    assert float(SoftDTW(gamma=0.1, normalize="none")(x, y).loss) == pytest.approx(np.mean(raw), rel=1e-9)
    without = [oracle.soft_dtw(a, b, 0.1) for a, b in pairs]
    output = SoftDTW(gamma=0.1, divergence=False, normalize="none")(x, y)
    assert float(output.loss) == pytest.approx(np.mean(without), rel=1e-9)


@pytest.mark.parametrize(("settings", "name"), [({"gamma": 0.0}, "gamma"), ({"normalize": "length"}, "normalize")])
def test_bad_settings_are_refused_by_name(settings, name):
    with pytest.raises(RecipeError, match=name):
        SoftDTW(**settings)


def test_silence_against_silence_is_finite():
    zeros = Frames(torch.zeros(2, 30, 8, requires_grad=True), torch.tensor([30, 1]))
    loss = SoftDTW()(zeros, Frames(torch.zeros(2, 40, 8), torch.tensor([40, 40]))).loss
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(zeros.values.grad).all()
