"""One run folder, one process: a lock that the system takes back from the dead."""

from __future__ import annotations

import errno
import json
import os
import platform
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType

from ssft.errors import RunError
from ssft.files import make_folder

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_NAME = "run.lock"
_TAKEN = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
_CONTENT = 4096

# Why not the filelock package: it uses flock, which forked data workers inherit. They outlive a killed trainer by some
# seconds, for which it could not be resumed. A POSIX record lock belongs to the process that took it: workers do not
# have it, the kernel frees it with its owner, and NFS knows it. Its price: closing any descriptor of the file gives it
# up, so a second entry in the same process must not open the file, only be counted. What a process holds is a fact
# about the process, and so is this table.
_held: dict[Path, _Holding] = {}
_guard = threading.Lock()


@dataclass
class _Holding:
    handle: int
    pid: int
    thread: int
    depth: int = 1


class RunLock:
    """Holds a run folder for this process, for as long as the block lasts.

    The owner's process, host and time are in `run.lock`, for the message that another process gets. A lock whose owner
    is dead, however it died, is free. The thread that holds a folder may take it again, any number of times; another
    thread may not.

    Args:
        folder: the run; made if need be.

    Raises:
        RunError: on entering: someone else is training in the folder, or it cannot be written to.

    Example:
        >>> with RunLock(Path("runs/x")):
        ...     trainer.fit("runs/x")
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder.resolve() / _NAME

    def __enter__(self) -> RunLock:
        with _guard:
            held = _held.get(self._path)
            if held is None or held.pid != os.getpid():  # what was forked has the table, but not the lock
                _held[self._path] = _Holding(self._acquire(), os.getpid(), threading.get_ident())
            elif held.thread == threading.get_ident():
                held.depth += 1
            else:
                raise self._refusal("another thread of this process")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with _guard:
            held = _held.get(self._path)
            if held is None or held.pid != os.getpid():
                return
            held.depth -= 1
            if not held.depth:
                del _held[self._path]
                with suppress(OSError):
                    os.ftruncate(held.handle, 0)
                # The file stays: were it removed, two processes could each lock a file of that name.
                os.close(held.handle)

    def _acquire(self) -> int:
        try:
            make_folder(self._path.parent)
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise RunError(
                f"Cannot write into the run folder {self.folder}: {error.strerror}. Choose another --out."
            ) from error
        try:
            _lock(handle)
        except OSError as error:
            if error.errno in _TAKEN:
                owner = _owner(handle)
                os.close(handle)
                raise self._refusal(owner) from None
            print(
                f"warning: the file system of {self.folder} has no locks ({error.strerror}). See to it that only one "
                "process trains there.",
                file=sys.stderr,
            )
        note = {
            "pid": os.getpid(),
            "host": platform.node(),
            "since": datetime.now().astimezone().isoformat(sep=" ", timespec="seconds"),
        }
        with suppress(OSError):  # a full disk: only a message would be better
            os.ftruncate(handle, 0)
            os.lseek(handle, 0, os.SEEK_SET)
            os.write(handle, (json.dumps(note) + "\n").encode())
        return handle

    def _refusal(self, owner: str) -> RunError:
        return RunError(f"{self.folder} is being trained by {owner}; wait until it ends, or choose another --out.")


def _owner(handle: int) -> str:
    """Say whose lock it is."""
    try:
        os.lseek(handle, 0, os.SEEK_SET)
        note = json.loads(os.read(handle, _CONTENT))
        return f"process {note['pid']} on host {note['host']} since {note['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"  # it has only just begun


if sys.platform == "win32":

    def _lock(handle: int) -> None:
        os.lseek(handle, 1 << 20, os.SEEK_SET)  # beyond the note, which could not be read otherwise
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)

else:

    def _lock(handle: int) -> None:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
