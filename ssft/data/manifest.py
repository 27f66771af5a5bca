"""Listing what a corpus holds: a folder of audio, or a manifest of rows. Nothing is opened here but the manifest."""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ssft.data.audio import EXTENSIONS, FOREIGN_EXTENSIONS
from ssft.errors import DataError
from ssft.types import Reject

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
UNLABELLED = frozenset({"", "unknown", "-"})


@dataclass(frozen=True)
class Entry:
    """One line of a corpus before its audio has been looked at; `seconds=None` means to the end of the file."""

    id: str
    path: Path
    start: float = 0.0
    seconds: float | None = None
    speaker: str | None = None
    text: str | None = None


def list_folder(root: Path) -> list[Entry]:
    """List every audio file below `root`, sorted by its relative path, which is also its id.

    Hidden files are passed over and links are followed, once each. The order does not depend on the file system's.
    """
    entries = []
    for folder, file in _walk(root):
        path = folder / file
        if path.suffix.lower() in EXTENSIONS | FOREIGN_EXTENSIONS:
            entries.append(Entry(path.relative_to(root).as_posix(), path))
    return sorted(entries, key=lambda entry: entry.id)


def read_manifest(
    path: Path, *, split: str | None = None, allow_outside: bool = False
) -> tuple[list[Entry], list[Reject]]:
    """Read a TSV or CSV with a header line, or JSON lines; relative paths are relative to the manifest's folder.

    Args:
        path: the manifest. Known columns and their other names are in `COLUMNS`; only `path` is needed.
        split: keep only rows whose `split` column says this.
        allow_outside: accept absolute paths and `..`; otherwise a manifest reaches only below its own folder.

    Returns:
        The entries in the manifest's order, and the rows that cannot be used.

    Raises:
        DataError: no path column, no split column though a split is asked for, or a file that is no table.
    """
    rows = list(_rows(path))
    if not rows:
        raise DataError(f"{path} holds no rows. Expected a header line (path, ...) and one line per recording.")
    named = [_known_columns(row) for _, row in rows]
    columns = sorted({key for _, row in rows for key in row})
    if not any("path" in row for row in named):
        raise DataError(
            f"{path} has no column for the audio path. Found: {', '.join(columns)}. "
            f"Name one of them {' or '.join(COLUMNS['path'][:3])} in the header line."
        )
    if split is not None:
        if not any("split" in row for row in named):
            raise DataError(f"{path} has no 'split' column, but split '{split}' was asked for. Leave data.split out.")
        found = sorted({row.get("split", "") for row in named})
        kept = [index for index, row in enumerate(named) if row.get("split") == split]
        if not kept:
            raise DataError(f"{path} has no rows with split '{split}'. Its splits: {', '.join(found)}.")
        rows, named = [rows[index] for index in kept], [named[index] for index in kept]

    entries, rejects = [], []
    for (line, _), row in zip(rows, named, strict=True):
        try:
            entries.append(_entry(row, path.parent, allow_outside=allow_outside))
        except ValueError as error:
            detail = f"{path.name} line {line}: {error}"
            rejects.append(Reject(row.get("path", f"line {line}"), path, "bad_row", detail))
    return _unique(entries), rejects


def _walk(root: Path) -> Iterator[tuple[Path, str]]:
    seen: set[str] = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith("."):
                yield Path(folder), name


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.suffix.lower() in {".jsonl", ".json"}:
                for number, text in enumerate(file, start=1):
                    if text.strip():
                        row = json.loads(text)
                        yield number, {key: str(value) for key, value in row.items() if value is not None}
                return
            tabs = path.suffix.lower() == ".tsv"
            # A quotation mark in a TSV is a character like any other.
            reader = csv.DictReader(
                file, delimiter="\t" if tabs else ",", quoting=csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL
            )
            for row in reader:
                yield reader.line_num, {key: value for key, value in row.items() if key and value is not None}
    except (ValueError, AttributeError, csv.Error) as error:
        raise DataError(f"{path} is not a readable {path.suffix[1:].upper()} manifest: {error}.") from None


def _known_columns(row: Mapping[str, str]) -> dict[str, str]:
    found = {}
    for name, aliases in COLUMNS.items():
        value = next((row[alias] for alias in aliases if alias in row), None)
        if value is not None:
            found[name] = value.strip()
    return found


def _entry(row: Mapping[str, str], folder: Path, *, allow_outside: bool) -> Entry:
    name = row.get("path", "")
    if not name:
        raise ValueError("no path")
    if "://" in name or name.endswith("|"):
        raise ValueError(f"'{name}' is a URL or a command; download or convert it first")
    if not allow_outside and (Path(name).is_absolute() or ".." in Path(name).parts):
        raise ValueError(f"'{name}' leaves the manifest's folder; pass --data.allow_outside true to accept that")
    start = _number(row, "start") or 0.0
    end = _number(row, "end")
    seconds = end - start if end is not None else _number(row, "seconds")
    if start < 0 or (seconds is not None and seconds <= 0):
        raise ValueError(f"start {start} and length {seconds} do not select anything")
    speaker, text = row.get("speaker"), row.get("text")
    return Entry(
        id=row.get("id") or (f"{name}@{start:g}" if start else name),
        path=folder / name,
        start=start,
        seconds=seconds,
        speaker=None if speaker in UNLABELLED else speaker,
        text=text or None,
    )


def _number(row: Mapping[str, str], key: str) -> float | None:
    text = row.get(key, "")
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{key} '{text}' is not a number") from None


def _unique(entries: list[Entry]) -> list[Entry]:
    """Give the second and later entries of the same id a running number, so that nothing is lost."""
    seen: Counter[str] = Counter()
    unique = []
    for entry in entries:
        seen[entry.id] += 1
        count = seen[entry.id]
        unique.append(entry if count == 1 else replace(entry, id=f"{entry.id}#{count}"))
    return unique
