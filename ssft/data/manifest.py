"""Listing what a corpus holds: a folder of audio, or a manifest. Nothing is opened here but the manifest."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ssft.data.audio import EXTENSIONS, FOREIGN_EXTENSIONS
from ssft.data.entry import Entry
from ssft.data.tables import Row, read_rows
from ssft.errors import DataError
from ssft.types import Reject

UNLABELLED = frozenset({"", "unknown", "-"})


def list_folder(root: Path) -> list[Entry]:
    """List every audio file below `root`, sorted by its relative path, which is also its id.

    Hidden files are passed over and links are followed, once each. The order does not depend on the file system's.
    """
    entries = []
    for folder, file in _walk(root):
        path = folder / file
        if path.suffix.lower() in EXTENSIONS | FOREIGN_EXTENSIONS:
            entries.append(Entry(_utf8(path.relative_to(root).as_posix()), path))
    return _unique(sorted(entries, key=lambda entry: entry.id))


def read_manifest(
    path: Path, *, split: str | None = None, allow_outside: bool = False
) -> tuple[list[Entry], list[Reject]]:
    """Read a TSV or CSV with a header line, or JSON lines; relative paths are relative to the manifest's folder.

    Args:
        path: the manifest. Only `path` is needed; all columns and their other names are `ssft.data.tables.COLUMNS`.
        split: keep only rows whose `split` column says this.
        allow_outside: accept absolute paths and `..`; otherwise a manifest reaches only below its own folder.

    Returns:
        The entries in the manifest's order, and the rows that cannot be used.

    Raises:
        DataError: no path column, no split column though a split is asked for, or a file that is no table.
    """
    rows = list(read_rows(path))
    if not rows:
        raise DataError(f"{path} holds no rows. Expected a header line (path, ...) and one line per recording.")
    if all(row.problem for row in rows):
        raise DataError(
            f"{path} is not a readable {path.suffix[1:].upper()} manifest: line {rows[0].line}: {rows[0].problem}."
        )
    if split is not None:
        rows = _of_split(rows, split, path)
    entries, rejects = [], []
    for row in rows:
        try:
            if row.problem:
                raise ValueError(row.problem)
            entries.append(_entry(row.cells, path.parent, allow_outside=allow_outside))
        except ValueError as error:
            name = row.cells.get("id") or row.cells.get("path") or f"line {row.line}"
            rejects.append(Reject(_utf8(name), path, "bad_row", f"{path.name} line {row.line}: {error}"))
    return _unique(entries), rejects


def _of_split(rows: Sequence[Row], split: str, path: Path) -> list[Row]:
    """The rows of one split, and the unreadable ones, so that they are reported."""
    found = {row.cells["split"] for row in rows if "split" in row.cells}
    if not found:
        raise DataError(f"{path} has no 'split' column, but split '{split}' was asked for. Leave data.split out.")
    if split not in found:
        names = ", ".join(sorted(found))
        raise DataError(f"{path} has no rows with split '{split}'. Its splits: {names}.")
    return [row for row in rows if row.problem or row.cells.get("split") == split]


def _walk(root: Path) -> Iterator[tuple[Path, str]]:
    seen: set[str] = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        # Sorted, because the name by which a linked folder is met first becomes part of its files' ids.
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            if not name.startswith("."):
                yield Path(folder), name


def _entry(row: Mapping[str, str], folder: Path, *, allow_outside: bool) -> Entry:
    name = row.get("path", "")
    if not name:
        raise ValueError("no path")
    if "://" in name or name.startswith("|") or name.endswith("|"):
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
        id=_utf8(row.get("id") or (f"{name}@{start:g}" if start else name)),
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
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{key} '{text}' is not a number")
    return number


def _utf8(text: str) -> str:
    """`text` fit for a hash or a file, though it came from a file name or a JSON string that is not UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _unique(entries: list[Entry]) -> list[Entry]:
    """Give the second and later entries of the same id a running number, so that nothing is lost."""
    taken = {entry.id for entry in entries}
    seen: Counter[str] = Counter()
    unique = []
    for entry in entries:
        seen[entry.id] += 1
        if seen[entry.id] > 1:
            while (name := f"{entry.id}#{seen[entry.id]}") in taken:
                seen[entry.id] += 1
            taken.add(name)
            entry = replace(entry, id=name)
        unique.append(entry)
    return unique
