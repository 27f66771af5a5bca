"""What every augmentation is: first draw parameters, then apply them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ssft.components import settings_of
from ssft.types import Waves

Parameters = dict[str, Any]
"""What was drawn, as plain numbers, strings, lists and dicts, fit for JSON."""


class Transform(ABC):
    """An augmentation of a waveform [T] float32.

    All randomness is in `draw`; `apply` is a pure function of the waveform and the parameters, so what was drawn can be
    looked at, stored and applied again. `apply_batch` does to each waveform of a batch, on the device where the batch
    lies, what `apply` does to it alone. A subclass keeps its constructor's arguments under their own names.
    """

    @property
    def changes_length(self) -> bool:
        """Whether the output may be shorter or longer than the input, so that frames no longer pair by index."""
        return False

    @property
    def runs_on_device(self) -> bool:
        """Whether there is an `apply_batch`."""
        return type(self).apply_batch is not Transform.apply_batch

    @property
    def fallbacks(self) -> int:
        """How many waveforms this object, in this process, could not treat as it should and treated otherwise."""
        return 0

    @abstractmethod
    def draw(self, rng: np.random.Generator, wave: np.ndarray) -> Parameters:
        """Draw parameters for one waveform, using no randomness but `rng`."""

    @abstractmethod
    def apply(self, wave: np.ndarray, parameters: Parameters) -> np.ndarray:
        """Return the transformed waveform [T'] float32."""

    def apply_batch(self, waves: Waves, parameters: Sequence[Parameters]) -> Waves:
        """Return the transformed batch, each waveform by its own parameters, on the device of `waves`.

        What lies behind a waveform's length is not read, and is 0 in the result.
        """
        raise NotImplementedError(f"{type(self).__name__} has no apply_batch; apply it to one waveform at a time.")

    def for_speaker(self, speaker: str | None) -> Transform:
        """Return the augmentation as it is for a speaker of the corpus; most are the same for everybody."""
        return self

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


class BatchTransform(Transform):
    """An augmentation that is written for batches only; a single waveform is a batch of one."""

    @abstractmethod
    def apply_batch(self, waves: Waves, parameters: Sequence[Parameters]) -> Waves: ...

    def apply(self, wave: np.ndarray, parameters: Parameters) -> np.ndarray:
        samples = torch.from_numpy(np.ascontiguousarray(wave, dtype=np.float32))
        transformed = self.apply_batch(Waves.stack([samples]), [parameters])
        result: np.ndarray = transformed.samples[0, : int(transformed.lengths[0])].numpy()
        return result
