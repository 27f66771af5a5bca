"""A disk that stops at a chosen moment, as when the process is killed: what was done stays, nothing is done after."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from ssft.engine import checkpoint

CHANGES = ("replace", "unlink", "rmdir", "mkdir", "chmod")


class CrashError(BaseException):
    """The process has ended; nothing that cleans up after ordinary errors may hide it."""


class Disk:
    """Counts what changes the disk, and crashes before the call of number `crash_at` and at every later one.

    What is written is written half before a crash. Nothing is flushed: it takes time, and no test can see it.

    Attributes:
        calls: name and path (or number of the open file) of every call so far.
    """

    def __init__(self, crash_at: int | None) -> None:
        self.crash_at = crash_at
        self.calls: list[tuple[str, str]] = []

    @property
    def crashed(self) -> bool:
        return self.crash_at is not None and len(self.calls) > self.crash_at

    def touch(self, name: str, what: Any) -> None:
        self.calls.append((name, str(what)))
        if self.crashed:
            raise CrashError

    def changing(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(what: Any, *args: Any, **kwargs: Any) -> Any:
            self.touch(name, what)
            return original(what, *args, **kwargs)

        return call

    def opening(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            if mode.startswith("r"):
                return original(path, mode, *args, **kwargs)
            self.touch("create", path)
            return _Written(original(path, mode, *args, **kwargs), self)

        return call

    def saving(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(tensors: Any, path: Any) -> None:
            self.touch("create", path)
            original(tensors, path)
            try:
                self.touch("write", path)
            except CrashError:
                os.truncate(path, os.path.getsize(path) // 2)
                raise

        return call


class _Written:
    """An open file whose writes are counted."""

    def __init__(self, file: Any, disk: Disk) -> None:
        self._file, self._disk = file, disk

    def write(self, content: Any) -> int:
        try:
            self._disk.touch("write", self._file.name)
        except CrashError:
            self._file.write(content[: len(content) // 2])
            self._file.flush()
            raise
        return self._file.write(content)

    def __enter__(self) -> _Written:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@contextmanager
def disk(crash_at: int | None = None) -> Iterator[Disk]:
    """Count what changes the disk in the block, and crash at one of the calls, which ends the block."""
    counted = Disk(crash_at)
    with pytest.MonkeyPatch.context() as patch:
        for name in CHANGES:
            patch.setattr(os, name, counted.changing(name, getattr(os, name)))
        patch.setattr(os, "fsync", counted.changing("fsync", lambda handle: None))
        patch.setattr(io, "open", counted.opening(io.open))
        patch.setattr(checkpoint, "save_file", counted.saving(checkpoint.save_file))
        with suppress(CrashError):
            yield counted
