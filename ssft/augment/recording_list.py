"""Which recordings there are: the audio files of a folder, or what a list on disk names."""

from __future__ import annotations

import csv
import math
import os
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ssft.errors import RecipeError

EXTENSIONS = frozenset(
    {".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".aiff", ".aif", ".aifc", ".au", ".w64", ".caf", ".sph"}
)
"""What is taken for audio when a folder is scanned."""

FOREIGN_EXTENSIONS = frozenset({".m4a", ".aac", ".wma", ".amr", ".mp4", ".webm", ".3gp", ".mkv", ".mov"})
"""Audio that libsndfile cannot read."""

LISTS = frozenset({".tsv", ".csv", ".txt"})

# The names that manifests of corpora use for the same thing: what lists training data lists noise as well.
COLUMNS = {
    "path": ("path", "audio_filepath", "file", "filename", "file_name", "wav", "audio"),
    "start": ("start", "offset", "start_s"),
    "end": ("end", "end_s"),
    "seconds": ("seconds", "duration", "duration_s"),
}


@dataclass(frozen=True)
class Recording:
    """A file, or the segment of it that begins at `start` and lasts `seconds` (to its end if None).

    `name` says which, in a drawn parameter; `line` says where it is listed, at the head of an error message.
    """

    name: str
    path: Path
    start: float = 0.0
    seconds: float | None = None
    line: str = ""


def list_recordings(source: Path, *, owner: str) -> list[Recording]:
    """List what a folder holds, sorted by name, or what a list names, in its order.

    A list is a TSV or CSV whose header names a column `path` and, for segments, `start`, and `seconds` or `end`, by any
    name in `COLUMNS`; or a text file with a path in every line, where lines that begin with `#` are left out. Paths are
    relative to the list's folder, or absolute. In a folder, hidden files are passed over, and links are followed once.

    Args:
        source: a folder or a list.
        owner: the setting that names it, for error messages.

    Raises:
        RecipeError: there is no such folder or list, nothing is in it, or a line cannot be read.

    Example:
        >>> [recording.name for recording in list_recordings(Path("noise.tsv"), owner="noise")]
        ['rain.wav', 'street.flac#t=12.5,20.0']
    """
    if source.is_dir():
        return _of_folder(source, owner)
    if not source.exists():
        raise RecipeError(f"{owner}: there is no such folder or list. Give a folder of recordings, or a list of them.")
    if source.suffix.lower() not in LISTS:
        raise RecipeError(
            f"{owner}: this is neither a folder nor a list. Give a folder of recordings, or a list of them as .tsv or "
            ".csv with a column 'path', or as .txt with a path in every line."
        )
    recordings = []
    try:
        for line, cells in _lines(source) if source.suffix.lower() == ".txt" else _rows(source):
            recordings.append(_recording(cells, source.parent, f"{source.name} line {line}: "))
    except UnicodeDecodeError as error:
        raise RecipeError(
            f"{owner}: {source.name} is not UTF-8 text (byte {error.start}). Save it as UTF-8."
        ) from error
    except csv.Error as error:
        raise RecipeError(
            f"{owner}: {source.name} is not a readable table ({error}). Mend its quotation marks."
        ) from error
    except ValueError as error:
        raise RecipeError(f"{owner}: {error}") from error
    if not recordings:
        raise RecipeError(f"{owner}: the list has no rows. Give each recording a line.")
    return recordings


def _of_folder(root: Path, owner: str) -> list[Recording]:
    names, foreign = [], Counter[str]()
    for name in _files(root):
        suffix = os.path.splitext(name)[1].lower()
        if suffix in EXTENSIONS:
            names.append(name)
        elif suffix in FOREIGN_EXTENSIONS:
            foreign[suffix] += 1
    kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(foreign.items()))
    if not names and foreign:
        raise RecipeError(f"{owner}: the audio in this folder cannot be decoded ({kinds}). Convert it to wav or flac.")
    if not names:
        known = ", ".join(sorted(EXTENSIONS))
        raise RecipeError(f"{owner}: there is no audio in this folder. Put recordings there ({known}).")
    if foreign:
        message = f"{owner}: some files cannot be decoded and are passed over ({kinds}). Convert them to wav or flac."
        warnings.warn(message, stacklevel=2)
    return [Recording(name, root / name) for name in sorted(names)]


def _files(root: Path) -> Iterator[str]:
    """The files below `root`, by their relative paths with slashes."""
    seen: set[str] = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        # Sorted, because the name by which a linked folder is met first is the one that its files are drawn by.
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        prefix = Path(folder).relative_to(root).as_posix()
        for name in files:
            if not name.startswith("."):
                yield name if prefix == "." else f"{prefix}/{name}"


def _lines(path: Path) -> Iterator[tuple[int, Mapping[str, str]]]:
    for number, text in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        if text.strip() and not text.startswith("#"):
            yield number, {"path": text.strip()}


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, str]]]:
    """The lines of a table that are not blank, as cells under our names for the columns."""
    # A quotation mark in a TSV is a character like any other; in a CSV one that is never closed is an error.
    with path.open(encoding="utf-8-sig", newline="") as file:
        if path.suffix.lower() == ".tsv":
            reader = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        else:
            reader = csv.reader(file, strict=True)
        header = [name.strip().lower() for name in next(reader, [])]
        places = {
            ours: next((header.index(name) for name in names if name in header), None)
            for ours, names in COLUMNS.items()
        }
        if places["path"] is None:
            raise ValueError(
                f"{path.name} line 1: the header names no column for the path, but {', '.join(header) or 'nothing'}. "
                "Call it path."
            )
        for row in reader:
            if len(row) > len(header):
                where = f"{path.name} line {reader.line_num}"
                raise ValueError(f"{where}: {len(row)} fields, the header has {len(header)}. Make them as many.")
            if any(cell.strip() for cell in row):
                cells = {ours: row[at].strip() for ours, at in places.items() if at is not None and at < len(row)}
                yield reader.line_num, cells


def _recording(cells: Mapping[str, str], folder: Path, line: str) -> Recording:
    name = cells.get("path", "")
    if not name:
        raise ValueError(f"{line}no path. Name a file, or take the line out.")
    start, end, seconds = (_number(cells, column, line) for column in ("start", "end", "seconds"))
    begin = start or 0.0
    if end is not None:
        seconds = end - begin
    if begin < 0 or (seconds is not None and seconds <= 0):
        raise ValueError(f"{line}start {begin} and length {seconds} do not select anything. Correct them.")
    if seconds is not None:
        segment = f"{name}#t={begin},{begin + seconds if end is None else end}"  # as a media fragment is written
    else:
        segment = f"{name}#t={begin}" if begin else name
    return Recording(segment, folder / name, begin, seconds, line)


def _number(cells: Mapping[str, str], column: str, line: str) -> float | None:
    text = cells.get(column, "")
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{line}{column} '{text}' is not a number. Give seconds.")
    return number
