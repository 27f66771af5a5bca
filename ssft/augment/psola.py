"""The same words at the same time with another pitch and other formants: pitch-synchronous overlap and add."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import soxr

from ssft.randomness import derive_rng

_OVERSAMPLING = 4  # grains are put down to a quarter of a sample, which keeps high harmonics in phase
_UNVOICED_STEP_SECONDS = 0.005


def resynthesize(
    wave: np.ndarray,
    marks: Sequence[np.ndarray],
    pitch_ratios: Sequence[np.ndarray],
    *,
    formant_ratio: float,
    sample_rate: int,
) -> np.ndarray:
    """Return a waveform [T] float32 with new periods and formants, in which nothing is moved in time.

    The waveform is played faster by the formant ratio, which multiplies its formants. Grains of it, two periods long,
    are put down one new period apart, each of them where it belongs in the original's time. Where there is no voice
    they are a fixed distance apart.

    Args:
        wave: [T] float32.
        marks: where the periods of each voiced part lie, in samples [M], rising; parts follow one another.
        pitch_ratios: for each part, the new pitch over the old one at its marks [M], positive.
        formant_ratio: above 1 as for a shorter vocal tract.
        sample_rate: in Hz.

    Source:
        Moulines and Charpentier, "Pitch-synchronous waveform processing techniques for text-to-speech synthesis using
        diphones", Speech Communication 9, 1990.
    """
    step = _UNVOICED_STEP_SECONDS * sample_rate
    targets, sources, periods = _plan(marks, pitch_ratios, samples=len(wave), unvoiced_step=step)
    faster = wave
    if formant_ratio != 1:
        faster = soxr.resample(wave, formant_ratio, 1.0)
        # Noise that is put down again after a fixed delay is a comb filter; after another delay each time it is noise.
        jitter = derive_rng("unvoiced grains").uniform(-0.5, 0.5, len(sources)) * step
        sources = np.where(periods > 0, sources, sources + jitter)
    margin = int(np.diff(targets).max()) + 2
    fine = np.pad(soxr.resample(faster, 1, _OVERSAMPLING), margin * _OVERSAMPLING)

    # Every sample lies between two grains, and is made of the one that fades out and the one that fades in.
    time = np.arange(len(wave))
    left = np.searchsorted(targets, time, side="right") - 1
    right = left + 1
    gap = targets[right] - targets[left]
    is_voiced = (periods[left] > 0) & (periods[right] > 0)
    result = np.zeros(len(wave))
    for grain in (left, right):
        offset = time - targets[grain]
        half_width = np.where(is_voiced, np.minimum(gap, periods[grain] / formant_ratio), gap)
        fade = np.cos(0.5 * np.pi * np.minimum(np.abs(offset) / half_width, 1))
        # Two pieces of noise add in power, unless they are the same piece.
        weight = np.where(is_voiced | (formant_ratio == 1), fade**2, fade)
        place = np.rint((sources[grain] / formant_ratio + offset + margin) * _OVERSAMPLING).astype(np.int64)
        result += weight * fine.take(place, mode="clip")
    return result.astype(np.float32)


def _plan(
    marks: Sequence[np.ndarray], pitch_ratios: Sequence[np.ndarray], *, samples: int, unvoiced_step: float
) -> np.ndarray:
    """Return for every grain where it goes, where it comes from, and its source period (0 if unvoiced): [3, G]."""
    grains = [np.zeros((3, 1))]

    def fill_up_to(end: float) -> None:
        start = grains[-1][0, -1]
        count = max(int(np.ceil((end - start) / unvoiced_step)), 1)
        places = np.linspace(start, end, count + 1)[1:-1]
        if len(places):
            grains.append(np.stack([places, places, np.zeros_like(places)]))

    for part, ratios in zip(marks, pitch_ratios, strict=True):
        if len(part) < 2:
            continue
        # New periods are counted along the old ones, so that at a ratio of 1 every grain stays where it is.
        count = np.r_[0.0, np.cumsum((ratios[1:] + ratios[:-1]) / 2)]
        targets = np.interp(np.arange(int(count[-1] + 1e-9) + 1), count, part)
        nearest = np.searchsorted((part[1:] + part[:-1]) / 2, targets)
        fill_up_to(targets[0])
        grains.append(np.stack([targets, part[nearest], np.gradient(part)[nearest]]))
    fill_up_to(samples)
    grains.append(np.array([[samples], [samples], [0.0]]))
    return np.concatenate(grains, axis=1)
