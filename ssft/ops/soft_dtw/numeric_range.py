"""Which numbers the float32 kernels of soft-DTW can hold: a check that they share."""

from __future__ import annotations

import math

_LARGEST_STEP = 2.0**21
_LARGEST_SUM = 2.0**27
_SMALLEST_GAMMA = 2.0**-100


def in_range(largest_square: float, *, frames: int, gamma: float) -> bool:
    """Whether no exponent can overflow: the kernels carry exp(-R / gamma) as a float32 times 2 ** an int32.

    The squared distance of two frames is at most 4 times the squared length of the longer one. It moves the exponent by
    distance / gamma * log2(e), rounded in float32, and a path has fewer cells than there are frames. Frames of unit
    length are in range down to gamma = 0.001 for a minute of speech.

    Args:
        largest_square: squared Euclidean length of the longest frame.
        frames: of both sequences together.
        gamma: smoothing.

    Example:
        >>> in_range(1.0, frames=2000, gamma=0.1), in_range(1e8, frames=2000, gamma=0.1)
        (True, False)
    """
    step = 4 * largest_square / gamma * math.log2(math.e)
    # Each cell also adds up three ways, less than 2 ** 2.
    return gamma > _SMALLEST_GAMMA and step < _LARGEST_STEP and (step + 2) * frames < _LARGEST_SUM
