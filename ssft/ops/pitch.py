"""The pitch of voices over time, by autocorrelation."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ssft.ops.best_path import best_path

STEP_SECONDS = 0.01
_CANDIDATES = 8
# What fits a processor's cache; what fills a GPU.
_CHUNK_FRAMES = {"cpu": 128, "cuda": 16_384}

# The values of the paper and of Praat, for steps of 0.01 s.
_SILENCE_THRESHOLD = 0.03
_VOICING_THRESHOLD = 0.45
_OCTAVE_COST = 0.01
_OCTAVE_JUMP_COST = 0.35
_VOICING_CHANGE_COST = 0.14

_USUAL_RANGE = (0.5, 2.0)


@dataclass(frozen=True)
class PitchCandidates:
    """What the pitch could be at each instant: `hz` and `strengths` [B, N, C]; candidate 0 is 'no voice', 0 Hz.

    Instants are `STEP_SECONDS` apart; the first is at sample 0. `counts` [B] says how many of them each waveform has.
    """

    hz: Tensor
    strengths: Tensor
    counts: Tensor

    def track(self, *, lowest: Tensor | float = 0.0, highest: Tensor | float = math.inf) -> Tensor:
        """Return the strongest path that jumps least, [B, N] float64 in Hz, 0 where there is no voice.

        Args:
            lowest: in Hz, for all or [B] for each; candidates below are left out.
            highest: candidates above are left out.
        """
        low, high = (torch.as_tensor(one, device=self.hz.device).reshape(-1, 1, 1) for one in (lowest, highest))
        possible = (self.hz == 0) | ((self.hz >= low) & (self.hz <= high))
        strengths = self.strengths.masked_fill(~possible, -math.inf).flatten(0, 1)
        octaves = self.hz.clamp_min(1).log2().flatten(0, 1)
        instants = torch.arange(self.hz.shape[1], device=self.hz.device)
        free = (instants == 0) | (instants >= self.counts[:, None])
        path = best_path(
            strengths, octaves, free.flatten(), jump_cost=_OCTAVE_JUMP_COST, change_cost=_VOICING_CHANGE_COST
        )
        return self.hz.gather(2, path.view(*self.hz.shape[:2], 1))[..., 0]


def median_pitch(hz: Tensor) -> Tensor:
    """Return the median over the voiced instants of pitches [B, N]: [B], 0 where there are none.

    Example:
        >>> median_pitch(torch.tensor([[0.0, 100.0, 120.0], [0.0, 0.0, 0.0]])).tolist()
        [110.0, 0.0]
    """
    if not hz.numel():
        return hz.new_zeros(len(hz))
    return hz.masked_fill(hz == 0, math.nan).nanquantile(0.5, dim=1).nan_to_num(0.0)


def usual_range(median: Tensor) -> tuple[Tensor, Tensor]:
    """Return between which pitches a voice with this median pitch usually stays."""
    lowest, highest = _USUAL_RANGE
    return lowest * median, highest * median


def pitch_candidates(
    samples: Tensor, lengths: Tensor, *, min_hz: float, max_hz: float, sample_rate: int
) -> PitchCandidates:
    """Look for pitches in waveforms.

    Each frame of three of the longest periods proposes lags at which its autocorrelation, divided by that of its
    window, is high.

    Args:
        samples: [B, T] float32, 0 behind the lengths; silence is unvoiced.
        lengths: [B].
        min_hz: the lowest pitch to look for; it decides the length of the window.
        max_hz: the highest.
        sample_rate: in Hz.

    Source:
        Boersma, "Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise ratio of a
        sampled sound", IFA Proceedings 17, 1993.
    """
    window, step = round(3 * sample_rate / min_hz), round(STEP_SECONDS * sample_rate)
    counts = -(-lengths // step)
    batch, instants = len(samples), -(-samples.shape[1] // step)
    device = samples.device
    hz = torch.zeros(batch * instants, _CANDIDATES + 1, dtype=torch.float64, device=device)
    strengths = torch.full_like(hz, -math.inf)
    strengths[:, 0] = 0
    spectrum = _Autocorrelation(window, min_hz, max_hz, sample_rate, device)
    means = samples.sum(1, dtype=torch.float64) / lengths.clamp_min(1)
    real = torch.arange(samples.shape[1], device=device) < lengths[:, None]
    loudest = (samples - means[:, None].float()).masked_fill_(~real, 0).abs().amax(dim=1)
    padded = torch.nn.functional.pad(samples, (window // 2, window))
    frames = padded.unfold(1, window, step)
    filled = (torch.arange(instants, device=device) < counts[:, None]).flatten().nonzero()[:, 0]
    for chunk in torch.split(filled, _CHUNK_FRAMES.get(device.type, 1024)):
        rows = chunk // instants
        hz[chunk, 1:], strengths[chunk, 1:], strengths[chunk, 0] = spectrum.candidates(
            frames[rows, chunk % instants], loudest[rows]
        )
    shape = (batch, instants, _CANDIDATES + 1)
    return PitchCandidates(hz.view(shape), strengths.view(shape), counts)


class _Autocorrelation:
    """The autocorrelation of windowed frames, as that of what is below the window."""

    def __init__(self, window: int, min_hz: float, max_hz: float, sample_rate: int, device: torch.device) -> None:
        self.min_hz, self.max_hz = min_hz, max_hz
        self.size = -(-3 * window // 2 // 240) * 240  # room for every lag, and quick to transform
        # Twice the points: without them the parabola through the top of a narrow peak says too low.
        self.lag_rate = 2 * sample_rate
        self.first, self.end = int(self.lag_rate / max_hz) - 1, int(self.lag_rate / min_hz) + 3
        hann = torch.hann_window(window + 2, periodic=False, dtype=torch.float64, device=device)[1:-1]
        self.hann = hann.float()
        self.of_hann = self._of(self.hann[None])
        self.lags = torch.arange(self.first + 1, self.end - 1, dtype=torch.float32, device=device)
        self.cost = _OCTAVE_COST * self.lags.log2()

    def _of(self, values: Tensor) -> Tensor:
        """At all lags that matter, as a part of that at lag 0; 0 for silence."""
        spectrum = torch.fft.rfft(values, self.size)
        correlation = torch.fft.irfft(spectrum * spectrum.conj(), 2 * self.size)
        zero = correlation[:, :1]
        relative: Tensor = correlation[:, self.first : self.end] / torch.where(zero > 0, zero, math.inf)
        return relative

    def candidates(self, frames: Tensor, loudest: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return of frames [F, W] pitches and strengths [F, C], and the strength [F] of there being no voice."""
        frames = frames - frames.mean(dim=1, keepdim=True)
        relative = self._of(frames * self.hann) / self.of_hann
        before, here, after = relative[:, :-2], relative[:, 1:-1], relative[:, 2:]
        is_peak = (here > before) & (here >= after) & (here > _VOICING_THRESHOLD / 2)
        # A first choice of peaks, by the sample at the top: the parabola changes little but is dear.
        rank = (here - self.cost).masked_fill_(~is_peak, -math.inf)
        lags = rank.topk(min(_CANDIDATES, rank.shape[1]), dim=1).indices
        before, here, after, is_peak = (one.gather(1, lags) for one in (before, here, after, is_peak))
        curve = before - 2 * here + after
        shift = torch.where(is_peak, 0.5 * (before - after) / torch.where(is_peak, curve, 1), 0)
        hz = self.lag_rate / (self.lags[lags] + shift).double()
        height = (here - 0.25 * (before - after) * shift).clamp_max(1).double()
        is_peak &= (hz >= self.min_hz) & (hz <= self.max_hz)
        strengths = torch.where(is_peak, height + _OCTAVE_COST * (hz / self.min_hz).log2(), -math.inf)
        level = torch.where(loudest > 0, frames.abs().amax(dim=1) / loudest, 0).double()
        quiet = 2 - level * (1 + _VOICING_THRESHOLD) / _SILENCE_THRESHOLD
        missing = (0, _CANDIDATES - hz.shape[1])
        pad = torch.nn.functional.pad
        return pad(hz, missing), pad(strengths, missing, value=-math.inf), _VOICING_THRESHOLD + quiet.clamp_min(0)
