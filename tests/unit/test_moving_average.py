"""A reference that follows the student: its decay, its place in checkpoints, and what it leaves alone."""

from __future__ import annotations

import pytest
import torch
from interrupting import interrupt_at
from random_encoders import random_encoder, random_waves

from ssft.data import Data, PairDataset
from ssft.encoders import MovingAverage, SplitEncoder
from ssft.engine import CorrespondenceModel, CorrespondenceTrainer, Train
from ssft.engine.optim import trainable
from ssft.errors import RecipeError
from ssft.heads import Identity, Projection
from ssft.losses import SoftDTW
from ssft.recipe import Recipe, load_recipe
from ssft.runs import with_overrides
from ssft.types import Pair, PairBatch
from ssft.views import Views


def batch():
    waves = list(random_waves(9000, 7000).items())
    return PairBatch.collate([Pair(str(i), w, w[:-640], 0.5) for i, w in enumerate(waves)])


def test_decay_rises_linearly_and_then_stays():
    average = MovingAverage(0.9, 0.99, rise_steps=10)
    assert [average.decay(step) for step in (0, 5, 10, 99)] == pytest.approx([0.9, 0.945, 0.99, 0.99])
    assert MovingAverage(0.9, 0.99, rise_steps=0).decay(0) == 0.99


def test_the_average_follows_by_its_formula_and_nothing_else_moves():
    split = SplitEncoder(random_encoder("hubert", "layer", dropout=0.0), [2], train_also=["encoder.layer_norm"])
    average = MovingAverage(0.5, 0.9, rise_steps=4)
    model = CorrespondenceModel(split, Identity(False), SoftDTW(), reference=average)
    top = dict(split.own_top().named_parameters())
    expected = {name: p.detach().double().clone() for name, p in top.items()}
    untouched = {name for name, p in top.items() if not p.requires_grad}
    assert untouched
    for step in range(6):
        with torch.no_grad():
            for number, p in enumerate(trainable(split).values()):
                p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(10 * step + number)))
        model.after_step()
        decay = 0.5 + min(step / 4, 1) * 0.4
        for name, p in top.items():
            if name not in untouched:
                expected[name] = decay * expected[name] + (1 - decay) * p.detach().double()
    for name, own in model.reference.top.named_parameters():
        torch.testing.assert_close(own.double(), expected[name], atol=1e-6, rtol=1e-5)
        assert not own.requires_grad
    assert not model.reference.training or not any(m.training for m in model.reference.modules())
    output = model(batch())
    output["loss"].backward()
    assert all(p.grad is None for p in model.reference.parameters())


def make_trainer(recordings, **train):
    return CorrespondenceTrainer(
        encoder=SplitEncoder(random_encoder("hubert", "group", dropout=0.0), 2),
        head=Projection(8),
        loss=SoftDTW(),
        pairs=PairDataset(
            Data(str(recordings)).load().utterances, augment=lambda wave, rng: wave[: len(wave) // 8 * 7]
        ),
        train=Train(**{"steps": 6, "batch_seconds": 5.0, "lr": 1e-2, **train}),
        reference=MovingAverage(0.6, 0.9, rise_steps=5),
    )


def test_a_resumed_run_has_the_same_average(recordings, tmp_path):
    straight = make_trainer(recordings)
    straight.fit(tmp_path / "straight")
    first = make_trainer(recordings, save_every=3)
    interrupt_at(first, 3)
    with pytest.raises(KeyboardInterrupt):
        first.fit(tmp_path / "broken")
    again = make_trainer(recordings)
    again.fit(tmp_path / "broken", resume=True)
    for model in (straight.model, again.model):
        assert int(model.reference.steps) == 6
    for (name, a), b in zip(straight.model.state_dict().items(), again.model.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    moved = dict(straight.model.reference.top.named_parameters())
    start = dict(SplitEncoder(random_encoder("hubert", "group", dropout=0.0), 2).own_top().named_parameters())
    assert any(not torch.equal(moved[name], p) for name, p in start.items())


def test_it_is_named_in_recipes_by_a_word_or_with_settings():
    by_word = with_overrides(load_recipe("score_tiny"), ["--views.reference", "moving_average"])
    assert by_word.views.reference == "moving_average"
    assert Recipe.from_yaml(by_word.to_yaml()).views.reference == "moving_average"
    recipe = Recipe(name="x", views=Views(reference=MovingAverage(0.9, 0.95, rise_steps=7)))
    again = Recipe.from_yaml(recipe.to_yaml())
    assert again.views.reference == MovingAverage(0.9, 0.95, rise_steps=7)
    changed = with_overrides(recipe, ["--views.reference.rise_steps", "9"])
    assert changed.views.reference == MovingAverage(0.9, 0.95, rise_steps=9)
    anchored = with_overrides(load_recipe("score_tiny"), ["--train.anchor", "rec_adam", "--train.anchor.middle", "40"])
    assert Recipe.from_yaml(anchored.to_yaml()).train.anchor.middle == 40


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: MovingAverage(0.9, 0.5), "first_decay=0.9, last_decay=0.5"),
        (lambda: MovingAverage(rise_steps=-1), "rise_steps=-1"),
        (lambda: Views(reference="frozn"), "views.reference='frozn' is not known. Did you mean 'frozen'"),
    ],
)
def test_bad_settings_are_named(make, says):
    with pytest.raises(RecipeError, match=says):
        make()
