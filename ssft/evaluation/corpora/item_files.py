"""ABX items from `.item` files, as ZeroSpeech and Libri-Light have them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from ssft.errors import DataError
from ssft.evaluation.corpora.names import Names
from ssft.evaluation.corpora.segments import problem_of
from ssft.evaluation.items import UNKNOWN_SPEAKERS, Item, times

_BEGIN = ["file", "onset", "offset"]
_SPEAKER = ("speaker", "talker")
_EXPECTED = "#file onset offset #phone prev-phone next-phone speaker"


def read_item_file(path: Path, names: Names, seconds: Mapping[str, float], skipped: Counter[str]) -> list[Item]:
    """Read an item file: a header, and lines of file, onset, offset, label, context and speaker between blanks.

    What is between the label and the speaker is the context, however many columns that are: an item of three phones
    and one of a single phone among two others are written alike.

    Args:
        path: the file, e.g. `dev-clean.item`.
        names: the utterances.
        seconds: how long each is, by its id.
        skipped: gets the number of items left out, by reason.

    Returns:
        The items in the order of the file, with utterance ids.

    Raises:
        DataError: it cannot be read, or no item belongs to any utterance.

    Source: Schatz et al., Interspeech 2013; Kahn et al., ICASSP 2020.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}.") from error
    header = [name.removeprefix("#") for name in lines[0].split()] if lines else []
    if header[:3] != _BEGIN or len(header) < 5 or header[-1] not in _SPEAKER:
        raise DataError(f"{path}, line 1: expected {_EXPECTED!r}, found {lines[0] if lines else 'nothing'!r}.")
    rows = [(number, line.split()) for number, line in enumerate(lines[1:], start=2) if line.strip()]
    for number, row in rows:
        if len(row) != len(header):
            raise DataError(f"{path}, line {number}: {len(row)} columns, but the header has {len(header)}.")
    ids = names.match((row[0] for _, row in rows), source=path)
    items, left_out = [], f"items of {path.name}"
    for number, (name, onset, offset, label, *context, speaker) in rows:
        start, end = times(onset, offset, where=f"{path}, line {number}")
        if name not in ids:
            skipped[f"{left_out} in utterances that are not there"] += 1
        elif speaker in UNKNOWN_SPEAKERS:
            skipped[f"{left_out} of unknown speakers"] += 1
        elif problem := problem_of(start, end, label, seconds[ids[name]]):
            skipped[f"{left_out} {problem}"] += 1
        else:
            items.append(Item(ids[name], start, end, label, tuple(context), speaker))
    return items
