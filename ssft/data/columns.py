"""Columns of text: a million of them without an object for each, so that processes can share the memory."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")

_NONE = -1
_BLOCK = 4096


@dataclass(frozen=True, eq=False)
class Texts(Sequence[str]):
    """Texts as UTF-8, one after the other, and where each ends.

    What stands in a name for bytes that are not UTF-8 (a lone surrogate) survives.

    Args:
        data: all bytes, [B] uint8.
        ends: where in `data` each text ends, [N] int64.

    Example:
        >>> list(Texts.of(["one", "", "three"]))
        ['one', '', 'three']
    """

    data: NDArray[np.uint8]
    ends: NDArray[np.int64]

    @staticmethod
    def of(texts: Iterable[str]) -> Texts:
        """Collect texts."""
        column = TextsInMaking()
        for block in in_blocks(texts):
            column.extend(block)
        return column.made()

    @staticmethod
    def of_arrays(arrays: Mapping[str, NDArray[Any]], name: str) -> Texts:
        """Return the column that gave these arrays."""
        return Texts(arrays[f"{name}.data"], arrays[f"{name}.ends"])

    def arrays(self, name: str) -> dict[str, NDArray[Any]]:
        """Return the arrays of a column that is called so, for a file."""
        return {f"{name}.data": self.data, f"{name}.ends": self.ends}

    def encoded(self) -> Iterator[bytes]:
        """Give every text as UTF-8."""
        data, begin = self.data.data, 0
        for end in self.ends.data:
            yield bytes(data[begin:end])
            begin = end

    def select(self, index: NDArray[np.int64]) -> Texts:
        """Return the texts at these places, [M]."""
        begins = np.concatenate([[0], self.ends[:-1]])[index] if len(index) else index
        ends = self.ends[index]
        # What lies side by side is copied in one go: a selection is mostly that.
        breaks = np.flatnonzero(begins[1:] != ends[:-1])
        run_begins, run_ends = np.append(begins[:1], begins[breaks + 1]), np.append(ends[breaks], ends[-1:])
        data = self.data.data
        runs = (data[begin:end] for begin, end in zip(run_begins.tolist(), run_ends.tolist(), strict=True))
        joined = bytearray().join(runs)
        return Texts(np.frombuffer(joined, dtype=np.uint8), np.cumsum(ends - begins))

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> Texts: ...

    def __getitem__(self, index: int | slice) -> str | Texts:
        if isinstance(index, slice):
            return self.select(np.arange(len(self))[index])
        index = range(len(self))[index]
        begin = int(self.ends[index - 1]) if index else 0
        return decoded(self.data[begin : int(self.ends[index])].tobytes())

    def __iter__(self) -> Iterator[str]:
        return map(decoded, self.encoded())


class TextsInMaking:
    """`Texts` that grow by some at a time."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.ends = array("q")

    def extend(self, texts: Iterable[str]) -> None:
        encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
        self.ends.frombytes((np.cumsum([len(text) for text in encoded], dtype=np.int64) + len(self.data)).tobytes())
        self.data += b"".join(encoded)

    def made(self) -> Texts:
        return Texts(np.frombuffer(self.data, dtype=np.uint8), np.frombuffer(self.ends, dtype=np.int64))


@dataclass(frozen=True, eq=False)
class Labels:
    """Texts of which many are equal, or None: each different one is kept once.

    Args:
        codes: which of `names`, -1 for None, [N] int32.
        names: the different texts.
    """

    codes: NDArray[np.int32]
    names: Texts

    @staticmethod
    def of_arrays(arrays: Mapping[str, NDArray[Any]], name: str) -> Labels:
        """Return the column that gave these arrays."""
        return Labels(arrays[f"{name}.codes"], Texts.of_arrays(arrays, f"{name}.names"))

    def arrays(self, name: str) -> dict[str, NDArray[Any]]:
        """Return the arrays of a column that is called so, for a file."""
        return {f"{name}.codes": self.codes, **self.names.arrays(f"{name}.names")}

    def select(self, index: NDArray[np.int64]) -> Labels:
        """Return the labels at these places, [M]."""
        return Labels(self.codes[index], self.names)

    def __getitem__(self, index: int) -> str | None:
        code = int(self.codes[index])
        return None if code == _NONE else self.names[code]


class LabelsInMaking:
    """`Labels` that grow by some at a time."""

    def __init__(self) -> None:
        self.codes = array("i")
        self.known: dict[str | None, int] = {None: _NONE}

    def extend(self, labels: Iterable[str | None]) -> None:
        known = self.known
        # `known` holds None besides the names, whose codes therefore begin at 0.
        self.codes.extend([known.setdefault(label, len(known) - 1) for label in labels])

    def made(self) -> Labels:
        names = Texts.of(name for name in self.known if name is not None)
        return Labels(np.frombuffer(self.codes, dtype=np.int32), names)


def in_blocks(items: Iterable[T]) -> Iterator[list[T]]:
    """Give the items in lists: columns are made faster of these, and without all of them at once."""
    items = iter(items)
    while block := list(islice(items, _BLOCK)):
        yield block


def decoded(text: bytes) -> str:
    """Return a text of a column, as it went in."""
    return text.decode("utf-8", "surrogatepass")
