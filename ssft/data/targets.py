"""Labels of frames by utterance: what `PseudoLabel` and `MaskedPrediction` learn to predict, in one file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ssft.errors import DataError
from ssft.files import write_atomically
from ssft.types import SAMPLE_RATE

KIND = "ssft_targets"
"""The key in the metadata of a safetensors file that says what it is."""

_SUFFIXES = (".safetensors", ".tsv")
_HEADER = "id\tlabels"
_NONE = -1
_LARGEST = int(np.iinfo(np.int32).max) - 1
_GIVE = f"give 0 to {_LARGEST}, or {_NONE} for none"
# Samples. A frame is heard 80 samples longer than it lasts: 400 samples for a hop of 320.
_OVERHANG = 80


@dataclass(frozen=True, eq=False)
class Targets:
    """A label for every frame of every utterance; -1 says that a frame has none.

    Args:
        flat: all labels, one utterance after the other, [N] int32.
        ranges: where in `flat` the labels of an utterance begin and end, by its id.
        classes: labels are below this.
        frame_rate: labels per second.
        source: how they were made, for people.

    Example:
        >>> targets = Targets.of({"a.wav": [4, 4, 7], "b.wav": [0, 7]})
        >>> targets.classes, targets.labels("a.wav").tolist()
        (8, [4, 4, 7])
    """

    flat: NDArray[np.int32]
    ranges: Mapping[str, tuple[int, int]]
    classes: int
    frame_rate: float = 50.0
    source: str = ""

    def __post_init__(self) -> None:
        smallest, largest = int(self.flat.min()), int(self.flat.max())
        if smallest < _NONE or not 0 <= largest < self.classes:
            raise DataError(
                f"Labels are from {smallest} to {largest}, and {self.classes} classes are stated. Labels are 0 to "
                f"{self.classes - 1}; {_NONE} stands for none, but some frame must have one."
            )
        if not self.frame_rate > 0:
            raise DataError(f"frame_rate={self.frame_rate} must be positive; most encoders make 50 frames per second.")

    @staticmethod
    def of(
        labels: Mapping[str, NDArray[np.integer] | list[int]],
        *,
        classes: int | None = None,
        frame_rate: float = 50.0,
        source: str = "",
    ) -> Targets:
        """Collect labels by utterance id; `classes` is the largest label + 1 unless stated.

        Raises:
            DataError: no utterances, an utterance without labels, or labels below -1 or not below `classes`.
        """
        arrays = {name: np.asarray(labels[name]) for name in sorted(labels)}
        for name, array in arrays.items():
            if array.ndim != 1 or not len(array) or array.dtype.kind not in "iu":
                raise DataError(
                    f"The labels of '{name}' are an array of {array.dtype} with shape {array.shape}; give one whole "
                    "number for every frame."
                )
            if array.min() < _NONE or array.max() > _LARGEST:
                raise DataError(f"'{name}' has labels from {array.min()} to {array.max()}; {_GIVE}.")
        if not arrays:
            raise DataError("There are no labels. Give at least one utterance.")
        ends = np.cumsum([len(array) for array in arrays.values()]).tolist()
        ranges = {name: (end - len(array), end) for (name, array), end in zip(arrays.items(), ends, strict=True)}
        flat = np.concatenate(list(arrays.values())).astype(np.int32)
        return Targets(flat, ranges, int(flat.max()) + 1 if classes is None else classes, frame_rate, source)

    def labels(self, utterance_id: str) -> NDArray[np.int64]:
        """All labels of an utterance, [F].

        Raises:
            DataError: it has none.
        """
        begin, end = self._range(utterance_id)
        return self.flat[begin:end].astype(np.int64)

    def crop(self, utterance_id: str, *, start_seconds: float, seconds: float) -> NDArray[np.int64]:
        """The labels of a part of an utterance, as many as an encoder makes frames of it, [F].

        A part that begins between two frames takes the nearer one.

        Raises:
            DataError: the utterance has no labels, or none there.
        """
        begin, end = self._range(utterance_id)
        place = start_seconds * self.frame_rate
        if int(place) >= end - begin:
            raise DataError(
                f"The labels of '{utterance_id}' end after {(end - begin) / self.frame_rate:.2f} s, before the part "
                f"at {start_seconds:.2f} s. They were made of other audio; make them again with `ssft units encode`."
            )
        first = min(begin + round(place), end - 1)
        count = max(1, int((round(seconds * SAMPLE_RATE) - _OVERHANG) * self.frame_rate / SAMPLE_RATE))
        return self.flat[first : min(first + count, end)].astype(np.int64)

    def __contains__(self, utterance_id: object) -> bool:
        return utterance_id in self.ranges

    def __len__(self) -> int:
        return len(self.ranges)

    def _range(self, utterance_id: str) -> tuple[int, int]:
        try:
            return self.ranges[utterance_id]
        except KeyError:
            raise DataError(
                f"There are no labels for '{utterance_id}'. Make them with `ssft units encode --data`, and the same "
                "folder or manifest as data.root."
            ) from None


def read_targets(path: Path) -> Targets:
    """Read what `write_targets` wrote, or a table of one's own: `.tsv`, with the header line `id<TAB>labels`.

    Raises:
        DataError: no such file, another suffix, or content that is not labels, with the line number.
    """
    check_suffix(path)
    if not path.is_file():
        raise DataError(f"{path} does not exist. `ssft units encode` makes labels of frames.")
    return _read_tsv(path) if path.suffix == ".tsv" else _read_safetensors(path)


def write_targets(path: Path, targets: Targets) -> None:
    """Write labels as `.safetensors`, or as `.tsv`, which has no place for anything but the labels.

    Raises:
        DataError: another suffix, an id that does not fit on a line of a table, or a file that cannot be written.
    """
    check_suffix(path)
    if path.suffix == ".tsv":
        lines = [_HEADER]
        for name, (begin, end) in targets.ranges.items():
            if not name or set(name) & set("\t\r\n"):
                raise DataError(f"The id {name!r} does not fit into a table. Write to a .safetensors file instead.")
            lines.append(f"{name}\t{' '.join(map(str, targets.flat[begin:end].tolist()))}")
        write_file(path, ("\n".join(lines) + "\n").encode())
        return
    facts = {"classes": targets.classes, "frame_rate": targets.frame_rate, "source": targets.source}
    tensors: dict[str, NDArray[Any]] = {
        "labels": targets.flat,
        "offsets": np.array([0, *(end for _, end in targets.ranges.values())], dtype=np.int64),
        "ids": np.frombuffer(json.dumps(list(targets.ranges), ensure_ascii=False).encode(), dtype=np.uint8),
    }
    write_file(path, save(tensors, metadata={KIND: json.dumps(facts)}))


def check_suffix(path: Path) -> None:
    """Raise unless a file of labels may be called so.

    Raises:
        DataError: it may not.
    """
    if path.suffix not in _SUFFIXES:
        raise DataError(f"{path}: labels of frames are kept in {' or '.join(_SUFFIXES)} files. Give such a name.")


def write_file(path: Path, content: bytes) -> None:
    """Replace a file in one step, and make the folder that it is in.

    Raises:
        DataError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
    except OSError as error:
        raise DataError(f"Cannot write {path}: {error.strerror}. Give a file in another folder.") from None


def _read_safetensors(path: Path) -> Targets:
    try:
        with safe_open(path, framework="numpy") as file:
            facts = json.loads((file.metadata() or {}).get(KIND, "null"))
            if facts is None:
                raise DataError(f"{path} does not hold labels of frames. `ssft units encode` makes such a file.")
            flat, offsets, text = (file.get_tensor(name) for name in ("labels", "offsets", "ids"))
            names = json.loads(text.tobytes().decode())
            classes, frame_rate, source = facts["classes"], facts["frame_rate"], facts["source"]
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} cannot be read as labels of frames: {error}. Make it again.") from None
    whole = 0 < len(names) == len(offsets) - 1 and offsets[0] == 0 and offsets[-1] == len(flat)
    if not whole or np.any(np.diff(offsets) < 1) or len(set(names)) < len(names):
        raise DataError(f"{path}: ids, offsets and labels do not fit together. Make it again.")
    ranges = dict(zip(names, pairwise(offsets.tolist()), strict=True))
    try:
        return Targets(flat.astype(np.int32, copy=False), ranges, classes, frame_rate, source)
    except DataError as error:
        raise DataError(f"{path}: {error} Make it again.") from None


def _read_tsv(path: Path) -> Targets:
    found: dict[str, NDArray[np.int64]] = {}
    lines: dict[str, int] = {}
    try:
        with path.open(encoding="utf-8-sig") as file:
            header = next(file, "").rstrip("\r\n")
            if header != _HEADER:
                raise DataError(f"{path}, line 1: the header must be id<TAB>labels, but it is {header!r}.")
            for number, line in enumerate(file, start=2):
                if not line.strip():
                    continue
                where = f"{path}, line {number}"
                name, tab, text = line.rstrip("\r\n").partition("\t")
                if not name or not tab or "\t" in text:
                    raise DataError(f"{where}: expected an id, one tab, and labels separated by spaces.")
                if name in found:
                    raise DataError(f"{where}: '{name}' has labels already, on line {lines[name]}. Keep one of them.")
                found[name], lines[name] = _parsed(text, where), number
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start}). Save it as UTF-8.") from None
    if not found:
        raise DataError(f"{path} holds no labels. Expected a line for every utterance: its id, a tab, its labels.")
    return Targets.of(found, source=path.name)


def _parsed(text: str, where: str) -> NDArray[np.int64]:
    words = text.split()
    try:
        labels = np.array(words, dtype=np.int64)
    except (ValueError, OverflowError):
        bad = next((word for word in words if not re.fullmatch(r"-?\d{1,18}", word)), text)
        raise DataError(f"{where}: '{bad}' is no label; {_GIVE}.") from None
    if not words:
        raise DataError(f"{where}: there are no labels. Leave out the line, or give one label for every frame.")
    if labels.min() < _NONE or labels.max() > _LARGEST:
        raise DataError(f"{where}: labels are from {labels.min()} to {labels.max()}; {_GIVE}.")
    return labels
