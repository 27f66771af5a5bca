"""Soft-DTW and SCORE's loss against their definitions: the scan, the CPU kernel, and the choice between them."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import soft_dtw as oracle
from torch.nn.functional import normalize

from ssft.errors import RecipeError
from ssft.losses import SoftDTW
from ssft.ops.soft_dtw import cpu, divergence, scan, soft_dtw, soft_dtw_divergence
from ssft.ops.soft_dtw import triton as triton_backend
from ssft.ops.soft_dtw.numeric_range import in_range
from ssft.types import Frames

FLOAT32_BACKENDS = {"kernel": cpu.evaluate, "scan": scan.evaluate}


def sequences(*lengths, dim=4, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return Frames.stack([normalize(torch.randn(n, dim, generator=generator, dtype=dtype), dim=-1) for n in lengths])


@pytest.fixture(params=FLOAT32_BACKENDS)
def float32_backend(request, monkeypatch):
    """Let float32 on a CPU be computed by each of them in turn."""
    monkeypatch.setattr(divergence, "_float32_backend", lambda device_type: FLOAT32_BACKENDS[request.param])


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def aligned(n, m, *, dim=64, seed=0, noise=0.3):
    """Two sequences [1, frames, dim], like two readings of one smooth path: their alignment is a narrow band."""
    rng = np.random.default_rng(seed)
    path = rng.normal(size=(max(n, m), dim))
    for before, after in itertools.pairwise(path):
        after[:] = 0.9 * before + 0.44 * after
    sides = []
    for frames in (n, m):
        picked = path[np.linspace(0, len(path) - 1, frames).round().astype(int)]
        values = torch.from_numpy(picked + noise * rng.normal(size=picked.shape)).float()
        sides.append(normalize(values, dim=-1)[None])
    return sides


def value_and_gradients(x, y, lengths_x=None, lengths_y=None, *, gamma=0.1, function=soft_dtw_divergence):
    lengths_x, lengths_y = (
        torch.full((len(side),), side.shape[1]) if lengths is None else lengths
        for side, lengths in ((x, lengths_x), (y, lengths_y))
    )
    x, y = (side.detach().clone().requires_grad_() for side in (x, y))
    values = function(x, y, lengths_x, lengths_y, gamma=gamma)
    values.sum().backward()
    return values.detach(), x.grad, y.grad


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


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_second_derivative_is_refused(dtype, float32_backend):
    x = sequences(4, dtype=dtype).values.requires_grad_()
    value = soft_dtw(x, sequences(5, seed=1, dtype=dtype).values, torch.tensor([4]), torch.tensor([5]), gamma=0.1)
    with pytest.raises(RuntimeError, match="first derivative only"):
        torch.autograd.grad(value.sum(), x, create_graph=True)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("gamma", [0.1, 1.0])
def test_divergence_of_a_sequence_with_itself_is_zero_with_zero_gradient(dtype, gamma, float32_backend):
    x = sequences(40, 25, dim=16, dtype=dtype)
    values = x.values.requires_grad_()
    distance = soft_dtw_divergence(values, values.detach(), x.lengths, x.lengths, gamma=gamma)
    distance.sum().backward()
    assert distance.abs().max() <= 1e-9
    # What the cross term pulls, the self term gives back; the other half belongs to the second argument.
    assert values.grad.abs().max() <= 3e-7


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_padding_is_never_read(dtype, float32_backend):
    x, y = sequences(7, 3, dim=8, dtype=dtype), sequences(5, 9, dim=8, seed=1, dtype=dtype)
    clean = soft_dtw_divergence(x.values, y.values, x.lengths, y.lengths, gamma=0.1)
    dirty = [frames.values.masked_fill(~frames.mask[..., None], float("nan")).requires_grad_() for frames in (x, y)]
    actual = soft_dtw_divergence(*dirty, x.lengths, y.lengths, gamma=0.1)
    assert torch.equal(actual, clean)
    actual.sum().backward()
    for values, frames in zip(dirty, (x, y), strict=True):
        assert torch.isfinite(values.grad).all()
        assert values.grad[~frames.mask].abs().max() == 0


def test_each_item_of_a_batch_is_what_it_is_alone_and_order_does_not_matter(float32_backend):
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
def test_half_precision_input_is_computed_in_float32(dtype, float32_backend):
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
def test_float32_stays_close_to_float64_for_odd_shapes(n, m, float32_backend):
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


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(1, 12), m=st.integers(1, 12), gamma=st.sampled_from([0.01, 0.1, 1.0, 10.0]), seed=st.integers(0, 99)
)
def test_kernel_equals_the_loop_oracle(n, m, gamma, seed):
    x, y = (
        sequences(n, seed=seed, dtype=torch.float32).values,
        sequences(m, seed=seed + 100, dtype=torch.float32).values,
    )
    exact = [side[0].double().numpy() for side in (x, y)]
    value = value_and_gradients(x, y, gamma=gamma, function=soft_dtw)[0].item()
    assert value == pytest.approx(oracle.soft_dtw(*exact, gamma), rel=2e-6, abs=2e-6)
    value = value_and_gradients(x, y, gamma=gamma)[0].item()
    assert value == pytest.approx(oracle.divergence(*exact, gamma), rel=2e-6, abs=4e-6)


def unrelated(n, m):
    return [sequences(frames, dim=64, seed=frames, dtype=torch.float32).values for frames in (n, m)]


@pytest.mark.parametrize(
    ("n", "m", "gamma", "make"),
    [
        *itertools.product([1], [200], [0.1, 10.0], [unrelated]),
        *itertools.product([63, 64, 130], [65, 128], [0.1, 1.0, 10.0], [aligned, unrelated]),
        (200, 1, 1.0, unrelated),
        (2100, 2000, 0.1, aligned),  # the longest that are promised
        (2000, 2100, 10.0, unrelated),
    ],
)
def test_kernel_keeps_its_promise_of_accuracy(n, m, gamma, make):
    x, y = make(n, m)
    value, *gradients = value_and_gradients(x, y, gamma=gamma)
    exact, *exact_gradients = exactly(x, y, gamma)
    assert value.item() == pytest.approx(exact, rel=1e-6)
    for actual, expected in zip(gradients, exact_gradients, strict=True):
        assert np.abs(actual[0].numpy() - expected).max() <= 1e-5 * np.abs(expected).max()


def exactly(x, y, gamma):
    return oracle.divergence_and_gradients(x[0].double().numpy(), y[0].double().numpy(), gamma)


@pytest.mark.parametrize("make", [aligned, unrelated])
def test_gradients_cell_by_cell_and_by_matrix_products_agree(make, monkeypatch):
    x, y = make(150, 140)
    monkeypatch.setattr(cpu, "_DENSE", 2.0)
    by_cell = value_and_gradients(x, y)
    monkeypatch.setattr(cpu, "_DENSE", -1.0)
    by_product = value_and_gradients(x, y)
    for one, other in zip(by_cell, by_product, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=2e-6)


def test_gradient_of_one_side_is_computed_alone():
    x, y = aligned(70, 90)
    lengths = torch.tensor([70]), torch.tensor([90])
    _, both_x, both_y = value_and_gradients(x, y)
    for side, expected in ((0, both_x), (1, both_y)):
        inputs = [x.clone(), y.clone()]
        inputs[side].requires_grad_()
        soft_dtw_divergence(*inputs, *lengths, gamma=0.1).sum().backward()
        assert torch.equal(inputs[side].grad, expected)
        assert inputs[1 - side].grad is None
    with torch.no_grad():
        value = soft_dtw_divergence(x.requires_grad_(), y, *lengths, gamma=0.1)
    assert not value.requires_grad
    assert value.item() == pytest.approx(exactly(x.detach(), y, 0.1)[0], rel=1e-6)


def test_gradient_scales_with_the_gradient_of_each_item():
    x, y = sequences(30, 20, dtype=torch.float32), sequences(25, 33, seed=1, dtype=torch.float32)
    _, plain, _ = value_and_gradients(x.values, y.values, x.lengths, y.lengths)
    values = x.values.clone().requires_grad_()
    weights = torch.tensor([2.0, -0.5])
    (soft_dtw_divergence(values, y.values, x.lengths, y.lengths, gamma=0.1) * weights).sum().backward()
    torch.testing.assert_close(values.grad, plain * weights[:, None, None])


def test_frames_need_not_be_contiguous():
    x, y = aligned(70, 90)
    strided = [side.mT.contiguous().mT for side in (x, y)]
    assert not strided[0].is_contiguous()
    for one, other in zip(value_and_gradients(x, y), value_and_gradients(*strided), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("function", [soft_dtw, soft_dtw_divergence])
@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("items", [1, 4])
def test_result_does_not_depend_on_the_number_of_threads(function, count, items, threads):
    lengths = [(190, 70, 130, 64)[:items], (200, 40, 65, 9)[:items]]
    x, y = (sequences(*each, seed=seed, dtype=torch.float32) for seed, each in enumerate(lengths))
    threads(1)
    alone = value_and_gradients(x.values, y.values, x.lengths, y.lengths, function=function)
    threads(count)
    together = value_and_gradients(x.values, y.values, x.lengths, y.lengths, function=function)
    for one, other in zip(alone, together, strict=True):
        assert torch.equal(one, other)
    assert torch.get_num_threads() == count
    of_new_thread = []
    thread = threading.Thread(target=lambda: of_new_thread.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert of_new_thread == [count]


def test_what_is_kept_for_the_backward_pass_is_as_large_as_the_frames():
    x, y = aligned(200, 150)
    value = soft_dtw_divergence(
        x.requires_grad_(), y.requires_grad_(), torch.tensor([200]), torch.tensor([150]), gamma=1
    )
    node = value.grad_fn
    while not hasattr(node, "saved_tensors"):
        node = node.next_functions[0][0]
    assert [tuple(saved.shape) for saved in node.saved_tensors] == [tuple(x.shape), tuple(y.shape)]


@pytest.mark.parametrize("scale", [30.0, 1e4, 1e15, 1e30])
def test_frames_of_any_length_are_computed_right(scale):
    """The kernel's exponents reach up to the first of these; beyond, float64 takes over."""
    x, y = unrelated(40, 30)
    # From 1e4 on the alignment is the best one alone, and what is larger is in proportion.
    exact, *exact_gradients = exactly(*(min(scale, 1e4) * side for side in (x, y)), 0.1)
    ratio = scale / min(scale, 1e4)
    value, *gradients = value_and_gradients(scale * x, scale * y)
    assert value.dtype == torch.float32
    assert value.item() == (pytest.approx(exact * ratio**2, rel=1e-5) if scale < 1e19 else float("inf"))
    for actual, expected in zip(gradients, exact_gradients, strict=True):
        assert np.abs(actual[0].numpy() / ratio - expected).max() <= 1e-3 * np.abs(expected).max()


def test_range_is_that_of_the_exponents(monkeypatch):
    assert in_range(1.001, frames=2 * 2100, gamma=0.1)
    assert in_range(1.001, frames=2 * 2100, gamma=0.001)
    assert not in_range(1e8, frames=10, gamma=0.1)
    assert not in_range(1e4, frames=4200, gamma=0.01)
    assert not in_range(0.0, frames=10, gamma=1e-38)  # 1 / gamma
    assert not in_range(float("inf"), frames=10, gamma=1.0)
    seen, evaluate = [], scan.evaluate

    def record(x, *rest, **settings):
        seen.append(x.dtype)
        return evaluate(x, *rest, **settings)

    monkeypatch.setattr(divergence.scan, "evaluate", record)
    x, y = aligned(5, 6)
    value_and_gradients(x, y)
    assert seen == []
    value_and_gradients(1e5 * x, y)
    assert seen == [torch.float64]


def test_float64_on_either_side_makes_all_of_it_float64():
    x, y = aligned(5, 6)
    for one, other in ((x.double(), y), (x, y.double())):
        value, gradient_x, gradient_y = value_and_gradients(one, other)
        assert value.dtype == torch.float64
        assert (gradient_x.dtype, gradient_y.dtype) == (one.dtype, other.dtype)
        assert value.item() == pytest.approx(exactly(x, y, 0.1)[0], rel=1e-12)


@pytest.fixture
def choose():
    """The choice of a backend for a kind of device, made anew."""
    divergence._float32_backend.cache_clear()
    yield divergence._float32_backend
    divergence._float32_backend.cache_clear()


def test_kernels_are_chosen_by_device(choose, monkeypatch):
    monkeypatch.setattr(triton_backend, "available", lambda: True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert choose("cpu") is cpu.evaluate
        assert choose("cuda") is triton_backend.evaluate


@pytest.mark.parametrize(("device_type", "why"), [("cuda", "Triton is missing"), ("mps", "no kernel")])
def test_without_a_kernel_the_scan_computes_and_that_is_said_once(device_type, why, choose, monkeypatch):
    monkeypatch.setattr(triton_backend, "available", lambda: False)
    with pytest.warns(UserWarning, match=f"Soft-DTW on {device_type} .*{why}"):
        assert choose(device_type) is scan.evaluate
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert choose(device_type) is scan.evaluate


def test_numba_is_imported_when_it_is_needed():
    code = "import sys, ssft.ops.soft_dtw; print('numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


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
        ({"lengths_y": torch.tensor([4, 4])}, "lengths of y must be 1 to 4"),
        ({"gamma": float("nan")}, "gamma must be positive"),
        ({"y": torch.ones(2, 4, 2)}, "frames must be"),
        ({"y": torch.ones(1, 4, 3)}, "frames must be"),
        ({"x": torch.ones(0, 3, 2), "y": torch.ones(0, 4, 2)}, "frames must be"),
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


def test_silence_against_silence_is_finite(float32_backend):
    zeros = Frames(torch.zeros(2, 30, 8, requires_grad=True), torch.tensor([30, 1]))
    loss = SoftDTW()(zeros, Frames(torch.zeros(2, 40, 8), torch.tensor([40, 40]))).loss
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(zeros.values.grad).all()
