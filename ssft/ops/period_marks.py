"""Where each period of voices lies."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_SMOOTHING = (0.25, 0.75, 1.0, 0.75, 0.25)
"""Weights of the steps of the track around one, over which the place of the energy in a period is averaged."""

_SYMMETRY = 0.5
"""How much more one half wave counts than the other: a sine has two that are equal in each period."""

_LARGEST_CORRECTION = 0.2
"""How far a period may differ from the tracked one, as a part of it."""

_FLAT = 1e-4
"""A part of the energy that rounding can move."""

_CHUNK_STEPS = {"cpu": 256, "cuda": 65_536}


@dataclass(frozen=True)
class PeriodMarks:
    """Marks [M], waveform after waveform, rising in each; those of one voiced part are one period apart, two at least.

    `places` [M] float64 are in samples, `hz` [M] is the pitch that was tracked there, `rows` [M] says which waveform
    they lie in, and `parts` [M] which voiced part, by numbers that rise.
    """

    places: Tensor
    hz: Tensor
    rows: Tensor
    parts: Tensor


def mark_periods(samples: Tensor, lengths: Tensor, hz: Tensor, *, step: int, sample_rate: int) -> PeriodMarks:
    """Mark the energy of each period of the voiced parts.

    The tracked pitch, summed up, is a phase. Where in this phase the energy lies, averaged over some steps of the
    track, is taken off it, and marks are where what is left is whole. So no mark has to wait for the one before.

    Args:
        samples: [B, T] float32, 0 behind the lengths.
        lengths: [B].
        hz: the pitch [B, N] float64 at samples 0, `step`, 2 `step`, ...; 0 where there is no voice.
        step: in samples.
        sample_rate: in Hz.
    """
    batch, steps = hz.shape
    # A step stands for the samples around its place, from half a step before on.
    begins = (torch.arange(steps, device=hz.device) * step - step // 2).repeat(batch)
    hz = hz.flatten()
    voiced = hz > 0
    continues = voiced & _before(voiced) & (begins > 0)
    part = (voiced & ~continues).cumsum(0) - 1
    first = (voiced & ~continues).nonzero()[:, 0]
    if not len(first):
        return PeriodMarks(hz[:0], hz[:0], part[:0], part[:0])
    first = first[part.clamp_min(0)]  # step of the part that a step is in
    cycles = hz * (step / sample_rate)
    tracked = _before(cycles.cumsum(0))  # the phase where each step begins, in cycles
    tracked = tracked - tracked[first]

    energy_at = _phase_of_energy(samples, tracked, cycles, torch.where(voiced, part, -1), step)
    drift = energy_at - _before(energy_at)
    limit = _LARGEST_CORRECTION * torch.minimum(cycles, _before(cycles))
    drift = torch.where(continues, (drift - drift.round()).clamp(-limit, limit), 0)
    cycles = torch.where(voiced, cycles - (drift + _after(drift)) / 2, 0)
    end = cycles.cumsum(0)
    begin = _before(end)
    # Whole numbers are reached where the energy lies, once each part begins at the right fraction.
    offset = (-energy_at % 1 - begin)[first]
    begin, end = begin + offset, end + offset

    counts = torch.where(voiced, end.floor() - begin.floor(), 0).long()
    at = torch.arange(len(hz), device=hz.device).repeat_interleave(counts)
    number = torch.arange(len(at), device=hz.device) - (counts.cumsum(0) - counts)[at]
    within = (begin[at].floor() + 1 + number - begin[at]) / cycles[at]  # 0 to 1
    places = begins[at] + within * step
    rows = at // max(steps, 1)

    neighbour = torch.where(within < 0.5, at - continues[at].long(), at + _after(continues)[at].long())
    hz_there = hz[at] + (within - 0.5).abs() * (hz[neighbour] - hz[at])
    inside = (places >= 0) & (places <= lengths[rows] - 1)
    of_part = torch.zeros_like(part).index_add_(0, part[at], inside.long())
    keep = inside & (of_part[part[at]] >= 2)
    return PeriodMarks(places[keep], hz_there[keep], rows[keep], part[at][keep])


def _phase_of_energy(samples: Tensor, tracked: Tensor, cycles: Tensor, part: Tensor, step: int) -> Tensor:
    """Return where in the tracked phase the energy of a period lies at each step [S], in cycles; `part` -1 has none."""
    padded = F.pad(samples, (step // 2, step))
    frames = padded.unfold(1, step, step)
    steps = len(part) // max(len(samples), 1)
    ramp = torch.arange(step, dtype=torch.float32, device=samples.device) / step
    moments = torch.zeros(len(part), 5, dtype=torch.float64, device=samples.device)
    for chunk in torch.split((part >= 0).nonzero()[:, 0], _CHUNK_STEPS.get(samples.device.type, 1024)):
        wave = frames[chunk // steps, chunk % steps]
        energy = wave * wave + _SYMMETRY * wave * wave.abs()
        angle = (tracked[chunk] % 1).float()[:, None] + cycles[chunk].float()[:, None] * ramp
        angle *= 2 * math.pi
        cosine, sine = angle.cos(), angle.sin()
        sums = [energy * cosine, energy * sine, energy, cosine, sine]
        moments[chunk] = torch.stack([one.sum(dim=1) for one in sums], dim=1).double()
    smooth = torch.zeros_like(moments)
    weights = torch.zeros_like(moments[:, :1])
    reach = len(_SMOOTHING) // 2
    padded_moments, padded_part = F.pad(moments, (0, 0, reach, reach)), F.pad(part, (reach, reach), value=-1)
    for shift, weight in enumerate(_SMOOTHING):
        same = weight * (padded_part[shift : shift + len(part)] == part)[:, None]
        smooth += same * padded_moments[shift : shift + len(part)]
        weights += same
    # A mean that does not vary has no place in the period, but over a piece of one it seems to have.
    mean = smooth[:, 2:3] / (step * weights)
    cosine, sine = (smooth[:, :2] - mean * smooth[:, 3:]).unbind(1)
    is_flat = torch.hypot(cosine, sine) <= _FLAT * smooth[:, 2]  # and has no place
    return torch.atan2(sine, cosine).masked_fill(is_flat, 0) / (2 * math.pi)


def _before(values: Tensor) -> Tensor:
    """What is one step earlier [S]; 0 before the first."""
    return F.pad(values[:-1], (1, 0)) if len(values) else values


def _after(values: Tensor) -> Tensor:
    return F.pad(values[1:], (0, 1)) if len(values) else values
