"""Listing what a corpus holds: a folder of audio, or a manifest. Nothing is opened here but texts."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from ssft.data.audio import EXTENSIONS, FOREIGN_EXTENSIONS
from ssft.data.entry import Entry
from ssft.data.librispeech import Chapter
from ssft.data.sources import local_path
from ssft.data.tables import Row, read_rows
from ssft.errors import DataError
from ssft.types import Reject

UNLABELLED = frozenset({"", "unknown", "-"})
"""What stands in a column of speakers for nobody."""

_AUDIO = EXTENSIONS | FOREIGN_EXTENSIONS


def list_folder(root: Path) -> Iterator[Entry]:
    """List every audio file below `root`, sorted by its relative path, which is also its id.

    Hidden files are passed over and links are followed, once each. The order does not depend on the file system's.
    Where files lie as in LibriSpeech, their speakers are known, and their texts if the transcripts are there.
    """
    seen: set[str] = set()
    # A stack instead of recursion: folders may be nested deeper than Python's calls.
    open_folders = [_in_folder(root, "", seen)]
    while open_folders:
        found = next(open_folders[-1], None)
        if found is None:
            open_folders.pop()
        elif isinstance(found, Entry):
            yield found
        else:
            open_folders.append(_in_folder(root, found, seen))


def read_manifest(path: Path, *, split: str | None = None, allow_outside: bool = False) -> Iterator[Entry | Reject]:
    """Read a TSV or CSV with a header line, or JSON lines, row by row; paths are relative to the manifest's folder.

    Args:
        path: the manifest. Only `path` is needed; all columns and their other names are `ssft.data.tables.COLUMNS`.
        split: keep only rows whose `split` column says this, and the unreadable ones, so that they are reported.
        allow_outside: accept absolute paths and `..`; otherwise a manifest reaches only below its own folder.

    Yields:
        The entries in the manifest's order, whose ids may repeat, and the rows that cannot be used.

    Raises:
        DataError: no path column, a file that is no table, or, after the last row, that there was none, none that
            could be read, or none of the split that was asked for.
    """
    folder = path.parent
    first, readable, splits = None, False, set[str]()
    for row in read_rows(path):
        first = first or row
        if not row.problem:
            readable = True
            name = row.cells.get("split")
            if name is not None:
                splits.add(name)
            if split is not None and name != split:
                continue
        yield _entry_or_reject(row, path, folder, allow_outside=allow_outside)
    if first is None:
        raise DataError(f"{path} holds no rows. Expected a header line (path, ...) and one line per recording.")
    if not readable:
        raise DataError(
            f"{path} is not a readable {path.suffix[1:].upper()} manifest: line {first.line}: {first.problem}."
        )
    if split is not None and not splits:
        raise DataError(f"{path} has no 'split' column, but split '{split}' was asked for. Leave data.split out.")
    if split is not None and split not in splits:
        names = ", ".join(sorted(splits))
        raise DataError(f"{path} has no rows with split '{split}'. Its splits: {names}.")


def _in_folder(root: Path, place: str, seen: set[str]) -> Iterator[Entry | str]:
    """Give what lies in the folder at `place` below `root`: entries, and places of folders, which end in a slash."""
    folder = root / place
    real = os.path.realpath(folder)
    if real in seen:
        return
    seen.add(real)
    try:
        with os.scandir(folder) as items:
            names = [item.name + "/" * _is_folder(item) for item in items if not item.name.startswith(".")]
    except OSError:
        return
    chapter = Chapter(folder, place, names)
    # With the slash, so that the whole listing is in the order of its paths.
    for name in sorted(names, key=lambda name: (_utf8(name), name)):
        if name.endswith("/"):
            yield place + name
        elif os.path.splitext(name)[1].lower() in _AUDIO:
            yield Entry(_utf8(place + name), folder / name, speaker=chapter.speaker(name), text=chapter.text(name))


def _is_folder(item: os.DirEntry[str]) -> bool:
    try:
        return item.is_dir()
    except OSError:  # a link to itself
        return False


def _entry_or_reject(row: Row, path: Path, folder: Path, *, allow_outside: bool) -> Entry | Reject:
    try:
        if row.problem:
            raise ValueError(row.problem)
        return _entry(row.cells, folder, allow_outside=allow_outside)
    except ValueError as error:
        name = row.cells.get("id") or row.cells.get("path") or f"line {row.line}"
        return Reject(_utf8(name), path, "bad_row", f"{path.name} line {row.line}: {error}")


def _entry(row: Mapping[str, str], folder: Path, *, allow_outside: bool) -> Entry:
    name = row.get("path", "")
    if not name:
        raise ValueError("no path")
    path = local_path(name, folder, allow_outside=allow_outside)
    start = _number(row, "start") or 0.0
    end = _number(row, "end")
    seconds = end - start if end is not None else _number(row, "seconds")
    if start < 0 or (seconds is not None and seconds <= 0):
        raise ValueError(f"start {start} and length {seconds} do not select anything")
    speaker = row.get("speaker")
    return Entry(
        id=_utf8(row.get("id") or (f"{name}@{start:g}" if start else name)),
        path=path,
        start=start,
        seconds=seconds,
        speaker=None if speaker in UNLABELLED else speaker,
        text=row.get("text") or None,
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
