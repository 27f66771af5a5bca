"""The parametric equalizer: its curve is that of the analog filters behind it, and full scale is never exceeded."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ssft.augment.equalizer import ParametricEqualizer
from ssft.errors import RecipeError
from ssft.randomness import derive_rng

RATE = 16_000
FLAT = {"gains_db": [0.0] * 10, "q": [2.0] * 10}


def noise(samples=20_000, seed=0):
    return (0.05 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


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
    ],
)
def test_bad_settings_are_named(setting, says):
    with pytest.raises(RecipeError, match=r"ParametricEqualizer\(") as caught:
        ParametricEqualizer(**setting)
    assert says in str(caught.value)
