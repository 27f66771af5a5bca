"""A folder to listen to: pairs as sound, picture and JSON, and a page that plays them."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import soundfile

from ssft.data import PairDataset
from ssft.errors import DataError, RunError
from ssft.report.page import page
from ssft.report.pairs import SIDES, HeardPair, hear
from ssft.report.pictures import picture
from ssft.types import SAMPLE_RATE, Reject

RECORD = "listen.json"
"""The file that says what is in the folder, and by which it is known as ours."""

_KIND = "ssft listen"


def write_listening(
    folder: Path,
    pairs: PairDataset,
    *,
    count: int,
    epoch: int,
    about: Mapping[str, Any],
    tell: Callable[[Mapping[str, Any]], None] = lambda _: None,
) -> dict[str, Any]:
    """Write `count` pairs of an epoch, or as many as there are, into a folder; return what is in it.

    An earlier listening in the folder is replaced, once the new one is complete.

    Args:
        folder: new, empty, or of an earlier listening.
        pairs: what training hears.
        count: how many pairs.
        epoch: of training.
        about: what the page says above: `recipe`, `corpus`, `seed`, `views` (YAML) and `notes` (sentences).
        tell: is called with the record of every pair as soon as it is made, and with that of every reject.

    Raises:
        RunError: the folder holds something else, or cannot be written.
        DataError: no utterance can be used.
    """
    old = _files_of(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as name:
            new = Path(name)
            records, rejects = _write_pairs(new, pairs, count=count, epoch=epoch, tell=tell)
            head = {"kind": _KIND, "folder": str(folder), **about, "epoch": epoch}
            (new / "index.html").write_text(page(head, records), encoding="utf-8", errors="backslashreplace")
            files = sorted(path.name for path in new.iterdir())
            summary = {**head, "pairs": records, "rejects": rejects, "files": files}
            (new / RECORD).write_text(_json(summary), encoding="utf-8")
            _replace(folder, old, new)
    except (OSError, soundfile.SoundFileError) as error:
        raise RunError(f"Cannot write into {folder}: {error}. Choose another --out.") from error
    return summary


def _write_pairs(
    folder: Path, pairs: PairDataset, *, count: int, epoch: int, tell: Callable[[Mapping[str, Any]], None]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    records: list[dict[str, Any]] = []
    rejects: list[dict[str, Any]] = []
    for item in hear(pairs, epoch=epoch):
        if isinstance(item, Reject):
            rejects.append({**asdict(item), "path": str(item.path)})
            tell(rejects[-1])
            continue
        records.append(_write_pair(folder, len(records) + 1, item))
        tell(records[-1])
        if len(records) == count:
            break
    if not records:
        raise DataError(f"None of the {len(rejects):,} utterances can be used. The first: {rejects[0]['detail']}.")
    return records, rejects


def _write_pair(folder: Path, number: int, heard: HeardPair) -> dict[str, Any]:
    """Write one pair as two sounds, a picture and its record; return the record."""
    waves = {side: heard.wave(side) for side in SIDES}
    files = {side: f"{number:02}_{side}.wav" for side in SIDES}
    files |= {"picture": f"{number:02}.png", "record": f"{number:02}.json"}
    for side, wave in waves.items():
        soundfile.write(folder / files[side], wave * heard.scale, SAMPLE_RATE, subtype="PCM_16")
    (folder / files["picture"]).write_bytes(picture(waves, heard.pitch, title=heard.titles))
    record = {"number": number, **heard.record(), "files": files}
    (folder / files["record"]).write_text(_json(record), encoding="utf-8")
    return record


def _files_of(folder: Path) -> list[str]:
    """Return what an earlier listening has written into a folder; nothing if it is new or empty.

    Raises:
        RunError: the folder holds something else.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return []
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        if record["kind"] != _KIND:
            raise ValueError(record["kind"])
        return [RECORD, *(name for name in record["files"] if Path(name).name == name)]
    except (OSError, ValueError, TypeError, KeyError):
        raise RunError(
            f"{folder} holds something that `ssft listen` did not write, and is left as it is. Choose another --out."
        ) from None


def _replace(folder: Path, old: list[str], new: Path) -> None:
    """Move what is in `new` into the folder, in place of what was written there earlier."""
    folder.mkdir(exist_ok=True)
    names = sorted((path.name for path in new.iterdir()), key=lambda name: name != RECORD)
    foreign = [name for name in names if name not in old and (folder / name).exists()]
    if foreign:
        raise RunError(f"{folder} holds a file of yours, {foreign[0]}, and would lose it. Choose another --out.")
    for name in names:  # the record first: whatever happens now, the folder stays known as ours
        os.replace(new / name, folder / name)
    for name in set(old) - set(names):
        (folder / name).unlink(missing_ok=True)


def _json(value: Any) -> str:
    return json.dumps(value, indent=1) + "\n"
