"""The stretches of speech an ABX task compares, made from tables of aligned words or phones."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from ssft.errors import DataError

PAUSES = frozenset({"", "sil", "sp", "spn", "nsn", "pau", "SIL", "SP", "SPN", "NSN", "PAU"})
"""What aligners call a pause or a noise."""
UNKNOWN_SPEAKERS = frozenset({"", "unknown"})
GAP_SECONDS = 0.001
"""Neighbouring phones may lie this far apart or overlap this much, by rounding, and still be neighbours."""
OVERHANG_FRAMES = 2
"""An item may reach this far past the last frame: encoders make a frame or so less than seconds times frame rate."""


@dataclass(frozen=True, order=True)
class Item:
    """A stretch of an utterance, `onset` to `offset` in seconds, with what is said, between what, and by whom."""

    utterance: str
    onset: float
    offset: float
    label: str
    context: tuple[str, ...]
    speaker: str

    def __post_init__(self) -> None:
        if not 0 <= self.onset < self.offset < math.inf:
            raise DataError(
                f"{self.label!r} in {self.utterance} ends before it begins: {self.onset} to {self.offset} s."
            )


class Segment(NamedTuple):
    """One row of an alignment: what is said in an utterance from `start` to `end`, in seconds."""

    utterance: str
    start: float
    end: float
    label: str


class Items(NamedTuple):
    """Items in the order of their source, and how many were left out because nobody knows who speaks."""

    items: list[Item]
    without_speaker: int


def read_table(path: Path, columns: Sequence[str]) -> list[tuple[str, ...]]:
    """Read the named columns of a tab-separated UTF-8 file whose first line is a header.

    Raises:
        DataError: no such file, not text, no such column, or a row of another width; with the file and the line.

    Example:
        `dict(read_table(Path("manifest.tsv"), ("path", "speaker")))` is a mapping for `word_items`.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").rstrip("\r\n").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}.") from error
    header = lines[0].split("\t") if lines else []
    missing = [name for name in columns if name not in header]
    if missing:
        raise DataError(f"{path}, line 1: no column {missing[0]!r}; columns found: {', '.join(header) or 'none'}.")
    wanted = [header.index(name) for name in columns]
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        cells = line.split("\t")
        if len(cells) != len(header):
            raise DataError(f"{path}, line {number}: {len(cells)} columns, but the header has {len(header)}.")
        rows.append(tuple(cells[index] for index in wanted))
    return rows


def read_segments(path: Path, label: str) -> list[Segment]:
    """Read an alignment: a table with the columns path, start_s, end_s, and the one that `label` names.

    Raises:
        DataError: what `read_table` raises, a time that is no number, or a segment that ends before it begins.

    Example:
        `read_segments(Path("words.tsv"), "word")[0]` is e.g. `Segment("a.flac", 0.55, 0.92, "we")`.
    """
    segments = []
    for number, (utterance, start, end, name) in enumerate(read_table(path, ("path", "start_s", "end_s", label)), 2):
        segment = Segment(utterance, *times(start, end, where=f"{path}, line {number}"), name)
        if not 0 <= segment.start < segment.end < math.inf:
            raise DataError(f"{path}, line {number}: a segment from {start} to {end} s.")
        segments.append(segment)
    return segments


def times(start: str, end: str, *, where: str) -> tuple[float, float]:
    """Read two times in seconds.

    Raises:
        DataError: one of them is none; with where.
    """
    try:
        return float(start), float(end)
    except ValueError:
        raise DataError(f"{where}: {start!r} or {end!r} is not a time in seconds.") from None


def word_items(words: Iterable[Segment], speakers: Mapping[str, str], *, min_seconds: float = 0.2) -> Items:
    """Make an item of every word of at least `min_seconds`, with an empty context: any two words may be compared.

    The default leaves out most function words, which are reduced to a few frames. Words of an utterance that
    `speakers` does not know, or knows as "" or "unknown", are left out and counted.

    Example:
        >>> word_items([Segment("a", 0.1, 0.2, "the"), Segment("a", 0.2, 0.6, "cat")], {"a": "kim"}).items
        [Item(utterance='a', onset=0.2, offset=0.6, label='cat', context=(), speaker='kim')]
    """
    # A hair of tolerance, because 0.75 - 0.55 < 0.2 in binary.
    long_enough = (word for word in words if word.end - word.start >= min_seconds - 1e-6)
    return _by_known_speakers(((word, ()) for word in long_enough), speakers)


def phone_items(phones: Iterable[Segment], speakers: Mapping[str, str], *, pauses: Collection[str] = PAUSES) -> Items:
    """Make an item of every single phone that is no pause, with an empty context: any two phones may be compared.

    For corpora too small to have many triphones twice; its errors are not comparable to those of `triphone_items`.
    Speakers as in `word_items`.

    Example:
        >>> phone_items([Segment("a", 0.0, 0.1, "B"), Segment("a", 0.1, 0.5, "SIL")], {"a": "kim"}).items
        [Item(utterance='a', onset=0.0, offset=0.1, label='B', context=(), speaker='kim')]
    """
    return _by_known_speakers(((phone, ()) for phone in phones if phone.label not in pauses), speakers)


def triphone_items(
    phones: Iterable[Segment], speakers: Mapping[str, str], *, pauses: Collection[str] = PAUSES
) -> Items:
    """Make an item of every three successive phones: the middle one is the label, the other two the context.

    The item spans the whole triphone, from the start of the previous phone to the end of the next, as in the ZeroSpeech
    and Libri-Light tasks, where "bag" is told from "beg" and never from "rag". No phone of the three is a pause, and
    they touch. Speakers as in `word_items`.

    Example:
        >>> phones = [Segment("a", 0.0, 0.1, "B"), Segment("a", 0.1, 0.2, "AE"), Segment("a", 0.2, 0.3, "G")]
        >>> triphone_items(phones, {"a": "kim"}).items
        [Item(utterance='a', onset=0.0, offset=0.3, label='AE', context=('B', 'G'), speaker='kim')]
    """
    triphones = []
    for _, group in groupby(sorted(phones), key=lambda phone: phone.utterance):
        own = list(group)
        for previous, middle, following in zip(own, own[1:], own[2:], strict=False):
            gaps = abs(previous.end - middle.start), abs(middle.end - following.start)
            if max(gaps) <= GAP_SECONDS and not {previous.label, middle.label, following.label} & set(pauses):
                whole = Segment(middle.utterance, previous.start, following.end, middle.label)
                triphones.append((whole, (previous.label, following.label)))
    return _by_known_speakers(triphones, speakers)


def frame_span(item: Item, frame_rate: float, frames: int) -> range:
    """Return the frames of an item: those whose centre, (i + 0.5) / frame_rate, lies in it, both ends included.

    Empty if there is none, or if the item reaches more than `OVERHANG_FRAMES` past the last of `frames`; less is cut.

    Example:
        >>> frame_span(Item("a", 0.55, 0.62, "cat", (), "kim"), frame_rate=50.0, frames=100)
        range(27, 31)
    """
    # Rounded, because 0.55 * 50 - 0.5 is 27.000000000000004 in binary.
    first = math.ceil(round(item.onset * frame_rate - 0.5, 6))
    last = math.floor(round(item.offset * frame_rate - 0.5, 6))
    return range(first, min(last + 1, frames)) if last < frames + OVERHANG_FRAMES else range(0)


def _by_known_speakers(segments: Iterable[tuple[Segment, tuple[str, ...]]], speakers: Mapping[str, str]) -> Items:
    items, without_speaker = [], 0
    for segment, context in segments:
        speaker = speakers.get(segment.utterance, "")
        if speaker in UNKNOWN_SPEAKERS:
            without_speaker += 1
        else:
            items.append(Item(segment.utterance, segment.start, segment.end, segment.label, context, speaker))
    return Items(items, without_speaker)
