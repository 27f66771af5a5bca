"""Voices that are made, not recorded, by pulses of a known pitch and known formants, and what formants a voice has."""

from __future__ import annotations

import numpy as np
import soxr
from scipy.signal import lfilter

RATE = 16_000
VOWELS = {"a": (730, 1090, 2440), "e": (530, 1840, 2480), "u": (640, 1190, 2390)}


def resonate(source, formants, bandwidth=90.0):
    """Through a cascade of two-pole resonators."""
    signal = np.asarray(source, dtype=np.float64)
    for hz in formants:
        radius = np.exp(-np.pi * bandwidth / RATE)
        signal = lfilter([1.0], [1.0, -2 * radius * np.cos(2 * np.pi * hz / RATE), radius**2], signal)
    return signal


def melody(mean_hz, seconds=1.5, depth=0.15, turns_per_second=1.5):
    """The pitch at each sample [T]."""
    time = np.arange(round(seconds * RATE)) / RATE
    return mean_hz * (1 + depth * np.sin(2 * np.pi * turns_per_second * time))


def voice(hz, formants):
    """A vowel [T] float32 whose pitch at each sample is `hz` [T]: softened pulses through the resonators."""
    phase = 2 * np.pi * np.cumsum(hz) / RATE
    harmonics = np.arange(1, int(7_000 / hz.max()) + 1)
    pulses = sum(np.cos(number * phase) for number in harmonics)
    wave = resonate(lfilter([1.0], [1.0, -0.9], pulses), formants)  # -6 dB an octave, as of glottis and lips together
    return (0.3 * wave / np.abs(wave).max()).astype(np.float32)


def measured_formants(wave, ratio=1.0):
    """The three lowest resonances in Hz, by linear prediction of order 8 up to 4 kHz times the ratio expected."""
    rate = 8_000 * ratio
    narrow = soxr.resample(wave.astype(np.float64), RATE, rate)
    narrow = narrow[1:] - 0.9 * narrow[:-1]
    correlation = np.fft.irfft(np.abs(np.fft.rfft(narrow, 2 * len(narrow))) ** 2)[:9]
    correlation[0] *= 1 + 1e-6
    matrix = correlation[np.abs(np.subtract.outer(np.arange(8), np.arange(8)))]
    roots = np.roots(np.r_[1.0, -np.linalg.solve(matrix, correlation[1:])])
    roots = roots[(roots.imag > 0) & (np.abs(roots) > 0.85)]
    return np.sort(np.angle(roots) * rate / (2 * np.pi))[:3]
