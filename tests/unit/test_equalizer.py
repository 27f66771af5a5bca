"""The parametric equalizer: its curve is that of the analog filters behind it, and full scale is never exceeded."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile
import torch

from ssft.augment.equalizer import ParametricEqualizer
from ssft.errors import RecipeError
from ssft.ops.biquads import impulse_responses, ringing_samples
from ssft.randomness import derive_rng
from ssft.types import Waves

RATE = 16_000
FLAT = {"gains_db": [0.0] * 10, "q": [2.0] * 10}


def noise(samples=20_000, seed=0):
    return (0.05 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def batch_of(waves, fill=float("nan")):
    """A padded batch with rubbish behind every waveform."""
    batch = Waves.stack([torch.from_numpy(wave) for wave in waves])
    return Waves(torch.where(batch.mask, batch.samples, fill), batch.lengths)


def relative_error(made, expected):
    return float(np.sqrt(np.mean((np.asarray(made, np.float64) - expected) ** 2) / np.mean(expected**2)))


def filter_slowly(wave, gains_db, q, rate=RATE):
    """The cascade from the cookbook's formulas, sample by sample in float64: [T] and what follows from nothing."""
    signal = np.asarray(wave, np.float64)
    centres = 60 * (7600 / 60) ** (np.arange(10) / 9)
    for band, (gain, quality, hz) in enumerate(zip(gains_db, q, centres, strict=True)):
        amp, w = 10 ** (gain / 40), 2 * np.pi * hz / rate
        cos, alpha = np.cos(w), np.sin(w) / (2 * quality)
        if band in (0, 9):
            turn = 1 if band == 0 else -1
            root = 2 * np.sqrt(amp) * alpha
            b = (
                amp * ((amp + 1) - turn * (amp - 1) * cos + root),
                turn * 2 * amp * ((amp - 1) - turn * (amp + 1) * cos),
                amp * ((amp + 1) - turn * (amp - 1) * cos - root),
            )
            a = (
                (amp + 1) + turn * (amp - 1) * cos + root,
                turn * -2 * ((amp - 1) + turn * (amp + 1) * cos),
                (amp + 1) + turn * (amp - 1) * cos - root,
            )
        else:
            b = (1 + alpha * amp, -2 * cos, 1 - alpha * amp)
            a = (1 + alpha / amp, -2 * cos, 1 - alpha / amp)
        out = np.zeros(len(signal))
        for n in range(len(signal)):
            past = [(signal[n - k], out[n - k]) if n >= k else (0.0, 0.0) for k in (1, 2)]
            total = b[0] * signal[n] + sum(b[k] * past[k - 1][0] - a[k] * past[k - 1][1] for k in (1, 2))
            out[n] = total / a[0]
        signal = out
    return signal


def response(equalizer, parameters, hz):
    impulse = np.zeros(1 << 15, np.float32)
    impulse[0] = 1e-3  # far from full scale, so that nothing is turned down
    spectrum = np.fft.rfft(equalizer.apply(impulse, parameters).astype(np.float64) / 1e-3)
    return np.interp(hz, np.arange(len(spectrum)) * RATE / len(impulse), 20 * np.log10(np.abs(spectrum)))


def analog_response(gains_db, q, hz):
    """From the analog prototypes, with the frequency axis bent as the bilinear transform bends it."""
    total = np.zeros(len(hz))
    centres = 60 * (7600 / 60) ** (np.arange(10) / 9)
    for band, (gain, quality, centre) in enumerate(zip(gains_db, q, centres, strict=True)):
        s = 1j * np.tan(np.pi * hz / RATE) / np.tan(np.pi * centre / RATE)
        a = 10 ** (gain / 40)
        if band == 0:
            h = a * (s**2 + np.sqrt(a) / quality * s + a) / (a * s**2 + np.sqrt(a) / quality * s + 1)
        elif band == 9:
            h = a * (a * s**2 + np.sqrt(a) / quality * s + 1) / (s**2 + np.sqrt(a) / quality * s + a)
        else:
            h = (s**2 + s * a / quality + 1) / (s**2 + s / (a * quality) + 1)
        total += 20 * np.log10(np.abs(h))
    return total


@pytest.mark.parametrize("seed", range(5))
def test_the_curve_is_that_of_the_analog_filters(seed):
    equalizer = ParametricEqualizer()
    drawn = equalizer.draw(derive_rng("test", seed), noise(10))
    hz = np.geomspace(20, 7900, 200)
    assert response(equalizer, drawn, hz) == pytest.approx(analog_response(**drawn, hz=hz), abs=0.05)


def test_every_band_has_its_gain_where_it_belongs():
    centres = np.geomspace(60, 7600, 10)
    for band, centre in enumerate(centres):
        gains = [0.0] * 10
        gains[band] = -9.0
        where = {0: 5.0, 9: 7999.0}.get(band, centre)  # shelves reach their gain at the end of the spectrum
        far = 1000.0 if band in (0, 9) else 5.0
        curve = response(ParametricEqualizer(), {"gains_db": gains, "q": [4.0] * 10}, np.array([where, far]))
        assert curve == pytest.approx([-9.0, 0.0], abs=0.1)


def test_filters_are_those_of_the_cookbook():
    equalizer, wave = ParametricEqualizer(), noise(1_500)
    for seed in range(3):
        drawn = equalizer.draw(derive_rng("test", seed), wave)
        expected = filter_slowly(wave, **drawn)
        assert np.abs(expected).max() < 1
        assert relative_error(equalizer.apply(wave, drawn), expected) < 1e-7
        (made,) = equalizer.apply_batch(batch_of([wave]), [drawn]).items()
        assert relative_error(made, expected) < 2e-6


@pytest.mark.parametrize("gain", [-12.0, -3.0, 12.0])
def test_a_band_has_its_gain_at_its_centre_alone_and_in_a_batch(gain):
    equalizer = ParametricEqualizer()
    centres = 60 * (7600 / 60) ** (np.arange(10) / 9)
    impulse = np.zeros(1 << 15, np.float32)
    impulse[0] = 1e-3
    settings = [{"gains_db": [gain * (band == own) for band in range(10)], "q": [3.0] * 10} for own in range(1, 9)]
    batch = equalizer.apply_batch(batch_of([impulse] * len(settings)), settings)
    for centre, drawn, made in zip(centres[1:9], settings, batch.items(), strict=True):
        turns = np.exp(-2j * np.pi * centre / RATE * np.arange(len(impulse)))
        for result in (equalizer.apply(impulse, drawn), made.numpy()):
            assert 20 * np.log10(abs(result.astype(np.float64) @ turns) / 1e-3) == pytest.approx(gain, abs=1e-3)


def test_flat_is_the_identity():
    wave = noise()
    assert np.abs(ParametricEqualizer().apply(wave, FLAT).astype(np.float64) - wave).max() < 1e-9
    loud = 3 * np.sin(np.arange(4000) / 5).astype(np.float32)  # beyond full scale already: that is not ours to mend
    assert np.abs(ParametricEqualizer().apply(loud, FLAT).astype(np.float64) - loud).max() < 1e-9
    transform = ParametricEqualizer(max_gain_db=0.0)
    assert np.array_equal(transform(wave, derive_rng(1)), wave)


def test_what_would_be_too_loud_is_turned_down_as_a_whole():
    drawn = {"gains_db": [12.0] * 10, "q": [2.0] * 10}
    soft = ParametricEqualizer().apply(noise(), drawn)
    assert np.abs(soft).max() < 1
    loud = ParametricEqualizer().apply(4 * noise(), drawn)
    assert np.abs(4 * noise()).max() < 1
    assert np.abs(loud).max() == pytest.approx(1.0)
    assert loud / loud.std() == pytest.approx(soft / soft.std(), abs=1e-4)


def test_draws_are_plain_numbers_spread_over_their_ranges():
    transform = ParametricEqualizer(max_gain_db=6.0, min_q=1.0, max_q=4.0, bands=5)
    drawn = [transform.draw(derive_rng("test", seed), noise(10)) for seed in range(400)]
    assert json.loads(json.dumps(drawn)) == drawn
    gains, q = (np.array([item[key] for item in drawn]) for key in ("gains_db", "q"))
    assert gains.shape == q.shape == (400, 5)
    assert gains.min() > -6
    assert gains.max() < 6
    assert abs(gains.mean()) < 0.4
    assert gains.std() == pytest.approx(12 / np.sqrt(12), rel=0.05)
    assert q.min() > 1
    assert q.max() < 4
    assert np.median(q) == pytest.approx(2.0, rel=0.05)  # even in octaves


# --------------------------------------------------------------------------------------------------------- batches


@pytest.mark.parametrize(
    "settings", [{}, {"max_gain_db": 40.0, "bands": 4}, {"min_q": 0.05, "bands": 30}, {"min_hz": 15}]
)
def test_a_batch_is_its_waveforms(settings):
    equalizer = ParametricEqualizer(**settings)
    sizes = (20_000, 1, 400, 33_333, 16_000, 8_000)
    waves = [noise(size, seed) for seed, size in enumerate(sizes)]
    waves[4] = np.sign(np.sin(np.arange(16_000) / 30)).astype(np.float32)
    waves[5] = np.full(8_000, 0.5, np.float32)
    waves.append(np.zeros(8_000, np.float32))
    turned_down, most = 0, 5e-6 if equalizer.max_gain_db > 24 else 1e-6
    for seed in range(4):
        parameters = [equalizer.draw(derive_rng("test", seed, row), wave) for row, wave in enumerate(waves)]
        batch = batch_of(waves)
        result = equalizer.apply_batch(batch, parameters)
        assert bool(batch.samples[~batch.mask].isnan().all()), "the batch itself is left alone"
        assert result.samples.dtype == torch.float32
        assert bool((result.samples[~result.mask] == 0).all())
        for row, (wave, drawn, made) in enumerate(zip(waves, parameters, result.items(), strict=True)):
            alone = equalizer.apply(wave, drawn)
            if row == 6:
                assert not made.any()
            else:
                loudest = max(np.sqrt(np.mean(x**2)) for x in (wave, alone))
                assert np.sqrt(np.mean((made.numpy() - alone) ** 2)) < most * loudest, row
            turned_down += bool(np.abs(alone).max() > 0.999 and np.abs(wave).max() < 0.999)
    assert turned_down > 0 or settings.get("bands") == 30


def test_flat_is_nearly_the_identity_in_a_batch():
    loud = 3 * np.sin(np.arange(4_000) / 5).astype(np.float32)
    for wave, made in zip(
        (noise(), loud), ParametricEqualizer().apply_batch(batch_of([noise(), loud]), [FLAT, FLAT]).items(), strict=True
    ):
        assert relative_error(made, wave.astype(np.float64)) < 1e-6
        assert np.abs(made.numpy() - wave).max() < 2e-6 * np.abs(wave).max()


def test_real_speech_flat_and_in_a_batch(shared_speech):
    files = sorted((shared_speech / "ljspeech_141" / "audio").rglob("*.*"))[:6]
    if not files:
        pytest.skip("the real speech is not there")
    waves = [soundfile.read(path, dtype="float32")[0] for path in files]
    equalizer = ParametricEqualizer()
    for wave in waves:
        assert np.abs(equalizer.apply(wave, FLAT).astype(np.float64) - wave).max() <= 1e-9
    parameters = [equalizer.draw(derive_rng("test", row), wave) for row, wave in enumerate(waves)]
    for wave, drawn, made in zip(
        waves, parameters, equalizer.apply_batch(batch_of(waves), parameters).items(), strict=True
    ):
        assert relative_error(made, equalizer.apply(wave, drawn).astype(np.float64)) < 2e-6


# ---------------------------------------------------------------------------------------------------------- ringing


def test_what_rings_has_died_down_when_it_is_cut_off():
    equalizer = ParametricEqualizer()
    slowest = equalizer.sections([12.0] * 10, [5.0] * 10)
    sections = torch.from_numpy(slowest)[None]
    size = int(ringing_samples(sections))
    assert 8_000 < size < 16_000  # 60 Hz, Q 5, 12 dB
    short, long = impulse_responses(sections, size), impulse_responses(sections, 8 * size)
    assert float((long[0, :size] - short[0]).abs().sum() / long.abs().sum()) < 1e-7
    assert float(long[0, size:].abs().sum() / long.abs().sum()) < 1e-7
    assert float(long[0, size // 4 :].abs().sum() / long.abs().sum()) > 1e-7


def test_ringing_is_counted_from_the_slowest_pole():
    radius = 0.99
    two = [1.0, 0.0, 0.0, 1.0, -2 * radius * np.cos(0.3), radius**2]
    quick = [1.0, 0.0, 0.0, 2.0, -1.0, 0.0]  # a0 is not always 1
    assert ringing_samples(torch.tensor([[two, quick]]), decay=1e-4) == np.ceil(np.log(1e-4) / np.log(radius))
    assert ringing_samples(torch.tensor([[quick]]), decay=2.0**-9) == 9
    assert ringing_samples(torch.tensor([[[2.0, 1.0, 0.5, 1.0, 0.0, 0.0]]])) == 1
    assert ringing_samples(torch.tensor([[[1.0, 0.0, 0.0, 1.0, -1.0, 0.0]]])) == np.inf


@pytest.mark.parametrize("samples", [1, 400, 16_001])
def test_length_silence_and_type(samples):
    transform = ParametricEqualizer()
    assert not transform.changes_length
    result = transform(noise(samples), derive_rng(0))
    assert result.shape == (samples,)
    assert result.dtype == np.float32
    assert not transform(np.zeros(samples, np.float32), derive_rng(0)).any()


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"max_gain_db": -1}, "max_gain_db=-1"),
        ({"max_gain_db": float("nan")}, "max_gain_db=nan"),
        ({"min_q": 0}, "min_q=0"),
        ({"min_q": 6}, "min_q=6"),
        ({"max_q": float("inf")}, "max_q=inf"),
        ({"bands": 1}, "bands=1"),
        ({"min_hz": 0}, "min_hz=0"),
        ({"max_hz": 8000}, "max_hz=8000"),
        ({"sample_rate": 8000}, "sample_rate=8000"),
        ({"max_q": 1e6}, "max_q=1000000.0, min_hz=60.0): a band would ring for "),
        ({"max_gain_db": 40, "min_q": 0.001}, "min_q=0.001"),
        ({"max_q": 1e300}, "a band would ring for inf s. Give less gain"),
    ],
)
def test_bad_settings_are_named(setting, says):
    with pytest.raises(RecipeError, match=r"ParametricEqualizer\(") as caught:
        ParametricEqualizer(**setting)
    assert says in str(caught.value)
