"""Praat TextGrids as the Montreal Forced Aligner writes them: one per utterance, with tiers `phones` and `words`."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

from ssft.data.progress import with_progress
from ssft.errors import DataError
from ssft.evaluation.corpora.names import Names
from ssft.evaluation.items import Segment

SILENCE = "SIL"
"""What an interval without text on a tier of phones is called."""

_TOKEN = re.compile(r'"[^"]*(?:""[^"]*)*"|\S+')
_ENCODINGS = {b"\xfe\xff": "utf-16", b"\xff\xfe": "utf-16"}


Interval = tuple[float, float, str]
"""From when to when, in seconds, and what is written there."""


def parse_text_grid(text: str) -> dict[str, list[Interval]]:
    """Return the intervals of a TextGrid in the long or the short text format, by tier; tiers of points are empty.

    Raises:
        ValueError: it is none.

    Source: Praat's manual, "TextGrid file formats".
    """
    # In both formats, data are quoted strings, numbers and flags that stand by themselves; all else is comment.
    data = [token for token in _TOKEN.findall(text) if token[0] in '"<-0123456789']
    tiers: dict[str, list[Interval]] = {}
    try:
        if not data[0].startswith('"ooTextFile') or data[1] != '"TextGrid"':
            raise ValueError("it does not begin as a TextGrid does")
        begin = 6  # after the times of the whole, whether there are tiers, and how many
        for _ in range(int(data[5]) if data[4] == "<exists>" else 0):
            width = 3 if data[begin] == '"IntervalTier"' else 2
            tier, count = tiers.setdefault(_unquoted(data[begin + 1]), []), int(data[begin + 4])
            entries = data[begin + 5 : begin + 5 + width * count]
            begin += 5 + width * count
            if len(entries) < width * count:
                raise IndexError
            if width == 3:
                starts, ends = map(float, entries[::3]), map(float, entries[1::3])
                tier += zip(starts, ends, map(_unquoted, entries[2::3]), strict=True)
    except IndexError:
        raise ValueError("it ends too early") from None
    return tiers


def read_text_grids(
    folder: Path, kinds: Collection[str], names: Names, skipped: Counter[str]
) -> Iterator[tuple[str, Segment]]:
    """Read the TextGrids of all utterances that are there, and give kind and segment.

    A pause is what is empty: it is a phone `SIL`, and no word.

    Args:
        folder: searched recursively.
        kinds: the tiers to read, `phones` and `words`, also where they are called `SPEAKER - phones`.
        names: the utterances.
        skipped: gets the number of files that belong to none, and of those that cannot be read.

    Raises:
        DataError: there is no TextGrid, none that belongs to an utterance, or none with such a tier.
    """
    files = {
        path.relative_to(folder).with_suffix("").as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() == ".textgrid"
    }
    ids = names.match(files, source=folder)
    if len(files) > len(ids):
        skipped["TextGrids of utterances that are not there"] += len(files) - len(ids)
    problem, unreadable = "", 0
    for name in with_progress(sorted(ids), "reading TextGrids", total=len(ids)):
        try:
            tiers = parse_text_grid(_text(files[name]))
            chosen = [(kind, tier) for kind in kinds for tier in tiers if _is(tier, kind)]
            if not chosen:
                raise ValueError(f"its tiers are {', '.join(tiers) or 'none'}; needed are {' or '.join(kinds)}")
        except (OSError, ValueError) as error:
            unreadable += 1
            problem = problem or f"{files[name]}: {error}"
            continue
        for kind, tier in chosen:
            for start, end, text in tiers[tier]:
                if label := text or (SILENCE if kind == "phones" else ""):
                    yield kind, Segment(ids[name], start, end, label)
    if unreadable:
        skipped["TextGrids that cannot be read"] += unreadable
    if unreadable == len(ids):
        raise DataError(f"No TextGrid in {folder} can be read. {problem}.")


def _text(path: Path) -> str:
    content = path.read_bytes()
    return content.decode(_ENCODINGS.get(content[:2], "utf-8-sig"))


def _unquoted(text: str) -> str:
    """What a quoted string says; of many equal ones there is one in memory."""
    return sys.intern(text[1:-1].replace('""', '"').strip())


def _is(tier: str, kind: str) -> bool:
    return tier.lower().rpartition(" - ")[2] == kind
