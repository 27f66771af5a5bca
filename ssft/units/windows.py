"""Long recordings in parts that an encoder can take, so that the parts' frames are the frames of the whole."""

from __future__ import annotations

import math
from dataclasses import replace

from ssft.data import read_audio
from ssft.data.audio import FEWEST_SAMPLES, AudioError
from ssft.types import Utterance

WINDOW_SECONDS = 30.0
"""Attention grows with the square of the length. A whole number of frames."""

# The last frame of a part is heard 5 ms beyond its end, and less than 25 ms beyond it there is no further frame. The
# middle leaves room for the rounding of other sample rates.
_OVERHANG = 0.015


def windows(utterance: Utterance, *, seconds: float = WINDOW_SECONDS) -> list[Utterance]:
    """Cut an utterance into parts of `seconds`, all with its id; one that is not longer stays whole.

    Encoded one after the other they give exactly as many frames as the whole, for an encoder of 50 frames per second.
    A part that cannot be encoded by itself, because there is only silence in it or less than a frame, is joined to
    the one before it, or at the beginning to the one after.

    Args:
        utterance: what to cut. Its audio is read if it is cut.
        seconds: length of a part, a multiple of 0.02.

    Example:
        >>> [(part.start, part.seconds) for part in windows(Utterance("a", Path("a.wav"), seconds=70.0))]
        [(0.0, 30.015), (30.0, 30.015), (60.0, 10.0)]
    """
    if utterance.seconds <= seconds:
        return [utterance]
    starts, ready = [0.0], _can_stand_alone(utterance, 0.0, seconds)
    for number in range(1, math.ceil(utterance.seconds / seconds)):
        offset = number * seconds
        alone = _can_stand_alone(utterance, offset, min(seconds, utterance.seconds - offset))
        if ready and alone:
            starts.append(offset)
        ready = ready or alone
    ends = [*(start + _OVERHANG for start in starts[1:]), utterance.seconds]
    return [
        replace(utterance, start=utterance.start + start, seconds=end - start)
        for start, end in zip(starts, ends, strict=True)
    ]


def _can_stand_alone(utterance: Utterance, offset: float, seconds: float) -> bool:
    try:
        wave = read_audio(utterance.path, member=utterance.member, start=utterance.start + offset, seconds=seconds)
    except AudioError as error:
        if error.reason in ("silent", "empty"):
            return False
        raise
    return len(wave) >= FEWEST_SAMPLES
