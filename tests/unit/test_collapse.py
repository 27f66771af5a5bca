"""Alarms come for every way to stop telling sounds apart, and not for training that goes well."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from random_encoders import random_encoder

from ssft.augment import SpeedPerturb
from ssft.data import Data, PairDataset
from ssft.encoders import SplitEncoder
from ssft.engine import CorrespondenceModel, Train
from ssft.engine.collapse import EVERY_STEPS, CollapseWatch, measure
from ssft.engine.optim import make_optimizer
from ssft.engine.ranks import Ranks
from ssft.engine.step import OptimizerStep
from ssft.heads import Identity
from ssft.losses import SoftDTW
from ssft.types import Frames, PairBatch

WIDTH = 24


def speech(seed: int, *, utterances: int = 6) -> list[torch.Tensor]:
    """Frames [F, D] of utterances that change slowly, have a mean of their own, and share one."""
    generator = torch.Generator().manual_seed(seed)
    common = torch.ones(WIDTH)
    found = []
    for number in range(utterances):
        steps = torch.randn(60 + 5 * number, WIDTH, generator=generator)
        smooth = torch.nn.functional.avg_pool1d(steps.T[None], 3, 1, 1)[0].T
        found.append(smooth + 0.3 * torch.randn(WIDTH, generator=generator) + 0.3 * common)
    return found


def noisy(frames: list[torch.Tensor], share: float = 0.1, seed: int = 0) -> list[torch.Tensor]:
    """Frames as dropout leaves them."""
    generator = torch.Generator().manual_seed(seed)
    return [item + share * item.std() * torch.randn(item.shape, generator=generator) for item in frames]


def constant(frames):
    return [torch.ones_like(item) + 0.1 * torch.randn(item.shape) for item in frames]


def one_direction(frames):
    return [item[:, :1] * torch.linspace(-1, 1, WIDTH) for item in frames]


def constant_within(frames):
    return [item.mean(0).expand_as(item) + 0.02 * torch.randn(item.shape) for item in frames]


def time_alone(frames):
    return [frames[-1][: len(item)] + 0.1 * torch.randn(item.shape) for item in frames]


def unrelated(frames):
    return [torch.randn(item.shape) for item in frames]


BROKEN = {
    constant: "all frames of the encoder become alike: frame_spread",
    one_direction: "frames vary in few directions: frame_rank",
    constant_within: "the frames of an utterance become alike: frame_within",
    time_alone: "frames depend on little but their time in the utterance: frame_across",
    unrelated: "the encoder says nothing that the reference says: frame_similarity",
}


def measured(seed: int, damage=lambda frames: frames, **options) -> dict[str, float]:
    torch.manual_seed(seed)
    frames = speech(seed, **options)
    return measure(Frames.stack(noisy(damage(frames), seed=seed)), Frames.stack(noisy(frames, seed=seed + 1)))


def oracle(student: list[np.ndarray], reference: list[np.ndarray]) -> dict[str, float]:
    """The numbers, frame by frame and pair by pair."""
    x = np.concatenate(student)
    at_same_time = [
        other[(2 * np.arange(len(own)) + 1) * len(other) // (2 * len(own))]
        for own, other in zip(student, reference, strict=True)
    ]
    y = np.concatenate(at_same_time)
    energy = (x**2).sum(1).mean()
    units = x / np.linalg.norm(x, axis=1, keepdims=True)
    cosines = [units[i] @ units[j] for i in range(len(x)) for j in range(len(x)) if i != j]
    variances = np.linalg.eigvalsh(np.cov(x[np.linspace(0, len(x) - 1, min(256, len(x))).astype(int)].T, bias=True))
    shares = variances / variances.sum()
    across = []
    for time in range(max(map(len, student))):
        at = np.array([item[time] for item in student if len(item) > time])
        if len(at) > 1:
            across += [((at - at.mean(0)) ** 2).sum() / (len(at) - 1)] * len(at)
    a, b = x - x.mean(0), y - y.mean(0)
    return {
        "frame_rank": np.exp(-(shares * np.log(shares)).sum()),
        "frame_spread": 1 - np.mean(cosines),
        "frame_within": sum(((item - item.mean(0)) ** 2).sum() for item in student) / len(x) / energy,
        "frame_across": np.mean(across) / energy,
        "frame_similarity": ((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).mean(),
    }


def test_numbers_are_those_of_the_definition():
    student = [item.double() for item in speech(0)]
    reference = [item.double()[::2] for item in noisy(speech(0))]  # another length, as after a change of speed
    found = measure(Frames.stack(student), Frames.stack(reference))
    expected = oracle([item.numpy() for item in student], [item.numpy() for item in reference])
    assert found == pytest.approx(expected, rel=1e-4)


def test_blind_to_padding_scale_and_rotation():
    student, reference = Frames.stack(speech(0)), Frames.stack(noisy(speech(0)))
    expected = measure(student, reference)
    rotation = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(0)))[0]
    for change in (lambda values: 50 * values, lambda values: values @ rotation):
        sides = (Frames(change(side.values), side.lengths) for side in (student, reference))
        assert measure(*sides) == pytest.approx(expected, rel=1e-4)
    sides = (
        Frames(torch.nn.functional.pad(s.values, (0, 0, 0, 9), value=1e9), s.lengths) for s in (student, reference)
    )
    assert measure(*sides) == pytest.approx(expected, rel=1e-9)


def test_many_frames_are_thinned_and_few_say_nothing():
    long = [torch.randn(3000, WIDTH).cumsum(0).div(50) + item.mean(0) for item in speech(0)]
    found = measure(Frames.stack(long), Frames.stack(long))
    assert found["frame_similarity"] == pytest.approx(1)  # the same frames are left of both sides
    few = [item[:10] for item in speech(0)]
    assert measure(Frames.stack(few), Frames.stack(few)) == {}


def test_what_is_not_finite_says_nothing():
    frames = speech(0)
    frames[2][3, 4] = torch.nan
    assert measure(Frames.stack(frames), Frames.stack(speech(0))) == {}
    assert measure(Frames.stack(speech(0)), Frames.stack(frames)) == {}


def test_one_utterance_alone_has_no_others_to_be_like():
    found = measured(0, utterances=1, damage=lambda frames: [torch.cat([item] * 2) for item in frames])
    assert found["frame_across"] == found["frame_spread"] > 0.5


def test_leaves_the_graph_alone():
    frames = Frames.stack([item.requires_grad_() for item in speech(0)])
    assert all(isinstance(value, float) for value in measure(frames, frames).values())


def test_frames_that_are_all_alike_are_so_in_every_respect_but_it_is_said_once():
    watch = CollapseWatch()
    said = []
    for step in range(1, 200, EVERY_STEPS):
        said += watch.note(step, measured(step, constant if step > 100 else lambda frames: frames))
    assert len(said) == 1


@pytest.mark.parametrize("damage", BROKEN, ids=lambda damage: damage.__name__)
def test_an_alarm_for_every_kind_of_collapse(damage):
    watch = CollapseWatch()
    said = []
    for step in range(1, 200, EVERY_STEPS):
        said += watch.note(step, measured(step, damage if step > 100 else lambda frames: frames))
    named = [alarm for alarm in said if alarm.startswith(f"step 121: {BROKEN[damage]} fell from ")]
    assert len(named) == 1, f"once, after three measurements: {said}"
    assert "lower train.lr" in named[0]


def exactly_constant(frames):
    return [torch.ones_like(item) for item in frames]


def exactly_constant_within(frames):
    return [item.mean(0).expand_as(item) for item in frames]


@pytest.mark.parametrize(
    ("damage", "name"),
    [
        (exactly_constant, "frame_spread"),
        (exactly_constant_within, "frame_within"),
        (one_direction, "frame_rank"),
        (unrelated, "frame_similarity"),
    ],
)
def test_what_was_never_well_is_said_too(damage, name):
    watch = CollapseWatch()
    torch.manual_seed(1)
    alarms = []
    for step in range(1, 200, EVERY_STEPS):
        frames = speech(1000 + step)
        alarms += watch.note(step, measure(Frames.stack(damage(frames)), Frames.stack(frames)))
    assert any(alarm.startswith("step 21: ") and f" {name} " in alarm for alarm in alarms), alarms


def test_silent_for_20_healthy_seeds():
    for seed in range(20):
        watch = CollapseWatch()
        for number in range(8):
            numbers = measured(1000 * seed + number, utterances=1 + 3 * (number % 4) + 2)
            assert watch.note(1 + EVERY_STEPS * number, {**numbers, "code_perplexity": 60 + 40 * (number % 3)}) == []


def test_one_odd_batch_is_no_collapse():
    watch = CollapseWatch()
    for step in range(1, 400, EVERY_STEPS):
        damage = constant if step % 30 in (1, 11) else lambda frames: frames  # two measurements in three
        assert watch.note(step, measured(step, damage)) == []


@pytest.mark.parametrize("name", ["code_perplexity", "spin.code_perplexity_64", "a.b.code_perplexity_layer_9"])
def test_a_dead_codebook(name):
    watch = CollapseWatch()
    healthy = {"loss": 1.0, name: 60.0, "spin.accuracy": 0.001}
    assert [watch.note(step, healthy) for step in range(1, 50)] == [[]] * 49
    said = {step: alarms for step in range(50, 120) if (alarms := watch.note(step, {**healthy, name: 2.0}))}
    assert list(said) == [70]
    assert f"few codes of the codebook are used: {name} fell from 60 to 2 (3%)" in said[70][0]


def test_goes_on_from_its_state():
    numbers = [
        {**measured(step, constant if step > 41 else lambda frames: frames), "code_perplexity": 100.0 / step}
        for step in range(1, 120, EVERY_STEPS)
    ]

    def said(cut: int) -> list[str]:
        watch, alarms = CollapseWatch(), []
        for number, own in enumerate(numbers):
            if number == cut:
                state = json.loads(json.dumps(watch.state()))
                watch = CollapseWatch()
                watch.load(state)
            alarms += watch.note(1 + EVERY_STEPS * number, own)
        return alarms

    uninterrupted = said(-1)
    assert len(uninterrupted) == 2
    assert all(said(cut) == uninterrupted for cut in range(len(numbers)))


def test_an_empty_state_is_the_beginning():
    watch = CollapseWatch()
    watch.note(1, {"code_perplexity": 5.0})
    watch.load({})
    assert watch.state() == CollapseWatch().state()


@pytest.mark.parametrize(("reference", "lr", "collapses"), [("student", 3e-3, True), ("frozen", 1e-4, False)])
def test_training(recordings, reference, lr, collapses):
    utterances = Data(str(recordings)).load().utterances
    pairs = PairDataset(utterances, augment=SpeedPerturb(), max_seconds=0.6)
    batches = [PairBatch.collate([pairs[0, number] for number in range(start, start + 4)]) for start in (0, 4)]
    encoder = SplitEncoder(random_encoder("hubert", "layer", dropout=0.1), 2)
    model = CorrespondenceModel(encoder, Identity(l2_normalize=True), SoftDTW(), reference=reference)
    train = Train(steps=120, lr=lr, schedule="constant")
    make_step = OptimizerStep(model, make_optimizer(model, train), train=train, ranks=Ranks())
    watch, alarms = CollapseWatch(), []
    for step in range(41):
        line = make_step([batches[step % 2]], step, watch=step % EVERY_STEPS == 0)
        alarms += watch.note(step + 1, line)
    assert bool(alarms) == collapses, alarms
