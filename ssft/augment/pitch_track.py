"""The pitch of a voice over time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_STEP_SECONDS = 0.01
_CANDIDATES = 8
_CHUNK_FRAMES = 128  # what fits the processor's cache

# The values of the paper and of Praat, for steps of 0.01 s.
_SILENCE_THRESHOLD = 0.03
_VOICING_THRESHOLD = 0.45
_OCTAVE_COST = 0.01
_OCTAVE_JUMP_COST = 0.35
_VOICING_CHANGE_COST = 0.14


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
    """Track the pitch of a waveform [T] by the autocorrelation method.

    Each frame of three of the longest periods proposes lags at which its autocorrelation, divided by that of its
    window, is high; the path through the proposals, silence among them, that is strongest and jumps least is the track.

    Args:
        wave: silence is unvoiced.
        min_hz: the lowest pitch to look for; it decides the length of the window.
        max_hz: the highest.
        sample_rate: of the waveform, in Hz.

    Source:
        Boersma, "Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise ratio of a
        sampled sound", IFA Proceedings 17, 1993.

    Example:
        >>> track_pitch(tone_of_200_hz, min_hz=60, max_hz=500, sample_rate=16000).median_hz
        200.0
    """
    window = round(3 * sample_rate / min_hz)
    step = round(_STEP_SECONDS * sample_rate)
    padded = np.pad(wave.astype(np.float32), (window // 2, window))
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[: len(wave) : step]
    loudest = float(np.abs(wave - wave.mean()).max())
    chunks = [
        _candidates(frames[start : start + _CHUNK_FRAMES], loudest, min_hz, max_hz, sample_rate)
        for start in range(0, len(frames), _CHUNK_FRAMES)
    ]
    hz, strengths = (np.concatenate(parts) for parts in zip(*chunks, strict=True))
    path = _best_path(hz, strengths)
    frame = np.arange(len(hz))
    return PitchTrack(places=frame * step, hz=hz[frame, path], step=step)


def _candidates(
    frames: np.ndarray, loudest: float, min_hz: float, max_hz: float, sample_rate: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return for frames [N, W] the pitches and strengths [N, C] to choose from; the first is 'unvoiced', 0 Hz."""
    width = frames.shape[1]
    hann = np.hanning(width + 2)[1:-1].astype(np.float32)
    frames = frames - frames.mean(axis=1, keepdims=True)
    size = -(-3 * width // 2 // 240) * 240  # room for every lag, and quick to transform
    # Twice the points: without them the parabola through the top of a narrow peak says too low.
    lag_rate = 2 * sample_rate
    lags = np.arange(int(lag_rate / max_hz) - 1, int(lag_rate / min_hz) + 3)

    def correlate(values: np.ndarray) -> np.ndarray:
        power = np.abs(np.fft.rfft(values, size)) ** 2
        correlation = np.fft.irfft(power, 2 * size)
        zero = correlation[..., :1]
        return np.divide(correlation[..., lags], zero, out=np.zeros_like(correlation[..., lags]), where=zero > 0)

    relative = correlate(frames * hann) / correlate(hann)
    before, here, after = relative[:, :-2], relative[:, 1:-1], relative[:, 2:]
    curve = before - 2 * here + after
    is_peak = (here > before) & (here >= after) & (here > _VOICING_THRESHOLD / 2)
    shift = np.where(is_peak, 0.5 * (before - after) / np.where(is_peak, curve, 1.0), 0.0)
    hz = lag_rate / (lags[1:-1] + shift)
    height = np.minimum(here - 0.25 * (before - after) * shift, 1.0)
    is_peak &= (hz >= min_hz) & (hz <= max_hz)
    strengths = np.where(is_peak, height - _OCTAVE_COST * np.log2(min_hz / hz), -np.inf)
    best = np.argpartition(-strengths, min(_CANDIDATES, strengths.shape[1] - 1), axis=1)[:, :_CANDIDATES]

    level = np.abs(frames).max(axis=1) / loudest if loudest else np.zeros(len(frames))
    quiet = 2 - level * (1 + _VOICING_THRESHOLD) / _SILENCE_THRESHOLD
    unvoiced = _VOICING_THRESHOLD + np.maximum(0, quiet)
    return (
        np.column_stack([np.zeros(len(frames)), np.take_along_axis(hz, best, 1)]),
        np.column_stack([unvoiced, np.take_along_axis(strengths, best, 1)]),
    )


def _best_path(hz: np.ndarray, strengths: np.ndarray) -> np.ndarray:
    """Return for pitches and strengths [N, C] the choices [N] of greatest strength less cost of transitions."""
    octaves = np.log2(np.where(hz > 0, hz, 1.0))
    costs = _OCTAVE_JUMP_COST * np.abs(octaves[1:, None, :] - octaves[:-1, :, None])  # [N - 1, from, to]
    voiced = hz > 0
    both = voiced[1:, None, :] & voiced[:-1, :, None]
    costs = np.where(both, costs, _VOICING_CHANGE_COST * (voiced[1:, None, :] ^ voiced[:-1, :, None]))
    came_from = np.zeros(hz.shape, dtype=np.int64)
    score = strengths[0]
    for frame, cost in enumerate(costs, start=1):
        totals = score[:, None] - cost
        came_from[frame] = totals.argmax(axis=0)
        score = totals.max(axis=0) + strengths[frame]
    path = np.zeros(len(hz), dtype=np.int64)
    path[-1] = score.argmax()
    for frame in range(len(hz) - 1, 0, -1):
        path[frame - 1] = came_from[frame, path[frame]]
    return path
