"""Augmentations: each does to a signal what its name says, and all of them keep the rules of `Transform`."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssft.augment import (
    AUGMENTATIONS,
    AddNoise,
    Compose,
    OneOf,
    ParametricEqualizer,
    PitchShift,
    SpeakerPerturb,
    SpeedPerturb,
    Transform,
)
from ssft.components import build, describe
from ssft.errors import RecipeError
from ssft.randomness import derive_rng

RATE = 16_000

# One example of every entry of AUGMENTATIONS, with settings that are not the defaults. A new entry needs a line here.
EXAMPLES = {
    "add_noise": lambda: AddNoise("pink", min_snr_db=0.0, max_snr_db=10.0, probability=0.9),
    "compose": lambda: Compose([SpeedPerturb((0.9, 1.1)), OneOf([PitchShift(2), PitchShift(-3)])]),
    "one_of": lambda: OneOf([PitchShift(1), SpeedPerturb((1.25,)), Compose([PitchShift(-1)])]),
    "parametric_equalizer": lambda: ParametricEqualizer(max_gain_db=6.0, bands=5),
    "pitch_shift": lambda: PitchShift(semitones=-2.5),
    "speaker_perturb": lambda: SpeakerPerturb(pitch_ratio=1.5, max_pitch_hz=400.0),
    "speed_perturb": lambda: SpeedPerturb(factors=(0.8, 1.0, 1.3)),
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


def tone(hz, seconds=1.5):
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def peak_hz(wave):
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave)), 1 << 19))
    return spectrum.argmax() * RATE / (1 << 19)


def rng_of(*key):
    return derive_rng("test", *key)


# --------------------------------------------------------------------------------------------- rules that all keep


def test_every_augmentation_has_an_example():
    missing, gone = set(AUGMENTATIONS) - set(EXAMPLES), set(EXAMPLES) - set(AUGMENTATIONS)
    assert not missing, f"add to EXAMPLES in {__file__}, so that the rules are tested for them too: {sorted(missing)}"
    assert not gone, f"EXAMPLES has entries that AUGMENTATIONS has not: {sorted(gone)}"
    for name, example in EXAMPLES.items():
        assert type(example()) is AUGMENTATIONS[name]


@pytest.fixture(params=sorted(AUGMENTATIONS))
def transform(request) -> Transform:
    if request.param not in EXAMPLES:
        pytest.fail(f"'{request.param}' has no line in EXAMPLES")
    return EXAMPLES[request.param]()


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
    transform = EXAMPLES[name]()
    wave = np.random.default_rng(seed).uniform(-0.5, 0.5, samples).astype(np.float32)
    before = wave.copy()
    drawn = transform.draw(rng_of(seed), wave)
    assert drawn == transform.draw(rng_of(seed), wave) == EXAMPLES[name]().draw(rng_of(seed), wave)
    first = transform.apply(wave, drawn)
    # What was drawn can be written down, read back and applied by another object.
    again = EXAMPLES[name]().apply(wave.copy(), json.loads(json.dumps(drawn)))
    called = transform(wave.copy(), rng_of(seed))
    assert np.array_equal(first, again)
    assert np.array_equal(first, called)
    assert np.array_equal(wave, before)


def test_the_global_generators_are_not_used(transform):
    wave = WAVES["noise"].astype(np.float32)
    first = transform(wave.copy(), rng_of(1))
    np.random.seed(5)
    state = np.random.get_state()[1].copy()
    assert np.array_equal(first, transform(wave.copy(), rng_of(1)))
    assert np.array_equal(np.random.get_state()[1], state)


def test_settings_are_shown_described_and_built_again(transform):
    described = describe(transform, [AUGMENTATIONS])
    again = build(AUGMENTATIONS, described, where="test")
    assert describe(again, [AUGMENTATIONS]) == described
    shown = repr(transform)
    assert shown.startswith(f"{type(transform).__name__}(")
    assert all(f"{setting}=" in shown for setting in described if setting != "name")
    wave = WAVES["noise"].astype(np.float32)
    assert np.array_equal(again(wave.copy(), rng_of(3)), transform(wave.copy(), rng_of(3)))


def test_repr_is_what_one_would_write():
    assert repr(SpeedPerturb([0.9, 1.1])) == "SpeedPerturb(factors=(0.9, 1.1))"
    shown = repr(Compose([PitchShift(2), OneOf([PitchShift(-2, sample_rate=8000)])]))
    assert shown == (
        "Compose(steps=[PitchShift(semitones=2, sample_rate=16000), "
        "OneOf(choices=[PitchShift(semitones=-2, sample_rate=8000)])])"
    )


# ---------------------------------------------------------------------------------------------------------- speed


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.1, 1.37, 2.0])
@pytest.mark.parametrize("samples", [1, 399, 400, 16_001, 40_000])
def test_speed_changes_the_length(factor, samples):
    result = SpeedPerturb((factor,))(np.zeros(samples, np.float32), rng_of(0))
    assert abs(len(result) - round(samples / factor)) <= 1


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_speed_moves_frequency_and_time_together(factor):
    transform = SpeedPerturb((factor,))
    assert peak_hz(transform(tone(440), rng_of(0))) == pytest.approx(440 * factor, rel=0.002)
    wave = np.zeros(16_000, np.float32)
    wave[4_000], wave[12_000] = 1, 1
    result = np.abs(transform(wave, rng_of(0)))
    half = len(result) // 2
    assert abs(int(result[:half].argmax()) - 4_000 / factor) <= 1
    assert abs(half + int(result[half:].argmax()) - 12_000 / factor) <= 1


def test_speed_one_changes_nothing_and_all_factors_are_drawn():
    wave = tone(440)
    assert np.array_equal(SpeedPerturb((1.0,))(wave, rng_of(0)), wave)
    transform = SpeedPerturb((0.9, 1.0, 1.1))
    drawn = [transform.draw(rng_of(seed), wave)["factor"] for seed in range(600)]
    assert all(150 < drawn.count(factor) < 250 for factor in (0.9, 1.0, 1.1))


# ---------------------------------------------------------------------------------------------------------- pitch


@pytest.mark.parametrize("semitones", [-12, -2, -0.5, 2, 7, 12])
@pytest.mark.parametrize("hz", [220, 440, 1000])
def test_pitch_moves_a_tone_by_its_interval(semitones, hz):
    wave = tone(hz)
    shifted = PitchShift(semitones)(wave, rng_of(0))
    assert len(shifted) == len(wave)
    assert peak_hz(shifted) == pytest.approx(hz * 2 ** (semitones / 12), rel=0.02)
    level = shifted[2_000:-2_000].std() / wave.std()
    assert 0.8 < level < 1.2


@pytest.mark.parametrize("semitones", [-4, -2, 2, 4])
@pytest.mark.parametrize("at", [0.1, 0.5, 0.85])
def test_pitch_shifts_nothing_in_time(semitones, at):
    time = np.arange(RATE) / RATE
    burst = np.exp(-0.5 * ((time - at) / 0.015) ** 2) * np.sin(2 * np.pi * 600 * time)
    shifted = PitchShift(semitones)(burst.astype(np.float32), rng_of(0))
    smooth = np.hanning(161) / np.hanning(161).sum()
    one, other = (np.convolve(np.abs(wave), smooth, "same") for wave in (burst, shifted))
    one, other = one[::8], other[::8]  # 0.5 ms
    lag = np.correlate(other, one, "full").argmax() - (len(one) - 1)
    assert abs(lag) * 8 / RATE < 0.010


@pytest.mark.parametrize("samples", [1, 2, 399, 400, 1_023, 16_000, 16_001])
def test_pitch_keeps_every_length(samples):
    wave = np.random.default_rng(samples).uniform(-0.5, 0.5, samples).astype(np.float32)
    assert len(PitchShift(3)(wave, rng_of(0))) == samples


def test_pitch_shifts_speech_by_its_interval(shared_speech):
    from ssft.data import read_audio

    files = sorted((shared_speech / "speechocean762_train" / "audio").rglob("*.opus"))[:4]
    assert files
    for path in files:
        wave = read_audio(path)
        shifted = PitchShift(4)(wave, rng_of(0))
        centroids = []
        for signal in (wave, shifted):
            power = np.abs(np.fft.rfft(signal)) ** 2
            low = slice(0, len(power) // 3)  # what is shifted above 8 kHz is lost
            hz = np.arange(len(power)) * 8_000 / len(power)
            centroids.append(float((hz[low] * power[low]).sum() / power[low].sum()))
        assert len(shifted) == len(wave)
        assert centroids[1] / centroids[0] == pytest.approx(2 ** (4 / 12), rel=0.12)


# -------------------------------------------------------------------------------------------------------- compose


def test_compose_applies_all_and_one_of_each_equally_often():
    wave = tone(440, 0.5)
    faster, higher = SpeedPerturb((1.25,)), PitchShift(2)
    both = Compose([faster, higher])(wave, rng_of(0))
    assert np.array_equal(both, higher(faster(wave, rng_of(0)), rng_of(0)))
    choices = OneOf([PitchShift(semitones) for semitones in (-2, 0, 2)])
    drawn = [choices.draw(rng_of(seed), wave)["choice"] for seed in range(600)]
    assert all(150 < drawn.count(choice) < 250 for choice in range(3))


def test_whether_the_length_changes_is_known_beforehand():
    assert not PitchShift(2).changes_length
    assert not SpeedPerturb((1.0,)).changes_length
    assert SpeedPerturb((1.0, 1.1)).changes_length
    assert OneOf([PitchShift(2), SpeedPerturb()]).changes_length
    assert Compose([PitchShift(2), OneOf([SpeedPerturb()])]).changes_length
    assert not Compose([PitchShift(2), OneOf([PitchShift(-2)])]).changes_length


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: SpeedPerturb(()), "SpeedPerturb(factors="),
        (lambda: SpeedPerturb((0.4, 1.0)), "SpeedPerturb(factors="),
        (lambda: SpeedPerturb((2.5,)), "SpeedPerturb(factors="),
        (lambda: SpeedPerturb((float("nan"),)), "SpeedPerturb(factors="),
        (lambda: SpeedPerturb(np.array([])), "SpeedPerturb(factors="),
        (lambda: PitchShift(25), "PitchShift(semitones=25)"),
        (lambda: PitchShift(float("nan")), "PitchShift(semitones=nan)"),
        (lambda: PitchShift(2, sample_rate=0), "PitchShift(sample_rate=0)"),
        (lambda: Compose([]), "Compose(steps=[])"),
        (lambda: OneOf([]), "OneOf(choices=[])"),
        (lambda: Compose(PitchShift(2)), "Compose(steps="),
        (lambda: OneOf([PitchShift(2), "pitch_shift"]), "OneOf(choices): 'pitch_shift' is not an augmentation"),
    ],
)
def test_bad_settings_are_named(make, says):
    with pytest.raises(RecipeError) as caught:
        make()
    assert says in str(caught.value)
