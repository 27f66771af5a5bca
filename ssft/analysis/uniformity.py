"""How frames lie on the unit sphere: how far apart, and how far they move when the voice is changed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ssft.analysis.sample import FrameSample
from ssft.errors import DataError
from ssft.evaluation.frames import FramesById
from ssft.randomness import derive_rng

Floats = NDArray[np.float64]

PAIRS = 100_000
NEAR_FRAMES = 25
"""Frames of one utterance that are less than half a second apart are alike whatever the encoder."""


def uniformity(
    frames: NDArray[np.floating],
    places: dict[str, NDArray[np.int64]],
    *,
    pairs: int = PAIRS,
    near_frames: int = NEAR_FRAMES,
    seed: int = 0,
) -> float:
    """Return log mean exp(-2 |x - y|^2) over random pairs of frames of length 1: 0 if all are alike, about -4 at best.

    Means are not removed: what all frames have in common makes them less uniform.

    Args:
        frames: [N, D], as `FrameSample.of` returns them.
        places: of the frames in their utterances, `FrameSample.places`.
        pairs: how many are drawn.
        near_frames: pairs of one utterance that are less than so many frames apart are left out.
        seed: of the draw.

    Raises:
        DataError: fewer than two frames that are far enough apart, zeros, NaN or infinity.

    Source: Wang and Isola, ICML 2020, with t = 2.

    Example:
        >>> uniformity(sample.of(store.frames(layer=6)), sample.places)
        -1.83
    """
    units = _unit_length(frames)
    utterance = np.repeat(np.arange(len(places)), [len(own) for own in places.values()])
    place = np.concatenate([np.zeros(0, np.int64), *places.values()])
    x, y = derive_rng(seed, "pairs of frames").integers(len(units), size=(2, pairs))
    far = (utterance[x] != utterance[y]) | (np.abs(place[x] - place[y]) >= near_frames)
    if not far.any():
        raise DataError("There are no two frames that are half a second apart. Give more audio.")
    squared = _squared_distances(units, units, x[far], y[far])
    return float(np.log(np.exp(-2 * squared).mean()))


class Augmented:
    """The same moments in clean audio and after an augmentation that keeps times, such as a change of pitch.

    Args:
        clean: frames [F, D] by utterance id.
        augmented: the same of augmented audio; of fewer utterances, perhaps.
        most_frames: about how many are looked at.
        seed: of the draw.

    Raises:
        DataError: no utterance is in both, zeros, NaN or infinity.

    Example:
        >>> both = Augmented(store.frames(layer=6), store.frames(layer=6, condition="pitch_shift"))
        >>> both.alignment(), both.moment_error()
        (0.21, 0.043)
    """

    def __init__(self, clean: FramesById, augmented: FramesById, *, most_frames: int = 20_000, seed: int = 0) -> None:
        self.sample = FrameSample([augmented, clean], most_frames=most_frames, seed=seed)
        self.clean, self.augmented = (_unit_length(self.sample.of(frames)) for frames in (clean, augmented))
        self.seed = seed

    def alignment(self) -> float:
        """Return the mean squared distance of frames of length 1 to their augmented ones: 0 if nothing moves.

        Source: Wang and Isola, ICML 2020, with alpha = 2.
        """
        every = np.arange(len(self.clean))
        return float(_squared_distances(self.clean, self.augmented, every, every).mean())

    def moment_error(self, *, near_frames: int = NEAR_FRAMES) -> float | None:
        """Return how often another moment of the augmented utterance is nearer to an augmented frame than this moment
        of the clean one: 0 if what is said decides, 1 if the sound of the voice does. Ties count one half.

        The other moment is drawn among those that are `near_frames` away; None if there is none in any utterance.
        """
        errors: list[NDArray[np.float64]] = []
        begin = 0
        for name, places in self.sample.places.items():
            here = np.arange(begin, begin + len(places))
            begin += len(places)
            order = derive_rng(self.seed, "other moments", name).permutation(len(places))
            other = here[order]
            far = np.abs(places - places[order]) >= near_frames
            x, y = here[far], other[far]
            same = _squared_distances(self.augmented, self.clean, x, x)
            different = _squared_distances(self.augmented, self.augmented, x, y)
            errors.append((different < same) + 0.5 * (different == same))
        found = np.concatenate(errors)
        return float(found.mean()) if len(found) else None


def _unit_length(frames: NDArray[np.floating]) -> NDArray[np.float32]:
    lengths = np.sqrt(np.square(frames, dtype=np.float64).sum(axis=1, keepdims=True))
    if not np.isfinite(lengths).all() or not (lengths > 0).all():
        raise DataError("Some frames are 0, NaN or infinity, and have no direction.")
    return np.asarray(frames / lengths, dtype=np.float32)


def _squared_distances(
    a: NDArray[np.float32], b: NDArray[np.float32], x: NDArray[np.int64], y: NDArray[np.int64]
) -> Floats:
    """Between frames x of one array and y of the other, a few thousand at a time."""
    parts = [
        np.square(a[x[begin : begin + 4096]] - b[y[begin : begin + 4096]]).sum(axis=1, dtype=np.float64)
        for begin in range(0, len(x), 4096)
    ]
    return np.concatenate([np.zeros(0), *parts])
