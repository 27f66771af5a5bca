"""`FrameSource`: what frames can be taken from, and written to a folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from ssft.features.batch import Transform
from ssft.features.extractor import Part
from ssft.types import Reject, Utterance


class FrameSource(Protocol):
    """An `Extractor`, or anything else that makes frames of utterances."""

    @property
    def layers(self) -> tuple[int, ...]:
        """The numbers that its kinds of frames go by."""
        ...

    @property
    def width(self) -> int:
        """D of the frames."""
        ...

    def frame_rate(self, layer: int) -> float:
        """Return the frames per second of a layer."""
        ...

    def identity(self) -> dict[str, Any]:
        """Return where the frames come from, as `model`, and a hash of all weights that make them, as `weights`."""
        ...

    def settings(self) -> dict[str, Any]:
        """Return what else the frames depend on, `layers` among it, as plain values."""
        ...

    def parts(
        self, utterances: Sequence[Utterance], *, transform: Transform | None = None, progress: str | None = None
    ) -> Iterator[Part | Reject]:
        """Give the frames of utterances, or why there are none; see `Extractor.parts`."""
        ...
