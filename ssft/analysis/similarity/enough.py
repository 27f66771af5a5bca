"""How many frames similarity needs."""

from __future__ import annotations

from ssft.analysis.moments import JointMoments, Key
from ssft.errors import DataError

FEWEST_PER_DIMENSION = 10
"""Fewer frames than so many times D, and chance looks like similarity: with N = D, CCA is 1 whatever the frames."""


def refuse_few_frames(moments: JointMoments[Key], *keys: Key, fewest_per_dimension: int = FEWEST_PER_DIMENSION) -> None:
    """Raise DataError, with the number that is needed, if there are too few frames for the widest of some keys."""
    width = max(len(moments.mean(key)) for key in keys)
    needed = fewest_per_dimension * width
    if moments.count < needed:
        raise DataError(
            f"{moments.count:,} frames are too few for {width} dimensions: similarity would be chance. At least "
            f"{needed:,} are needed. Give more audio ({needed / 50 / 60:.1f} minutes have so many frames, at 50 a "
            "second), or a larger --frames if there is more."
        )
