"""One process trains in a run folder; a dead one does not keep the next from it."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from ssft.engine import lock as module
from ssft.engine.lock import RunLock
from ssft.errors import RunError

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked to see what they inherit")
FORK = multiprocessing.get_context("fork")
HELD = r"run is being trained by process (\d+) on host \S+ since 2\d{3}-\d\d-\d\d [\d:+-]+; wait until it ends, or"


def enter(folder: Path) -> str:
    """Take the lock and give it back; return the error, if there was one."""
    try:
        with RunLock(folder):
            return ""
    except RunError as error:
        return str(error)


def elsewhere(folder: Path, work: Callable[[Path], Any] = enter) -> Any:
    """Let a forked process work."""
    mine, theirs = FORK.Pipe()
    process = FORK.Process(target=lambda: theirs.send(work(folder)))
    process.start()
    answer = mine.recv()
    process.join()
    return answer


def hold(folder: Path, says: Connection) -> None:
    """Hold the lock with a forked worker beside, until killed."""
    with RunLock(folder):
        worker = os.fork()
        if not worker:
            signal.pause()
        says.send(worker)
        signal.pause()


@contextmanager
def another_trainer(folder: Path) -> Iterator[tuple[Any, int]]:
    """A process that holds the lock, and the id of its worker."""
    mine, theirs = FORK.Pipe()
    process = FORK.Process(target=hold, args=(folder, theirs))
    process.start()
    worker = mine.recv()
    try:
        yield process, worker
    finally:
        process.kill()
        process.join()
        os.kill(worker, signal.SIGKILL)


@pytest.fixture
def run(tmp_path) -> Path:
    return tmp_path / "a run"


def test_a_second_process_is_refused_and_told_by_whom(run):
    with another_trainer(run) as (owner, _):
        message = enter(run)
        assert int(re.search(HELD, message)[1]) == owner.pid
        assert message == enter(run)  # having been refused takes nothing from the owner


def test_a_killed_owner_is_followed_without_a_word_though_its_worker_lives(run, capfd):
    with another_trainer(run) as (owner, worker):
        assert enter(run)
        owner.kill()
        owner.join()
        os.kill(worker, 0)
        assert json.loads((run / "run.lock").read_text())["pid"] == owner.pid  # what it said is of no account
        assert enter(run) == ""
    assert capfd.readouterr() == ("", "")


def test_the_holder_may_take_it_again_and_keeps_it_until_the_last_end(run):
    with RunLock(run) as outer:
        with RunLock(run), outer:
            assert re.search(HELD, elsewhere(run))
        assert re.search(HELD, elsewhere(run))
    assert elsewhere(run) == ""


def test_the_file_says_whose_it_is_while_it_is(run):
    with RunLock(run):
        # Read by another process: closing a file gives up all locks that a process has on it.
        assert json.loads(elsewhere(run, lambda run: (run / "run.lock").read_text()))["pid"] == os.getpid()
    assert (run / "run.lock").read_text() == ""


def test_the_same_folder_by_another_name_is_the_same(run, tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to("a run")
    monkeypatch.chdir(tmp_path)
    with RunLock(run):
        for name in ("a run", "link", "./a run/../link"):
            assert enter(Path(name)) == ""
            assert "is being trained" in elsewhere(Path(name))
        with RunLock(tmp_path / "another run"):
            pass


def test_another_thread_is_refused(run):
    answers = []

    def try_it() -> None:
        answers.append(enter(run))

    with RunLock(run):
        for _ in range(2):
            thread = threading.Thread(target=try_it)
            thread.start()
            thread.join()
        assert re.search(HELD, elsewhere(run))
    assert answers == [f"{run} is being trained by another thread of this process; wait until it ends, or choose "
                       "another --out."] * 2  # fmt: skip
    thread = threading.Thread(target=try_it)
    thread.start()
    thread.join()
    assert answers[2] == ""


def test_a_forked_process_that_leaves_the_block_does_not_end_it(run):
    with RunLock(run) as held:
        elsewhere(run, lambda _: held.__exit__(None, None, None))
        assert re.search(HELD, elsewhere(run))


def test_an_error_in_the_block_ends_it(run):
    with pytest.raises(KeyError), RunLock(run):
        raise KeyError
    assert elsewhere(run) == ""


def test_an_owner_that_has_not_yet_said_who_it_is(run):
    with another_trainer(run):
        (run / "run.lock").write_text("")
        assert "is being trained by another process; wait" in enter(run)


@pytest.mark.parametrize("left", [b"", b"\xff", b"[]", b'{"pid": 1}', b"x" * 10_000])
def test_whatever_the_file_holds_a_free_lock_is_free(run, left):
    run.mkdir()
    (run / "run.lock").write_bytes(left)
    assert enter(run) == ""


@pytest.mark.parametrize("name", ["with spaces", "größe-音声", "n" * 240])
def test_any_path_will_do_and_is_made(tmp_path, name):
    with RunLock(tmp_path / "deep" / name):
        assert "is being trained by process" in elsewhere(tmp_path / "deep" / name)


def test_a_folder_that_cannot_be_written_to_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"Cannot write into the run folder .*file/run: .*Choose another --out"):
        RunLock(tmp_path / "file" / "run").__enter__()


def test_a_read_only_file_system_is_an_error(tmp_path):
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,ro", "tmpfs", str(tmp_path)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a read-only file system cannot be mounted here, which takes root")
    try:
        with pytest.raises(RunError, match=r"Cannot write into the run folder .*: Read-only file system\. Choose"):
            RunLock(tmp_path).__enter__()
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_file_system_without_locks_is_used_with_a_warning(run, monkeypatch, capsys):
    def unable(handle: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(module, "_lock", unable)
    assert enter(run) == ""
    assert "has no locks (No locks available)" in capsys.readouterr().err
