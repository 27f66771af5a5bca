"""What can be measured of a waveform: how long, how loud, how high."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ssft.augment.pitch_track import track_pitch
from ssft.types import SAMPLE_RATE

# Wider than any voice that is recorded: an augmentation may have moved it.
_MIN_PITCH_HZ = 50.0
_MAX_PITCH_HZ = 600.0


@dataclass(frozen=True)
class Pitch:
    """The fundamental frequency F0: `hz` [N] at `seconds` [N], NaN where there is no voice."""

    seconds: np.ndarray
    hz: np.ndarray

    @property
    def median_hz(self) -> float | None:
        """Of the voiced instants; None if there are none."""
        voiced = self.hz[np.isfinite(self.hz)]
        return float(np.median(voiced)) if len(voiced) else None


def pitch_of(wave: np.ndarray) -> Pitch:
    """Track the pitch of a waveform [T] at 16 kHz."""
    track = track_pitch(wave, min_hz=_MIN_PITCH_HZ, max_hz=_MAX_PITCH_HZ, sample_rate=SAMPLE_RATE)
    hz = np.asarray(track.hz, dtype=np.float64)
    return Pitch(np.asarray(track.places) / SAMPLE_RATE, np.where(hz > 0, hz, np.nan))


def measured(wave: np.ndarray, pitch: Pitch) -> dict[str, Any]:
    """Return length, level and median pitch of a waveform [T] as plain values; None where there is nothing to tell."""
    power = _power(wave)
    return {
        "samples": len(wave),
        "seconds": round(len(wave) / SAMPLE_RATE, 4),
        "peak": round(float(np.abs(wave).max()), 5),
        "rms_dbfs": round(10 * math.log10(power), 2) if power else None,
        "f0_median_hz": None if pitch.median_hz is None else round(pitch.median_hz, 1),
        "voiced_share": round(float(np.isfinite(pitch.hz).mean()), 3),
    }


def snr_db(signal: np.ndarray, noise: np.ndarray) -> float | None:
    """Return the ratio of their powers, pauses included, in dB; None if one of them is silent."""
    powers = _power(signal), _power(noise)
    return 10 * math.log10(powers[0] / powers[1]) if all(powers) else None


def semitones(before_hz: float | None, after_hz: float | None) -> float | None:
    """Return the interval between two pitches, upwards positive; None if one of them is missing."""
    return 12 * math.log2(after_hz / before_hz) if before_hz and after_hz else None


def _power(wave: np.ndarray) -> float:
    return float(np.mean(np.square(wave, dtype=np.float64)))
