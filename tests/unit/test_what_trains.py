"""Which weights learn, how fast, and from when on."""

from __future__ import annotations

import pytest
import torch
from interrupting import interrupt_at
from random_encoders import random_encoder

from ssft.data import Data, PairDataset
from ssft.encoders import SplitEncoder
from ssft.engine import CorrespondenceTrainer, Train
from ssft.engine.optim import layer_depths, trainable
from ssft.errors import RecipeError, RunError
from ssft.heads import Projection
from ssft.losses import SoftDTW


def make_trainer(recordings, *, layers=3, train_also=(), **train):
    pairs = PairDataset(
        Data(str(recordings)).load().utterances, augment=lambda wave, rng: wave[: len(wave) // 8 * 7], max_seconds=1.0
    )
    return CorrespondenceTrainer(
        encoder=SplitEncoder(random_encoder("hubert", "group", dropout=0.0), layers, train_also=train_also),
        head=Projection(8),
        loss=SoftDTW(),
        pairs=pairs,
        train=Train(**{"steps": 6, "batch_seconds": 5.0, "lr": 1e-3, "save_every": 1, "keep": 9, **train}),
    )


def rates(trainer):
    names = {parameter: name for name, parameter in trainable(trainer.model).items()}
    return {names[p]: group["peak_lr"] for group in trainer.optimizer.param_groups for p in group["params"]}


def test_lower_layers_learn_more_slowly_and_what_is_below_as_the_lowest(recordings):
    trainer = make_trainer(
        recordings, layers=[1, 3], train_also=["feature_projection.layer_norm"], layer_decay=0.5, head_lr=7e-3
    )
    found = rates(trainer)
    assert set(found) == set(trainable(trainer.model))
    for name, rate in found.items():
        if not name.startswith("encoder."):
            assert rate == 7e-3
        elif ".layers.2." in name:
            assert rate == 1e-3
        else:
            assert rate == 5e-4, name  # the layer below it that trains, whatever lies between
    assert set(rates(make_trainer(recordings)).values()) == {1e-3}


def test_depths_count_trained_layers_of_adapters_too():
    names = [
        "encoder.encoder.model.encoder.layers.11.attention.k_proj.lora_A.default.weight",
        "encoder.encoder.model.encoder.layers.9.final_layer_norm.bias",
        "encoder.encoder.model.encoder.pos_conv_embed.layers.0.conv.weight",
        "heads.0.layers.0.weight",
    ]
    assert list(layer_depths(names).values()) == [0, 1, 1]


def moved_between(folder, trainer, earlier, later):
    from safetensors.torch import load_file

    states = [load_file(folder / "checkpoints" / f"step-{step:06d}" / "model.safetensors") for step in (earlier, later)]
    moved = {name for name in states[0] if not torch.equal(states[0][name], states[1][name])}
    return {int(name.split(".layers.")[1][0]) + 1 for name in moved if ".encoder.layers." in name}


def test_layers_join_from_the_top_at_their_steps_and_resuming_changes_nothing(recordings, tmp_path):
    trainer = make_trainer(recordings, unfreeze_steps=[2, 4], weight_decay=0.1)
    start = {name: p.detach().clone() for name, p in trainable(trainer.model).items()}
    trainer.fit(tmp_path / "straight")
    folder = tmp_path / "straight"
    assert moved_between(folder, trainer, 1, 2) == {3}
    assert moved_between(folder, trainer, 2, 3) == moved_between(folder, trainer, 3, 4) == {2, 3}
    assert moved_between(folder, trainer, 4, 5) == moved_between(folder, trainer, 5, 6) == {1, 2, 3}
    assert all(
        not torch.equal(start[name], p) for name, p in trainable(trainer.model).items() if "k_proj.bias" not in name
    )

    first = make_trainer(recordings, unfreeze_steps=[2, 4], weight_decay=0.1)
    interrupt_at(first, 3)
    with pytest.raises(KeyboardInterrupt):
        first.fit(tmp_path / "broken")
    again = make_trainer(recordings, unfreeze_steps=[2, 4], weight_decay=0.1)
    again.fit(tmp_path / "broken", resume=True)
    for (name, a), b in zip(trainable(trainer.model).items(), trainable(again.model).values(), strict=True):
        assert torch.equal(a, b), name


def test_a_layer_that_sleeps_is_not_counted_in_the_norm(recordings, tmp_path):
    asleep, alone = (
        make_trainer(recordings, layers=layers, steps=3, **how)
        for layers, how in ((3, {"unfreeze_steps": [2]}), (1, {}))
    )
    batches = [[asleep.pairs[0, index] for index in range(4)]]
    from ssft.types import PairBatch

    records = [t.make_step([PairBatch.collate(batches[0])], 0) for t in (asleep, alone)]
    assert records[0]["grad_norm"] == pytest.approx(records[1]["grad_norm"], rel=1e-3)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"layer_decay": 0.0}, "train.layer_decay=0.0"),
        ({"layer_decay": 1.5}, "train.layer_decay=1.5"),
        ({"unfreeze_steps": [3, 3]}, r"train.unfreeze_steps=\[3, 3\] must rise"),
        ({"unfreeze_steps": [0]}, r"train.unfreeze_steps=\[0\]"),
        ({"unfreeze_steps": [6]}, "stay below train.steps=6"),
    ],
)
def test_bad_schedules_are_refused(how, says):
    with pytest.raises(RecipeError, match=says):
        Train(steps=6, **how)


def test_more_steps_than_layers_to_wake_are_refused(recordings):
    with pytest.raises(RecipeError, match=r"train.unfreeze_steps=\[1, 2\] names 2 layers .* 2 layers train"):
        make_trainer(recordings, layers=2, unfreeze_steps=[1, 2])


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (
            lambda p: p.register_hook(lambda gradient: gradient * float("nan")),
            r"gradient became nan \(first in .*k_proj",
        ),
        (lambda p: p.register_hook(lambda gradient: gradient * float("inf")), r"gradient became (inf|nan) \(first in"),
    ],
)
def test_a_gradient_that_is_not_finite_stops_the_run_and_is_named(recordings, tmp_path, spoil, says):
    trainer = make_trainer(recordings, layers=1)
    name = next(name for name in trainable(trainer.model) if name.endswith("k_proj.weight"))
    spoil(trainable(trainer.model)[name])
    before = {n: p.detach().clone() for n, p in trainable(trainer.model).items()}
    with pytest.raises(RunError, match=says):
        trainer.fit(tmp_path)
    assert all(torch.equal(before[n], p) for n, p in trainable(trainer.model).items()), "no step was taken"


def test_a_tensor_without_a_gradient_stops_the_run_and_is_named(recordings, tmp_path):
    trainer = make_trainer(recordings, layers=1)
    unused = torch.nn.Parameter(torch.zeros(3))
    trainer.model.heads[0].register_parameter("unused", unused)
    with pytest.raises(RunError, match=r"heads\.0\.unused is to be trained but got no gradient"):
        trainer.fit(tmp_path)
