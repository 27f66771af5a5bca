"""A checkpoint is there whole or not at all, damage is noticed, and there is always one to go on from."""

from __future__ import annotations

import errno
import json
import os
import random
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from failing_disk import disk
from safetensors.torch import load_file

from ssft.engine import checkpoint as module
from ssft.engine.checkpoint import Checkpoint, CheckpointFolder, refuse_existing_run
from ssft.engine.tracking import Metrics
from ssft.errors import RunError

FILES = ("manifest.json", "model.safetensors", "optimizer.safetensors", "progress.json")


def make(value: float, *, size: int = 6) -> Checkpoint:
    """A checkpoint of 8 bytes times `size`, and a little."""
    weight = torch.full((size,), float(value))
    return Checkpoint(
        {"layer.weight": weight, "half": torch.full((3, 1), value, dtype=torch.bfloat16)},
        {"layer.weight|exp_avg": -weight, "layer.weight|step": torch.tensor(float(value))},
        {"step": int(value), "position": [0, 1], "loss": 1 / 3, "name": "größe"},
    )


def equal(a: Checkpoint, b: Checkpoint) -> bool:
    return a.progress == b.progress and all(
        x.keys() == y.keys() and all(x[name].dtype == y[name].dtype and torch.equal(x[name], y[name]) for name in y)
        for x, y in ((a.model, b.model), (a.optimizer, b.optimizer))
    )


def names(folder: CheckpointFolder) -> list[str]:
    return sorted(os.listdir(folder.path))


def filled(path: Path, *steps: int, keep: int = 2, protect: tuple[int, ...] = ()) -> CheckpointFolder:
    folder = CheckpointFolder(path, keep=keep)
    for step in steps:
        folder.save(make(step), step, protect=protect)
    return folder


def damage(folder: CheckpointFolder, step: int, name: str = "model.safetensors") -> None:
    path = folder.path / f"step-{step:06d}" / name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


# --- what is kept ---------------------------------------------------------------------------------------------------


def test_the_newest_are_kept_and_come_back_bit_for_bit(tmp_path):
    folder = CheckpointFolder(tmp_path / "a" / "checkpoints", keep=2)
    assert not folder
    assert folder.steps() == []
    assert folder.save(make(1), 1) == folder.path / "step-000001"
    filled(folder.path, 2, 3, 12)
    assert names(folder) == ["last", "step-000003", "step-000012"]
    assert (folder.path / "last").read_text() == "step-000012\n"
    assert folder.steps() == [3, 12]
    assert folder
    loaded, warnings = folder.load()
    assert equal(loaded, make(12))
    assert warnings == []
    assert equal(folder.load(3)[0], make(3))
    assert sorted(os.listdir(folder.path / "step-000012")) == sorted(FILES)


def test_protected_steps_stay_until_they_are_not_protected_any_more(tmp_path):
    folder = filled(tmp_path, 1, 2, 3, 4, 5, keep=1, protect=(2, 4))
    assert folder.steps() == [2, 4, 5]
    folder.save(make(6), 6, protect={4, 99})
    assert folder.steps() == [4, 6]


def test_a_million_steps_are_after_the_ones_before(tmp_path):
    folder = filled(tmp_path, 999_998, 999_999, 1_000_000)
    assert folder.steps() == [999_999, 1_000_000]
    assert folder.load()[0].progress["step"] == 1_000_000
    (tmp_path / "last").unlink()
    assert folder.load()[0].progress["step"] == 1_000_000


def test_empty_states_and_special_numbers_come_back(tmp_path):
    kept = Checkpoint({}, {"x|step": torch.tensor([0.0, -0.0, float("inf"), 5e-324], dtype=torch.float64)}, {"step": 1})
    folder = CheckpointFolder(tmp_path)
    folder.save(kept, 1)
    loaded = folder.load()[0]
    assert loaded.model == {}
    assert loaded.optimizer["x|step"].view(torch.int64).tolist() == kept.optimizer["x|step"].view(torch.int64).tolist()


def test_a_run_with_a_checkpoint_is_not_begun_again(tmp_path):
    refuse_existing_run(tmp_path)
    (tmp_path / "checkpoints" / "step-000001.partial").mkdir(parents=True)
    refuse_existing_run(tmp_path)
    filled(tmp_path / "checkpoints", 1)
    with pytest.raises(RunError, match=r"already holds a run.*ssft resume"):
        refuse_existing_run(tmp_path)


# --- damage ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_truncations_and_flipped_bits_are_noticed_and_the_file_is_named(tmp_path, name):
    folder = filled(tmp_path, 1, 2)
    path = tmp_path / "step-000002" / name
    content = path.read_bytes()
    drawn = random.Random(name)
    damaged = [content[: len(content) * part // 20] for part in range(20)]
    for bit in drawn.sample(range(8 * len(content)), 100):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        damaged.append(bytes(flipped))
    for bad in damaged:
        path.write_bytes(bad)
        loaded, (warning,) = folder.load()
        assert equal(loaded, make(1))
        assert warning.startswith(f"step-000002 is damaged ({name} ")
    path.write_bytes(content)
    assert folder.load()[1] == []


@pytest.mark.parametrize("name", FILES)
def test_a_lost_file_is_damage_and_a_strange_one_is_told(tmp_path, name):
    folder = filled(tmp_path, 1, 2)
    (tmp_path / "step-000002" / "notes.txt").touch()
    loaded, warnings = folder.load()
    assert equal(loaded, make(2))
    assert warnings == [f"{tmp_path / 'step-000002'} also holds notes.txt, no part of it; ignored."]
    (tmp_path / "step-000002" / name).unlink()
    loaded, warnings = folder.load()
    assert equal(loaded, make(1))
    assert warnings == [f"step-000002 is damaged ({name} is missing) and passed over."]


def test_a_checkpoint_under_the_name_of_another_step_is_not_taken_for_it(tmp_path):
    folder = filled(tmp_path, 1, 2)
    (tmp_path / "step-000002").rename(tmp_path / "step-000007")
    loaded, warnings = folder.load()
    assert equal(loaded, make(1))
    assert "step-000007 is damaged (it is of step 2)" in warnings[1]


@pytest.mark.parametrize("content", [b"", b"step-000002", b"step-000002\x0b", b"step-000009\n", b"../x\n", b"\xff"])
def test_a_damaged_last_is_told_and_the_newest_is_taken(tmp_path, content):
    folder = filled(tmp_path, 1, 2)
    (tmp_path / "last").write_bytes(content)
    loaded, warnings = folder.load()
    assert equal(loaded, make(2))
    assert warnings == [f"{tmp_path / 'last'} names no checkpoint that is there; taking the newest."]


def test_nothing_usable_is_an_error_that_says_why(tmp_path):
    folder = CheckpointFolder(tmp_path, keep=2)
    with pytest.raises(RunError, match="holds no usable checkpoint, so there is nothing to continue"):
        folder.load()
    filled(tmp_path, 1, 2)
    damage(folder, 1, "optimizer.safetensors")
    damage(folder, 2, "manifest.json")
    with pytest.raises(RunError) as caught:
        folder.load()
    assert "step-000002 is damaged (manifest.json" in str(caught.value)
    assert "step-000001 is damaged (optimizer.safetensors" in str(caught.value)


def test_a_step_asked_for_is_given_or_refused_but_never_exchanged(tmp_path):
    folder = filled(tmp_path, 1, 2)
    assert equal(folder.load(1)[0], make(1))
    with pytest.raises(RunError, match=r"no usable checkpoint of step 7\. There are: 1, 2\.$"):
        folder.load(7)
    damage(folder, 2)
    with pytest.raises(RunError, match=r"no usable checkpoint of step 2[\s\S]*model.safetensors does not match"):
        folder.load(2)


def test_a_checkpoint_of_a_newer_format_is_refused_and_not_passed_over(tmp_path, monkeypatch):
    """Passed over, the run would go back, and remove it with the next save."""
    folder = filled(tmp_path, 1)
    with monkeypatch.context() as patch:
        patch.setattr(module, "_FORMAT", 2)
        folder.save(make(2), 2)
    with pytest.raises(RunError, match=r"step-000002 was written by another version of ssft"):
        folder.load()


# --- going back -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [1, 2])
def test_after_going_back_the_abandoned_future_goes_and_the_good_past_stays(tmp_path, keep):
    """Else the next save would remove the good checkpoint, which is older, and keep the damaged one."""
    filled(tmp_path, 300, 400)
    folder = CheckpointFolder(tmp_path, keep=keep)
    damage(folder, 400)
    assert folder.load()[0].progress["step"] == 300
    folder.save(make(350), 350)
    assert folder.steps() == [300, 350][-keep:]
    assert folder.load()[1] == []


def test_a_damaged_checkpoint_does_not_count_among_those_kept(tmp_path):
    folder = filled(tmp_path, 300, 400)
    damage(folder, 400)
    assert folder.load()[0].progress["step"] == 300
    folder.save(make(500), 500)
    assert folder.steps() == [300, 500]


def test_last_decides_between_a_new_checkpoint_and_an_abandoned_future(tmp_path, monkeypatch):
    """Killed after step 350 was named and before step 400 was removed."""
    folder = filled(tmp_path, 300, 400)
    with monkeypatch.context() as patch:
        patch.setattr(module, "remove_folder", lambda path: None)
        folder.save(make(350), 350)
    assert folder.steps() == [300, 350, 400]
    assert CheckpointFolder(tmp_path).load()[0].progress["step"] == 350


# --- crashes --------------------------------------------------------------------------------------------------------


def go_on(folder: CheckpointFolder) -> None:
    folder.save(make(4), 4, protect={1})


def save_the_same_step_again(folder: CheckpointFolder) -> None:
    folder.save(make(4), 3, protect={1})


def go_back(folder: CheckpointFolder) -> None:
    folder.load(2)
    folder.save(make(4), 2, protect={1})


@pytest.mark.parametrize("keep", [1, 2])
@pytest.mark.parametrize("save", [go_on, save_the_same_step_again, go_back])
def test_a_crash_at_any_call_that_changes_the_disk_leaves_a_checkpoint(tmp_path, save, keep):
    """And the best stays, and the next save clears away what the crash has left."""
    before = filled(tmp_path / "before", 1, 2, 3, protect=(1,))
    with disk() as whole:
        shutil.copytree(before.path, tmp_path / "whole", copy_function=shutil.copy)
        whole.calls.clear()
        save(CheckpointFolder(tmp_path / "whole", keep=keep))
    assert {name for name, _ in whole.calls} >= {"create", "write", "fsync", "replace", "unlink", "rmdir", "mkdir"}
    for number in range(len(whole.calls)):
        path = tmp_path / str(number)
        shutil.copytree(before.path, path, copy_function=shutil.copy)
        with disk(number) as crashing:
            save(CheckpointFolder(path, keep=keep))
        assert crashing.crashed
        folder = CheckpointFolder(path, keep=keep)
        loaded, warnings = folder.load()
        assert any(equal(loaded, make(value)) for value in (3, 4)), whole.calls[number]
        assert warnings == [], whole.calls[number]
        assert equal(folder.load(1)[0], make(1))
        assert all(folder.load(step)[1] == [] for step in folder.steps()), whole.calls[number]
        with disk():
            folder.save(make(5), 5, protect={1})
        assert equal(folder.load()[0], make(5))
        assert names(folder)[:2] == ["last", "step-000001"]
        assert names(folder)[-1] == "step-000005"
        assert len(names(folder)) == 2 + keep
        shutil.rmtree(path)


def test_a_crash_in_the_first_save_leaves_nothing_or_the_first(tmp_path):
    with disk() as whole:
        filled(tmp_path / "whole", 1)
    for number in range(len(whole.calls)):
        with disk(number):
            filled(tmp_path / str(number), 1)
        folder = CheckpointFolder(tmp_path / str(number))
        if folder:
            assert equal(folder.load()[0], make(1))
        folder.save(make(2), 2)
        assert equal(folder.load()[0], make(2))


def test_leftovers_are_never_loaded_and_go_with_the_next_save(tmp_path):
    folder = filled(tmp_path, 1)
    shutil.copytree(tmp_path / "step-000001", tmp_path / "step-000009.partial")
    (tmp_path / "last.partial").write_text("step-0000")
    assert folder.steps() == [1]
    assert equal(folder.load()[0], make(1))
    folder.save(make(2), 2)
    assert names(folder) == ["last", "step-000001", "step-000002"]


# --- disks ----------------------------------------------------------------------------------------------------------


def test_the_size_is_known_before_and_not_too_low(tmp_path):
    for size in (0, 6, 100_000):
        checkpoint = make(1, size=size)
        path = CheckpointFolder(tmp_path / str(size)).save(checkpoint, 1)
        written = sum(file.stat().st_size for file in path.iterdir())
        assert written <= checkpoint.nbytes <= written + 65_536


def test_a_checkpoint_that_does_not_fit_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    folder = filled(tmp_path, 1, keep=1)
    big = Checkpoint({"a": torch.zeros(1).expand(300_000_000)}, {}, {})
    monkeypatch.setattr(module, "free_bytes", lambda path: 300_000_000)
    monkeypatch.setattr(module, "save_file", lambda *args: pytest.fail("this would fill the disk"))
    with pytest.raises(RunError) as caught:
        folder.save(big, 2)
    message = str(caught.value)
    for part in ("No space left", "needs 1.2 GB, and 300.0 MB are free", str(tmp_path), "untouched"):
        assert part in message
    assert names(folder) == ["last", "step-000001"]


def test_a_run_does_not_begin_where_two_checkpoints_do_not_fit(tmp_path, monkeypatch):
    folder = CheckpointFolder(tmp_path / "not" / "there" / "yet")
    monkeypatch.setattr(module, "free_bytes", lambda path: 2_399_000_000)
    folder.refuse_if_full(1_199_000_000)
    with pytest.raises(RunError, match=r"needs 1\.2 GB, two of them must fit, and 2\.4 GB are free at .*Delete"):
        folder.refuse_if_full(1_200_000_000)
    assert not (tmp_path / "not").exists()


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A file system of 5 MB."""
    path = tmp_path / "small disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=5m", "tmpfs", str(path)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here, which takes root")
    yield path
    subprocess.run(["umount", str(path)], check=True)


def test_a_full_disk_leaves_earlier_checkpoints_and_room_lets_it_go_on(small_disk, monkeypatch):
    folder = CheckpointFolder(small_disk / "checkpoints", keep=1)
    for step in (1, 2):  # 1.6 MB each, and for an instant both
        folder.save(make(step, size=200_000), step)
    (small_disk / "other").write_bytes(bytes(2_500_000))
    with pytest.raises(RunError, match=r"No space left on device. It needs 1\.6 MB, and 1\.\d MB are free"):
        folder.save(make(3, size=200_000), 3)
    with monkeypatch.context() as patch:  # something else fills the disk after it was asked
        answers = iter([10**12])
        real = module.free_bytes
        patch.setattr(module, "free_bytes", lambda path: next(answers, None) or real(path))
        with pytest.raises(RunError, match=r"No space left on device.* It needs 1\.6 MB, and 1\.\d MB are free"):
            folder.save(make(3, size=200_000), 3)
    assert names(folder) == ["last", "step-000002"]
    assert equal(folder.load()[0], make(2, size=200_000))
    (small_disk / "other").unlink()
    folder.save(make(3, size=200_000), 3)
    assert folder.steps() == [3]


def test_a_file_system_that_is_read_only_can_be_read_from(small_disk):
    folder = filled(small_disk / "checkpoints", 1)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert equal(folder.load()[0], make(1))
    with pytest.raises(RunError, match=r"Read-only file system.*Earlier checkpoints are untouched"):
        folder.save(make(2), 2)


def test_an_error_of_the_system_while_writing_leaves_earlier_checkpoints(tmp_path):
    """A limit on the size of files stands for a quota: any user can set it."""
    folder = filled(tmp_path, 1, keep=1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # Python ignores the signal and gets an error
    try:
        with pytest.raises(RunError, match=r"File too large.*Earlier checkpoints are untouched"):
            folder.save(make(2, size=50_000), 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(folder) == ["last", "step-000001"]
    assert equal(folder.load()[0], make(1))


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_an_error_in_a_late_call_leaves_earlier_checkpoints(tmp_path, monkeypatch, call):
    folder = filled(tmp_path, 1, keep=1)

    def failing(*args):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing)
        with pytest.raises(RunError, match=r"Input/output error.*Earlier checkpoints are untouched"):
            folder.save(make(2), 2)
    assert names(folder) == ["last", "step-000001"]
    assert equal(folder.load()[0], make(1))


@pytest.mark.parametrize("name", ["with spaces", "größe-音声", "n" * 240])
def test_any_path_will_do(tmp_path, name):
    folder = filled(tmp_path / name / "checkpoints", 1, 2, 3)
    assert folder.steps() == [2, 3]
    assert equal(folder.load()[0], make(3))


def test_files_can_be_read_by_others_and_by_safetensors(tmp_path):
    old = os.umask(0o022)
    try:
        path = CheckpointFolder(tmp_path).save(make(1), 1)
    finally:
        os.umask(old)
    assert {oct(file.stat().st_mode & 0o777) for file in path.iterdir()} == {"0o644"}
    assert torch.equal(load_file(path / "model.safetensors")["layer.weight"], make(1).model["layer.weight"])
    assert json.loads((path / "manifest.json").read_text())["step"] == 1


def test_metrics_of_a_resumed_run_have_every_step_once(tmp_path):
    path = tmp_path / "metrics.jsonl"
    first = Metrics(path)
    for step in (1, 2, 3, 4):
        first.write({"step": step, "loss": 1.0 / step})
    with path.open("a") as file:
        file.write('{"step": 5, "lo')  # killed while writing
    second = Metrics(path, resume_at=2)
    second.write({"step": 3, "loss": 0.0})
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2, 3]
