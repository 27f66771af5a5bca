"""What libsndfile does not say about a file: that it was cut, that it was streamed, that its length is a guess."""

from __future__ import annotations

import io
import os
import struct
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

if TYPE_CHECKING:
    from typing_extensions import Buffer

_LAYOUTS = {
    (b"RIFF", b"WAVE"): ("<I", b"data"),
    (b"FORM", b"AIFF"): (">I", b"SSND"),
    (b"FORM", b"AIFC"): (">I", b"SSND"),
}
_UNKNOWN_SIZE = 0x7FFF_0000
"""From here on a size means "I do not know yet": streaming encoders write 2^31 - 1, 2^32 - 1, or something near."""


class AudioChunk(NamedTuple):
    """Where the samples of a WAV or AIFF file begin, how many bytes the header states, and how many there are."""

    offset: int
    stated: int
    available: int

    @property
    def is_cut(self) -> bool:
        """Whether bytes are missing at the end. libsndfile reads such a file without a word."""
        return self.available < self.stated < _UNKNOWN_SIZE


def audio_chunk(file: BinaryIO) -> AudioChunk | None:
    """Return the chunk that holds the samples; None if the file is neither WAV nor AIFF, or has none."""
    total = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(12)
    order, wanted = _LAYOUTS.get((head[:4], head[8:]), ("", b""))
    while wanted and len(header := file.read(8)) == 8:
        (size,) = struct.unpack(order, header[4:])
        if header[:4] == wanted:
            return AudioChunk(file.tell(), size, total - file.tell())
        file.seek(size + size % 2, os.SEEK_CUR)
    return None


def as_streamed_wav(file: BinaryIO) -> io.RawIOBase | None:
    """Return `file` as one to be read to its end, if it is a WAV whose header states no samples though there are some.

    An encoder that writes into a pipe, or a recorder that was switched off, leaves a length of 0 behind. libsndfile
    takes that literally.
    """
    chunk = audio_chunk(file)
    if chunk is None or chunk.stated or not chunk.available:
        return None
    file.seek(chunk.offset)
    if _is_chunks(file, chunk.available):
        return None  # a finished file that really is empty, with its tags behind the samples it has not got
    return _ToTheEnd(file, chunk.offset - 4)


def states_length(file: BinaryIO) -> bool:
    """Whether an MP3 says how many frames it has. If not, its length is a guess from its first frames' bit rate."""
    file.seek(0)
    head = file.read(10)
    tag = 0
    if head[:3] == b"ID3" and len(head) == 10:
        tag = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))
    file.seek(tag)
    first_frame = file.read(512)
    return any(mark in first_frame for mark in (b"Xing", b"Info", b"VBRI"))


class _ToTheEnd(io.RawIOBase):
    """A file in which the four bytes at `size_at` read as 2^32 - 1."""

    def __init__(self, file: BinaryIO, size_at: int) -> None:
        super().__init__()
        file.seek(0)
        self._file = file
        self._size_at = size_at

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(position, whence)

    def readinto(self, buffer: Buffer) -> int:
        position = self._file.tell()
        view = memoryview(buffer).cast("B")
        data = self._file.read(len(view))
        view[: len(data)] = data
        for at in range(self._size_at - position, self._size_at - position + 4):
            if 0 <= at < len(data):
                view[at] = 0xFF
        return len(data)


def _is_chunks(file: BinaryIO, available: int) -> bool:
    """Whether the next `available` bytes are whole RIFF chunks and nothing else."""
    while available >= 8:
        name, size = struct.unpack("<4sI", file.read(8))
        if not (name.isascii() and name.decode("ascii").isprintable()):
            return False
        available -= 8 + size + size % 2
        file.seek(size + size % 2, os.SEEK_CUR)
    return available in (0, -1)
