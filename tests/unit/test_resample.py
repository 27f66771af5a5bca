"""Resampling: what soxr does, on a batch; and what the formula of a band-limited signal says."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import soxr
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssft.ops.resample import nearest_ratio, resample, resampled_length

RATIOS = [Fraction(*ratio) for ratio in ((1, 2), (9, 10), (17, 20), (11, 10), (23, 20), (2, 1), (997, 991), (890, 999))]


def by_soxr(wave, ratio):
    return soxr.resample(wave, ratio.numerator, ratio.denominator)


def apart_db(one, other):
    return 20 * np.log10(np.linalg.norm(one - other) / np.linalg.norm(other))


def ours(wave, ratio):
    return resample(torch.from_numpy(np.ascontiguousarray(wave))[None], ratio=ratio)[0].numpy()


@settings(max_examples=100, deadline=None)
@given(samples=st.integers(1, 20_000), factor=st.floats(0.5, 2.0))
def test_lengths_are_those_of_soxr(samples, factor):
    ratio = nearest_ratio(factor)
    size = len(by_soxr(np.zeros(samples, np.float32), ratio))
    assert resampled_length(samples, ratio=ratio) == size
    assert resample(torch.zeros(1, samples), ratio=ratio).shape == (1, size)
    assert abs(size - round(samples / factor)) <= 1 + 1e-3 * samples


@pytest.mark.parametrize("factor", [0.5, 0.8, 0.85, 0.9, 0.95, 1.05, 1.1, 1.15, 1.2, 1.375, 2.0])
def test_the_factors_of_recipes_are_exact(factor):
    assert float(nearest_ratio(factor)) == factor


@pytest.mark.parametrize("ratio", RATIOS, ids=str)
def test_noise_of_the_full_band_comes_out_as_from_soxr(ratio):
    noise = np.random.default_rng(0).standard_normal(40_000).astype(np.float32)
    assert apart_db(ours(noise, ratio), by_soxr(noise, ratio)) < -58


def test_speech_comes_out_as_from_soxr(shared_speech):
    from ssft.data import read_audio

    files = sorted((shared_speech / "speechocean762_train" / "audio").rglob("*.opus"))[:3]
    assert files
    for wave in map(read_audio, files):
        for ratio in RATIOS:
            assert apart_db(ours(wave, ratio), by_soxr(wave, ratio)) < -65


@pytest.mark.parametrize("ratio", RATIOS, ids=str)
def test_a_tone_is_read_between_its_samples(ratio):
    angle = 0.9 * np.pi * min(1, 1 / ratio)
    tone = np.cos(angle * np.arange(30_000) + 1.0)
    played = ours(tone, ratio)
    expected = np.cos(angle * float(ratio) * np.arange(len(played)) + 1.0)
    inside = slice(400, -400)  # the tone begins and ends abruptly
    np.testing.assert_allclose(played[inside], expected[inside], atol=1e-5)


def test_what_does_not_fit_under_the_new_nyquist_frequency_is_gone():
    tone = np.cos(0.55 * np.pi * np.arange(20_000)).astype(np.float32)
    assert np.abs(ours(tone, Fraction(2))[300:-300]).max() < 1e-5


def test_nothing_comes_in_again_at_the_other_end():
    impulse = np.zeros(4_000, np.float32)
    impulse[-1] = 1
    for ratio in RATIOS:
        assert np.abs(ours(impulse, ratio)[:1_000]).max() < 1e-6
        assert np.abs(ours(impulse[::-1], ratio)[-1_000:]).max() < 1e-6


def test_a_signal_does_not_hear_the_batch():
    signals = torch.randn(3, 9_000, generator=torch.Generator().manual_seed(0))
    signals[0] *= 1e4
    signals[1, 700:] = 0
    for ratio in RATIOS:
        together = resample(signals, ratio=ratio)
        for row, cut in enumerate((9_000, 700, 9_000)):
            alone = resample(signals[row : row + 1, :cut], ratio=ratio)[0]
            torch.testing.assert_close(together[row, : len(alone)], alone, rtol=0, atol=1e-6 * float(alone.abs().max()))


@pytest.mark.parametrize("samples", [1, 2, 400])
def test_edges_are_those_of_soxr(samples):
    ones = np.ones(samples, np.float32)
    for ratio in RATIOS:
        one, other = ours(ones, ratio), by_soxr(ones, ratio)
        np.testing.assert_allclose(one[:2], other[:2], atol=0.05)  # soxr loses some of them
        np.testing.assert_allclose(one[2:], other[2:], atol=2e-3)
