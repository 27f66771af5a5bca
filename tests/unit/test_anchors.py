"""Anchors hold an encoder near its start by the formulas of their papers, whatever the optimizer does."""

from __future__ import annotations

import json
import math

import pytest
import torch
from interrupting import interrupt_at
from random_encoders import random_encoder, random_waves

from ssft.components import build, describe
from ssft.data import Data, PairDataset
from ssft.encoders import SplitEncoder
from ssft.engine import CorrespondenceModel, CorrespondenceTrainer, Train
from ssft.engine.anchors import ANCHORS, L2SP, Distillation, RecAdam
from ssft.engine.optim import trainable
from ssft.errors import RecipeError
from ssft.heads import Identity, Projection
from ssft.losses import SoftDTW
from ssft.types import Pair, PairBatch


def make_trainer(recordings, *, reference="student", layers=2, **train):
    pairs = PairDataset(
        Data(str(recordings)).load().utterances, augment=lambda wave, rng: wave[: len(wave) // 8 * 7], max_seconds=1.0
    )
    settings = {"steps": 6, "batch_seconds": 5.0, "lr": 1e-3, "clip_norm": 1e9, **train}
    return CorrespondenceTrainer(
        encoder=SplitEncoder(random_encoder("hubert", "group", dropout=0.0), layers),
        head=Projection(8),
        loss=SoftDTW(),
        pairs=pairs,
        train=Train(**settings),
        reference=reference,
    )


def distance(trainer, start):
    moved = trainable(trainer.model.encoder)
    return math.sqrt(sum(float((p.detach() - start[name]).square().sum()) for name, p in moved.items()))


def run(recordings, folder, **train):
    trainer = make_trainer(recordings, **train)
    start = {name: p.detach().clone() for name, p in trainable(trainer.model.encoder).items()}
    trainer.fit(folder)
    return trainer, distance(trainer, start)


@pytest.mark.parametrize("name", ANCHORS)
def test_an_anchor_keeps_the_encoder_nearer_and_goes_through_yaml(recordings, tmp_path, name):
    _, free = run(recordings, tmp_path / "free")
    strong = {"l2_sp": L2SP(1e3), "rec_adam": RecAdam(500.0, 0.05, 20), "distillation": Distillation(100.0)}[name]
    _, held = run(recordings, tmp_path / "held", anchor=strong)
    assert held < 0.8 * free
    described = describe(strong, [ANCHORS])
    assert describe(build(ANCHORS, described, where="train.anchor"), [ANCHORS]) == described
    assert repr(strong).startswith(f"{type(strong).__name__}(")
    record = json.loads((tmp_path / "held" / "metrics.jsonl").read_text().splitlines()[-1])
    assert ("anchor" in record) == (name == "distillation")


@pytest.mark.parametrize(
    "off", [L2SP(0.0), RecAdam(0.0, 1.0, 0), Distillation(0.0)], ids=["l2_sp", "rec_adam", "distillation"]
)
def test_an_anchor_without_strength_changes_nothing(recordings, tmp_path, off):
    free, _ = run(recordings, tmp_path / "free")
    held, _ = run(recordings, tmp_path / "held", anchor=off)
    if isinstance(off, RecAdam):  # it still anneals the optimizer's share, which begins at one half here
        return
    for (name, a), b in zip(trainable(free.model).items(), trainable(held.model).values(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4, msg=name)


def test_l2_sp_adds_the_gradient_of_its_penalty():
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))
    anchor = L2SP(strength=0.5)
    anchor.hold({"w": weight})
    with torch.no_grad():
        weight += torch.tensor([1.0, 0.0, -2.0])
    weight.grad = torch.tensor([0.1, 0.2, 0.3])
    start = torch.tensor([1.0, -2.0, 3.0])
    probe = weight.detach().clone().requires_grad_()
    (0.25 * (probe - start).square().sum()).backward()  # strength / 2
    anchor.before_step()
    torch.testing.assert_close(weight.grad, torch.tensor([0.1, 0.2, 0.3]) + probe.grad)


def test_rec_adam_follows_its_formula_step_by_step():
    """Against the update written out in float64, with AdamW's own step taken from a plain AdamW."""
    torch.manual_seed(0)
    start, gradients = torch.randn(5, dtype=torch.float64), torch.randn(7, 5, dtype=torch.float64)
    anchor, lr = RecAdam(strength=20.0, rate=0.7, middle=3), 1e-2
    train = Train(steps=7, lr=lr, schedule="constant", anchor=anchor)
    weight = torch.nn.Parameter(start.clone())
    anchor.hold({"w": weight})
    optimizer = torch.optim.AdamW([weight], lr=lr, weight_decay=0.0)
    expected = start.clone()
    first, second = torch.zeros(5, dtype=torch.float64), torch.zeros(5, dtype=torch.float64)
    for step, gradient in enumerate(gradients):
        for group in optimizer.param_groups:
            group["lr"] = lr * anchor.lr_factor(step)
        weight.grad = gradient.clone()
        anchor.before_step()
        optimizer.step()
        anchor.after_step(step, lr)
        share = 1 / (1 + math.exp(-0.7 * (step - 3)))
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        adam = (first / (1 - 0.9 ** (step + 1))) / ((second / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8)
        expected = expected - lr * share * adam
        expected = expected - lr * (1 - share) * 20.0 * (expected - start)
        torch.testing.assert_close(weight.detach(), expected, atol=1e-9, rtol=1e-7)
    assert train.anchor is anchor


@pytest.mark.parametrize("distance", ["mse", "cosine"])
@pytest.mark.parametrize("reference", ["student", "frozen"])
def test_distillation_compares_originals_before_the_head_and_without_padding(distance, reference):
    split = SplitEncoder(random_encoder("wavlm", "group", dropout=0.0), 2)
    model = CorrespondenceModel(
        split, Identity(False), SoftDTW(), reference=reference, anchor=Distillation(3.0, distance)
    )
    before = SplitEncoder(random_encoder("wavlm", "group", dropout=0.0), 2).eval()
    waves = list(random_waves(9000, 7000, 5000).items())
    batch = PairBatch.collate([Pair(str(i), w, w[:-640], 0.5, swapped=i == 1) for i, w in enumerate(waves)])
    assert model(batch)["logs"]["anchor"] == pytest.approx(0.0, abs=1e-6)
    with torch.no_grad():
        for p in trainable(split).values():
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    output = model(batch)
    student, start = split(batch.original).valid(), before(batch.original).valid()
    if distance == "mse":
        expected = 3 * (student - start).square().mean()
    else:
        expected = 3 * (1 - torch.cosine_similarity(student, start, dim=-1)).mean()
    assert output["logs"]["anchor"] == pytest.approx(float(expected.detach()), rel=1e-4)
    alone = CorrespondenceModel(split, Identity(False), SoftDTW(), reference="student")(batch)["loss"]
    if reference == "student":
        assert float(output["loss"].detach()) == pytest.approx(float((alone + expected).detach()), rel=1e-4)
    output["loss"].backward()
    assert all(p.grad is not None for p in trainable(model).values())


@pytest.mark.parametrize("name", ANCHORS)
def test_a_resumed_run_is_anchored_to_the_same_start(recordings, tmp_path, name):
    anchors = {"l2_sp": L2SP(10.0), "rec_adam": RecAdam(200.0, 0.5, 4), "distillation": Distillation(10.0)}
    straight, _ = run(recordings, tmp_path / "straight", anchor=anchors[name])
    first = make_trainer(recordings, anchor=anchors[name], save_every=3)
    interrupt_at(first, 3)
    with pytest.raises(KeyboardInterrupt):
        first.fit(tmp_path / "broken")
    again = make_trainer(recordings, anchor=anchors[name])
    again.fit(tmp_path / "broken", resume=True)
    for a, b in zip(trainable(straight.model).values(), trainable(again.model).values(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: L2SP(-1), r"L2SP\(strength=-1\)"),
        (lambda: L2SP(math.nan), r"L2SP\(strength=nan\)"),
        (lambda: RecAdam(-1), r"RecAdam\(strength=-1\)"),
        (lambda: RecAdam(rate=0), r"RecAdam\(rate=0\)"),
        (lambda: RecAdam(middle=-1), r"RecAdam\(middle=-1\)"),
        (lambda: Distillation(-0.1), r"Distillation\(weight=-0.1\)"),
        (lambda: Distillation(distance="msr"), r"Distillation\(distance='msr'\) is not known. Did you mean 'mse'"),
        (lambda: Train(anchor="l2_sp"), r"train.anchor: 'l2_sp' is no anchor"),
    ],
)
def test_bad_settings_are_named(make, says):
    with pytest.raises(RecipeError, match=says):
        make()
