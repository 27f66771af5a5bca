"""`LastLayer`: what most users take of an encoder, as a system of its own."""

from __future__ import annotations

from collections.abc import Sequence

from ssft.evaluation.frames import CLEAN, FrameStore


class LastLayer:
    """The last layer of another system; to measure all of them would take as long for each.

    Args:
        store: the other system.
        clean: leave out conditions beside clean.

    Example:
        >>> LastLayer(open_system("tiny", corpus=corpus, cache=Path("frames"))).layers
        (6,)
    """

    def __init__(self, store: FrameStore, *, clean: bool = False) -> None:
        self.name = store.name
        self.layers: Sequence[int] = (max(store.layers),)
        self.conditions: Sequence[str] = (CLEAN,) if clean else store.conditions
        self.frames = store.frames
        self.frame_rate = store.frame_rate
        self.describe = store.describe

    def layers_in(self, condition: str) -> Sequence[int]:
        """Return the one layer."""
        return self.layers
