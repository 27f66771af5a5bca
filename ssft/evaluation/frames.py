"""`FrameStore`: the frames of a system, by split, layer and condition, however they come about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ssft.evaluation.corpus import TEST

CLEAN = "clean"
"""The condition in which audio is as it was recorded."""

FramesById = Mapping[str, NDArray[np.float32]]
"""Frames [F, D] by utterance id; utterances that could not be read are not in it."""


class FrameStore(Protocol):
    """What tasks see of a system: frames, never an encoder.

    Attributes:
        name: what it is called in results, e.g. `runs/score/adapted` or `MFCC`.
        layers: which layers are measured, ascending.
        conditions: in which conditions, `clean` first.
    """

    name: str
    layers: Sequence[int]
    conditions: Sequence[str]

    def frames(self, split: str = TEST, *, layer: int, condition: str = CLEAN) -> FramesById:
        """Return the frames of all utterances of a split, made the first time that they are asked for."""
        ...

    def layers_in(self, condition: str) -> Sequence[int]:
        """Return the layers that are measured in a condition: all in `clean`, elsewhere perhaps only the last."""
        ...

    def frame_rate(self, layer: int) -> float:
        """Return the frames per second of a layer."""
        ...

    def describe(self) -> dict[str, Any]:
        """Return plain values for the results: what the frames depend on, such as the hash of the weights."""
        ...
