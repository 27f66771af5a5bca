"""Pitch: every frequency is multiplied, the duration stays."""

from __future__ import annotations

import numpy as np
import python_stretch

from ssft.augment.base import Parameters, Transform
from ssft.errors import RecipeError
from ssft.types import SAMPLE_RATE


class PitchShift(Transform):
    """Shifts pitch and formants by a fixed interval and keeps the number of samples.

    The shift is Signalsmith Stretch's, the same that `audiomentations.PitchShift` uses; importing that package costs
    seconds in every worker, and it draws from the global generator.

    Args:
        semitones: up if positive; the frequency ratio is 2 ** (semitones / 12).
        sample_rate: of the waveform, in Hz.

    Example:
        >>> higher = PitchShift(semitones=2)(wave, rng)
    """

    def __init__(self, semitones: float = 2.0, sample_rate: int = SAMPLE_RATE) -> None:
        if not -24 <= semitones <= 24:
            raise RecipeError(f"PitchShift(semitones={semitones}): give a shift between -24 and 24 semitones.")
        if sample_rate < 8000:
            raise RecipeError(f"PitchShift(sample_rate={sample_rate}): give the waveforms' rate in Hz, 8000 or more.")
        self.semitones = semitones
        self.sample_rate = sample_rate

    def draw(self, rng: np.random.Generator, wave: np.ndarray) -> Parameters:
        return {"semitones": self.semitones}

    def apply(self, wave: np.ndarray, parameters: Parameters) -> np.ndarray:
        stretch = python_stretch.Signalsmith.Stretch(0)  # a fixed seed: its phases are random otherwise
        stretch.preset(1, self.sample_rate)
        stretch.setTransposeSemitones(parameters["semitones"])
        shifted: np.ndarray = stretch.process(np.ascontiguousarray(wave[None]))[0]
        return shifted
