"""Pseudo-label cross entropy against its definition."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import pseudo_label as oracle

from ssft.errors import RecipeError
from ssft.losses.pseudo_label import PseudoLabel
from ssft.types import Frames

CLASSES = 5


def sequences(*lengths, dim=4, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return Frames.stack([torch.randn(n, dim, generator=generator, dtype=dtype) for n in lengths])


def labels_for(*lengths, seed=0, lowest=-1):
    generator = torch.Generator().manual_seed(seed)
    return Frames.stack([torch.randint(lowest, CLASSES, (n,), generator=generator) for n in lengths])


def made(dim=4, dtype=torch.float64, seed=0, **arguments):
    loss = PseudoLabel(**{"classes": CLASSES, **arguments})
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        loss.materialize(dim)
    return loss.to(dtype)


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 8), min_size=1, max_size=4),
    smoothing=st.sampled_from([0.0, 0.1]),
    longer=st.integers(-1, 2),
    seed=st.integers(0, 99),
)
def test_equals_the_loop_oracle(lengths, smoothing, longer, seed):
    x, y = sequences(*lengths, seed=seed), sequences(*lengths, seed=seed + 100)
    labels = labels_for(*(max(1, length + longer) for length in lengths), seed=seed)
    labels.values[0, 0] = 2  # at least one label
    loss = made(label_smoothing=smoothing)
    value, accuracy, known = oracle.pseudo_label(
        [[item.numpy() for item in view.items()] for view in (x, y)],
        [item.tolist()[:length] for item, length in zip(labels.items(), lengths, strict=True)],
        loss.classifier.weight.detach().numpy(),
        loss.classifier.bias.detach().numpy(),
        smoothing,
    )
    output = loss(x, y, labels)
    assert output.loss.item() == pytest.approx(value, rel=1e-9)
    assert output.logs["accuracy"] == pytest.approx(accuracy)
    assert output.weight == known


def test_gradients_of_both_views_and_of_the_classifier():
    x, y, labels, loss = sequences(4, 3), sequences(4, 3, seed=1), labels_for(4, 3), made(label_smoothing=0.1)

    def value(a, b, weight, bias):
        parameters = {"classifier.weight": weight, "classifier.bias": bias}
        sides = (Frames(a, x.lengths), Frames(b, x.lengths), labels)
        return torch.func.functional_call(loss, parameters, sides).loss

    inputs = (x.values.requires_grad_(), y.values.requires_grad_(), *loss.parameters())
    assert torch.autograd.gradcheck(value, inputs)


def test_padding_is_never_read_of_frames_or_labels():
    x, y, labels, loss = sequences(7, 1, 3), sequences(7, 1, 3, seed=1), labels_for(7, 1, 3, lowest=0), made()
    clean = loss(x, y, labels)
    dirty = [frames.values.masked_fill(~frames.mask[..., None], float("nan")).requires_grad_() for frames in (x, y)]
    wild = Frames(labels.values.masked_fill(~labels.mask, 10**6), labels.lengths)
    actual = loss(*(Frames(values, x.lengths) for values in dirty), wild)
    assert torch.equal(actual.loss, clean.loss)
    actual.loss.backward()
    for values in dirty:
        assert torch.isfinite(values.grad).all()
        assert values.grad[~x.mask].abs().max() == 0
    assert torch.isfinite(loss.classifier.weight.grad).all()


def test_order_of_the_batch_does_not_matter_and_it_is_the_weighted_mean_of_its_items():
    x, y, labels, loss = sequences(12, 1, 7), sequences(12, 1, 7, seed=1), labels_for(12, 1, 7), made()
    together = loss(x, y, labels)
    order = torch.tensor([2, 0, 1])
    shuffled = loss(x.select(order), y.select(order), labels.select(order))
    assert shuffled.loss.item() == pytest.approx(together.loss.item(), rel=1e-9)
    rows = [torch.tensor([i]) for i in range(3)]
    alone = [loss(x.select(row), y.select(row), labels.select(row)) for row in rows]
    mean = sum(output.loss.item() * output.weight for output in alone) / together.weight
    assert together.loss.item() == pytest.approx(mean, rel=1e-9)


def test_frames_without_a_label_count_for_nothing():
    x, y, loss = sequences(6), sequences(6, seed=1), made()
    labels = Frames(torch.tensor([[0, -1, 2, -1, 4, -7]]), torch.tensor([6]))
    keep = torch.tensor([0, 2, 4])
    kept = [Frames(side.values[:, keep], torch.tensor([3])) for side in (x, y, labels)]
    actual = loss(x, y, labels)
    assert actual.loss.item() == pytest.approx(loss(*kept).loss.item(), rel=1e-12)
    assert actual.weight == 3


def test_no_label_at_all_is_zero_with_zero_gradient_everywhere():
    x, y, loss = sequences(6, 2), sequences(6, 2, seed=1), made()
    x.values.requires_grad_()
    output = loss(x, y, Frames(torch.full((2, 6), -1), torch.tensor([6, 2])))
    output.loss.backward()
    assert (output.loss.item(), output.weight) == (0.0, 0)
    for gradient in (x.values.grad, loss.classifier.weight.grad, loss.classifier.bias.grad):
        assert gradient.abs().max() == 0


def test_collapsed_frames_cost_the_entropy_of_the_labels():
    """The best that any classifier can do with frames that are all alike, so that collapse is no way out."""
    x = Frames(torch.ones(1, 8, 4, dtype=torch.float64), torch.tensor([8]))
    labels, loss = Frames(torch.tensor([[0, 0, 0, 0, 1, 1, 2, 2]]), torch.tensor([8])), made(classes=3)
    with torch.no_grad():
        loss.classifier.weight.zero_()
        loss.classifier.bias.copy_(torch.tensor([0.5, 0.25, 0.25]).log())
    output = loss(x, x, labels)
    assert output.loss.item() == pytest.approx(1.5 * math.log(2), rel=1e-6)
    output.loss.backward()
    assert loss.classifier.bias.grad.abs().max() < 1e-7


def test_autocast_silence_and_huge_values_stay_finite():
    x, y = sequences(40, 1, dtype=torch.float32), sequences(40, 1, seed=1, dtype=torch.float32)
    labels, loss = labels_for(40, 1), made(dtype=torch.float32)
    rounded = x.values.bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = loss(Frames(rounded, x.lengths), y, labels).loss
    assert actual.dtype == torch.float32
    assert torch.equal(actual, loss(Frames(rounded.float(), x.lengths), y, labels).loss)
    zeros = torch.zeros(2, 40, 4)
    for left, right in ((rounded, y.values), (zeros, zeros), (x.values * 1e4, y.values * 1e4)):
        left, right = left.detach().requires_grad_(), right.detach().requires_grad_()
        value = loss(Frames(left, x.lengths), Frames(right, x.lengths), labels).loss
        value.backward()
        assert torch.isfinite(value)
        assert torch.isfinite(left.grad).all()
        assert torch.isfinite(right.grad).all()


def test_a_label_beyond_the_classes_is_refused_with_the_remedy():
    labels = Frames(torch.tensor([[0, 41, 7]]), torch.tensor([3]))
    with pytest.raises(RecipeError, match=r"PseudoLabel\(classes=5\): labels go up to 41.*classes=42"):
        made()(sequences(3), sequences(3, seed=1), labels)


def test_what_does_not_fit_is_refused():
    x, loss = sequences(6), made()
    with pytest.raises(RecipeError, match="PseudoLabel needs labels"):
        loss(x, x)
    with pytest.raises(RecipeError, match="PseudoLabel compares frame t with frame t"):
        loss(x, sequences(7), labels_for(6))
    with pytest.raises(RecipeError, match="has 6 frames but 9 labels"):
        loss(x, x, labels_for(9))


def test_labels_of_a_narrower_type_serve():
    x, labels, loss = sequences(6), labels_for(6), made()
    narrow = replace(labels, values=labels.values.to(torch.int16))
    assert torch.equal(loss(x, x, narrow).loss, loss(x, x, labels).loss)


@pytest.mark.parametrize("bad", [{"classes": 1}, {"label_smoothing": -0.1}, {"label_smoothing": 1.0}])
def test_bad_settings_are_refused_by_name(bad):
    with pytest.raises(RecipeError, match=rf"PseudoLabel\({next(iter(bad))}="):
        PseudoLabel(**bad)
