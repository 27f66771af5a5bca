"""The lists of fairseq: the folder on the first line, then a path and a number of samples on each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from ssft.data.entry import Entry
from ssft.data.sources import local_path
from ssft.data.tables import COLUMNS
from ssft.errors import DataError
from ssft.types import Reject

_ROW = re.compile(r"[^\t]+\t\d+")
_RANGE_OF_ARCHIVE = re.compile(r"\.zip:\d+:\d+$")


def is_fairseq_tsv(path: Path) -> bool:
    """Whether a file is a list of fairseq: a first line without a tab, a second one of a path and a whole number."""
    with path.open(encoding="utf-8", errors="replace") as file:
        lines = [line.strip() for line in islice(file, 2)]
    if len(lines) < 2 or lines[0].lower() in COLUMNS["path"]:
        return False
    return "\t" not in lines[0] and bool(_ROW.fullmatch(lines[1]))


def read_fairseq_tsv(path: Path, *, allow_outside: bool) -> Iterator[Entry | Reject]:
    """Read a list of fairseq.

    The numbers of samples are not used. They count samples of each file's own rate, which the list does not say: the
    length in seconds is in the file's header, where it is read anyway.

    Args:
        path: the list. The folder on its first line is relative to the list's own, if it is not absolute.
        allow_outside: accept a folder that is neither the list's own nor below it, and rows that leave it.

    Raises:
        DataError: such a folder without permission, or a list that is not UTF-8 text.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            root = _root(next(file).strip(), path, allow_outside)
            for number, line in enumerate(file, start=2):
                name = line.rstrip("\r\n")
                if not name.strip():
                    continue
                try:
                    name, entry = _entry(name, root, allow_outside)
                except ValueError as error:
                    yield Reject(name.split("\t")[0], path, "bad_row", f"{path.name} line {number}: {error}")
                else:
                    yield Entry(name, entry)
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start}). Save it as UTF-8.") from None


def _root(name: str, path: Path, allow_outside: bool) -> Path:
    root, own = path.parent / name, path.parent.resolve()
    if not allow_outside and own not in (root.resolve(), *root.resolve().parents):
        raise DataError(
            f"The folder on the first line of {path}, {name}, is not below the list's own; pass --data.allow_outside "
            "true to accept that."
        )
    return root


def _entry(line: str, root: Path, allow_outside: bool) -> tuple[str, Path]:
    name, _, samples = line.partition("\t")
    if not name or not samples.strip().isdecimal():
        raise ValueError("expected a path, one tab, and a number of samples")
    if _RANGE_OF_ARCHIVE.search(name):
        raise ValueError(f"'{name}' is a place in an archive; unpack it and list the files")
    return name, local_path(name, root, allow_outside=allow_outside)
