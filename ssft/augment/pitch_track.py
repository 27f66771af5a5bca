"""The pitch of one voice over time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ssft.ops.pitch import STEP_SECONDS, PitchCandidates, median_pitch, pitch_candidates, usual_range


@dataclass(frozen=True)
class PitchTrack:
    """The pitch `hz` [N] at instants `places` [N], in samples and `step` apart; 0 Hz where there is no voice."""

    places: np.ndarray
    hz: np.ndarray
    step: int

    @property
    def median_hz(self) -> float:
        """Of the voiced instants; 0 if there are none."""
        voiced = self.hz[self.hz > 0]
        return float(np.median(voiced)) if len(voiced) else 0.0

    def voiced_parts(self) -> list[slice]:
        """The runs of voiced instants, as slices of `hz`."""
        edges = np.flatnonzero(np.diff(np.r_[False, self.hz > 0, False]))
        return [slice(int(first), int(end)) for first, end in edges.reshape(-1, 2)]


def track_pitch(wave: np.ndarray, *, min_hz: float, max_hz: float, sample_rate: int) -> PitchTrack:
    """Track the pitch of a waveform [T] by autocorrelation; `ssft.ops.pitch` does it for batches and explains it.

    Args:
        wave: silence is unvoiced.
        min_hz: the lowest pitch to look for; it decides the length of the window.
        max_hz: the highest.
        sample_rate: of the waveform, in Hz.

    Example:
        >>> track_pitch(tone_of_200_hz, min_hz=60, max_hz=500, sample_rate=16000).median_hz
        200.0
    """
    hz = _candidates(wave, min_hz, max_hz, sample_rate).track()[0].numpy()
    step = round(STEP_SECONDS * sample_rate)
    return PitchTrack(places=np.arange(len(hz)) * step, hz=hz, step=step)


def pitch_range(wave: np.ndarray, *, min_hz: float, max_hz: float, sample_rate: int) -> tuple[float, float] | None:
    """Return between which pitches, in Hz, the voice of a waveform [T] usually stays, or None where there is no voice.

    This is an octave to both sides of the median of the tracked pitch, within the bounds given.

    Args:
        wave: of one speaker.
        min_hz: the lowest pitch to look for.
        max_hz: the highest.
        sample_rate: of the waveform, in Hz.
    """
    median = median_pitch(_candidates(wave, min_hz, max_hz, sample_rate).track())
    if not median[0]:
        return None
    lowest, highest = usual_range(median)
    return max(float(lowest), min_hz), min(float(highest), max_hz)


def _candidates(wave: np.ndarray, min_hz: float, max_hz: float, sample_rate: int) -> PitchCandidates:
    samples = torch.from_numpy(np.array(wave, dtype=np.float32))[None]
    lengths = torch.tensor([len(wave)])
    return pitch_candidates(samples, lengths, min_hz=min_hz, max_hz=max_hz, sample_rate=sample_rate)
