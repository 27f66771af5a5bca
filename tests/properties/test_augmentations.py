"""What every augmentation keeps, whatever it does: a new entry of AUGMENTATIONS is held to it from its first day."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from ssft.augment import (
    AUGMENTATIONS,
    AddNoise,
    Audiomentations,
    Bandwidth,
    Codec,
    Compose,
    Gain,
    Maybe,
    OneOf,
    ParametricEqualizer,
    PitchShift,
    Reverb,
    SpeakerPerturb,
    SpeedPerturb,
    TimeMask,
    Transform,
)
from ssft.components import build, describe
from ssft.data import Data, PairDataset
from ssft.randomness import derive_rng
from ssft.types import Waves

RATE = 16_000


class Example(NamedTuple):
    """An augmentation, and how far its batched form may be from the single one: root mean square, relative.

    Where one follows another it makes of small differences what it makes of the signal: of the edges of a constant,
    which two resamplers round off differently, a vocoder makes 2 %.
    """

    make: Callable[[], Transform]
    tolerance: float = 1e-5


# One example of every entry of AUGMENTATIONS, with settings that are not the defaults. A new entry needs a line here.
EXAMPLES = {
    "add_noise": Example(lambda: AddNoise("pink", min_snr_db=0.0, max_snr_db=10.0, probability=0.9), 1e-6),
    "audiomentations": Example(lambda: Audiomentations("TanhDistortion", {"min_distortion": 0.05, "p": 0.8})),
    "bandwidth": Example(lambda: Bandwidth(min_hz=1500.0, max_hz=5000.0, high_pass_hz=200.0), 1e-6),
    "codec": Example(lambda: Codec(("telephone", "gsm", "mp3", "opus", "vorbis"), min_kbps=8.0, max_kbps=32.0)),
    "compose": Example(lambda: Compose([SpeedPerturb((0.9, 1.1)), OneOf([PitchShift(2), PitchShift(-3)])]), 3e-2),
    "gain": Example(lambda: Gain(min_gain_db=-20.0, max_gain_db=10.0), 0.0),
    "maybe": Example(lambda: Maybe(SpeedPerturb((0.8, 1.25)), probability=0.7), 3e-3),
    "one_of": Example(lambda: OneOf([PitchShift(1), SpeedPerturb((1.25,)), Compose([PitchShift(-1)])]), 3e-3),
    "parametric_equalizer": Example(lambda: ParametricEqualizer(max_gain_db=6.0, bands=5), 2e-6),
    "pitch_shift": Example(lambda: PitchShift(semitones=-2.5), 1e-4),
    "reverb": Example(lambda: Reverb("rooms", max_rt60_seconds=1.2, max_distance_meters=5.0, probability=0.9), 1e-6),
    "speaker_perturb": Example(lambda: SpeakerPerturb(pitch_ratio=1.5, max_pitch_hz=400.0), 1e-3),
    "speed_perturb": Example(lambda: SpeedPerturb(factors=(0.8, 1.0, 1.3)), 3e-3),
    "time_mask": Example(lambda: TimeMask(max_spans=4, max_share=0.3, max_span_seconds=0.2), 0.0),
}

WAVES = {
    "silence": np.zeros(8_000),
    "one sample": np.ones(1),
    "400 samples": 0.1 * np.sin(np.arange(400)),
    "dc": np.full(8_000, 0.5),
    "full-scale square": np.sign(np.sin(2 * np.pi * 100.1 * np.arange(8_000) / RATE)),
    "impulse": np.eye(1, 5_000, 2_500)[0],
    "noise": np.random.default_rng(0).uniform(-1, 1, 12_345),
}


def rng_of(*key):
    return derive_rng("test", *key)


def voice(seconds, hz, seed=0):
    """Harmonics of a moving pitch, with pauses and a little noise: a caricature of speech, [T] float32."""
    time = np.arange(round(seconds * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(hz * (1 + 0.2 * np.sin(2 * np.pi * 1.3 * time))) / RATE
    wave = sum(np.cos(k * phase) / k for k in range(1, 15)) * (np.sin(2 * np.pi * 1.5 * time) > -0.6)
    return (0.1 * wave + 0.003 * np.random.default_rng(seed).standard_normal(len(time))).astype(np.float32)


def test_every_augmentation_has_an_example():
    missing, gone = set(AUGMENTATIONS) - set(EXAMPLES), set(EXAMPLES) - set(AUGMENTATIONS)
    assert not missing, f"add to EXAMPLES in {__file__}, so that the rules are tested for them too: {sorted(missing)}"
    assert not gone, f"EXAMPLES has entries that AUGMENTATIONS has not: {sorted(gone)}"
    for name, example in EXAMPLES.items():
        assert type(example.make()) is AUGMENTATIONS[name]


@pytest.fixture(params=sorted(AUGMENTATIONS))
def example(request) -> Example:
    if request.param not in EXAMPLES:
        pytest.fail(f"'{request.param}' has no line in EXAMPLES")
    return EXAMPLES[request.param]


@pytest.fixture
def transform(example) -> Transform:
    return example.make()


# ------------------------------------------------------------------------------------------------- what comes out


@pytest.mark.parametrize("wave", WAVES)
def test_any_waveform_survives(transform, wave):
    original = WAVES[wave].astype(np.float32)
    for seed in range(6):
        result = transform(original.copy(), rng_of(seed))
        assert result.dtype == np.float32
        assert result.ndim == 1
        assert len(result) >= 1
        assert np.isfinite(result).all()
        assert np.abs(result).max() <= 8 * max(np.abs(original).max(), 1e-3)
        if not transform.changes_length:
            assert len(result) == len(original)


@settings(max_examples=15, deadline=None)
@given(name=st.sampled_from(sorted(EXAMPLES)), seed=st.integers(0, 2**32), samples=st.integers(1, 6_000))
def test_the_parameters_say_everything_and_the_input_is_left_alone(name, seed, samples):
    make = EXAMPLES[name].make
    transform = make()
    wave = np.random.default_rng(seed).uniform(-0.5, 0.5, samples).astype(np.float32)
    before = wave.copy()
    drawn = transform.draw(rng_of(seed), wave)
    assert drawn == transform.draw(rng_of(seed), wave) == make().draw(rng_of(seed), wave)
    first = transform.apply(wave, drawn)
    # What was drawn can be written down, read back and applied by another object.
    again = make().apply(wave.copy(), json.loads(json.dumps(drawn)))
    called = transform(wave.copy(), rng_of(seed))
    assert np.array_equal(first, again)
    assert np.array_equal(first, called)
    assert np.array_equal(wave, before)


def test_settings_are_shown_described_and_built_again(transform):
    described = describe(transform, [AUGMENTATIONS])
    again = build(AUGMENTATIONS, described, where="test")
    assert describe(again, [AUGMENTATIONS]) == described
    shown = repr(transform)
    assert shown.startswith(f"{type(transform).__name__}(")
    assert all(f"{setting}=" in shown for setting in described if setting != "name")
    wave = WAVES["noise"].astype(np.float32)
    assert np.array_equal(again(wave.copy(), rng_of(3)), transform(wave.copy(), rng_of(3)))


# ----------------------------------------------------------------------------------------------------- randomness


def generators() -> list[Any]:
    return [random.getstate(), np.random.get_state()[1].tolist(), torch.random.get_rng_state().tolist()]


def test_the_global_generators_are_neither_used_nor_moved(transform):
    wave = voice(0.8, 140)
    first = transform(wave.copy(), rng_of(1))
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    before = generators()
    assert np.array_equal(first, transform(wave.copy(), rng_of(1)))
    if transform.runs_on_device:
        transform.apply_batch(Waves.stack([torch.from_numpy(wave)]), [transform.draw(rng_of(1), wave)])
    assert generators() == before


def test_a_key_gives_the_same_samples_whatever_the_workers(recordings):
    augment = OneOf([EXAMPLES[name].make() for name in sorted(EXAMPLES)])
    pairs = PairDataset(Data(str(recordings)).load().utterances, augment=augment, augment_original=augment, seed=3)
    keys = [(epoch, index) for epoch in (0, 1, 5) for index in range(len(pairs))]

    def versions(workers, order):
        loader = DataLoader(
            pairs, batch_sampler=[[keys[place]] for place in order], collate_fn=list, num_workers=workers
        )
        return dict(zip(order, (pair for (pair,) in loader), strict=True))

    alone = versions(0, range(len(keys)))
    assert len({json.dumps(pair.drawn["augmented"]) for pair in alone.values()}) > len(keys) // 2
    for workers in (1, 3):
        shared = versions(workers, np.random.default_rng(workers).permutation(len(keys)).tolist())
        for place, pair in alone.items():
            assert torch.equal(pair.augmented, shared[place].augmented)
            assert torch.equal(pair.original, shared[place].original)
            assert pair.drawn == shared[place].drawn


def test_ten_thousand_draws_over_workers_and_epochs_are_all_different(recordings):
    utterances = Data(str(recordings)).load().utterances[:10]
    pairs = PairDataset(utterances, augment=SpeakerPerturb(), max_seconds=0.3, on_device=True)
    batches = [[(epoch, index) for index in range(len(pairs))] for epoch in range(1_000)]
    loader = DataLoader(pairs, batch_sampler=batches, collate_fn=list, num_workers=2)
    drawn = [json.dumps(pair.drawn["augmented"]) for batch in loader for pair in batch]
    assert len(drawn) == len(set(drawn)) == 10_000


# ------------------------------------------------------------------------------------------------------ in batches


def batch_of(waves, fill=float("nan")):
    """A padded batch with rubbish behind every waveform."""
    batch = Waves.stack([torch.from_numpy(wave) for wave in waves])
    return Waves(torch.where(batch.mask, batch.samples, fill), batch.lengths)


def test_in_a_batch_each_waveform_becomes_what_it_becomes_alone(example):
    transform = example.make()
    if not transform.runs_on_device:
        pytest.skip(f"{type(transform).__name__} has no form for batches")
    waves = [voice(seconds, hz) for seconds, hz in ((1.7, 110), (0.05, 300), (2.3, 220), (0.9, 150), (1.1, 90))]
    waves += [WAVES[name].astype(np.float32) for name in ("noise", "silence", "one sample", "dc")]
    for seed in range(3):
        parameters = [transform.draw(rng_of(seed, row), wave) for row, wave in enumerate(waves)]
        batch = batch_of(waves)
        before = batch.samples.clone()
        result = transform.apply_batch(batch, parameters)
        assert torch.equal(batch.samples.nan_to_num(7), before.nan_to_num(7))
        assert result.samples.dtype == torch.float32
        assert bool((result.samples[~result.mask] == 0).all())
        for row, (wave, drawn, made) in enumerate(zip(waves, parameters, result.items(), strict=True)):
            alone = transform.apply(wave, drawn)
            assert len(made) == len(alone), row
            error = np.sqrt(np.mean((made.numpy() - alone) ** 2))
            assert error <= example.tolerance * max(np.sqrt(np.mean(alone**2)), 1e-4), (row, drawn)
        # Whom a waveform shares its batch with changes nothing but rounding.
        order = [3, 0, 5]
        fewer = transform.apply_batch(batch_of([waves[row] for row in order]), [parameters[row] for row in order])
        for row, made in zip(order, fewer.items(), strict=True):
            other = result.samples[row, : int(result.lengths[row])]
            assert torch.allclose(made, other, atol=2e-4 * float(other.abs().max()) + 1e-7), row
