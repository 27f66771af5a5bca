"""What augmentations, heads and losses are to the rest of the package."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from ssft.types.batches import Frames


@dataclass(frozen=True)
class LossOutput:
    """What a loss returns: the mean to minimise (scalar), how many items it is a mean over, and numbers to log."""

    loss: Tensor
    weight: float
    logs: dict[str, float] = field(default_factory=dict)


@runtime_checkable
class Augmentation(Protocol):
    """Turns a waveform [T] float32 into another, using no randomness but `rng`."""

    @property
    def changes_length(self) -> bool: ...

    def __call__(self, wave: np.ndarray, rng: np.random.Generator) -> np.ndarray: ...


@runtime_checkable
class DrawnAugmentation(Augmentation, Protocol):
    """An augmentation that first draws parameters and then applies them; `ssft.augment.Transform` explains it."""

    @property
    def fallbacks(self) -> int: ...

    def draw(self, rng: np.random.Generator, wave: np.ndarray) -> dict[str, Any]: ...

    def apply(self, wave: np.ndarray, parameters: dict[str, Any]) -> np.ndarray: ...

    def for_speaker(self, speaker: str | None) -> DrawnAugmentation: ...


class Loss(Protocol):
    """Compares what the student and the reference say about a batch of pairs.

    A loss may also declare `needs_targets` (then it is called with labels of the frames as a third argument) and
    `needs_reference = False` (then the reference is not computed, and the student is passed in its place) and
    `compares_across_utterances` (then it is given the frames of all processes), and may have `after_step()`, which is
    called once the optimizer has moved the weights. `ssft.losses.FrameLoss` has them all.
    """

    needs_same_length: bool

    def __call__(self, student: Frames, reference: Frames) -> LossOutput: ...


@runtime_checkable
class Materializable(Protocol):
    """A head or a loss that can make its weights only once it knows the width of the frames it will be given.

    A head returns the width of the frames that it makes of them; a loss, which makes none, returns None.
    """

    def materialize(self, dim: int) -> int | None: ...
