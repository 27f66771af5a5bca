"""Masked prediction against its definition."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import masked_prediction as oracle

from ssft.errors import RecipeError
from ssft.losses.masked_prediction import MaskedPrediction
from ssft.types import Frames

CLASSES = 5


def sequences(*lengths, dim=4, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    frames = Frames.stack([torch.randn(n, dim, generator=generator, dtype=dtype) for n in lengths])
    masked = torch.rand(frames.values.shape[:2], generator=generator) < 0.5
    masked[0, 0] = True
    return Frames(frames.values, frames.lengths, masked)


def labels_for(*lengths, seed=0, lowest=-1):
    generator = torch.Generator().manual_seed(seed)
    return Frames.stack([torch.randint(lowest, CLASSES, (n,), generator=generator) for n in lengths])


def made(dim=4, dtype=torch.float64, **arguments):
    loss = MaskedPrediction(**{"classes": CLASSES, **arguments})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        loss.materialize(dim)
    return loss.to(dtype)


def value(loss, student, labels):
    return loss(student, student, labels)


@settings(max_examples=30, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 8), min_size=1, max_size=4),
    weights=st.sampled_from([(1.0, 0.0), (1.0, 0.1), (0.0, 2.0)]),
    temperature=st.sampled_from([0.1, 1.0]),
    longer=st.integers(-1, 2),
    seed=st.integers(0, 99),
)
def test_equals_the_loop_oracle(lengths, weights, temperature, longer, seed):
    x = sequences(*lengths, seed=seed)
    labels = labels_for(*(max(1, length + longer) for length in lengths), seed=seed)
    loss = made(temperature=temperature, masked_weight=weights[0], unmasked_weight=weights[1])
    expected, total = oracle.masked_prediction(
        [item.numpy() for item in x.items()],
        [row.tolist()[:length] for row, length in zip(x.masked, lengths, strict=True)],
        [item.tolist() for item in labels.items()],
        loss.embeddings.detach().numpy(),
        temperature=temperature,
        masked_weight=weights[0],
        unmasked_weight=weights[1],
    )
    output = value(loss, x, labels)
    assert output.loss.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert output.weight == pytest.approx(total)
    assert ("accuracy_unmasked" in output.logs) == (weights[1] > 0)


def test_gradients_of_frames_and_of_the_label_embeddings():
    x, labels, loss = sequences(4, 3), labels_for(4, 3, lowest=0), made(unmasked_weight=0.5)

    def of(values, embeddings):
        sides = (Frames(values, x.lengths, x.masked), x, labels)
        return torch.func.functional_call(loss, {"embeddings": embeddings}, sides).loss

    assert torch.autograd.gradcheck(of, (x.values.requires_grad_(), loss.embeddings))


def test_only_hidden_frames_get_a_gradient():
    x, labels, loss = sequences(30, 20), labels_for(30, 20, lowest=0), made()
    x.values.requires_grad_()
    value(loss, x, labels).loss.backward()
    moved = x.values.grad.abs().sum(-1) > 0
    assert torch.equal(moved, x.masked & x.mask)


def test_padding_is_never_read_of_frames_masks_or_labels():
    x, labels, loss = sequences(7, 1, 3), labels_for(7, 1, 3, lowest=0), made(unmasked_weight=0.5)
    dirty = x.values.masked_fill(~x.mask[..., None], float("nan")).requires_grad_()
    wild = Frames(labels.values.masked_fill(~labels.mask, 10**6), labels.lengths)
    actual = value(loss, Frames(dirty, x.lengths, x.masked | ~x.mask), wild).loss
    assert torch.equal(actual, value(loss, x, labels).loss)
    actual.backward()
    assert torch.isfinite(dirty.grad).all()
    assert dirty.grad[~x.mask].abs().max() == 0
    assert torch.isfinite(loss.embeddings.grad).all()


def test_order_of_the_batch_does_not_matter_and_it_is_the_weighted_mean_of_its_items():
    x, labels, loss = sequences(12, 1, 7), labels_for(12, 1, 7), made(unmasked_weight=0.25)
    together = value(loss, x, labels)
    order = torch.tensor([2, 0, 1])
    shuffled = value(loss, x.select(order), labels.select(order))
    assert shuffled.loss.item() == pytest.approx(together.loss.item(), rel=1e-9)
    alone = [value(loss, x.select(torch.tensor([i])), labels.select(torch.tensor([i]))) for i in range(3)]
    mean = sum(output.loss.item() * output.weight for output in alone) / together.weight
    assert together.loss.item() == pytest.approx(mean, rel=1e-9)


def test_accuracy_on_hidden_frames_and_on_the_others():
    embeddings = torch.eye(CLASSES)
    loss = made(dim=CLASSES, dtype=torch.float32, unmasked_weight=1.0)
    loss.embeddings.data.copy_(embeddings)
    labels = Frames(torch.tensor([[0, 1, 2, 3]]), torch.tensor([4]))
    guesses = embeddings[[0, 1, 2, 0]][None]  # the last one is wrong
    output = value(loss, Frames(guesses, torch.tensor([4]), torch.tensor([[False, True, False, True]])), labels)
    assert output.logs == {"accuracy": 0.5, "accuracy_unmasked": 1.0}


def test_nothing_hidden_is_zero_with_zero_gradient_everywhere():
    x, labels, loss = sequences(6, 2), labels_for(6, 2), made()
    x.values.requires_grad_()
    output = value(loss, Frames(x.values, x.lengths, torch.zeros_like(x.masked)), labels)
    output.loss.backward()
    assert (output.loss.item(), output.weight, output.logs) == (0.0, 0.0, {"accuracy": 0.0})
    assert x.values.grad.abs().max() == 0
    assert loss.embeddings.grad.abs().max() == 0


def test_length_of_frames_and_embeddings_does_not_matter():
    x, labels, loss = sequences(9), labels_for(9, lowest=0), made()
    before = value(loss, x, labels).loss.item()
    loss.embeddings.data.mul_(torch.arange(1, CLASSES + 1)[:, None])
    assert value(loss, Frames(x.values * 7, x.lengths, x.masked), labels).loss.item() == pytest.approx(before, rel=1e-9)


def test_the_reference_is_not_looked_at():
    x, labels, loss = sequences(9), labels_for(9), made()
    nothing = Frames(torch.full((1, 4, 1), float("nan")), torch.tensor([4]))
    assert loss.needs_reference is False
    assert torch.equal(loss(x, nothing, labels).loss, value(loss, x, labels).loss)


def test_autocast_silence_and_huge_values_stay_finite():
    x, labels, loss = sequences(40, 1, dtype=torch.float32), labels_for(40, 1), made(dtype=torch.float32)
    rounded = x.values.bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = value(loss, Frames(rounded, x.lengths, x.masked), labels).loss
    assert actual.dtype == torch.float32
    assert torch.equal(actual, value(loss, Frames(rounded.float(), x.lengths, x.masked), labels).loss)
    for values in (rounded.detach(), torch.zeros(2, 40, 4), x.values * 1e4):
        values.requires_grad_()
        output = value(loss, Frames(values, x.lengths, x.masked), labels).loss
        output.backward()
        assert torch.isfinite(output)
        assert torch.isfinite(values.grad).all()


def test_what_does_not_fit_is_refused():
    x, labels, loss = sequences(6), labels_for(6), made()
    with pytest.raises(RecipeError, match=r"MaskedPrediction needs a mask; set views\.mask, e\.g\. SpanMask\(\)"):
        value(loss, Frames(x.values, x.lengths), labels)
    with pytest.raises(RecipeError, match="MaskedPrediction needs labels"):
        value(loss, x, None)
    with pytest.raises(RecipeError, match=r"MaskedPrediction\(classes=5\): labels go up to 8.*classes=9"):
        value(loss, x, Frames(torch.tensor([[8, 0, 0, 0, 0, 0]]), torch.tensor([6])))


@pytest.mark.parametrize(
    "bad",
    [
        {"classes": 1},
        {"temperature": 0.0},
        {"masked_weight": -1.0},
        {"unmasked_weight": float("nan")},
        {"masked_weight": 0.0, "unmasked_weight": 0.0},
    ],
)
def test_bad_settings_are_refused_by_name(bad):
    with pytest.raises(RecipeError, match=rf"MaskedPrediction\({next(iter(bad))}="):
        MaskedPrediction(**bad)
