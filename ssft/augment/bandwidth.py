"""Bandwidth: the frequencies that a narrower recording keeps."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from ssft.augment.base import BatchTransform, Parameters
from ssft.errors import RecipeError
from ssft.ops.band_pass import band_pass
from ssft.ops.convolution import convolve
from ssft.types import SAMPLE_RATE, Waves

_HALF_SECONDS = 0.016


class Bandwidth(BatchTransform):
    """Takes away what lies above a drawn frequency, as a recording at a lower rate would lack it.

    The edge is uniform in octaves between `min_hz` and `max_hz`. The filter, a windowed sinc of 32 ms, is 6 dB down at
    the edge and more than 70 dB from 90 Hz beyond it, and has linear phase without delay. [T] stays [T]; nothing is
    clipped.

    Args:
        min_hz: the lowest edge, in Hz.
        max_hz: the highest, in Hz, below half the sample rate.
        high_pass_hz: what lies below is taken away as well; 300 with edges at 3400 is a telephone. 0 keeps it.
        sample_rate: of the waveform, in Hz.

    Relations:
        `Codec` also adds the noise and the artefacts of a transmission; it runs on the CPU only.
        `ParametricEqualizer` colours bands without taking any away.

    Example:
        >>> dull = Bandwidth(min_hz=2000.0, max_hz=4000.0)(wave, rng)
    """

    def __init__(
        self,
        min_hz: float = 2000.0,
        max_hz: float = 7500.0,
        high_pass_hz: float = 0.0,
        sample_rate: int = SAMPLE_RATE,
    ) -> None:
        if not 0 < min_hz <= max_hz < sample_rate / 2:
            raise RecipeError(
                f"Bandwidth(min_hz={min_hz}, max_hz={max_hz}, sample_rate={sample_rate}): give 0 < min_hz <= max_hz, "
                "and max_hz below half the sample rate."
            )
        if not 0 <= high_pass_hz < min_hz:
            raise RecipeError(
                f"Bandwidth(high_pass_hz={high_pass_hz}, min_hz={min_hz}): give a frequency below min_hz, 0 Hz to "
                "take nothing away; a telephone's is 300."
            )
        self.min_hz = min_hz
        self.max_hz = max_hz
        self.high_pass_hz = high_pass_hz
        self.sample_rate = sample_rate

    def draw(self, rng: np.random.Generator, wave: np.ndarray) -> Parameters:
        return {"low_pass_hz": math.exp(rng.uniform(math.log(self.min_hz), math.log(self.max_hz)))}

    def apply_batch(self, waves: Waves, parameters: Sequence[Parameters]) -> Waves:
        samples = waves.samples.masked_fill(~waves.mask, 0)
        high_hz = samples.new_tensor([drawn["low_pass_hz"] for drawn in parameters], dtype=torch.float64)
        half = round(_HALF_SECONDS * self.sample_rate)
        low_hz = torch.full_like(high_hz, self.high_pass_hz)
        filters = band_pass(low_hz, high_hz, half=half, sample_rate=self.sample_rate)
        narrow = convolve(samples, filters.to(samples.dtype), first=half)
        return Waves(narrow.masked_fill(~waves.mask, 0), waves.lengths)
