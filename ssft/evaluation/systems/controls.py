"""Free controls: what simple arithmetic on the frames of a system gains, without any training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssft.errors import DataError, RecipeError
from ssft.evaluation.corpus import TEST, TRAIN
from ssft.evaluation.frames import CLEAN, FramesById, FrameStore
from ssft.randomness import derive_seed

Floats = NDArray[np.float64]
Change = Callable[[Floats], Floats]


class Control(ABC):
    """A system whose frames are those of another, each utterance changed when it is looked at.

    Args:
        store: the other system.
    """

    suffix: str
    """What it adds to the name of the other."""

    def __init__(self, store: FrameStore) -> None:
        self.store = store
        self.name = f"{store.name}+{self.suffix}"
        self.layers: Sequence[int] = store.layers
        self.conditions: Sequence[str] = store.conditions

    @abstractmethod
    def change(self, layer: int) -> Change:
        """Return what is done to the frames [F, D] of an utterance."""

    def frames(self, split: str = TEST, *, layer: int, condition: str = CLEAN) -> FramesById:
        """Return the changed frames; raises what the other system does."""
        return _Changed(self.store.frames(split, layer=layer, condition=condition), self.change(layer))

    def layers_in(self, condition: str) -> Sequence[int]:
        """Return the layers that are measured in a condition."""
        return self.store.layers_in(condition)

    def frame_rate(self, layer: int) -> float:
        """Return the frames per second of a layer."""
        return self.store.frame_rate(layer)

    def describe(self) -> dict[str, Any]:
        """Return what the other system says, and what is done to its frames."""
        facts = self.store.describe()
        return {**facts, "controls": [*facts.get("controls", ()), self.suffix]}


class MeanRemoved(Control):
    """The mean of every utterance is subtracted: its speaker and channel, as far as they are constant."""

    suffix = "mean-removed"

    def change(self, layer: int) -> Change:
        return lambda frames: frames - frames.mean(axis=0)


class Smoothed(Control):
    """A moving average over time; at the edges, over the frames that there are.

    Args:
        store: the other system.
        window: an odd number of frames.

    Raises:
        RecipeError: an even one, or none.
    """

    suffix = "smoothed"

    def __init__(self, store: FrameStore, *, window: int = 5) -> None:
        if window < 1 or window % 2 == 0:
            raise RecipeError(f"Smoothed(window={window}): give an odd number of frames, so that none is displaced.")
        super().__init__(store)
        self.window = window

    def change(self, layer: int) -> Change:
        return lambda frames: _moving_average(frames, self.window // 2)

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "smoothed over": self.window}


class Whitened(Control):
    """Frames with mean 0 and, but for the shrinkage, covariance 1 over clean `train`, rotated no further (ZCA).

    W = V (L + s * mean(L))^(-1/2) V^T, where V and L are eigenvectors and eigenvalues of the covariance: what hardly
    varies is not blown up without bound.

    Args:
        store: the other system, of a corpus with a split `train`.
        shrinkage: s.
        most_frames: statistics are those of about so many, of utterances that follow from their ids.

    Raises:
        RecipeError: no shrinkage, or no frames.
    """

    suffix = "whitened"

    def __init__(self, store: FrameStore, *, shrinkage: float = 1e-3, most_frames: int = 500_000) -> None:
        if not shrinkage > 0 or most_frames < 1:
            raise RecipeError(
                f"Whitened(shrinkage={shrinkage}, most_frames={most_frames}): give a shrinkage above 0, which is the "
                "share of the mean variance that is added to all, and at least one frame."
            )
        super().__init__(store)
        self.shrinkage = shrinkage
        self.most_frames = most_frames
        self._fitted = lru_cache(None)(self._fit)

    def change(self, layer: int) -> Change:
        """Raises DataError if `train` has no frames, or none that differ."""
        mean, matrix = self._fitted(layer)
        return lambda frames: (frames - mean) @ matrix

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "shrinkage": self.shrinkage}

    def _fit(self, layer: int) -> tuple[Floats, Floats]:
        frames = self.store.frames(TRAIN, layer=layer)
        count, total, products = 0, np.zeros(1), np.zeros((1, 1))
        for name in sorted(frames, key=lambda name: derive_seed("whitening", name)):
            own = np.asarray(frames[name], dtype=np.float64)
            count, total, products = count + len(own), total + own.sum(axis=0), products + own.T @ own
            if count >= self.most_frames:
                break
        if not count:
            raise DataError(f"{self.name}: there are no frames of {TRAIN} to take statistics of.")
        mean = total / count
        variances, axes = np.linalg.eigh(products / count - np.outer(mean, mean))
        if not (added := self.shrinkage * variances.mean()) > 0:
            raise DataError(f"{self.name}: all frames of layer {layer} of {TRAIN} are the same.")
        return mean, axes / np.sqrt(np.maximum(variances, 0.0) + added) @ axes.T


CONTROLS: dict[str, Callable[[FrameStore], Control]] = {
    control.suffix: control for control in (MeanRemoved, Smoothed, Whitened)
}
"""By what is added to the name of a system, as in `tiny+smoothed`."""


class _Changed(Mapping[str, NDArray[np.float32]]):
    def __init__(self, frames: FramesById, change: Change) -> None:
        self._frames = frames
        self._change = change

    def __getitem__(self, utterance_id: str) -> NDArray[np.float32]:
        return self._change(np.asarray(self._frames[utterance_id], dtype=np.float64)).astype(np.float32)

    def __contains__(self, utterance_id: object) -> bool:
        return utterance_id in self._frames

    def __iter__(self) -> Iterator[str]:
        return iter(self._frames)

    def __len__(self) -> int:
        return len(self._frames)


def _moving_average(frames: Floats, reach: int) -> Floats:
    """The mean of the frames that lie at most `reach` from each, [F, D]."""
    sums = np.concatenate([np.zeros((1, frames.shape[1])), frames.cumsum(axis=0)])
    number = np.arange(len(frames))
    first, end = np.maximum(number - reach, 0), np.minimum(number + reach + 1, len(frames))
    averages: Floats = (sums[end] - sums[first]) / (end - first)[:, None]
    return averages
