"""Gain: the level moves by what was drawn, and nothing else does."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from ssft.augment.gain import Gain
from ssft.errors import RecipeError
from ssft.randomness import derive_rng
from ssft.types import Waves


def noise(samples=16_000, seed=0):
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


@pytest.mark.parametrize("gain_db", [-40.0, -12.0, 0.0, 6.0])
def test_the_measured_level_moves_by_the_gain(gain_db):
    wave = noise()
    result = Gain().apply(wave, {"gain_db": gain_db})
    assert 20 * np.log10(result.std() / wave.std()) == pytest.approx(gain_db, abs=1e-4)
    assert result / result.std() == pytest.approx(wave / wave.std(), abs=1e-5)


def test_gains_are_uniform_in_db_and_plain():
    transform = Gain(min_gain_db=-20.0, max_gain_db=10.0)
    drawn = [transform.draw(derive_rng("test", seed), noise(1)) for seed in range(600)]
    assert json.loads(json.dumps(drawn)) == drawn
    gains = np.array([parameters["gain_db"] for parameters in drawn])
    assert gains.min() > -20
    assert gains.max() < 10
    assert gains.mean() == pytest.approx(-5, abs=1)
    assert gains.std() == pytest.approx(30 / np.sqrt(12), rel=0.06)


def test_nothing_is_clipped_and_silence_stays_silence():
    assert np.abs(Gain().apply(np.full(400, 0.9, np.float32), {"gain_db": 6.0})).max() == pytest.approx(1.796, abs=1e-3)
    assert not Gain().apply(np.zeros(1, np.float32), {"gain_db": 6.0}).any()


def test_each_waveform_of_a_batch_has_its_own_gain():
    transform, waves = Gain(), [noise(5_000), noise(1), noise(300, seed=1)]
    parameters = [{"gain_db": gain} for gain in (-6.0, 3.0, 0.0)]
    batch = Waves.stack([torch.from_numpy(wave) for wave in waves])
    batch = Waves(batch.samples.masked_fill(~batch.mask, float("nan")), batch.lengths)
    result = transform.apply_batch(batch, parameters)
    assert bool((result.samples[~result.mask] == 0).all())
    for wave, drawn, made in zip(waves, parameters, result.items(), strict=True):
        assert np.array_equal(made.numpy(), transform.apply(wave, drawn))
        assert made.numpy() == pytest.approx(wave * 10 ** (drawn["gain_db"] / 20), rel=1e-6)


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"min_gain_db": 7.0}, "min_gain_db=7.0"),
        ({"min_gain_db": -61.0}, "min_gain_db=-61.0"),
        ({"max_gain_db": 61.0}, "max_gain_db=61.0"),
        ({"max_gain_db": float("nan")}, "max_gain_db=nan"),
    ],
)
def test_bad_settings_are_named(setting, says):
    with pytest.raises(RecipeError, match=r"Gain\(") as caught:
        Gain(**setting)
    assert says in str(caught.value)
