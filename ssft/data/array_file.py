"""Arrays in one safetensors file: mapped into memory when they are read, and every bit of them checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssft.errors import DataError
from ssft.files import replacing_file

_TYPES = {"U8": "|u1", "I32": "<i4", "I64": "<i8", "F64": "<f8"}
_NAMES = {np.dtype(code).str: name for name, code in _TYPES.items()}
_METADATA = "__metadata__"

Arrays = Mapping[str, NDArray[Any]]


def write_arrays(path: Path, arrays: Arrays, *, kind: str, facts: Mapping[str, Any]) -> None:
    """Write arrays and facts about them, in one step: a reader finds the file as it was or as it is to be.

    Args:
        path: the file.
        arrays: by name; of bytes, 32 or 64 bit integers, or float64.
        kind: what the file is, for `read_arrays`.
        facts: anything that JSON can say.

    Raises:
        DataError: it cannot be written.
    """
    # The widest numbers first, so that all lie at multiples of their size.
    arrays = dict(sorted(arrays.items(), key=lambda item: -item[1].itemsize))
    entries, begin = {}, 0
    for name, array in arrays.items():
        end = begin + array.nbytes
        entries[name] = {"dtype": _NAMES[array.dtype.str], "shape": array.shape, "data_offsets": [begin, end]}
        begin = end
    parts = [np.ascontiguousarray(array).reshape(-1).view(np.uint8) for array in arrays.values()]
    metadata = {kind: json.dumps(facts), "sha256": _digest(entries, facts, parts)}
    text = json.dumps({_METADATA: metadata, **entries}).encode()
    text += b" " * (-len(text) % 8)
    try:
        with replacing_file(path) as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for part in parts:
                file.write(part.data)
    except OSError as error:
        raise DataError(f"Cannot write {path}: {error.strerror}.") from None


def read_arrays(path: Path, *, kind: str) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Return what `write_arrays` wrote: read-only arrays, which processes that map the same file share, and the facts.

    Raises:
        DataError: no such file, one of another kind, or one that is not as it was written.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist.")
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(size, path.stat().st_size)))
        metadata = header.pop(_METADATA)
        facts, data = json.loads(metadata[kind]), np.memmap(path, np.uint8, mode="r", offset=8 + size)
        ends = [entry["data_offsets"][1] for entry in header.values()]
        if ends[-1] != len(data) or metadata["sha256"] != _digest(header, facts, [data]):
            raise ValueError("content and hash do not agree")
        arrays = {}
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            # As plain arrays: every slice of a `memmap` is one too, which takes its time.
            arrays[name] = np.asarray(data)[begin:end].view(_TYPES[entry["dtype"]]).reshape(entry["shape"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} is damaged ({error}). Remove it; it can be made again from what it was made of."
        ) from None
    return arrays, facts


def _digest(entries: Mapping[str, Any], facts: Any, parts: list[NDArray[np.uint8]]) -> str:
    digest = hashlib.sha256(json.dumps([entries, facts]).encode())
    for part in parts:
        digest.update(part.data)
    return digest.hexdigest()
