"""Bandwidth: what lies beyond the edges is gone, what lies between is as it was, and nothing moves in time."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile
import torch

from ssft.augment.bandwidth import Bandwidth
from ssft.errors import RecipeError
from ssft.ops.band_pass import band_pass
from ssft.ops.convolution import convolve
from ssft.randomness import derive_rng
from ssft.types import Waves

RATE = 16_000


def noise(samples=RATE, seed=0):
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def gain_db(transform, low_pass_hz, hz, rate=RATE):
    """What a tone becomes, measured in its middle."""
    time = np.arange(rate) / rate
    wave = np.sin(2 * np.pi * hz * time).astype(np.float32)
    result = transform.apply(wave, {"low_pass_hz": low_pass_hz})
    middle = slice(rate // 4, -rate // 4)
    return 20 * np.log10(max(result[middle].std() / wave[middle].std(), 1e-9))


# -------------------------------------------------------------------------------------------------- the convolution


@pytest.mark.parametrize("taps", [1, 2, 513, 3_000])
@pytest.mark.parametrize("length", [1, 400, 2_048, 20_001])
@pytest.mark.parametrize("first", [0, 0.5, 1])
def test_convolution_is_convolution(taps, length, first):
    first = int(first * (taps - 1))
    rng = np.random.default_rng(length + taps)
    signals, filters = rng.standard_normal((2, length)), rng.standard_normal((2, taps))
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-6)):
        made = convolve(torch.from_numpy(signals).to(dtype), torch.from_numpy(filters).to(dtype), first=first)
        for row in range(2):
            expected = np.convolve(signals[row], filters[row])[first : first + length]
            assert np.abs(made[row].numpy() - expected).max() < 5 * tolerance * np.sqrt(taps)
    one = convolve(torch.from_numpy(signals), torch.from_numpy(filters[:1]), first=first)
    expected = np.convolve(signals[1], filters[0])[first : first + length]
    assert np.abs(one[1].numpy() - expected).max() < 1e-10


def test_the_filter_is_the_formula():
    low, high = 300.0, 3400.0
    expected = []
    for n in range(-64, 65):
        ideal = 2 * (high - low) / RATE
        if n:
            t = n / RATE
            ideal = (np.sin(2 * np.pi * high * t) - np.sin(2 * np.pi * low * t)) / (np.pi * n)
        x = (n + 64) / 128
        expected.append(ideal * (0.42 - 0.5 * np.cos(2 * np.pi * x) + 0.08 * np.cos(4 * np.pi * x)))
    edges = (torch.tensor([edge], dtype=torch.float64) for edge in (low, high))
    assert band_pass(*edges, half=64, sample_rate=RATE)[0].numpy() == pytest.approx(np.array(expected), abs=1e-14)


# ----------------------------------------------------------------------------------------------------- what is kept


@pytest.mark.parametrize("edge", [2_000.0, 3_456.0, 7_500.0])
def test_what_lies_above_the_edge_is_gone(edge):
    transform = Bandwidth()
    for hz in (0.1, 100, 1_000, edge - 100):
        assert gain_db(transform, edge, hz) == pytest.approx(0, abs=0.02)
    assert gain_db(transform, edge, edge) == pytest.approx(-6.02, abs=0.1)
    for hz in (edge + 90, edge + 300, 7_950):
        assert gain_db(transform, edge, hz) < -70


def test_a_telephone_has_a_lower_edge_too():
    transform = Bandwidth(min_hz=3_400.0, max_hz=3_400.0, high_pass_hz=300.0)
    assert transform.draw(derive_rng(0), noise())["low_pass_hz"] == pytest.approx(3_400)
    for hz, expected in ((400, 0), (1_000, 0), (3_300, 0), (300, -6.02), (3_400, -6.02)):
        assert gain_db(transform, 3_400.0, hz) == pytest.approx(expected, abs=0.1)
    for hz in (50, 200, 3_500):
        assert gain_db(transform, 3_400.0, hz) < -65


def test_another_rate_has_the_same_edges():
    transform = Bandwidth(max_hz=3_500.0, sample_rate=8_000)
    assert gain_db(transform, 2_500.0, 2_500, rate=8_000) == pytest.approx(-6.02, abs=0.1)
    assert gain_db(transform, 2_500.0, 2_600, rate=8_000) < -70


def test_nothing_is_delayed():
    wave = np.zeros(4_000, np.float32)
    wave[1_234] = 1
    result = Bandwidth().apply(wave, {"low_pass_hz": 3_000.0})
    assert int(np.abs(result).argmax()) == 1_234
    assert result[1_234 - 200 : 1_234] == pytest.approx(result[1_235 : 1_235 + 200][::-1], abs=1e-7)


def test_edges_are_uniform_in_octaves_and_plain():
    transform = Bandwidth(min_hz=1_000.0, max_hz=4_000.0)
    drawn = [transform.draw(derive_rng("test", seed), noise(1)) for seed in range(600)]
    assert json.loads(json.dumps(drawn)) == drawn
    octaves = np.log2([parameters["low_pass_hz"] / 1_000 for parameters in drawn])
    assert octaves.min() > 0
    assert octaves.max() < 2
    assert octaves.mean() == pytest.approx(1, abs=0.08)
    assert octaves.std() == pytest.approx(2 / np.sqrt(12), rel=0.06)


# ------------------------------------------------------------------------------------------------------ any waveform


def test_each_waveform_of_a_batch_has_its_own_edge():
    transform = Bandwidth(high_pass_hz=100.0)
    waves = [noise(samples, seed=samples) for samples in (30_000, 1, 400, 12_345)]
    parameters = [{"low_pass_hz": edge} for edge in (2_000.0, 3_000.0, 7_000.0, 2_500.0)]
    batch = Waves.stack([torch.from_numpy(wave) for wave in waves])
    batch = Waves(batch.samples.masked_fill(~batch.mask, float("nan")), batch.lengths)
    result = transform.apply_batch(batch, parameters)
    assert bool((result.samples[~result.mask] == 0).all())
    for wave, drawn, made in zip(waves, parameters, result.items(), strict=True):
        alone = transform.apply(wave, drawn)
        assert alone.shape == wave.shape
        assert np.abs(made.numpy() - alone).max() <= 1e-6 * np.abs(alone).max()


def test_silence_stays_silence():
    assert not Bandwidth()(np.zeros(5_000, np.float32), derive_rng(0)).any()


def test_speech_keeps_what_it_has_below_the_edge(shared_speech):
    files = sorted((shared_speech / "ljspeech_141" / "audio").rglob("*.*"))[:3]
    for path in files:
        wave = soundfile.read(path, dtype="float32")[0]
        result = Bandwidth().apply(wave, {"low_pass_hz": 3_000.0})
        before, after = (np.abs(np.fft.rfft(samples)) ** 2 for samples in (wave, result))
        hz = np.fft.rfftfreq(len(wave), 1 / RATE)
        assert after[hz < 2_900].sum() == pytest.approx(before[hz < 2_900].sum(), rel=1e-3)
        assert after[hz > 3_100].sum() < 1e-5 * before[hz > 3_100].sum()


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"min_hz": 0}, "min_hz=0"),
        ({"min_hz": 7_600.0}, "min_hz=7600.0"),
        ({"max_hz": 8_000.0}, "max_hz=8000.0"),
        ({"max_hz": float("nan")}, "max_hz=nan"),
        ({"high_pass_hz": 2_000.0}, "high_pass_hz=2000.0"),
        ({"high_pass_hz": -1.0}, "high_pass_hz=-1.0"),
        ({"sample_rate": 8_000}, "sample_rate=8000"),
    ],
)
def test_bad_settings_are_named(setting, says):
    with pytest.raises(RecipeError, match=r"Bandwidth\(") as caught:
        Bandwidth(**setting)
    assert says in str(caught.value)
