"""Shards: files of rows of float32 behind a header, which is all that formats differ in, and their indices."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssft.errors import DataError

Rows = Mapping[str, int]
"""How many rows each utterance has, in the order of the rows."""

ROW_TYPE = np.dtype("<f4")


@dataclass(frozen=True)
class Entry:
    """A line of an index: an utterance, the shard that it is in, and how many frames each layer has of it."""

    id: str
    shard: str
    seconds: float
    frames: Mapping[str, int]


def layer_folder(path: Path, layer: int) -> Path:
    """Return where the shards of a layer are."""
    return path / f"layer-{layer:02d}"


def read_entries(path: Path) -> list[Entry]:
    """Read the indices of all shards, of whichever process made them.

    Raises:
        DataError: an index that cannot be read.
    """
    entries = []
    for file in sorted(path.glob("*.jsonl")):
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
            entries += [Entry(**json.loads(line)) for line in lines]
        except (OSError, ValueError, TypeError) as error:
            raise DataError(f"{file} cannot be read: {error}. Remove it, and extract the features again.") from None
    return entries


def safetensors_header(rows: Rows, width: int) -> bytes:
    """A tensor [F, D] for each utterance, by its id."""
    entries, begin = {}, 0
    for name, count in rows.items():
        end = begin + count * width * ROW_TYPE.itemsize
        entries[name] = {"dtype": "F32", "shape": [count, width], "data_offsets": [begin, end]}
        begin = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def npy_header(rows: Rows, width: int) -> bytes:
    """One array [N, D] of all utterances, one after the other."""
    header = BytesIO()
    facts = {"descr": ROW_TYPE.str, "fortran_order": False, "shape": (sum(rows.values()), width)}
    np.lib.format.write_array_header_1_0(header, facts)
    return header.getvalue()


HEADERS: dict[str, Callable[[Rows, int], bytes]] = {"safetensors": safetensors_header, "npy": npy_header}
"""By the format, which is also the suffix."""


def map_rows(path: Path, rows: Rows, width: int) -> NDArray[np.float32]:
    """Return all rows of a file, mapped into memory: read when they are looked at. Changes do not reach the file.

    Raises:
        DataError: no such file, or one that does not hold these rows.
    """
    header = HEADERS[path.suffix[1:]](rows, width)
    shape = (sum(rows.values()), width)
    try:
        with path.open("rb") as file:
            if file.read(len(header)) != header:
                raise ValueError("it does not hold what its index says")
        if path.stat().st_size != len(header) + shape[0] * width * ROW_TYPE.itemsize:
            raise ValueError("it is not whole")
        return np.memmap(path, ROW_TYPE, mode="c", offset=len(header), shape=shape)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read: {error}. Remove {path.stem}.jsonl from the folder of the features; extracting "
            "them again will then make these, and only these."
        ) from None
