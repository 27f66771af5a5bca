"""Writing safely: a file or a folder is there whole, as it was or as it is to be, whatever ends the process."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from ssft.errors import RunError

REPLACED = ".replaced"
"""What is added to the name of a folder for the instant in which another takes its place."""

_PARTIAL = ".partial"
_BLOCK = 1 << 20


@contextmanager
def replacing_file(path: Path) -> Iterator[IO[bytes]]:
    """Yield a file to fill, then make it `path` in one rename, with its content on the disk first."""
    partial = _beside(path, _PARTIAL)
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        _remove(partial)
        raise
    _flush_folder(path.parent)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace a file in one step, so that a reader sees the old or the new one; text is UTF-8."""
    with replacing_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def replacing_folder(final: Path) -> Iterator[Path]:
    """Yield a folder to fill, then give it the name `final`, with everything in it on the disk first.

    A folder of that name is moved aside before, to `final` + `REPLACED`, and removed after: between these two renames,
    and nowhere else, it is found under that other name only.
    """
    partial, replaced = _beside(final, _PARTIAL), _beside(final, REPLACED)
    _remove(partial)
    try:
        make_folder(partial)
        yield partial
        mode = partial.stat().st_mode & 0o666
        for path in sorted(partial.rglob("*")):
            if path.is_dir():
                _flush_folder(path)
            else:
                with suppress(OSError):  # not every file system has modes
                    path.chmod(mode)  # safetensors writes files that only their owner may read
                _flush(path)
        _flush_folder(partial)
        if final.exists():
            _remove(replaced)
            os.replace(final, replaced)
        os.replace(partial, final)
    except BaseException:
        with suppress(OSError):
            if replaced.exists() and not final.exists():
                os.replace(replaced, final)
        _remove(partial)
        raise
    _flush_folder(final.parent)
    _remove(replaced)


def make_folder(path: Path) -> None:
    """Make a folder, and those that it is in, so that they last."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        _flush_folder(folder.parent)


@contextmanager
def writing(path: Path, remedy: str = "Checkpoints that exist are untouched.") -> Iterator[None]:
    """Let what the system has against writing to a path become an error of ours.

    Raises:
        RunError: names the path, the reason and the remedy.
    """
    try:
        yield
    except OSError as error:
        raise RunError(f"Cannot write {path}: {error}. {remedy}") from error


def remove_folder(path: Path) -> None:
    """Remove a folder if it is there; its name goes first, so that nobody finds half of it.

    What cannot be removed is left to `remove_leftovers`.
    """
    partial = _beside(path, _PARTIAL)
    with suppress(OSError):
        os.replace(path, partial)
    _remove(partial)


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left in a folder, half written or half removed."""
    for path in folder.glob(f"*{REPLACED}"):
        if path.with_name(path.name.removesuffix(REPLACED)).exists():
            _remove(path)
    for path in folder.glob(f"*{_PARTIAL}"):
        _remove(path)


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def size(count: int) -> str:
    """Say how many bytes there are, e.g. `1.2 GB` or `10.7 MB`."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def free_bytes(path: Path) -> int:
    """Return how much can still be written where `path` is, or will be."""
    path = path.absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    return shutil.disk_usage(path).free


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _remove(path: Path) -> None:
    """Remove whatever it is, as far as that can be done."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _flush(path: Path) -> None:
    with path.open("r+b") as file:  # Windows flushes only what may be written
        os.fsync(file.fileno())


def _flush_folder(path: Path) -> None:
    """Put the names in a folder on the disk, where a system can."""
    if os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # what network file systems answer that cannot
            raise
    finally:
        os.close(handle)
