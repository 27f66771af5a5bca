"""What is said of an encoder without labels: by definition, relative to the base, and without touching anything."""

from __future__ import annotations

import math

import pytest
import torch
from random_encoders import random_encoder

from ssft.augment import Compose, PitchShift, SpeedPerturb
from ssft.data import Data, PairDataset
from ssft.encoders import Encoder, SplitEncoder
from ssft.engine import CorrespondenceModel
from ssft.engine.optim import trainable
from ssft.engine.validation import Validation
from ssft.errors import DataError, RecipeError
from ssft.heads import Identity
from ssft.losses import FrameRegression
from ssft.types import PairBatch, Utterance, Waves

AUGMENT = Compose([SpeedPerturb(factors=(0.9, 1.1)), PitchShift(semitones=3)])


@pytest.fixture(scope="module")
def utterances(recordings) -> list[Utterance]:
    return Data(str(recordings)).load().utterances


def make_encoder(**settings) -> SplitEncoder:
    return SplitEncoder(random_encoder("hubert", "group", dropout=settings.pop("dropout", 0.0)), 2, **settings)


def frames_of(encoder: SplitEncoder, pair) -> tuple[list, list]:
    """Original and twin, each encoded alone, as lists of lists."""

    encoder.eval()
    with torch.no_grad():
        sides = [encoder(Waves.stack([wave])).values[0].double() for wave in (pair.original, pair.augmented)]
    encoder.train()
    return sides[0][pair.lead :].tolist(), sides[1].tolist()


def dot(a, b) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def cosine(a, b) -> float:
    return dot(a, b) / math.sqrt(dot(a, a) * dot(b, b))


def slow_numbers(pairs: PairDataset, base: SplitEncoder, adapted: SplitEncoder) -> dict[str, float]:
    """The definitions, frame by frame; every utterance is compared with every other one."""
    drawn = [pairs[0, index] for index in range(len(pairs))]
    base_views, views = ([frames_of(encoder, pair) for pair in drawn] for encoder in (base, adapted))
    loud = []
    for pair, (original, _) in zip(drawn, base_views, strict=True):
        wave, count = pair.original[pair.lead * pairs.frame_samples :].tolist(), len(original)
        # Windows of whole samples that cover each frame's share of the recording.
        spans = [(len(wave) * i // count, -(-len(wave) * (i + 1) // count)) for i in range(count)]
        power = [sum(x * x for x in wave[a:b]) / (b - a) for a, b in spans]
        loud.append([one > max(power) / 1000 for one in power])

    def heard(view, frame):
        original, twin = view
        return twin[int((frame + 0.5) / len(original) * len(twin))]

    near, far, drift = [], [], []
    for (original, _), view in zip(base_views, views, strict=True):
        for i in range(len(original)):
            angles = [math.acos(min(cosine(heard(view, i), frame), 1.0)) for frame in view[0]]
            near.append(angles[i])
            others = [angle for j, angle in enumerate(angles) if abs(i - j) >= 5]
            far.append(sum(others) / len(others))
            drift.append(1 - cosine(original[i], view[0][i]))
    wins = []
    for u, (original, _) in enumerate(base_views):
        for i, frame in enumerate(original):
            likeness = {
                (v, j): cosine(frame, other)
                for v in range(len(views))
                if v != u
                for j, other in enumerate(base_views[v][0])
            }
            v, j = max(likeness, key=likeness.__getitem__)
            back = [cosine(base_views[v][0][j], other) for other in original]
            if back.index(max(back)) != i or not loud[u][i]:
                continue
            to_all = [cosine(heard(views[u], i), other) for other in views[v][0]]
            others = [like for k, like in enumerate(to_all) if abs(k - j) >= 5]
            wins.append(sum(like < to_all[j] for like in others) / len(others))

    def mean(values):
        return sum(values) / len(values)

    return {"invariance": 1 - mean(near) / mean(far), "discrimination": mean(wins), "drift": mean(drift)}


def disturb(encoder: SplitEncoder, scale: float = 0.15) -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in trainable(encoder).values():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))


def test_the_numbers_are_what_the_definitions_say(utterances):
    shortest = sorted(utterances, key=lambda utterance: utterance.seconds)[:3]
    pairs = PairDataset(shortest, augment=AUGMENT, pad_jitter=(0.05, 0.1), max_seconds=0.6)
    base, adapted = make_encoder(), make_encoder()
    validation = Validation(pairs, adapted)
    disturb(adapted)
    found = validation.measure(adapted)
    expected = slow_numbers(pairs, base, adapted)
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=2e-4)
    assert 0.5 < expected["discrimination"] < 0.99  # neither chance nor perfection


def test_the_base_scores_nothing_and_what_is_worse_scores_less(utterances):
    encoder = make_encoder()
    validation = Validation(PairDataset(utterances, augment=AUGMENT), encoder)
    base = validation.measure(encoder)
    assert base["score"] == 0
    assert base["drift"] == pytest.approx(0, abs=1e-6)
    disturb(encoder)
    worse = validation.measure(encoder)
    assert worse["score"] < 0
    assert worse["drift"] > 0.01
    error, base_error = 1.001 - worse["discrimination"], 1.001 - base["discrimination"]
    lost_rank = max(0, math.log2(base["rank"] / worse["rank"]))
    assert worse["score"] == pytest.approx(math.log2(base_error / error) - lost_rank)


def test_a_collapsed_encoder_is_at_chance_and_one_that_is_not_finite_has_no_numbers(utterances):
    encoder = make_encoder()
    validation = Validation(PairDataset(utterances, augment=AUGMENT), encoder)
    norm = encoder.encoder.layers[-1].final_layer_norm
    with torch.no_grad():
        norm.weight.zero_()
        norm.bias.fill_(1.0)
    collapsed = validation.measure(encoder)
    assert collapsed["discrimination"] == 0.5
    assert collapsed["rank"] == pytest.approx(1, abs=1e-3)
    assert collapsed["score"] < -1
    with torch.no_grad():
        norm.bias[0] = math.nan
    assert all(math.isnan(value) for value in validation.measure(encoder).values())


def test_learning_to_ignore_the_augmentation_scores_more_on_speech_that_was_not_trained_on():
    encoder = Encoder("tiny", trainable_layers=2).load()
    speech = Data("demo", verify="header").load().utterances[::13][:18]
    training, held_out = (PairDataset(part, augment=PitchShift(semitones=3), max_seconds=2.0) for part in (
        speech[:8], speech[8:],
    ))  # fmt: skip
    validation = Validation(held_out, encoder)
    before = validation.measure(encoder)
    model = CorrespondenceModel(encoder, Identity(l2_normalize=True), FrameRegression())
    batch = PairBatch.collate([training[0, index] for index in range(len(training))])
    optimizer = torch.optim.AdamW(trainable(model).values(), lr=1e-3)
    for _ in range(3):
        optimizer.zero_grad()
        model(batch)["loss"].backward()
        optimizer.step()
    after = validation.measure(encoder)
    assert after["score"] > 0.1
    assert after["invariance"] > before["invariance"]
    assert after["discrimination"] > before["discrimination"]


def test_measuring_changes_nothing_and_is_the_same_every_time(utterances):
    encoder = make_encoder(dropout=0.3)
    encoder.train()
    weights = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    modes = {name: module.training for name, module in encoder.named_modules()}
    state = torch.get_rng_state()
    pairs = PairDataset(utterances, augment=AUGMENT)
    first = Validation(pairs, encoder)
    numbers = first.measure(encoder)
    assert torch.equal(torch.get_rng_state(), state)
    assert {name: module.training for name, module in encoder.named_modules()} == modes
    assert all(torch.equal(tensor, weights[name]) for name, tensor in encoder.state_dict().items())
    assert all(parameter.grad is None for parameter in encoder.parameters())
    assert numbers == first.measure(encoder) == Validation(pairs, encoder).measure(encoder)
    encoder.eval()
    first.measure(encoder)
    assert not encoder.training


def test_the_base_of_reset_layers_is_what_they_were_before(utterances):
    encoder = random_encoder("hubert", "group")
    with torch.no_grad():
        for parameter in encoder.layers[-1].parameters():
            parameter.add_(0.5 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    encoder = SplitEncoder(encoder, 2, reset_layers=1)
    numbers = Validation(PairDataset(utterances, augment=AUGMENT), encoder).measure(encoder)
    assert numbers["drift"] > 0.05


def test_what_cannot_be_decoded_is_left_out_and_too_little_is_an_error(utterances, tmp_path):
    encoder = make_encoder()
    (tmp_path / "bad.wav").write_text("This is no audio.")
    bad = Utterance("bad", tmp_path / "bad.wav", 1.0)
    some = Validation(PairDataset([*utterances, bad], augment=AUGMENT), encoder).measure(encoder)
    assert some == Validation(PairDataset(utterances, augment=AUGMENT), encoder).measure(encoder)
    for few in ([], [bad], [utterances[0], bad]):
        with pytest.raises(DataError, match=f"{len(few)} held-out .* too few or too short .*data.held_out"):
            Validation(PairDataset(few, augment=AUGMENT), encoder)
    with pytest.raises(DataError, match="too few or too short"):
        Validation(PairDataset(utterances, augment=AUGMENT, max_seconds=0.1), encoder)


def test_twins_that_are_no_others_are_refused(utterances):
    with pytest.raises(RecipeError, match=r"views\.augmented changes none"):
        Validation(PairDataset(utterances), make_encoder())
