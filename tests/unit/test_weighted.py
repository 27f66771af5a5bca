"""A named sum of losses: what it adds up, what it passes on, and how it is written down."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from ssft.components import build, describe
from ssft.errors import RecipeError
from ssft.heads import Projection
from ssft.losses import SoftDTW
from ssft.losses.info_nce import FrameInfoNCE
from ssft.losses.masked_prediction import MaskedPrediction
from ssft.losses.pseudo_label import PseudoLabel
from ssft.losses.weighted import Weighted
from ssft.types import Frames, LossOutput, Materializable

TABLE = {
    "weighted": Weighted,
    "soft_dtw": SoftDTW,
    "pseudo_label": PseudoLabel,
    "info_nce": FrameInfoNCE,
    "projection": Projection,
}


class Distance(nn.Module):
    """A user's loss: two arguments, no declarations but one, and something to do after each step."""

    needs_same_length = True

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0

    def forward(self, student: Frames, reference: Frames) -> LossOutput:
        distance = (student.valid() - reference.valid()).square().mean()
        return LossOutput(distance, weight=int(student.lengths.sum()), logs={"root": distance.item() ** 0.5})

    def after_step(self) -> None:
        self.steps += 1


class Plain(nn.Module):
    """A user's loss with nothing but `forward`."""

    def forward(self, student: Frames, reference: Frames) -> LossOutput:
        return LossOutput(student.valid().mean() - reference.valid().mean(), weight=1)


class Double(nn.Module):
    """A head without weights, and without `materialize`."""

    def forward(self, frames: Frames) -> Frames:
        return replace(frames, values=frames.values * 2)


def sequences(*lengths, dim=4, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return Frames.stack([torch.randn(n, dim, generator=generator, dtype=dtype) for n in lengths])


def labels_for(*lengths, classes=5):
    return Frames.stack([torch.arange(n) % classes for n in lengths])


def rspin(dtype=torch.float64):
    loss = Weighted(
        losses={"contrast": FrameInfoNCE(), "labels": PseudoLabel(classes=5)},
        weights={"labels": 5.0},
        heads={"contrast": Projection(3)},
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        loss.materialize(4)
    return loss.to(dtype)


def test_sum_of_weighted_terms_behind_their_heads():
    x, y, labels, loss = sequences(6, 3), sequences(6, 3, seed=1), labels_for(6, 3), rspin()
    head = loss.heads["contrast"]
    contrast = loss.losses["contrast"](head(x), head(y))
    guessed = loss.losses["labels"](x, y, labels)
    output = loss(x, y, labels)
    assert output.loss.item() == pytest.approx((contrast.loss + 5 * guessed.loss).item(), rel=1e-12)
    assert output.logs == {
        "contrast": contrast.loss.item(),
        "contrast.accuracy": contrast.logs["accuracy"],
        "labels": guessed.loss.item(),
        "labels.accuracy": guessed.logs["accuracy"],
    }
    assert output.weight == 2


def test_every_weight_of_terms_and_heads_is_a_parameter_and_learns():
    x, y, loss = sequences(6, 3), sequences(6, 3, seed=1), rspin()
    assert isinstance(loss, Materializable)
    shapes = {name: tuple(parameter.shape) for name, parameter in loss.named_parameters()}
    assert shapes == {
        "terms.labels.classifier.weight": (5, 4),
        "terms.labels.classifier.bias": (5,),
        "term_heads.contrast.layers.0.weight": (3, 4),
        "term_heads.contrast.layers.0.bias": (3,),
    }
    loss(x, y, labels_for(6, 3)).loss.backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in loss.parameters())


def test_a_loss_is_made_for_the_width_that_its_head_leaves():
    loss = Weighted({"labels": PseudoLabel(classes=5)}, heads={"labels": Projection(3)})
    loss.materialize(8)
    assert loss.losses["labels"].classifier.in_features == 3
    loss = Weighted({"labels": PseudoLabel(classes=5), "plain": Plain()}, heads={"labels": Double()})
    loss.materialize(8)
    assert loss.losses["labels"].classifier.in_features == 8


def test_gradient_of_the_sum():
    x, y, labels, loss = sequences(4, 3), sequences(4, 3, seed=1), labels_for(4, 3), rspin()
    inputs = (x.values.requires_grad_(), y.values.requires_grad_())
    assert torch.autograd.gradcheck(lambda a, b: loss(Frames(a, x.lengths), Frames(b, x.lengths), labels).loss, inputs)


def test_users_losses_get_two_arguments_and_weights_default_to_one():
    x, y = sequences(5, 2), sequences(5, 2, seed=1)
    loss = Weighted({"near": Distance(), "plain": Plain()}, weights={"plain": 0.0})
    assert loss.weights == {"near": 1.0, "plain": 0.0}
    output = loss(x, y)
    assert output.loss.item() == pytest.approx((x.valid() - y.valid()).square().mean().item())
    assert output.logs["near.root"] == pytest.approx(output.logs["near"] ** 0.5)
    beside_labels = Weighted({"near": Distance(), "labels": PseudoLabel(classes=5)})
    beside_labels.materialize(4)
    beside_labels.double()
    assert torch.isfinite(beside_labels(x, y, labels_for(5, 2)).loss)


def test_a_head_without_weights_is_applied():
    x, y = sequences(5), sequences(5, seed=1)
    bare, doubled = Weighted({"near": Distance()}), Weighted({"near": Distance()}, heads={"near": Double()})
    assert doubled(x, y).loss.item() == pytest.approx(4 * bare(x, y).loss.item())


def test_needs_are_those_of_the_terms():
    def needs(**losses):
        loss = Weighted(losses)
        return loss.needs_same_length, loss.needs_targets, loss.needs_mask, loss.needs_reference

    assert needs(align=SoftDTW()) == (False, False, False, True)
    assert needs(align=SoftDTW(), near=Distance()) == (True, False, False, True)
    assert needs(guess=MaskedPrediction()) == (False, True, True, False)
    assert needs(guess=MaskedPrediction(), plain=Plain()) == (False, True, True, True)


def test_it_lets_frames_collapse_only_if_every_term_that_counts_does():
    align, repel = SoftDTW(), FrameInfoNCE()
    align.lets_collapse = True
    assert Weighted({"align": align}).lets_collapse
    assert not Weighted({"align": align, "repel": repel}).lets_collapse
    assert Weighted({"align": align, "repel": repel}, weights={"repel": 0.0}).lets_collapse


def test_a_term_that_needs_no_reference_gets_none_and_the_mask_passes_through_a_head():
    loss = Weighted({"guess": MaskedPrediction(classes=5)}, heads={"guess": Projection(3)})
    loss.materialize(4)
    x = sequences(6, dtype=torch.float32)
    student = Frames(x.values, x.lengths, torch.ones(1, 6, dtype=torch.bool))
    nothing = Frames(torch.full((1, 2, 9), float("nan")), torch.tensor([2]))
    assert torch.isfinite(loss(student, nothing, labels_for(6)).loss)


def test_after_step_is_passed_on_to_those_that_have_it():
    near = Distance()
    Weighted({"near": near, "plain": Plain(), "align": SoftDTW()}).after_step()
    assert near.steps == 1


def test_sums_of_sums():
    x, y = sequences(5), sequences(5, seed=1)
    inner = Weighted({"near": Distance(), "align": SoftDTW()}, weights={"near": 3.0})
    outer = Weighted({"inner": inner, "plain": Plain()}, weights={"inner": 2.0})
    expected = 2 * (3 * Distance()(x, y).loss + SoftDTW()(x, y).loss) + Plain()(x, y).loss
    output = outer(x, y)
    assert output.loss.item() == pytest.approx(expected.item())
    assert set(output.logs) == {"inner", "inner.near", "inner.near.root", "inner.align", "plain"}
    outer.after_step()
    assert inner.losses["near"].steps == 1


def test_order_of_the_batch_and_what_is_in_the_padding_do_not_matter():
    x, y, labels, loss = sequences(9, 1, 5), sequences(9, 1, 5, seed=1), labels_for(9, 1, 5), rspin()
    clean, order = loss(x, y, labels).loss.item(), torch.tensor([2, 0, 1])
    shuffled = loss(x.select(order), y.select(order), labels.select(order))
    assert shuffled.loss.item() == pytest.approx(clean, rel=1e-9)
    dirty = [Frames(side.values.masked_fill(~side.mask[..., None], 1e6), side.lengths) for side in (x, y)]
    assert loss(*dirty, labels).loss.item() == clean


def test_autocast_is_off_inside():
    x, y = sequences(9, 4, dtype=torch.float32), sequences(9, 4, seed=1, dtype=torch.float32)
    labels, loss = labels_for(9, 4), rspin(torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = loss(Frames(x.values.bfloat16(), x.lengths), y, labels).loss
    assert actual.dtype == torch.float32
    assert torch.equal(actual, loss(Frames(x.values.bfloat16().float(), x.lengths), y, labels).loss)


def test_it_is_written_down_and_built_again():
    description = describe(rspin(), [TABLE])
    assert description == {
        "name": "weighted",
        "losses": {
            "contrast": {"name": "info_nce", "temperature": 0.1, "negatives": 100, "segment_frames": 1},
            "labels": {"name": "pseudo_label", "classes": 5, "label_smoothing": 0.0},
        },
        "weights": {"contrast": 1.0, "labels": 5.0},
        "heads": {"contrast": {"name": "projection", "dim": 3, "hidden": [], "l2_normalize": True}},
    }
    again = build(TABLE, description, where="loss")
    assert describe(again, [TABLE]) == description


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"losses": {}}, r"losses=\{\}.*at least one"),
        ({"weights": {"lables": 1.0}}, r"weights\): there is no loss 'lables'\. Did you mean 'labels'\?"),
        ({"heads": {"lables": Double()}}, r"heads\): there is no loss 'lables'\. Did you mean 'labels'\?"),
        ({"weights": {"labels": float("nan")}}, r"weights\): labels has nan"),
        ({"weights": {"labels": float("inf")}}, r"weights\): labels has inf"),
        ({"weights": {"labels": -1.0}}, r"weights\): labels has -1.0"),
        ({"losses": {"labels": "pseudo_label"}}, r"losses\): labels is 'pseudo_label'"),
        ({"heads": {"labels": 3}}, r"heads\): labels is 3"),
        *[
            ({"losses": {name: Plain()}}, "cannot be called")
            for name in ("name", "loss", "", "a.b", "keys", "training")
        ],
    ],
)
def test_bad_settings_are_refused_by_name(arguments, message):
    with pytest.raises(RecipeError, match=f"Weighted.*{message}"):
        Weighted(**{"losses": {"labels": Plain()}, **arguments})


def test_missing_labels_and_other_lengths_are_refused():
    x, loss = sequences(5), rspin()
    with pytest.raises(RecipeError, match="needs labels"):
        loss(x, x)
    with pytest.raises(RecipeError, match="compares frame t with frame t"):
        loss(x, sequences(6), labels_for(5))
