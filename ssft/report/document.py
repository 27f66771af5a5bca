"""`Document`: a report as sections of blocks, from which the web page and the Markdown are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ssft.report.sound import Sound


@dataclass(frozen=True)
class Text:
    """A paragraph. In it `**bold**` and `` `code` `` are set off; all else is shown as it is."""

    text: str
    quiet: bool = False


@dataclass(frozen=True)
class Heading:
    """A heading below that of the section."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """Short lines."""

    items: Sequence[str]


@dataclass(frozen=True)
class Table:
    """Cells as text; the first column names the rows."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Facts:
    """What is known, by what it is called."""

    values: Mapping[str, str]


@dataclass(frozen=True)
class Picture:
    """A PNG, and in words what it shows."""

    png: bytes
    words: str


@dataclass(frozen=True)
class Code:
    """Text in which every space counts."""

    text: str


@dataclass(frozen=True)
class Fold:
    """Blocks that are shown when one asks for them."""

    summary: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class PairSounds:
    """A pair: its record as `HeardPair.record` gives it, with `number`; its sounds by side, and its picture."""

    record: Mapping[str, Any]
    sounds: Mapping[str, Sound]
    png: bytes


@dataclass(frozen=True)
class Clip:
    """A short sound with what is said of it; `marks` are what it has in common with another, e.g. `same word`."""

    title: str
    detail: str
    sound: Sound
    marks: Sequence[str] = ()


@dataclass(frozen=True)
class Neighbours:
    """A sound that was searched for, and the nearest ones that each system found, the nearest first."""

    query: Clip
    found: Mapping[str, Sequence[Clip]]


Block = Text | Heading | Bullets | Table | Facts | Picture | Code | Fold | PairSounds | Neighbours


Made = tuple[Sequence[Block], dict[str, Any]]
"""What a section is made of: blocks to read, and the same as plain values."""


@dataclass(frozen=True)
class Section:
    """A part of the report: what is read, and the same as plain values for JSON; `missing` says why there is nothing.

    Args:
        key: the name in JSON, and the address in the page.
        title: for people.
        blocks: what is read.
        record: plain values.
        missing: why it could not be made; None if it was.
    """

    key: str
    title: str
    blocks: Sequence[Block] = ()
    record: Any = None
    missing: str | None = None


@dataclass(frozen=True)
class Document:
    """A report: the verdict first, then the sections."""

    title: str
    verdict: str
    notes: Sequence[str] = ()
    sections: Sequence[Section] = field(default_factory=tuple)
