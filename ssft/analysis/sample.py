"""`FrameSample`: which frames are looked at, the same ones in every layer and every system."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ssft.errors import DataError, RecipeError
from ssft.evaluation.frames import FramesById
from ssft.randomness import derive_rng

Key = TypeVar("Key", bound=Hashable)

_CHUNK = 4096


class FrameSample:
    """A uniform sample of the frames of a corpus, by utterance and place; neighbours in time are rarely both in it.

    Each frame is in it with the same probability, which follows from the seed and the utterance's id, not from the
    other utterances' order. What is sampled of different layers or models stands for the same moments.

    Args:
        systems: frames [F, D] by utterance id, of every layer or system that is to be looked at; utterances that one
            of them lacks are left out.
        most_frames: about how many frames the sample has, if there are as many.
        seed: of the draw.

    Attributes:
        places: numbers [n] of the sampled frames, ascending, by utterance id.
        count: N, of all utterances.

    Raises:
        DataError: no frames, or systems whose frames do not come at the same rate.
        RecipeError: no frames are asked for.

    Example:
        >>> sample = FrameSample([store.frames(layer=layer) for layer in store.layers], most_frames=20_000)
        >>> sample.of(store.frames(layer=6)).shape
        (20012, 192)
    """

    def __init__(self, systems: Sequence[FramesById], *, most_frames: int = 50_000, seed: int = 0) -> None:
        if most_frames < 1:
            raise RecipeError(f"most_frames={most_frames}: look at one frame at least; 50,000 is the default.")
        first, *others = systems
        lengths: dict[str, int] = {}
        for name in sorted(first):
            if any(name not in other for other in others):
                continue
            counts = [len(frames[name]) for frames in systems]
            if max(counts) - min(counts) > 1:
                raise DataError(
                    f"{name} has {min(counts)} frames in one layer or system and {max(counts)} in another, so they "
                    "cannot be compared frame by frame. Leave out what has another frame rate, with --layers."
                )
            lengths[name] = min(counts)
        total = sum(lengths.values())
        if not total:
            raise DataError("There are no frames to look at.")
        share = min(1.0, most_frames / total)
        drawn = {
            name: np.flatnonzero(derive_rng(seed, "frame sample", name).random(length) < share)
            for name, length in lengths.items()
        }
        self.places: dict[str, NDArray[np.int64]] = {name: places for name, places in drawn.items() if len(places)}
        self.count = sum(map(len, self.places.values()))
        if not self.count:
            raise DataError(f"No frame was drawn: {most_frames} of {total} are too few. Look at more.")

    def of(self, frames: FramesById) -> NDArray[np.float32]:
        """Return the sampled frames [N, D] of a layer, in the order of the utterances' ids.

        Raises:
            DataError: NaN or infinity in a frame.
        """
        return np.concatenate([_taken(frames, name, places) for name, places in self.places.items()])

    def chunks(self, layers: Mapping[Key, FramesById]) -> Iterator[dict[Key, NDArray[np.float32]]]:
        """Give the sampled frames of several layers, some thousand at a time: [n, D] of each, of the same moments.

        Raises:
            DataError: NaN or infinity in a frame.
        """
        names = list(self.places)
        ends = np.cumsum([len(self.places[name]) for name in names])
        begin = 0
        while begin < len(names):
            done = ends[begin - 1] if begin else 0
            end = max(begin + 1, int(np.searchsorted(ends, done + _CHUNK, side="right")))
            yield {
                key: np.concatenate([_taken(frames, name, self.places[name]) for name in names[begin:end]])
                for key, frames in layers.items()
            }
            begin = end


def _taken(frames: FramesById, name: str, places: NDArray[np.int64]) -> NDArray[np.float32]:
    taken = np.asarray(frames[name])[places]
    if not np.isfinite(taken).all():
        raise DataError(f"Frames of {name} contain NaN or infinity: the encoder's weights, or the frames, are broken.")
    return taken
