"""`Utterances`: the table of a corpus. A million rows are some arrays, and no object each."""

from __future__ import annotations

import hashlib
import math
import os
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from ssft.data.array_file import read_arrays, write_arrays
from ssft.data.columns import Labels, LabelsInMaking, Texts, TextsInMaking, decoded, in_blocks
from ssft.data.entry import Entry
from ssft.errors import DataError
from ssft.types import Utterance

_KIND = "ssft_utterances"
_VERSION = 1
_TEXTS = ("ids", "files", "members", "texts")
_LABELS = ("folders", "speakers")
_NUMBERS = ("seconds", "starts", "stamps")
NO_STAMP = (-1, -1)
"""In place of size and time of a file that was not looked at."""


@dataclass(frozen=True, eq=False)
class Utterances(Sequence[Utterance]):
    """Utterances in the columns of a table: about 140 bytes each and its text. Indexing makes an `Utterance`.

    Data workers that are forked share the memory. A part is taken with a slice, or an array of places or of truth
    values.

    Args:
        ids: unique names.
        folders: paths up to their last separator, that one included.
        files: the last part of a path.
        members: which recording of a file, where it holds several.
        speakers: who speaks, if that is known.
        texts: what is said; an empty text is none.
        seconds: length, [N] float64; NaN where a listing does not say it.
        starts: in seconds of the file, [N] float64.
        stamps: size in bytes and time of change in nanoseconds, [N, 2] int64; -1 if the file was not looked at.

    Example:
        >>> table = Utterances.of([Utterance("a", Path("x/a.wav"), 2.0), Utterance("b", Path("x/b.wav"), 1.0)])
        >>> table[1].path, table.seconds.sum()
        (PosixPath('x/b.wav'), 3.0)
    """

    ids: Texts
    folders: Labels
    files: Texts
    members: Texts
    speakers: Labels
    texts: Texts
    seconds: NDArray[np.float64]
    starts: NDArray[np.float64]
    stamps: NDArray[np.int64]

    @staticmethod
    def of(rows: Iterable[Utterance | Entry]) -> Utterances:
        """Collect utterances, or what a corpus lists before they are looked at; a table is returned as it is."""
        if isinstance(rows, Utterances):
            return rows
        ids, files, members, texts = (TextsInMaking() for _ in range(4))
        folders, speakers = LabelsInMaking(), LabelsInMaking()
        seconds, starts, stamps = array("d"), array("d"), array("q")
        for block in in_blocks(rows):
            paths = [str(row.path) for row in block]
            cuts = [path.rfind(os.sep) + 1 for path in paths]
            ids.extend([row.id for row in block])
            folders.extend([path[:cut] for path, cut in zip(paths, cuts, strict=True)])
            files.extend([path[cut:] for path, cut in zip(paths, cuts, strict=True)])
            members.extend([row.member for row in block])
            speakers.extend([row.speaker for row in block])
            texts.extend([row.text or "" for row in block])
            seconds.extend([math.nan if row.seconds is None else row.seconds for row in block])
            starts.extend([row.start for row in block])
            for row in block:
                stamps.extend(getattr(row, "stamp", None) or NO_STAMP)
        return Utterances(
            ids.made(),
            folders.made(),
            files.made(),
            members.made(),
            speakers.made(),
            texts.made(),
            np.frombuffer(seconds, dtype=np.float64),
            np.frombuffer(starts, dtype=np.float64),
            np.frombuffer(stamps, dtype=np.int64).reshape(-1, 2),
        )

    @property
    def hours(self) -> float:
        """How much audio there is; the order of the utterances does not matter to the last digit."""
        return math.fsum(self.seconds) / 3600

    @cached_property
    def id_hashes(self) -> NDArray[np.uint64]:
        """A number for every id that is the same everywhere and at any time, [N]."""
        hashes = (hashlib.blake2b(name, digest_size=8).digest() for name in self.ids.encoded())
        return np.fromiter((int.from_bytes(digest, "little") for digest in hashes), np.uint64, count=len(self))

    @cached_property
    def fingerprint(self) -> str:
        """Hash of all ids, starts and lengths: the same on any machine that holds the same corpus, in any order."""
        columns = [
            self.id_hashes.astype("<i8"),
            *(np.rint(1000 * x).astype("<i8") for x in (self.starts, self.seconds)),
        ]
        rows = np.stack(columns, axis=1)[np.lexsort(columns)]
        return hashlib.sha256(rows.tobytes()).hexdigest()[:16]

    def with_unique_ids(self) -> Utterances:
        """Give the second and later utterances of the same id a running number, so that nothing is lost."""
        order = np.argsort(self.id_hashes, kind="stable")
        alike = self.id_hashes[order[1:]] == self.id_hashes[order[:-1]]
        if not alike.any():
            return self
        later = np.zeros(len(self), dtype=bool)
        later[order[1:][alike]] = True
        return replace(self, ids=Texts.of(self._numbered(later)))

    def with_lengths(self, seconds: NDArray[np.float64], stamps: NDArray[np.int64]) -> Utterances:
        """Return the table with other lengths and stamps: those that were found."""
        table = replace(self, seconds=seconds, stamps=stamps)
        table.__dict__["id_hashes"] = self.id_hashes
        return table

    def save(self, path: Path) -> None:
        """Write the table, in one step, to a safetensors file; its paths become absolute ones.

        Raises:
            DataError: it cannot be written.
        """
        here = os.getcwd()
        names = Texts.of(os.path.join(here, name) for name in self.folders.names)
        table = replace(self, folders=replace(self.folders, names=names))
        arrays: dict[str, NDArray[Any]] = {name: getattr(table, name) for name in _NUMBERS}
        for name in (*_TEXTS, *_LABELS):
            arrays |= getattr(table, name).arrays(name)
        write_arrays(path, arrays, kind=_KIND, facts={"version": _VERSION, "fingerprint": self.fingerprint})

    @staticmethod
    def load(path: Path) -> Utterances:
        """Read what `save` wrote: no audio is looked at, and all that is read is checked.

        Raises:
            DataError: no such file, one that is not as it was written, or one of another version.
        """
        arrays, facts = read_arrays(path, kind=_KIND)
        if facts["version"] != _VERSION:
            raise DataError(f"{path} is of version {facts['version']}, not {_VERSION}. Look at the audio again.")
        columns: dict[str, Any] = {name: arrays[name] for name in _NUMBERS}
        columns |= {name: Texts.of_arrays(arrays, name) for name in _TEXTS}
        columns |= {name: Labels.of_arrays(arrays, name) for name in _LABELS}
        table = Utterances(**columns)
        table.__dict__["fingerprint"] = facts["fingerprint"]  # of a million utterances it takes two seconds
        return table

    def __len__(self) -> int:
        return len(self.seconds)

    @overload
    def __getitem__(self, index: int | np.integer) -> Utterance: ...

    @overload
    def __getitem__(self, index: slice | NDArray[np.int64] | NDArray[np.bool_]) -> Utterances: ...

    def __getitem__(
        self, index: int | np.integer | slice | NDArray[np.int64] | NDArray[np.bool_]
    ) -> Utterance | Utterances:
        if isinstance(index, slice | np.ndarray):
            return self._select(np.arange(len(self))[index])
        place = range(len(self))[int(index)]
        size, changed = self.stamps[place].tolist()
        return Utterance(
            id=self.ids[place],
            path=Path(f"{self.folders[place]}{self.files[place]}"),
            seconds=float(self.seconds[place]),
            start=float(self.starts[place]),
            speaker=self.speakers[place],
            text=self.texts[place] or None,
            member=self.members[place],
            stamp=None if size < 0 else (size, changed),
        )

    def __iter__(self) -> Iterator[Utterance]:
        return (self[place] for place in range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Utterances | list | tuple):
            return NotImplemented
        return len(self) == len(other) and all(one == another for one, another in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def _numbered(self, later: NDArray[np.bool_]) -> Iterator[str]:
        """Give all ids, with a number where `later` says so that is not taken."""
        taken = {name for name in self.ids.encoded() if b"#" in name}  # all that a number can bring about
        count = Counter[bytes]()
        for name, is_later in zip(self.ids.encoded(), later.tolist(), strict=True):
            if not is_later:
                yield decoded(name)
                continue
            count[name] += 1
            while (numbered := b"%s#%d" % (name, count[name] + 1)) in taken:
                count[name] += 1
            taken.add(numbered)
            yield decoded(numbered)

    def _select(self, index: NDArray[np.int64]) -> Utterances:
        columns: dict[str, Any] = {name: getattr(self, name)[index] for name in _NUMBERS}
        columns |= {name: getattr(self, name).select(index) for name in (*_TEXTS, *_LABELS)}
        part = Utterances(**columns)
        if "id_hashes" in self.__dict__:  # a second for a million
            part.__dict__["id_hashes"] = self.id_hashes[index]
        return part


def stamp_of(path: Path) -> tuple[int, int] | None:
    """Return size in bytes and time of change in nanoseconds of a file; None if there is none."""
    try:
        facts = os.stat(path)
    except (OSError, ValueError):
        return None
    return facts.st_size, facts.st_mtime_ns
