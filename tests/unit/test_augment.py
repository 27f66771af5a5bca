"""Augmentations: each does to a signal what its name says, and all of them keep the rules of `Transform`."""

from __future__ import annotations

import numpy as np
import pytest

from ssft.augment import (
    Compose,
    OneOf,
    PitchShift,
    SpeedPerturb,
)
from ssft.errors import RecipeError
from ssft.randomness import derive_rng

RATE = 16_000


def tone(hz, seconds=1.5):
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def peak_hz(wave):
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave)), 1 << 19))
    return spectrum.argmax() * RATE / (1 << 19)


def rng_of(*key):
    return derive_rng("test", *key)


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
