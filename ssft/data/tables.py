"""Tables on disk, row by row: TSV, CSV and JSON lines, with the column names that different corpora use."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

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


@dataclass(frozen=True)
class Row:
    """One line of a manifest: its cells under our names for the columns, or what is wrong with it."""

    line: int
    cells: dict[str, str] = field(default_factory=dict)
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
    for number, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except ValueError as error:
            yield Row(number, problem=f"not JSON: {error}")
            continue
        if not isinstance(row, dict):
            yield Row(number, problem="not a JSON object; expected one {...} per line")
            continue
        yield Row(number, _known_cells({key: str(value) for key, value in row.items() if value is not None}))


def _table_rows(file: Iterable[str], path: Path) -> Iterator[Row]:
    # A quotation mark in a TSV is a character like any other. In a CSV one that is never closed is an error, or it
    # would swallow every row after it.
    if path.suffix.lower() == ".tsv":
        reader = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
    else:
        reader = csv.DictReader(file, strict=True)
    columns = [name.strip().lower() for name in reader.fieldnames or ()]
    if not set(columns) & set(COLUMNS["path"]):
        raise DataError(
            f"{path} has no column for the audio path. Found: {', '.join(columns) or 'nothing'}. "
            f"Name one of them {' or '.join(COLUMNS['path'][:3])} in the header line."
        )
    for row in reader:
        extra = row.pop(None, [])
        cells = _known_cells({key: value for key, value in row.items() if value is not None})
        count = len(columns)
        yield Row(reader.line_num, cells, f"{count + len(extra)} fields, the header has {count}" if extra else "")


def _known_cells(row: Mapping[str, str]) -> dict[str, str]:
    """The cells that mean something to us, under our names for the columns."""
    row = {key.strip().lower(): value.strip() for key, value in row.items()}
    found = {}
    for name, aliases in COLUMNS.items():
        value = next((row[alias] for alias in aliases if alias in row), None)
        if value is not None:
            found[name] = value
    return found
