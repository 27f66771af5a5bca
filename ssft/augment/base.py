"""What every augmentation is: first draw parameters, then apply them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from ssft.components import settings_of

Parameters = dict[str, Any]
"""What was drawn, as plain numbers, strings, lists and dicts, fit for JSON."""


class Transform(ABC):
    """An augmentation of a waveform [T] float32.

    All randomness is in `draw`; `apply` is a pure function of the waveform and the parameters, so what was drawn can be
    looked at, stored and applied again. A subclass keeps its constructor's arguments under their own names.
    """

    @property
    def changes_length(self) -> bool:
        """Whether the output may be shorter or longer than the input, so that frames no longer pair by index."""
        return False

    @abstractmethod
    def draw(self, rng: np.random.Generator, wave: np.ndarray) -> Parameters:
        """Draw parameters for one waveform, using no randomness but `rng`."""

    @abstractmethod
    def apply(self, wave: np.ndarray, parameters: Parameters) -> np.ndarray:
        """Return the transformed waveform [T'] float32."""

    def check(self) -> None:  # noqa: B027 (most have nothing to look for)
        """Look for what lies outside the recipe, such as recordings of noise, before a run depends on it.

        Raises:
            RecipeError: it is not there.
        """

    def __call__(self, wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return self.apply(wave, self.draw(rng, wave))

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={getattr(self, name)!r}" for name in settings_of(type(self)))
        return f"{type(self).__name__}({settings})"
