"""Where the bytes of a recording are: in a file of its own, or in a range of a file that holds many."""

from __future__ import annotations

import io
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ssft.errors import DataError

if TYPE_CHECKING:
    from typing_extensions import Buffer

_MEMBER = re.compile(r"(?P<name>.*)@(?P<offset>\d+)\+(?P<size>\d+)", re.DOTALL)


@dataclass(frozen=True)
class Member:
    """A recording that lies byte for byte inside another file; as text, `NAME@OFFSET+SIZE`.

    Archives without compression and Arrow tables are such files. To read a recording of one needs no index, no library
    and no more time than to read a file.

    Args:
        name: what the recording is called in there.
        offset: where its first byte is.
        size: how many bytes it has.

    Example:
        >>> str(Member("a.wav", 512, 32_044)), Member.parse("a.wav@512+32044").size
        ('a.wav@512+32044', 32044)
    """

    name: str
    offset: int
    size: int

    def __str__(self) -> str:
        return f"{self.name}@{self.offset}+{self.size}"

    @staticmethod
    def parse(text: str) -> Member:
        """Return the member that `text` describes.

        Raises:
            DataError: it does not describe one.
        """
        found = _MEMBER.fullmatch(text)
        if found is None:
            raise DataError(f"'{text}' does not say where in a file a recording is; expected NAME@OFFSET+SIZE.")
        return Member(found["name"], int(found["offset"]), int(found["size"]))


def open_bytes(path: Path, member: str = "") -> io.BufferedReader:
    """Open the encoded bytes of a recording, as a file that begins and ends with them.

    Raises:
        DataError: `member` does not describe a range.
        OSError: the file cannot be opened.
    """
    if not member:
        return path.open("rb")
    place = Member.parse(member)
    return io.BufferedReader(_Range(path, place.offset, place.size))


def local_path(name: str, folder: Path, *, allow_outside: bool) -> Path:
    """Return the file that a list in `folder` means by `name`.

    Raises:
        ValueError: a URL, a command, or a file that is not below `folder`, unless that is allowed.
    """
    if "://" in name or name.startswith(("|", "pipe:", "file:")) or name.endswith("|"):
        raise ValueError(f"'{name}' is a URL or a command, which is never followed; download or convert it first")
    # Not by `Path` alone, which takes as long as all the rest of reading a row.
    goes_up = ".." in name and ".." in Path(name).parts
    if not allow_outside and (goes_up or name[:1] in (os.sep, os.altsep) or os.path.splitdrive(name)[0]):
        raise ValueError(f"'{name}' leaves the manifest's folder; pass --data.allow_outside true to accept that")
    return folder / name


class _Range(io.RawIOBase):
    """The bytes from `offset` to `offset + size` of a file, as a file."""

    def __init__(self, path: Path, offset: int, size: int) -> None:
        super().__init__()
        self._file = path.open("rb", buffering=0)
        self._offset = offset
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        self._at = max(0, position + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence])
        return self._at

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer).cast("B")[: max(0, self._size - self._at)]
        self._file.seek(self._offset + self._at)
        count = self._file.readinto(view) or 0
        self._at += count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()
