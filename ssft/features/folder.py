"""A folder of features: what it says of itself, and reading it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssft.data.corpus import fingerprint
from ssft.errors import DataError
from ssft.features.shards import layer_folder, map_rows, read_entries
from ssft.features.source import FrameSource
from ssft.types import Utterance

MANIFEST = "features.json"
"""Which encoder, layers, settings and utterances a folder of features is for."""

VERSION = 1

_MAPPED_FILES = 64
_RECORDS = ("model", "ssft", "ids", "corpus")


class FeatureFolder(Mapping[str, NDArray[np.float32]]):
    """The frames [F, D] of one layer by utterance id, as `write_features` left them; none is read before it is used.

    Args:
        path: the folder.
        layer: which of its layers; not needed if it has one.

    Attributes:
        layers: all layers that are there.
        settings: what `features.json` says.

    Raises:
        DataError: no features there, no such layer, or an index that cannot be read.

    Example:
        >>> features = read_features(Path("features"), layer=9)
        >>> features["a.wav"].shape
        (812, 768)
        >>> features.missing
        []
    """

    def __init__(self, path: Path, *, layer: int | None = None) -> None:
        self.path = path
        self.settings = read_manifest(path)
        self.layers: tuple[int, ...] = tuple(self.settings["layers"])
        if layer is None and len(self.layers) > 1:
            raise DataError(
                f"{path} holds layers {', '.join(map(str, self.layers))}. Say which: layer={self.layers[0]}."
            )
        self.layer = self.layers[0] if layer is None else layer
        if self.layer not in self.layers:
            raise DataError(f"{path} does not hold layer {layer}. Its layers: {', '.join(map(str, self.layers))}.")
        facts = self.settings["facts"][str(self.layer)]
        self.width: int = facts["width"]
        self.frame_rate: float = facts["frame_rate"]
        self.entries = {entry.id: entry for entry in read_entries(path)}
        self._rows: dict[str, dict[str, int]] = {}
        for entry in self.entries.values():
            self._rows.setdefault(entry.shard, {})[entry.id] = entry.frames[str(self.layer)]
        self._begins = {
            name: end - rows[name]
            for rows in self._rows.values()
            for name, end in zip(rows, accumulate(rows.values()), strict=True)
        }
        self._mapped = lru_cache(_MAPPED_FILES)(self._map)

    @property
    def missing(self) -> list[str]:
        """Ids of utterances that are to be there but are not yet, or could not be read."""
        return [name for name in self.settings["ids"] if name not in self.entries]

    def check(self) -> None:
        """Make sure that every file is whole, by its header and its size.

        Raises:
            DataError: one is not, or is missing; with what to do.
        """
        for shard in self._rows:
            self._map(shard)

    def __getitem__(self, utterance_id: str) -> NDArray[np.float32]:
        entry, begin = self.entries[utterance_id], self._begins[utterance_id]
        rows: NDArray[np.float32] = self._mapped(entry.shard)[begin : begin + entry.frames[str(self.layer)]]
        return rows

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def _map(self, shard: str) -> NDArray[np.float32]:
        path = layer_folder(self.path, self.layer) / f"{shard}.{self.settings['format']}"
        return map_rows(path, self._rows[shard], self.width)


def read_features(path: str | Path, *, layer: int | None = None) -> FeatureFolder:
    """Return the features in a folder, by utterance id; see `FeatureFolder`.

    Raises:
        DataError: no features there, no such layer, or an index that cannot be read.
    """
    return FeatureFolder(Path(path).expanduser(), layer=layer)


def describe(
    extractor: FrameSource, utterances: Sequence[Utterance], *, form: str, condition: str | None = None
) -> dict[str, Any]:
    """Return what `features.json` says of features that are about to be extracted."""
    from ssft import __version__

    return {
        "version": VERSION,
        "ssft": __version__,
        **extractor.identity(),
        "format": form,
        **extractor.settings(),
        "condition": condition,
        "facts": {
            str(layer): {"width": extractor.width, "frame_rate": extractor.frame_rate(layer)}
            for layer in extractor.layers
        },
        "corpus": fingerprint(utterances),
        "ids": [utterance.id for utterance in utterances],
    }


def read_manifest(path: Path) -> dict[str, Any]:
    """Read `features.json`.

    Raises:
        DataError: there is none, or of another version.
    """
    try:
        manifest: dict[str, Any] = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        version = manifest["version"]
    except FileNotFoundError:
        raise DataError(
            f"{path} holds no {MANIFEST}, so no features. `ssft features MODEL --out DIR` makes some."
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path / MANIFEST} cannot be read: {error}. Extract the features again.") from None
    if version != VERSION:
        raise DataError(f"{path / MANIFEST} is of version {version}, not {VERSION}. Extract the features again.")
    return manifest


def refuse_changes(path: Path, recorded: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise unless features that are extracted now belong to those that are there.

    Raises:
        DataError: they do not; names what differs.
    """
    changed = [
        f"{key} {recorded.get(key)} -> {now[key]}"
        for key in now
        if key not in (*_RECORDS, "weights", "facts") and recorded.get(key) != now[key]
    ]
    if recorded.get("weights") != now["weights"]:
        changed.append(f"the encoder, {recorded.get('model')} -> {now['model']}, has other weights")
    if recorded.get("corpus") != now["corpus"]:
        changed.append(f"the audio, {len(recorded.get('ids', ())):,} -> {len(now['ids']):,} utterances")
    if changed:
        raise DataError(f"{path} holds other features ({'; '.join(changed)}). Choose another folder with --out.")
