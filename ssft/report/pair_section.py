"""Pairs as training heard them, as a section of a report that plays them."""

from __future__ import annotations

from typing import Any

from ssft.data import PairDataset
from ssft.errors import DataError
from ssft.report.document import Block, Made, PairSounds, Text
from ssft.report.pairs import SIDES, hear
from ssft.report.pictures import picture
from ssft.report.sound import Sound
from ssft.types import Reject

_KEYS = "Keys: `A` plays the original and `B` the augmented one of the marked pair, from the same place on."


def pairs(heard: PairDataset, *, count: int) -> Made:
    """A few pairs of the first epoch, of different speakers, with what was drawn for them.

    Raises:
        DataError: no utterance can be used.
    """
    blocks: list[Block] = [Text(_KEYS, quiet=True)]
    records: list[dict[str, Any]] = []
    reject: Reject | None = None
    for item in hear(heard) if count else ():
        if isinstance(item, Reject):
            reject = item
            continue
        waves = {side: item.wave(side) for side in SIDES}
        records.append({"number": len(records) + 1, **item.record()})
        sounds = {side: Sound.of(wave * item.scale) for side, wave in waves.items()}
        blocks.append(PairSounds(records[-1], sounds, picture(waves, item.pitch, title=item.titles)))
        if len(records) == count:
            break
    if not records and reject is not None:
        raise DataError(f"No utterance that was trained on can be read any more: {reject.path}: {reject.detail}.")
    return blocks, {"pairs": records}
