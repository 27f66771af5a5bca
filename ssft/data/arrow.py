"""Recordings in Arrow files: at which byte each of them lies, so that it is read like a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ssft.errors import DataError

_OFFSETS = {"binary": np.int32, "large_binary": np.int64}


class Rows(NamedTuple):
    """Consecutive rows of an Arrow file."""

    batch: Any
    """All columns, as a `pyarrow.RecordBatch`."""
    begins: NDArray[np.int64]
    """At which byte of the file each recording begins, and `sizes` how long it is."""
    sizes: NDArray[np.int64]
    is_inside: NDArray[np.bool_]
    """Whether the recording lies in the file. If not, its name is that of a file of its own."""
    names: list[str | None]


def read_rows(path: Path, *, audio: str) -> Iterator[Rows]:
    """Read an Arrow file that Hugging Face datasets wrote, without reading its recordings.

    Args:
        path: the file.
        audio: the column of the recordings, which has the fields `bytes` and `path`.

    Raises:
        DataError: such a column is stored in another way, or compressed.
    """
    import pyarrow

    with pyarrow.memory_map(str(path)) as file:
        # What is not compressed is not copied: a column's address says where in the file it is.
        first_byte, size = file.read_buffer(file.size()).address, file.size()
        file.seek(0)
        for batch in pyarrow.ipc.open_stream(file):
            if not len(batch):
                continue
            column = batch.column(audio)
            if not pyarrow.types.is_struct(column.type):
                raise DataError(f"{path}: column '{audio}' is stored as {column.type}; expected bytes and path.")
            fields = dict(zip((field.name for field in column.type), column.flatten(), strict=True))
            content, names = fields.get("bytes"), fields.get("path")
            if content is None or names is None or str(content.type) not in _OFFSETS:
                raise DataError(f"{path}: column '{audio}' is stored as {column.type}; expected bytes and path.")
            ends = _ends(content) - first_byte
            if ends[0] < 0 or ends[-1] > size:
                raise DataError(f"{path} is compressed, so no row can be read alone. Write it again with save_to_disk.")
            is_inside = content.is_valid().to_numpy(zero_copy_only=False)
            yield Rows(batch, ends[:-1], np.diff(ends), is_inside, names.to_pylist())


def _ends(column: Any) -> NDArray[np.int64]:
    """Addresses in memory at which one row's bytes end and the next one's begin, [rows + 1]."""
    _, offsets, content = column.buffers()
    numbers = np.frombuffer(offsets, dtype=_OFFSETS[str(column.type)])
    place = slice(column.offset, column.offset + len(column) + 1)
    first: int = (content or offsets).address
    return numbers[place].astype(np.int64) + first
