"""Kaldi data folders: `wav.scp`, and `segments`, `utt2spk` and `text` beside it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ssft.data.entry import Entry
from ssft.data.manifest import UNLABELLED
from ssft.data.sources import local_path
from ssft.errors import DataError
from ssft.types import Reject

# `feats.ark:1234` is a place in an archive, `feats.ark:1234[0:9]` a part of what is there.
_PLACE_IN_ARCHIVE = re.compile(r":\d+(\[[^]]*\])?$")


@dataclass(frozen=True)
class _Recording:
    """A line of wav.scp: its file, or what is wrong with it."""

    key: str
    line: int
    path: Path = Path()
    problem: str = ""


def read_kaldi(scp: Path, *, allow_outside: bool) -> Iterator[Entry | Reject]:
    """Read a `wav.scp` and the files beside it; relative paths are relative to its folder.

    With `segments`, its lines are the utterances. Commands are never run, and places in archives are not read: such a
    line, and every segment of it, becomes a reject that says what to do.

    Args:
        scp: the list of recordings. `segments`, `utt2spk` and `text` are used if they lie beside it.
        allow_outside: accept files that are not below the list's folder.

    Raises:
        DataError: a list that is not UTF-8 text, or holds no lines.
    """
    speakers, texts = _table(scp.parent / "utt2spk"), _table(scp.parent / "text")
    segments = scp.parent / "segments"
    rows = _recordings(scp, allow_outside)
    for row in _segments(segments, {row.key: row for row in rows}) if segments.is_file() else _whole(rows, scp):
        if isinstance(row, Reject):
            yield row
        else:
            key, path, start, seconds = row
            speaker = speakers.get(key)
            yield Entry(
                id=key,
                path=path,
                start=start,
                seconds=seconds,
                speaker=None if speaker in UNLABELLED else speaker,
                text=texts.get(key) or None,
            )


def _whole(rows: Iterator[_Recording], scp: Path) -> Iterator[tuple[str, Path, float, float | None] | Reject]:
    for row in rows:
        yield _reject(row.key, scp, row.line, row.problem) if row.problem else (row.key, row.path, 0.0, None)


def _segments(
    path: Path, recordings: dict[str, _Recording]
) -> Iterator[tuple[str, Path, float, float | None] | Reject]:
    for number, line in _lines(path):
        key, *fields = line.split()
        try:
            recording, start, seconds = _segment(fields, recordings)
        except ValueError as error:
            yield _reject(key, path, number, str(error))
        else:
            yield key, recording.path, start, seconds


def _segment(fields: list[str], recordings: dict[str, _Recording]) -> tuple[_Recording, float, float | None]:
    if len(fields) == 4:
        raise ValueError(f"it names channel {fields[3]}; write each channel to a file of its own")
    if len(fields) != 3:
        raise ValueError(f"{len(fields) + 1} fields; expected utterance, recording, start and end")
    recording = recordings.get(fields[0])
    if recording is None:
        raise ValueError(f"there is no recording '{fields[0]}' in wav.scp")
    if recording.problem:
        raise ValueError(f"wav.scp line {recording.line}: {recording.problem}")
    try:
        start, end = float(fields[1]), float(fields[2])
    except ValueError:
        start = end = math.nan
    if not (math.isfinite(end) and start >= 0 and (end > start or end == -1)):
        raise ValueError(f"'{fields[1]}' to '{fields[2]}' does not select anything")
    return recording, start, None if end == -1 else end - start


def _recordings(scp: Path, allow_outside: bool) -> Iterator[_Recording]:
    seen: dict[str, int] = {}
    for number, line in _lines(scp):
        key, _, name = line.partition(" ")
        if (first := seen.setdefault(key, number)) != number:
            # The first one keeps its name: segments mean that.
            key = f"{key} (line {number})"
            yield _Recording(key, number, problem=f"this recording is there already, on line {first}")
            continue
        try:
            yield _Recording(key, number, _file(name.strip(), scp.parent, allow_outside))
        except ValueError as error:
            yield _Recording(key, number, problem=str(error))


def _file(name: str, folder: Path, allow_outside: bool) -> Path:
    if not name:
        raise ValueError("no path")
    if name.startswith("|") or name.endswith("|") or name == "-":
        raise ValueError(f"'{name}' is a command, which is never run; write its output to a wav or flac file once")
    if _PLACE_IN_ARCHIVE.search(name):
        raise ValueError(f"'{name}' is a place in an archive; write the recording to a wav or flac file")
    return local_path(name, folder, allow_outside=allow_outside)


def _table(path: Path) -> dict[str, str]:
    """The second column by the first; empty if there is no such file."""
    if not path.is_file():
        return {}
    rows = (line.partition(" ") for _, line in _lines(path))
    return {key: value.strip() for key, _, value in rows}


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Give number and text of every line that is not blank; the first gap in it is a single space."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            number = 0
            for number, line in enumerate(file, start=1):
                if words := line.split(maxsplit=1):
                    yield number, " ".join(words).rstrip()
            if number == 0:
                raise DataError(f"{path} holds no lines. Expected a name and what belongs to it on each.")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start}). Save it as UTF-8.") from None


def _reject(key: str, path: Path, line: int, problem: str) -> Reject:
    return Reject(key, path, "bad_row", f"{path.name} line {line}: {problem}")
