"""Speed: duration, pitch and formants change together, as when a tape runs faster."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import soxr

from ssft.augment.base import Parameters, Transform
from ssft.errors import RecipeError


class SpeedPerturb(Transform):
    """Plays the waveform at one of several speeds, by resampling; N samples become round(N / factor).

    Args:
        factors: speeds to draw from, each equally often. 1.1 is 10 % faster and shorter; 1.0 changes nothing.

    Source:
        Ko et al., "Audio augmentation for speech recognition", Interspeech 2015. SCORE draws from (0.9, 1.0, 1.1).

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
        factor = parameters["factor"]
        if factor == 1.0:
            return wave
        faster: np.ndarray = soxr.resample(wave, factor, 1.0)
        return faster
