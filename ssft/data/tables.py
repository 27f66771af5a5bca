"""Tables on disk, row by row: TSV, CSV and JSON lines, with the column names that different corpora use."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from ssft.errors import DataError

MANIFEST_SUFFIXES = frozenset({".tsv", ".csv", ".jsonl", ".json"})

# The names that LibriSpeech-style tables, NeMo, Common Voice and our own files use for the same thing.
COLUMNS = {
    "path": ("path", "audio_filepath", "file", "filename", "file_name", "wav", "audio"),
    "id": ("id", "utterance_id", "utt_id"),
    "start": ("start", "offset", "start_s"),
    "end": ("end", "end_s"),
    "seconds": ("seconds", "duration", "duration_s"),
    "speaker": ("speaker", "speaker_id", "spk", "client_id"),
    "text": ("text", "transcript", "sentence"),
    "split": ("split",),
}

_KEYS_REMEMBERED = 1024


class Row(NamedTuple):
    """One line of a manifest: its cells under our names for the columns, or what is wrong with it."""

    line: int
    cells: dict[str, str]
    problem: str = ""


def read_rows(path: Path) -> Iterator[Row]:
    """Yield every line of a TSV or CSV with a header line, or of JSON lines, that is not blank.

    Raises:
        DataError: no column for the path, or a file that is no table. A single bad line is a `Row` with a problem.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from _json_rows(file) if path.suffix.lower() in {".jsonl", ".json"} else _table_rows(file, path)
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start}). Save it as UTF-8.") from None
    except csv.Error as error:
        raise DataError(f"{path} is not a readable {path.suffix[1:].upper()} manifest: {error}.") from None


def _json_rows(lines: Iterable[str]) -> Iterator[Row]:
    # Lines of one file have few different sets of keys. Looking through the aliases once for each saves half the time.
    places = lru_cache(_KEYS_REMEMBERED)(_places)
    for number, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except (ValueError, RecursionError) as error:
            yield Row(number, {}, f"not JSON: {error}")
            continue
        if not isinstance(row, dict):
            yield Row(number, {}, "not a JSON object; expected one {...} per line")
            continue
        names = tuple(row)
        yield Row(number, _cells(places(names), [row[name] for name in names]))


def _table_rows(file: Iterable[str], path: Path) -> Iterator[Row]:
    # A quotation mark in a TSV is a character like any other. In a CSV one that is never closed is an error, or it
    # would swallow every row after it.
    if path.suffix.lower() == ".tsv":
        reader = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader(file, strict=True)
    header = tuple(next(reader, ()))
    places, count = _places(header), len(header)
    if not any(name == "path" for name, _ in places):
        found = ", ".join(name.strip().lower() for name in header)
        raise DataError(
            f"{path} has no column for the audio path. Found: {found or 'nothing'}. "
            f"Name one of them {' or '.join(COLUMNS['path'][:3])} in the header line."
        )
    for row in reader:
        if row:
            problem = f"{len(row)} fields, the header has {count}" if len(row) > count else ""
            yield Row(reader.line_num, _cells(places, row), problem)


def _places(header: tuple[str, ...]) -> list[tuple[str, list[int]]]:
    """Where each of our columns may be found, the most likely place first."""
    places = {name.strip().lower(): place for place, name in enumerate(header)}
    found = ((name, [places[alias] for alias in aliases if alias in places]) for name, aliases in COLUMNS.items())
    return [(name, candidates) for name, candidates in found if candidates]


def _cells(places: list[tuple[str, list[int]]], row: Sequence[Any]) -> dict[str, str]:
    """The cells that mean something to us, under our names for the columns; short rows and nulls have fewer."""
    cells = {}
    for name, candidates in places:
        for place in candidates:
            if place < len(row) and row[place] is not None:
                cells[name] = str(row[place]).strip()
                break
    return cells
