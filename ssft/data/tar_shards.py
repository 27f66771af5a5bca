"""Tar files of recordings, as webdataset writes them: read in place, never unpacked."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from ssft.data.audio import EXTENSIONS, FOREIGN_EXTENSIONS
from ssft.data.entry import Entry
from ssft.data.manifest import UNLABELLED
from ssft.data.sources import Member
from ssft.data.tables import COLUMNS
from ssft.errors import DataError
from ssft.types import Reject

COMPRESSED_SUFFIXES = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tar.lz4")

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_COMPRESSED_MARKS = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18")
_MOST_SHARDS = 100_000
_LONGEST_LABEL = 1 << 20
"""Bytes of a `.json` or `.txt` that are read; nobody says more in one utterance."""


def expand_braces(pattern: str) -> list[Path]:
    """Return the files that `shards-{000..009}.tar` stands for.

    Raises:
        DataError: braces that are no range of whole numbers, or more files than anybody has.

    Example:
        >>> expand_braces("s-{08..10}.tar")
        [PosixPath('s-08.tar'), PosixPath('s-09.tar'), PosixPath('s-10.tar')]
    """
    names = [pattern]
    while any(found := [_RANGE.search(name) for name in names]):
        first, last = found[0].groups() if found[0] else ("", "")
        count = int(last) - int(first) + 1
        if not 0 < count * len(names) <= _MOST_SHARDS:
            raise DataError(f"{pattern} stands for {max(count, 0) * len(names):,} files; give 1 to {_MOST_SHARDS:,}.")
        names = [
            _RANGE.sub(str(number).zfill(len(first)), name, count=1)
            for name in names
            for number in range(int(first), int(last) + 1)
        ]
    if any("{" in name or "}" in name for name in names):
        raise DataError(f"{pattern}: braces hold two whole numbers, as in shards-{{000000..000009}}.tar.")
    return [Path(name).expanduser() for name in names]


def read_tars(paths: Sequence[Path]) -> Iterator[Entry | Reject]:
    """List the recordings in tar files, in their order there.

    A sample is what has the same name up to the suffix, wherever it lies in the file: a recording, and beside it
    `.json` (with speaker and text, under any of the names that manifests know) or `.txt`. Of a file only the headers
    and these are read.

    Raises:
        DataError: a compressed file: what is in it cannot be reached without unpacking all that is before it.
    """
    for path in paths:
        if is_compressed(path):
            raise DataError(f"{path} is compressed, so nothing in it can be reached alone. Decompress it to a .tar.")
    for path in paths:
        if path.is_file():
            yield from _Shard(path).entries()
        else:
            yield Reject(path.name, path, "missing", "there is no such file")


def is_compressed(path: Path) -> bool:
    """Whether a tar file is compressed, by its name or by how it begins."""
    if path.name.lower().endswith(COMPRESSED_SUFFIXES):
        return True
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(6).startswith(_COMPRESSED_MARKS)


class _Shard:
    """What is in one tar file: recordings, each with what is wrong with it, and speaker and text by sample."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.recordings: list[tuple[Member, str]] = []
        self.labels: dict[str, dict[str, str]] = {}
        self.problem = ""
        try:
            with tarfile.open(path, "r:") as tar:
                while (info := tar.next()) is not None:
                    self._add(tar, info)
                    # It keeps a list for whoever wants to read the archive twice: a kilobyte for each member.
                    tar.members.clear()  # type: ignore[attr-defined]
                self.problem = self._behind(tar.offset)
        except (tarfile.TarError, OSError) as error:
            self.problem = f"not readable as an archive: {error}"

    def entries(self) -> Iterator[Entry | Reject]:
        for member, wrong in self.recordings:
            name = f"{self.path.stem}/{member.name}"
            if wrong:
                yield Reject(name, self.path, "bad_row", f"'{member.name}' in {self.path.name} {wrong}")
                continue
            label = self._label(member.name)
            yield Entry(name, self.path, speaker=label.get("speaker"), text=label.get("text"), member=str(member))
        if self.path.stat().st_size == 0:
            yield Reject(self.path.name, self.path, "empty", "the file holds no samples")
        elif self.problem:
            count = f"{len(self.recordings):,} recordings were found before"
            yield Reject(self.path.name, self.path, "corrupt", f"{self.problem}; {count}")

    def _add(self, tar: tarfile.TarFile, info: tarfile.TarInfo) -> None:
        name = info.name.removeprefix("./").encode("utf-8", "backslashreplace").decode()
        path = PurePosixPath(name)
        if any(part.startswith(".") and part != ".." for part in path.parts) or info.isdir():
            return
        suffix = path.suffix.lower()
        if suffix in EXTENSIONS | FOREIGN_EXTENSIONS:
            self.recordings.append((Member(name, info.offset_data, info.size), _what_is_wrong(path, info)))
        elif suffix in (".json", ".txt") and info.isreg() and (file := tar.extractfile(info)):
            _learn(self.labels.setdefault(name[: -len(suffix)], {}), suffix, file.read(_LONGEST_LABEL))

    def _label(self, name: str) -> dict[str, str]:
        """What is said of a sample of the same name up to the last dot or, as webdataset has it, up to the first."""
        folder, slash, file = name.rpartition("/")
        for sample in (file.rpartition(".")[0], file.partition(".")[0]):
            if found := self.labels.get(folder + slash + sample):
                return found
        return {}

    def _behind(self, offset: int) -> str:
        """What is wrong if something follows the last member: an archive ends with zeros."""
        with self.path.open("rb") as file:
            file.seek(offset)
            while block := file.read(1 << 20):
                if block.strip(b"\0"):
                    return f"what follows byte {offset:,} is not read (a damaged header, or archives joined together)"
        return ""


def _what_is_wrong(path: PurePosixPath, info: tarfile.TarInfo) -> str:
    """Why a member is not used, as the rest of a sentence; empty if it can be."""
    if path.is_absolute() or ".." in path.parts:
        return "leaves the folder that it would be unpacked to; pack it under another name"
    if info.issym() or info.islnk():
        return f"is a link to '{info.linkname}', which is not followed; pack the file itself"
    if not info.isreg() or info.issparse():
        return "is no ordinary file; pack a copy of it"
    return ""


def _learn(label: dict[str, str], suffix: str, content: bytes) -> None:
    """Add what a `.json` or `.txt` says. What cannot be read says nothing: training needs neither speaker nor text."""
    if suffix == ".txt":
        label.setdefault("text", content.decode("utf-8", "replace").strip())
        return
    try:
        row = json.loads(content)
    except (ValueError, RecursionError):
        return
    for name in ("speaker", "text") if isinstance(row, dict) else ():
        value = next((row[alias] for alias in COLUMNS[name] if isinstance(row.get(alias), str | int)), None)
        if value is not None and not (name == "speaker" and value in UNLABELLED):
            label[name] = str(value)
