"""Pitch: every frequency is multiplied, the duration stays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeGuard

import numpy as np
import torch
import torch.nn.functional as F

from ssft.augment.base import BatchTransform, Parameters
from ssft.errors import RecipeError
from ssft.ops.phase_vocoder import stretch
from ssft.ops.resample import nearest_ratio, resample
from ssft.types import SAMPLE_RATE, Waves


class PitchShift(BatchTransform):
    """Shifts pitch and formants by an interval and keeps the number of samples.

    The waveform is stretched to r = 2^(semitones / 12) of its duration by a phase vocoder (frames of 32 ms, hops of
    8 ms, Hann windows), then played r times as fast; r is taken as the nearest fraction with a denominator of up to
    1000, less than a cent away. A batch agrees with single waveforms to 1e-4 (root mean square of the difference,
    relative). Speech loses about 1 dB of level, and 3 to 4 without `phase_locking`; nothing is clipped.

    Args:
        semitones: up if positive.
        min_semitones: together with `max_semitones` it replaces `semitones`: any interval in between is drawn,
            uniformly.
        max_semitones: the highest interval then.
        phase_locking: keep the phases of neighbouring frequencies together, for a clearer voice.
        sample_rate: of the waveform, in Hz.

    Source:
        SCORE (Meghanani and Hain, ICASSP 2024; Trikaldarshi/SCORE_Finetuning @ 123a756) shifts by 2 semitones, up or
        down, as `torchaudio.functional.pitch_shift` does: by this vocoder, without `phase_locking`, but with another
        resampling filter and other frames at the very end.

    Relations:
        `SpeakerPerturb` moves pitch and formants by ratios of their own.

    Example:
        >>> higher = PitchShift(semitones=2)(wave, rng)
    """

    def __init__(
        self,
        semitones: float = 2.0,
        min_semitones: float | None = None,
        max_semitones: float | None = None,
        phase_locking: bool = True,
        sample_rate: int = SAMPLE_RATE,
    ) -> None:
        if not _is_interval(semitones):
            raise RecipeError(f"PitchShift(semitones={semitones}): give a shift between -24 and 24 semitones.")
        if (min_semitones is not None or max_semitones is not None) and not (
            _is_interval(min_semitones) and _is_interval(max_semitones) and min_semitones <= max_semitones
        ):
            raise RecipeError(
                f"PitchShift(min_semitones={min_semitones}, max_semitones={max_semitones}): give both, the lower one "
                "first, between -24 and 24 semitones, such as -2 and 2."
            )
        if sample_rate < 8000:
            raise RecipeError(f"PitchShift(sample_rate={sample_rate}): give the waveforms' rate in Hz, 8000 or more.")
        self.semitones = semitones
        self.min_semitones = min_semitones
        self.max_semitones = max_semitones
        self.phase_locking = phase_locking
        self.sample_rate = sample_rate

    def draw(self, rng: np.random.Generator, wave: np.ndarray) -> Parameters:
        if self.min_semitones is not None and self.max_semitones is not None:
            return {"semitones": float(rng.uniform(self.min_semitones, self.max_semitones))}
        return {"semitones": self.semitones}

    def apply_batch(self, waves: Waves, parameters: Sequence[Parameters]) -> Waves:
        mask, lengths = waves.mask, waves.lengths.tolist()
        shifted = waves.samples.masked_fill(~mask, 0)
        frame = 4 * round(self.sample_rate / 125)
        ratios = [nearest_ratio(2 ** (drawn["semitones"] / 12)) for drawn in parameters]
        for ratio in dict.fromkeys(ratios):
            if ratio == 1:
                continue
            rows = [row for row, other in enumerate(ratios) if other == ratio]
            index, size = torch.tensor(rows, device=shifted.device), max(lengths[row] for row in rows)
            stretched = stretch(
                F.pad(shifted[index, :size], (0, frame)),  # room for what an end rings, as in a longer batch
                rate=float(1 / ratio),
                frame=frame,
                locked=self.phase_locking,
            )
            shifted[index, :size] = resample(stretched, ratio=ratio)[:, :size]
        return Waves(shifted.masked_fill_(~mask, 0), waves.lengths)


def _is_interval(semitones: float | None) -> TypeGuard[float]:
    return semitones is not None and -24 <= semitones <= 24
