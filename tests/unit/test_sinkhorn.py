"""Sinkhorn's algorithm against its definition in the log domain, and where the plain one breaks."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import swapped_prediction as oracle
from torch.nn.functional import normalize

from ssft.ops.sinkhorn import sinkhorn


def cosines(frames, codes, dim=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    rows = [normalize(torch.randn(n, dim, generator=generator, dtype=torch.float64), dim=1) for n in (frames, codes)]
    return rows[0] @ rows[1].T


def published(logits, iterations):
    """The same in the linear domain and in float64, vectorised, for sizes that loops are too slow for."""
    frames, codes = logits.shape
    plan = (logits.double() - logits.double().max()).exp()
    plan /= plan.sum()
    for _ in range(iterations):
        plan /= plan.sum(0) * codes
        plan /= plan.sum(1, keepdim=True) * frames
    return plan * frames


@settings(max_examples=40, deadline=None)
@given(
    frames=st.integers(1, 12),
    codes=st.integers(1, 9),
    scale=st.sampled_from([0.0, 1.0, 50.0, 500.0]),
    iterations=st.integers(1, 6),
    seed=st.integers(0, 99),
)
def test_equals_the_loop_oracle_in_float64(frames, codes, scale, iterations, seed):
    logits = cosines(frames, codes, dim=3, seed=seed) * scale
    expected = torch.from_numpy(oracle.sinkhorn(logits.numpy(), iterations))
    # Numbers far below a frame's largest are lifted to exp(-60): nothing beside the others.
    torch.testing.assert_close(sinkhorn(logits, iterations=iterations), expected, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize(("frames", "codes", "dim"), [(400, 30, 16), (60, 256, 3), (3000, 128, 2)])
def test_float32_equals_float64_to_1e_5(frames, codes, dim):
    logits = (cosines(frames, codes, dim) / 0.02).float()
    assert logits.abs().max() <= 50
    actual = sinkhorn(logits, iterations=3)
    assert actual.dtype == torch.float32
    torch.testing.assert_close(actual.double(), published(logits, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(sinkhorn(logits.double(), iterations=3), published(logits, 3), atol=1e-10, rtol=0)


def test_sums_over_many_frames_keep_float32_exact():
    """A matrix-vector product over 40,000 equal frames is off by 1e-4 in float32."""
    logits = torch.tensor([0.1, 0.7, 0.3]).repeat(40_000, 1)
    logits[:3] += torch.diag(torch.tensor([0.5, 1.9, 0.2]))
    torch.testing.assert_close(sinkhorn(logits, iterations=3).double(), published(logits, 3), atol=1e-5, rtol=0)


def test_sums_over_codes_are_one_and_over_frames_nearly_equal():
    logits = cosines(6000, 64, dim=256) / 0.02
    share = 6000 / 64
    plan = sinkhorn(logits.float(), iterations=3)
    assert (plan.sum(1) - 1).abs().max() < 1e-5
    assert (plan.sum(0) / share - 1).abs().max() < 0.06
    once = sinkhorn(logits.float(), iterations=1)
    assert (once.sum(0) / share - 1).abs().max() > 0.2
    converged = sinkhorn(logits, iterations=100)
    assert (converged.sum(0) / share - 1).abs().max() < 1e-9


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_does_not_overflow(dtype):
    """exp(11) is more than float16 can hold, and cosines at epsilon 0.02 reach exp(50)."""
    logits = (cosines(50, 8) / 0.02).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = sinkhorn(logits, iterations=3)
    assert actual.dtype == torch.float32
    assert torch.equal(actual, sinkhorn(logits.float(), iterations=3))
    torch.testing.assert_close(actual.double(), published(logits, 3), atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_frame_far_from_every_code_still_gets_its_distribution(dtype):
    """In float32 exp(-150) is 0 beside exp(50): without care the whole frame is 0 / 0."""
    logits = torch.tensor([[50.0, 40.0, 45.0], [50.0, 49.0, 51.0], [-150.0, -151.0, -149.5]], dtype=dtype)
    expected = torch.from_numpy(oracle.sinkhorn(logits.numpy(), 3)).to(dtype)
    torch.testing.assert_close(sinkhorn(logits, iterations=3), expected, atol=1e-5, rtol=0)
    assert expected[2].max() < 0.9  # a distribution over several codes, not a default


def test_a_code_far_from_every_frame_still_gets_its_share():
    logits = torch.tensor([[50.0, -90.0], [50.0, -91.0], [49.0, -90.0]])
    plan = sinkhorn(logits, iterations=50)
    torch.testing.assert_close(plan.sum(0), torch.tensor([1.5, 1.5]), atol=1e-3, rtol=0)
    expected = torch.from_numpy(oracle.sinkhorn(logits.numpy(), 50)).float()
    torch.testing.assert_close(plan, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("iterations", [1, 3, 300])
def test_logits_of_any_size_stay_finite(iterations):
    for frames, codes, scale in ((40, 10, 1e4), (2000, 3, 1e30), (30, 60, 1e30)):
        plan = sinkhorn((cosines(frames, codes, dim=3) * scale).float(), iterations=iterations)
        assert torch.isfinite(plan).all()
        torch.testing.assert_close(plan.sum(1), torch.ones(frames), atol=1e-5, rtol=0)


def test_makes_no_denormal_numbers():
    """They are many times slower on a CPU."""
    logits = torch.linspace(-50, 50, 2000).reshape(1, -1).repeat(20, 1) + torch.arange(20.0)[:, None] * 0.1
    logits[::2] = logits[::2].flip(1)
    plan = sinkhorn(logits, iterations=1)
    assert plan.min() > torch.finfo(torch.float32).tiny


def test_one_frame_and_equal_frames_are_spread_evenly():
    torch.testing.assert_close(sinkhorn(torch.tensor([[3.0, 1.0]]), iterations=3), torch.tensor([[0.5, 0.5]]))
    assert torch.equal(sinkhorn(torch.zeros(6, 4), iterations=3), torch.full((6, 4), 0.25))


def test_input_is_left_alone_and_has_no_gradient():
    logits = torch.randn(6, 4, requires_grad=True)
    before = logits.detach().clone()
    plan = sinkhorn(logits, iterations=3)
    assert not plan.requires_grad
    assert torch.equal(logits, before)


@pytest.mark.parametrize(("shape", "iterations"), [((0, 4), 3), ((4, 0), 3), ((4,), 3), ((2, 4, 4), 3), ((4, 4), 0)])
def test_input_without_a_meaning_is_refused(shape, iterations):
    with pytest.raises(ValueError, match="need logits"):
        sinkhorn(torch.zeros(shape), iterations=iterations)


def test_published_formula_in_the_tests_is_the_oracle():
    logits = cosines(9, 4, dim=3) * 20
    expected = torch.from_numpy(oracle.sinkhorn(logits.numpy(), 3))
    torch.testing.assert_close(published(logits, 3), expected, atol=1e-12, rtol=1e-10)
    assert math.isclose(float(expected.sum()), 9)
