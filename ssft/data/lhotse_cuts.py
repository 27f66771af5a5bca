"""Lhotse's lists of cuts and of recordings."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from ssft.data.entry import Entry
from ssft.data.manifest import UNLABELLED
from ssft.data.sources import local_path
from ssft.errors import DataError
from ssft.types import SAMPLE_RATE, Reject

_LONGEST_FIRST_LINE = 1 << 20


def is_lhotse(path: Path) -> bool:
    """Whether the first line of a `.jsonl` or `.jsonl.gz` is a cut or a recording of lhotse."""
    try:
        with _open(path) as file:
            row = json.loads(file.readline(_LONGEST_FIRST_LINE))
    except (ValueError, OSError, EOFError, zlib.error):
        return False
    if not isinstance(row, dict):
        return False
    is_cut = {"start", "duration"} <= set(row) and isinstance(row.get("recording"), dict)
    return is_cut or isinstance(row.get("tracks"), list) or isinstance(row.get("sources"), list)


def read_lhotse(path: Path, *, allow_outside: bool) -> Iterator[Entry | Reject]:
    """List cuts, or whole recordings; relative paths are relative to the list's folder.

    Only recordings that are files are read. What stands for a command, a URL, data in memory, a mixture, one of several
    channels or a transformed recording becomes a reject that says what to do.

    Args:
        path: `.jsonl` or `.jsonl.gz`.
        allow_outside: accept files that are not below the list's folder.

    Raises:
        DataError: `lhotse` is not installed, or a damaged list.
    """
    deserialize = _deserializer(path)
    try:
        with _open(path) as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                name = f"line {number}"
                try:
                    row = json.loads(line)
                    name = str(row["id"])
                    entry = _entry(_read(row, deserialize), path.parent, allow_outside)
                except (ValueError, KeyError, TypeError) as error:
                    said = str(error) if isinstance(error, ValueError) else "this is no cut and no recording"
                    yield Reject(name, path, "bad_row", f"{path.name} line {number}: {said}")
                else:
                    yield entry
    except (UnicodeDecodeError, OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is damaged, or no text: {error}. Write it again.") from None


def _read(row: dict[str, Any], deserialize: Callable[[dict[str, Any]], Any]) -> Any:
    try:
        return deserialize(row)
    except Exception as error:
        raise ValueError(f"lhotse cannot read it: {error!r}") from None


def _entry(item: Any, folder: Path, allow_outside: bool) -> Entry:
    kind = type(item).__name__
    if kind == "Recording":
        return Entry(item.id, _file(item, folder, allow_outside))
    if kind not in ("MonoCut", "MultiCut"):
        raise ValueError(f"it is a {kind}; write the cuts to files first, with their save_audios")
    if item.recording is None:
        raise ValueError("the cut has features but no recording; give one with a recording")
    channels = {item.channel} if isinstance(item.channel, int) else set(item.channel)
    if channels != set(item.recording.channel_ids):
        raise ValueError(
            f"the cut is channel {', '.join(map(str, sorted(channels)))} of a recording of "
            f"{len(item.recording.channel_ids)}; write each channel to a file of its own"
        )
    speakers = {each.speaker for each in item.supervisions}
    speaker = speakers.pop() if len(speakers) == 1 else None
    return Entry(
        id=item.id,
        path=_file(item.recording, folder, allow_outside),
        start=float(item.start),
        seconds=float(item.duration),
        speaker=None if speaker in UNLABELLED else speaker,
        text=" ".join(each.text.strip() for each in item.supervisions if each.text) or None,
    )


def _file(recording: Any, folder: Path, allow_outside: bool) -> Path:
    for transform in recording.transforms or ():
        facts = transform if isinstance(transform, dict) else transform.to_dict()
        # Everything is read at this rate anyway; a lower one is another sound.
        if facts["name"] != "Resample" or facts["kwargs"]["target_sampling_rate"] < SAMPLE_RATE:
            raise ValueError(f"the recording is to be changed ({facts['name']}); write the cuts to files first")
    if len(recording.sources) != 1:
        raise ValueError(f"the recording consists of {len(recording.sources)} files; write it to one first")
    source = recording.sources[0]
    if source.type != "file":
        raise ValueError(f"the recording is a {source.type}, which is never run or loaded; write it to a file first")
    return local_path(str(source.source), folder, allow_outside=allow_outside)


def _deserializer(path: Path) -> Callable[[dict[str, Any]], Any]:
    try:
        from lhotse.serialization import deserialize_item
    except ImportError:
        raise DataError(
            f"{path} is a list of lhotse, which needs the package lhotse: pip install 'ssft[lhotse]'."
        ) from None
    read: Callable[[dict[str, Any]], Any] = deserialize_item
    return read


def _open(path: Path) -> TextIO:
    return gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8")
