"""Systems for tests of evaluation tasks: their frames are given, and no encoder is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssft.evaluation.corpus import TEST
from ssft.evaluation.frames import CLEAN, FramesById

Key = tuple[str, int, str]
"""Split, layer and condition."""


class GivenFrames:
    """A `FrameStore` of frames [F, D] by utterance id, for each split, layer and condition.

    Example:
        >>> store = GivenFrames({("test", 0, "clean"): {"a": np.zeros((3, 2), dtype=np.float32)}})
        >>> store.layers, store.conditions
        ([0], ['clean'])
    """

    def __init__(
        self, given: Mapping[Key, Mapping[str, Any]], *, name: str = "given", frame_rate: float = 50.0
    ) -> None:
        self.name = name
        self.given = given
        self.rate = frame_rate
        self.layers: Sequence[int] = sorted({layer for _, layer, _ in given})
        self.conditions: Sequence[str] = sorted({condition for *_, condition in given}, key=lambda name: name != CLEAN)

    def frames(self, split: str = TEST, *, layer: int, condition: str = CLEAN) -> FramesById:
        by_id = self.given.get((split, layer, condition), {})
        return {name: np.asarray(values, dtype=np.float32) for name, values in by_id.items()}

    def layers_in(self, condition: str) -> Sequence[int]:
        return sorted({layer for _, layer, known in self.given if known == condition})

    def frame_rate(self, layer: int) -> float:
        return self.rate

    def describe(self) -> dict[str, Any]:
        return {"name": self.name}


def one_layer(splits: Mapping[str, Mapping[str, NDArray[Any]]], **options: Any) -> GivenFrames:
    """A store with layer 0 in `clean`: frames by utterance id, by split."""
    return GivenFrames({(split, 0, CLEAN): by_id for split, by_id in splits.items()}, **options)
