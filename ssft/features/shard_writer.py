"""`ShardWriter`: frames on their way to disk."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO

from torch import Tensor

from ssft.features.extractor import Part
from ssft.features.shards import HEADERS, ROW_TYPE, Entry, Rows, layer_folder
from ssft.files import replacing_file, write_atomically


class ShardWriter:
    """Writes frames of utterances to shards: for each layer a file of rows, and one index.

    Args:
        folder: where the features go.
        layers: which there are.
        width: D of the frames.
        form: one of `HEADERS`.
        rank: shards of different processes have different names.

    Attributes:
        seconds: audio of the utterances in the shard that is being written.
        written: the utterances of the shards that are complete.
        bytes: the size of these shards.
    """

    def __init__(self, folder: Path, *, layers: Sequence[int], width: int, form: str, rank: int) -> None:
        self.folder = folder
        self.layers = layers
        self.width = width
        self.form = form
        self.rank = rank
        self.written: list[Entry] = []
        self.bytes = 0
        self.seconds = 0.0
        self._files: dict[int, _RowFile] = {}
        self._entries: list[Entry] = []
        self._pending = dict.fromkeys(layers, 0)  # frames of the utterance that is not complete
        numbers = [int(path.stem.rpartition("-")[2]) for path in folder.glob(f"{rank:03d}-*.jsonl")]
        self._number = max(numbers, default=-1) + 1

    def add(self, part: Part) -> None:
        """Add frames, those of one utterance after each other."""
        for layer in self.layers:
            if layer not in self._files:
                self._files[layer] = _RowFile(layer_folder(self.folder, layer))
            self._files[layer].append(part.states[layer])
            self._pending[layer] += len(part.states[layer])
        if part.is_last:
            frames = {str(layer): count for layer, count in self._pending.items()}
            self._entries.append(Entry(part.utterance.id, self._name, part.utterance.seconds, frames))
            self.seconds += part.utterance.seconds
            self._pending = dict.fromkeys(self.layers, 0)

    def discard(self) -> None:
        """Forget what is there of an utterance that is not complete."""
        if any(self._pending.values()):
            for layer, file in self._files.items():
                file.cut(sum(self._rows(layer).values()), self.width)
            self._pending = dict.fromkeys(self.layers, 0)

    def finish(self) -> None:
        """Write the shard, all utterances that are complete, and begin another."""
        self.discard()
        if self._entries:
            for layer, file in self._files.items():
                path = layer_folder(self.folder, layer) / f"{self._name}.{self.form}"
                self.bytes += file.save(path, HEADERS[self.form](self._rows(layer), self.width))
            lines = [json.dumps(asdict(entry)) + "\n" for entry in self._entries]
            write_atomically(self.folder / f"{self._name}.jsonl", "".join(lines))
            self.written += self._entries
            self._number += 1
        self.close()

    def close(self) -> None:
        """Drop what is not in a complete shard."""
        for file in self._files.values():
            file.close()
        self._files, self._entries, self.seconds = {}, [], 0.0

    @property
    def _name(self) -> str:
        return f"{self.rank:03d}-{self._number:05d}"

    def _rows(self, layer: int) -> Rows:
        return {entry.id: entry.frames[str(layer)] for entry in self._entries}


class _RowFile:
    """Collects rows [F, D] on disk, and makes a file of them once it is known which are there.

    Until then they are in a file without a name, so that nothing half done is left behind whatever happens.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._rows: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (closed by `close`)

    def append(self, values: Tensor) -> None:
        self._rows.write(values.numpy().astype(ROW_TYPE, copy=False).tobytes())

    def cut(self, rows: int, width: int) -> None:
        """Keep the first `rows` only."""
        self._rows.seek(rows * width * ROW_TYPE.itemsize)
        self._rows.truncate()

    def save(self, path: Path, header: bytes) -> int:
        """Write header and rows to `path`, which is there whole or not at all; return its size in bytes."""
        self._rows.seek(0)
        with replacing_file(path) as file:
            file.write(header)
            shutil.copyfileobj(self._rows, file, 1 << 20)
            return file.tell()

    def close(self) -> None:
        self._rows.close()
