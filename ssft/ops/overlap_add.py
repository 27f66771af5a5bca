"""Another pitch and other formants in the same time: pitch-synchronous overlap and add."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ssft.ops.grains import Grains, plan_grains
from ssft.ops.oversampling import REACH, Oversampler
from ssft.ops.period_marks import PeriodMarks

_OVERSAMPLING = 4  # between points as near as these a straight line is good enough
_UNVOICED_STEP_SECONDS = 0.005
# What fits a processor's cache; what fills a GPU.
_CHUNK_SAMPLES = {"cpu": 1 << 15, "cuda": 1 << 23}


def resynthesize(
    samples: Tensor,
    lengths: Tensor,
    marks: PeriodMarks,
    pitch_ratios: Tensor,
    *,
    formant_ratios: Tensor,
    sample_rate: int,
) -> Tensor:
    """Return waveforms [B, T] with new periods and formants, in which nothing is moved in time.

    Grains of a waveform, two periods long and read faster by the formant ratio, which multiplies the formants, are put
    down one new period apart, each of them where it belongs in the original's time. Where there is no voice they are a
    fixed distance apart.

    Args:
        samples: [B, T] float32, 0 behind the lengths.
        lengths: [B].
        marks: where the periods lie.
        pitch_ratios: the new pitch over the old one at each mark [M] float64, positive.
        formant_ratios: for each waveform [B] float64; above 1 as for a shorter vocal tract.
        sample_rate: in Hz.

    Source:
        Moulines and Charpentier, "Pitch-synchronous waveform processing techniques for text-to-speech synthesis using
        diphones", Speech Communication 9, 1990.
    """
    unvoiced_step = _UNVOICED_STEP_SECONDS * sample_rate
    grains = plan_grains(lengths, marks, pitch_ratios, unvoiced_step=unvoiced_step)
    gaps = _gaps(grains, formant_ratios, stride=samples.shape[1] + 2, jitter=unvoiced_step)
    oversampler = Oversampler(_OVERSAMPLING, (1 / formant_ratios).clamp_max(1))
    speeds = (_OVERSAMPLING * formant_ratios).float()[:, None]
    batch, size = samples.shape
    rows = torch.arange(batch, device=samples.device)[:, None]
    first_samples = grains.rows * (size + 2) + grains.targets.ceil().long()  # counted over all waveforms
    result = torch.empty_like(samples)
    columns = max(_CHUNK_SAMPLES.get(samples.device.type, 1 << 18) // max(batch, 1), 1024)
    for begin in range(0, size, columns):
        end = min(begin + columns, size)
        low, high = begin - gaps.reach - REACH, end + gaps.reach + REACH
        fine = oversampler(F.pad(samples[:, max(low, 0) : high], (max(-low, 0), max(high - size, 0))))
        time = rows * (size + 2) + torch.arange(begin, end, device=samples.device)
        gap = torch.searchsorted(first_samples, time, right=True) - 1
        shift = rows * fine.shape[1] - _OVERSAMPLING * (begin - gaps.reach)
        result[:, begin:end] = _crossfade(fine.flatten(), gaps, gap, time, shift, speeds)
    return result.masked_fill_(torch.arange(size, device=samples.device) >= lengths[:, None], 0)


@dataclass(frozen=True)
class _Gaps:
    """What lies between a grain and the next one [G]: the one fades out, the other fades in.

    `whole` [3, G] int64: the sample where it begins, counted over all waveforms, and where the two grains are read
    then, in oversampled samples. `parts` [8, G] float32: what is to be added to these three; the angle by which the
    fading of each grain has turned at the beginning, and that by which it turns in a sample; and whether the weights
    are those of amplitudes whose powers add. No sample is read farther than `reach` samples from where it goes.
    """

    whole: Tensor
    parts: Tensor
    reach: int


def _gaps(grains: Grains, formant_ratios: Tensor, *, stride: int, jitter: float) -> _Gaps:
    ratios = formant_ratios[grains.rows]
    unvoiced = grains.periods == 0
    # Noise that is put down again after a fixed delay is a comb filter; after another delay each time it is noise.
    shifts = torch.where(unvoiced & (ratios != 1), jitter * _scattered(grains.targets.floor().long()), 0)
    sources = grains.sources + shifts
    sources = torch.stack([sources, sources.roll(-1)])
    periods = torch.stack([grains.periods, grains.periods.roll(-1)])

    begins = grains.targets
    is_gap = F.pad(grains.rows[1:] == grains.rows[:-1], (0, 1))  # and not the end of a waveform
    width = torch.where(is_gap, begins.roll(-1) - begins, 1).clamp_min(1e-6)
    is_voiced = (periods > 0).all(dim=0)
    fades = 0.5 * math.pi / torch.where(is_voiced, torch.minimum(width, periods / ratios), width)
    from_target = torch.stack([torch.zeros_like(width), -width])
    read = _OVERSAMPLING * (sources + from_target * ratios)
    moved = (sources - begins - from_target.neg()).abs().amax(dim=0) + width * (ratios - 1).abs()
    # Two pieces of noise add in power, unless they are the same piece.
    adds_power = ~is_voiced & (ratios != 1)
    places = torch.stack([begins, *read])
    return _Gaps(
        whole=places.floor().long() + F.pad(grains.rows[None] * stride, (0, 0, 0, 2)),
        parts=torch.stack([*(places - places.floor()), *(fades * from_target), *fades, adds_power]).float(),
        reach=int(torch.where(is_gap, moved, 0).amax()) + 2,
    )


def _crossfade(fine: Tensor, gaps: _Gaps, gap: Tensor, time: Tensor, shift: Tensor, speeds: Tensor) -> Tensor:
    """Return samples [B, T] at `time` [B, T], each in its gap [B, T], of grains read from `fine` at `speeds` [B, 1].

    `shift` [B, 1] is where in `fine` the oversampled sample 0 of a waveform would be.
    """
    begin, *places = gaps.whole.index_select(1, gap.flatten()).view(3, *gap.shape)
    fraction, *parts, adds_power = gaps.parts.index_select(1, gap.flatten()).view(8, *gap.shape)
    adds_power, elapsed = adds_power > 0, (time - begin).float() - fraction
    result = torch.zeros_like(elapsed)
    for place, residue, turned, fade in zip(places, parts[:2], parts[2:4], parts[4:], strict=True):
        weight = (turned + fade * elapsed).abs_().clamp_max_(0.5 * math.pi).cos_()
        weight = torch.where(adds_power, weight, weight * weight)
        within = residue + speeds * elapsed
        steps = within.floor()
        index = (place + shift + steps.long()).clamp_(0, len(fine) - 2).flatten()
        here, there = (fine.index_select(0, one).view(gap.shape) for one in (index, index + 1))
        result += weight * (here + (within - steps) * (there - here))
    return result


def _scattered(numbers: Tensor) -> Tensor:
    """Numbers between -1/2 and 1/2 that look as if they were drawn, but depend on these integers alone."""
    mixed = (numbers * 0x9E3779B1) & 0xFFFFFFFF
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        mixed = ((mixed ^ (mixed >> shift)) * factor) & 0xFFFFFFFF
    return mixed.double() / 2**32 - 0.5
