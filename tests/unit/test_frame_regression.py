"""Frame regression and its alignments against their definitions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import frame_regression as oracle

from ssft.errors import RecipeError
from ssft.losses.frame_regression import FrameRegression
from ssft.ops.alignment import dtw_path, resample
from ssft.types import Frames

VARIANTS = list(itertools.product(("mse", "cosine"), ("mean", "sum"), ("index", "linear", "dtw")))


def sequences(*lengths, dim=4, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return Frames.stack([torch.randn(n, dim, generator=generator, dtype=dtype) for n in lengths])


def reference_lengths(align):
    return (7, 3, 5) if align == "index" else (4, 6, 5)


def every_variant(test):
    return pytest.mark.parametrize(("distance", "reduction", "align"), VARIANTS)(test)


@every_variant
def test_equals_the_loop_oracle(distance, reduction, align):
    x, y = sequences(7, 3, 5), sequences(*reference_lengths(align), seed=1)
    pairs = [(a.numpy(), b.numpy()) for a, b in zip(x.items(), y.items(), strict=True)]
    actual = FrameRegression(distance, reduction, align)(x, y)
    expected = oracle.frame_regression(pairs, distance, reduction, align)
    assert actual.loss.item() == pytest.approx(expected, rel=1e-9)


@every_variant
def test_weights_make_a_split_batch_the_same_mean_in_any_order(distance, reduction, align):
    x, y = sequences(7, 3, 5), sequences(*reference_lengths(align), seed=1)
    loss = FrameRegression(distance, reduction, align)
    together = loss(x, y)
    parts = [loss(x.select(rows), y.select(rows)) for rows in (torch.tensor([2, 0]), torch.tensor([1]))]
    assert together.weight == sum(part.weight for part in parts)
    mean = sum(part.weight * part.loss.item() for part in parts) / together.weight
    assert together.loss.item() == pytest.approx(mean, rel=1e-12)


@pytest.mark.parametrize(
    ("reduction", "align", "weight"), [("sum", "dtw", 2), ("mean", "index", 8), ("mean", "dtw", 9)]
)
def test_weight_counts_pairs_or_what_is_compared(reduction, align, weight):
    x = Frames.stack([torch.arange(3.0)[:, None], torch.arange(5.0)[:, None]])
    y = (
        x
        if align == "index"
        else Frames.stack([torch.arange(3.0)[:, None], torch.arange(5.0)[[0, 1, 2, 2, 3, 4], None]])
    )
    assert FrameRegression(reduction=reduction, align=align)(x, y).weight == weight


@every_variant
def test_gradients_on_both_sides(distance, reduction, align):
    x, y = sequences(7, 3, 5), sequences(*reference_lengths(align), seed=1)
    inputs = (x.values.requires_grad_(), y.values.requires_grad_())
    loss = FrameRegression(distance, reduction, align)
    assert torch.autograd.gradcheck(lambda a, b: loss(Frames(a, x.lengths), Frames(b, y.lengths)).loss, inputs)


@every_variant
def test_padding_is_never_read(distance, reduction, align):
    x, y = sequences(7, 3, 5), sequences(*reference_lengths(align), seed=1)
    loss = FrameRegression(distance, reduction, align)
    dirty = [frames.values.masked_fill(~frames.mask[..., None], float("nan")).requires_grad_() for frames in (x, y)]
    actual = loss(Frames(dirty[0], x.lengths), Frames(dirty[1], y.lengths)).loss
    assert torch.equal(actual, loss(x, y).loss)
    actual.backward()
    for values, frames in zip(dirty, (x, y), strict=True):
        assert torch.isfinite(values.grad).all()
        assert values.grad[~frames.mask].abs().max() == 0


@every_variant
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
def test_finite_for_silence_large_values_and_odd_lengths_under_autocast(distance, reduction, align, scale):
    lengths = (1, 60, 2) if align == "index" else (80, 1, 2)
    x, y = sequences(1, 60, 2, dtype=torch.float32), sequences(*lengths, seed=1, dtype=torch.float32)
    values = (scale * x.values).bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = FrameRegression(distance, reduction, align)(Frames(values, x.lengths), y)
    assert output.loss.dtype == torch.float32
    output.loss.backward()
    assert torch.isfinite(output.loss)
    assert torch.isfinite(values.grad).all()


def test_cosine_with_a_frame_of_zeros_is_zero_without_gradient():
    """A small constant under the fraction, the usual remedy, gives it a gradient of 1e8."""
    x = torch.zeros(1, 2, 3, requires_grad=True)
    y = torch.ones(1, 2, 3, requires_grad=True)
    length = torch.tensor([2])
    loss = FrameRegression("cosine")(Frames(x, length), Frames(y, length)).loss
    loss.backward()
    assert loss.item() == 1
    assert x.grad.abs().max() == 0
    assert y.grad.abs().max() == 0


def test_constant_frames_are_a_minimum_without_gradient():
    """The collapse that `reference="frozen"` or a regulariser prevents (documented in the loss)."""
    x = torch.ones(1, 6, 3, requires_grad=True)
    length = torch.tensor([6])
    loss = FrameRegression()(Frames(x, length), Frames(torch.ones(1, 6, 3), length)).loss
    loss.backward()
    assert loss.item() == 0
    assert x.grad.abs().max() == 0


@settings(max_examples=50, deadline=None)
@given(m=st.integers(1, 40), n=st.integers(1, 40))
def test_resample_equals_exact_arithmetic(m, n):
    x = sequences(m, dim=2).values
    actual = resample(x, torch.tensor([m]), torch.tensor([n]))
    np.testing.assert_allclose(actual, oracle.resample(x[0].numpy(), n), rtol=1e-12, atol=1e-12)


def test_resample_to_equal_lengths_changes_nothing():
    x = sequences(1500, 1, 733, dtype=torch.float32)
    assert torch.equal(resample(x.values, x.lengths, x.lengths), x.valid())


@pytest.mark.parametrize("factor", [0.8, 0.9, 1.1, 1.25])
def test_linear_undoes_a_change_of_speed(factor):
    """A melody sampled at the centres of frames, heard at two speeds; both times the same frames of it are compared."""

    def frames(n):
        time = (torch.arange(n, dtype=torch.float64) + 0.5) / n
        return Frames.stack([torch.stack([torch.sin(2 * torch.pi * k * time) for k in (1, 2, 3)], dim=1)])

    slow, fast = frames(500), frames(round(500 / factor))
    # Mapping first to first and last to last frame instead gives 3e-7 for factor 0.9.
    assert FrameRegression(align="linear")(fast, slow).loss < 5e-8
    size = min(slow.values.shape[1], fast.values.shape[1])
    cut = [Frames(side.values[:, :size], torch.tensor([size])) for side in (slow, fast)]
    assert FrameRegression(align="index")(*cut).loss > 0.1


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 6), m=st.integers(1, 6), levels=st.sampled_from([1, 2, 5]), seed=st.integers(0, 99))
def test_dtw_path_is_the_cheapest_of_all_and_breaks_ties_as_it_says(n, m, levels, seed):
    """Few levels give many equal costs; whole numbers keep them equal."""
    rng = np.random.default_rng(seed)
    x, y = (rng.integers(0, levels, (size, 2)).astype(np.float32) for size in (n, m))
    items, rows, columns = dtw_path(torch.tensor(x)[None], torch.tensor(y)[None], torch.tensor([n]), torch.tensor([m]))
    assert items.tolist() == [0] * len(rows)
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == oracle.dtw_path(x, y)


def test_dtw_comes_from_the_left_before_it_comes_from_above():
    """The costs are symmetric and dear in the middle, so the two ways around it cost the same."""
    x, y = torch.tensor([[[0.0], [3.0], [0.0]]]), torch.tensor([[[0.0], [-3.0], [0.0]]])
    length = torch.tensor([3])
    _, rows, columns = dtw_path(x, y, length, length)
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == [(0, 0), (1, 0), (2, 1), (2, 2)]


def test_dtw_follows_a_sequence_whose_frames_are_held():
    x = sequences(9, 4)
    held = [
        item.repeat_interleave(torch.tensor(counts), dim=0)
        for item, counts in zip(x.items(), ([1, 2, 1, 3, 1, 1, 2, 1, 1], [2, 1, 1, 4]), strict=True)
    ]
    y = Frames.stack(held)
    output = FrameRegression(align="dtw")(x, y)
    assert output.loss.item() == 0
    assert output.weight == sum(len(item) for item in held)


def test_only_index_needs_equal_lengths():
    x, y = sequences(4, 3), sequences(4, 2, seed=1)
    assert FrameRegression().needs_same_length
    with pytest.raises(RecipeError, match="compares frame t with frame t"):
        FrameRegression()(x, y)
    for align in ("linear", "dtw"):
        assert not FrameRegression(align=align).needs_same_length
        FrameRegression(align=align)(x, y)


@pytest.mark.parametrize("settings", [{"distance": "l1"}, {"reduction": "none"}, {"align": "soft"}])
def test_bad_settings_are_refused_by_name(settings):
    ((key, value),) = settings.items()
    with pytest.raises(RecipeError, match=rf"FrameRegression\({key}='{value}'\): choose"):
        FrameRegression(**settings)
