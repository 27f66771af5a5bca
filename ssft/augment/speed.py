"""Speed: duration, pitch and formants change together, as when a tape runs faster."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import soxr
import torch

from ssft.augment.base import Parameters, Transform
from ssft.errors import RecipeError
from ssft.ops.resample import nearest_ratio, resample, resampled_length
from ssft.types import Waves

_LEAD = 64
"""Samples of silence put before a waveform, for soxr weakens the first two that it sees by up to 4 %."""


class SpeedPerturb(Transform):
    """Plays the waveform at one of several speeds, by resampling; N samples become round(N / factor).

    Single waveforms are resampled by soxr. A batch is resampled through the Fourier transform, with a filter of the
    same slope, and agrees with single waveforms to 1e-3 on white noise, mostly to 1e-4 on speech (root mean square of
    the difference, relative).

    Args:
        factors: speeds to draw from, each equally often. 1.1 is 10 % faster and shorter; 1.0 changes nothing. A speed
            is taken as the nearest fraction with a denominator of up to 1000.

    Source:
        Ko et al., "Audio augmentation for speech recognition", Interspeech 2015. SCORE (Meghanani and Hain,
        ICASSP 2024; Trikaldarshi/SCORE_Finetuning @ 123a756) draws from (0.9, 1.0, 1.1).

    Example:
        >>> len(SpeedPerturb(factors=(2.0,))(np.zeros(16000, np.float32), rng))
        8000
    """

    def __init__(self, factors: Sequence[float] = (0.9, 1.0, 1.1)) -> None:
        if len(factors) == 0 or any(not 0.5 <= factor <= 2.0 for factor in factors):
            raise RecipeError(f"SpeedPerturb(factors={factors}): give at least one factor, each between 0.5 and 2.")
        self.factors = tuple(factors)

    @property
    def changes_length(self) -> bool:
        return any(factor != 1.0 for factor in self.factors)

    def draw(self, rng: np.random.Generator, wave: np.ndarray) -> Parameters:
        return {"factor": float(rng.choice(self.factors))}

    def apply(self, wave: np.ndarray, parameters: Parameters) -> np.ndarray:
        ratio = nearest_ratio(parameters["factor"])
        if ratio == 1:
            return wave
        parts = -(-_LEAD // ratio.numerator)
        lead = np.zeros(parts * ratio.numerator, np.float32)
        faster: np.ndarray = soxr.resample(np.concatenate([lead, wave]), ratio.numerator, ratio.denominator)
        return faster[parts * ratio.denominator :]

    def apply_batch(self, waves: Waves, parameters: Sequence[Parameters]) -> Waves:
        clean = waves.samples.masked_fill(~waves.mask, 0)
        before = waves.lengths.tolist()
        ratios = [nearest_ratio(drawn["factor"]) for drawn in parameters]
        after = [resampled_length(length, ratio=ratio) for length, ratio in zip(before, ratios, strict=True)]
        samples = clean.new_zeros(len(clean), max(after))
        for ratio in dict.fromkeys(ratios):
            rows = [row for row, other in enumerate(ratios) if other == ratio]
            index = torch.tensor(rows, device=clean.device)
            played = clean[index, : max(before[row] for row in rows)]
            if ratio != 1:
                played = resample(played, ratio=ratio)
            samples[index, : played.shape[1]] = played
        faster = Waves(samples, waves.lengths.new_tensor(after))
        return Waves(samples.masked_fill_(~faster.mask, 0), faster.lengths)
