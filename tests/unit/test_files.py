"""What is written aside and renamed is there whole, old or new; and a sealed folder notices every changed bit."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest
from failing_disk import disk

from ssft import files
from ssft.files import (
    free_bytes,
    hash_file,
    remove_folder,
    remove_leftovers,
    replacing_file,
    replacing_folder,
    write_atomically,
)
from ssft.seal import MANIFEST, DamageError, SealedFolder, seal


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["a.txt", "with spaces", "größe-音声", "n" * 240])
def test_text_and_bytes_are_replaced_under_any_name(tmp_path, name):
    path = tmp_path / name
    write_atomically(path, "grün\n")
    assert path.read_bytes() == "grün\n".encode()
    write_atomically(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert os.listdir(tmp_path) == [name]


def test_an_error_while_writing_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    write_atomically(path, "old")
    with pytest.raises(KeyError), replacing_file(path) as file:  # noqa: PT012 (the second half is the point)
        file.write(b"half")
        raise KeyError
    assert content(tmp_path) == {"a.txt": b"old"}


def test_a_crash_leaves_the_old_file_or_the_new_one(tmp_path):
    path = tmp_path / "a.txt"
    with disk() as whole:
        write_atomically(path, "new")
    for number in range(len(whole.calls)):
        path.write_text("old")
        with disk(number) as crashing:
            write_atomically(path, "new")
        assert crashing.crashed
        assert path.read_text() in ("old", "new")
        write_atomically(path, "newer")
        assert content(tmp_path) == {"a.txt": b"newer"}


def fill(folder: Path, text: str) -> None:
    (folder / "a.txt").write_text(text)
    (folder / "inner").mkdir()
    (folder / "inner" / "b.txt").write_text(text)


@pytest.mark.parametrize("name", ["run", "with spaces", "größe-音声", "n" * 240])
def test_a_folder_is_replaced_whole(tmp_path, name):
    final = tmp_path / name
    for text in ("old", "new"):
        with replacing_folder(final) as partial:
            fill(partial, text)
    assert content(tmp_path) == {f"{name}/a.txt": b"new", f"{name}/inner/b.txt": b"new"}


def test_an_error_while_filling_a_folder_leaves_the_old_one(tmp_path):
    final = tmp_path / "run"
    with replacing_folder(final) as partial:
        fill(partial, "old")
    with pytest.raises(KeyError), replacing_folder(final) as partial:  # noqa: PT012 (the second half is the point)
        fill(partial, "new")
        raise KeyError
    assert content(tmp_path) == {"run/a.txt": b"old", "run/inner/b.txt": b"old"}


def test_a_folder_that_cannot_take_its_name_gives_the_old_one_its_name_back(tmp_path, monkeypatch):
    final = tmp_path / "run"
    with replacing_folder(final) as partial:
        fill(partial, "old")
    replace = os.replace

    def refusing(source, target):
        if Path(source).name == "run.partial":
            raise PermissionError(13, "Permission denied")
        replace(source, target)

    monkeypatch.setattr(files.os, "replace", refusing)
    with pytest.raises(PermissionError), replacing_folder(final) as partial:
        fill(partial, "new")
    assert content(tmp_path) == {"run/a.txt": b"old", "run/inner/b.txt": b"old"}


def test_a_crash_while_a_folder_is_replaced_leaves_one_of_both(tmp_path):
    def replaced(final, crash_at=None):
        with disk(), replacing_folder(final) as partial:
            fill(partial, "old")
        with disk(crash_at) as crashing, replacing_folder(final) as partial:
            fill(partial, "new")
        return crashing

    for number in range(len(replaced(tmp_path / "whole" / "run").calls)):
        final = tmp_path / str(number) / "run"
        assert replaced(final, number).crashed
        there = final if final.exists() else final.with_name(f"run{files.REPLACED}")
        assert len(found := set(content(there).values())) == 1, number
        assert found <= {b"old", b"new"}
        remove_leftovers(final.parent)
        with disk(), replacing_folder(final) as partial:
            fill(partial, "newer")
        assert content(final.parent) == {"run/a.txt": b"newer", "run/inner/b.txt": b"newer"}


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="no /proc here to tell which file a descriptor is")
def test_everything_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    """Else a power failure leaves a file of the right name and of no bytes."""
    final = tmp_path / "deep" / "er" / "run"
    done = []
    fsync, replace = os.fsync, os.replace

    def recording_fsync(handle):
        done.append(os.readlink(f"/proc/self/fd/{handle}"))
        fsync(handle)

    def recording_replace(source, target):
        done.append(f"{Path(target).name}!")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", recording_fsync)
    monkeypatch.setattr(os, "replace", recording_replace)
    with replacing_folder(final) as partial:
        fill(partial, "new")
    write_atomically(final / "c.txt", "new")
    parents, before, after = done[:3], done[3 : done.index("run!")], done[done.index("run!") + 1 :]
    assert parents == [str(final.parent), str(final.parent.parent), str(tmp_path)]
    assert set(before) == {f"{partial}/a.txt", f"{partial}/inner/b.txt", f"{partial}/inner", str(partial)}
    assert before[-1] == str(partial)
    assert after == [str(final.parent), f"{final}/c.txt.partial", "c.txt!", str(final)]


def test_files_in_a_folder_can_be_read_by_whom_the_umask_lets(tmp_path):
    old = os.umask(0o027)
    try:
        with replacing_folder(tmp_path / "run") as partial:
            (partial / "a").touch(mode=0o600)
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "run" / "a").stat().st_mode) == 0o640


def test_a_folder_that_cannot_be_flushed_is_no_error(tmp_path, monkeypatch):
    """Windows opens none, and network file systems answer EINVAL."""
    with monkeypatch.context() as patch:
        patch.setattr(files, "os", SimpleNamespace(name="nt"))
        files._flush_folder(tmp_path)

    def refusing(handle):
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", refusing)
    files._flush_folder(tmp_path)


def test_leftovers_are_removed_and_nothing_else(tmp_path):
    for name in ("a.partial", "run", "run.replaced", "other.replaced", "notes"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").touch()
    (tmp_path / "last.partial").touch()
    remove_leftovers(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["notes", "other.replaced", "run"]
    remove_folder(tmp_path / "run")
    remove_folder(tmp_path / "never was")
    assert sorted(os.listdir(tmp_path)) == ["notes", "other.replaced"]


def test_a_link_to_a_folder_is_replaced_and_the_folder_stays(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "mine").touch()
    (tmp_path / "run").symlink_to("real")
    with replacing_folder(tmp_path / "run") as partial:
        (partial / "a").touch()
    assert content(tmp_path) == {"real/mine": b"", "run/a": b""}
    assert sorted(os.listdir(tmp_path)) == ["real", "run"]


def test_hash_and_free_bytes(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert hash_file(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert free_bytes(tmp_path / "not" / "there" / "yet") == pytest.approx(free_bytes(tmp_path), rel=0.1)
    assert free_bytes(tmp_path) > 0


# --- sealed folders -------------------------------------------------------------------------------------------------


@pytest.fixture
def sealed(tmp_path) -> Path:
    (tmp_path / "a.bin").write_bytes(bytes(range(64)))
    (tmp_path / "empty").touch()
    seal(tmp_path, format=1, step=400)
    return tmp_path


def read_all(folder: Path) -> SealedFolder:
    opened = SealedFolder.open(folder)
    for name in ("a.bin", "empty"):
        opened.read(name)
    return opened


def test_a_sealed_folder_gives_back_what_was_put_in(sealed):
    opened = read_all(sealed)
    assert opened.facts == {"format": 1, "step": 400}
    assert opened.read("a.bin") == bytes(range(64))
    assert opened.strangers == []
    (sealed / ".DS_Store").touch()
    assert SealedFolder.open(sealed).strangers == [".DS_Store"]


@pytest.mark.parametrize("name", ["a.bin", MANIFEST])
def test_a_flipped_bit_in_any_byte_and_every_truncation_is_noticed(sealed, name):
    """In the white space of the manifest too, and in its own digest."""
    path = sealed / name
    good = path.read_bytes()
    for place in range(len(good)):
        bad = bytearray(good)
        bad[place] ^= 1 << place % 8
        path.write_bytes(bad)
        with pytest.raises(DamageError, match=name):
            read_all(sealed)
    for length in range(0, len(good), 5):
        path.write_bytes(good[:length])
        with pytest.raises(DamageError, match=name):
            read_all(sealed)
    for longer in (good + b"\n", good + good):
        path.write_bytes(longer)
        with pytest.raises(DamageError, match=name):
            read_all(sealed)
    path.unlink()
    with pytest.raises(DamageError, match=f"{name} is missing"):
        read_all(sealed)


@pytest.mark.parametrize("text", [b"", b"[]", b"null", b"7", b'{"sha256": 1}', b"{}", b'{"files": {}}', b"\xff\xfe"])
def test_a_manifest_that_is_none_is_damage(sealed, text):
    (sealed / MANIFEST).write_bytes(text)
    with pytest.raises(DamageError, match=MANIFEST):
        SealedFolder.open(sealed)


def test_what_cannot_be_read_is_damage_with_the_reason(sealed):
    (sealed / "a.bin").unlink()
    (sealed / "a.bin").mkdir()
    with pytest.raises(DamageError, match=r"a\.bin cannot be read: Is a directory"):
        read_all(sealed)
    with pytest.raises(DamageError, match=r"b\.bin is not in manifest"):
        SealedFolder.open(sealed).read("b.bin")
