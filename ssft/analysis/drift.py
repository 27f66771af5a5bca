"""How far the frames of a layer have moved from those of the base."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ssft.analysis.moments import JointMoments
from ssft.analysis.similarity.cka import linear_cka
from ssft.errors import DataError

_ROWS = 4096


def cosine_distance(frames: NDArray[np.floating], base: NDArray[np.floating]) -> float:
    """Return the mean 1 - cosine of the frames [N, D] of the same moments: any change counts, a rotation too.

    Raises:
        DataError: other shapes, no frames, zeros, NaN or infinity.

    Example:
        >>> cosine_distance(np.eye(3), -np.eye(3))
        2.0
    """
    if frames.shape != base.shape or not len(frames):
        raise DataError(f"Frames are {list(frames.shape)} and those of the base {list(base.shape)}; give as many.")
    total = 0.0
    for begin in range(0, len(frames), _ROWS):
        x, y = (np.asarray(values[begin : begin + _ROWS], dtype=np.float64) for values in (frames, base))
        lengths = np.sqrt(np.square(x).sum(axis=1) * np.square(y).sum(axis=1))
        if not np.isfinite(lengths).all() or not (lengths > 0).all():
            raise DataError("Some frames are 0, NaN or infinity, and have no direction.")
        total += float((1 - (x * y).sum(axis=1) / lengths).sum())
    return total / len(frames)


def cka_distance(frames: NDArray[np.floating], base: NDArray[np.floating]) -> float:
    """Return 1 - linear CKA of the frames [N, D] and [N, D'] of the same moments: how they lie to each other counts.

    Raises:
        DataError: fewer than 10 frames for each dimension, all alike, NaN or infinity.

    Example:
        >>> round(cka_distance(frames, frames @ rotation), 6)
        0.0
    """
    moments: JointMoments[str] = JointMoments([("the system", "the base")])
    moments.update({"the system": frames, "the base": base})
    return 1 - linear_cka(moments, "the system", "the base")
