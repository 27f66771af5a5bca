"""A checkpoint is there whole or not at all, and damage is noticed."""

from __future__ import annotations

import json
import os
import shutil

import pytest
import torch
from safetensors import SafetensorError

from ssft.engine import Checkpoint, CheckpointFolder
from ssft.engine import checkpoint as module
from ssft.engine.tracking import Metrics
from ssft.errors import RunError


def make(value: float) -> Checkpoint:
    return Checkpoint(
        {"layer.weight": torch.full((3, 2), value)},
        {"layer.weight|exp_avg": torch.full((3, 2), -value), "layer.weight|step": torch.tensor(value)},
        {"step": int(value), "position": [0, 1]},
    )


def equal(a: Checkpoint, b: Checkpoint) -> bool:
    tensors = all(torch.equal(a.model[k], b.model[k]) for k in b.model) and all(
        torch.equal(a.optimizer[k], b.optimizer[k]) for k in b.optimizer
    )
    return tensors and a.progress == b.progress and set(a.model) == set(b.model)


def test_round_trip_and_pruning(tmp_path):
    folder = CheckpointFolder(tmp_path / "checkpoints", keep=2)
    assert not folder
    for step in (1, 2, 3, 12):
        folder.save(make(step), step)
    assert sorted(os.listdir(folder.path)) == ["step-000003", "step-000012"]
    loaded, warnings = folder.load()
    assert equal(loaded, make(12))
    assert warnings == []
    assert {path.suffix for path in (folder.path / "step-000012").iterdir()} == {".json", ".safetensors"}


def test_every_truncation_and_flipped_bit_is_noticed(tmp_path):
    folder = CheckpointFolder(tmp_path, keep=2)
    folder.save(make(1), 1)
    newest = folder.save(make(2), 2)
    for path in sorted(newest.iterdir()):
        content = path.read_bytes()
        damaged = [content[: len(content) * part // 5] for part in range(5)]
        for bit in range(0, len(content) * 8, max(1, len(content) * 8 // 40)):
            flipped = bytearray(content)
            flipped[bit // 8] ^= 1 << bit % 8
            damaged.append(bytes(flipped))
        for bad in damaged:
            path.write_bytes(bad)
            if path.name == "manifest.json" and _same_json(bad, content):
                continue  # a flipped bit in the white space says the same
            loaded, warnings = folder.load()
            assert equal(loaded, make(1)), path.name
            assert len(warnings) == 1
            assert "step-000002 is damaged" in warnings[0]
        path.write_bytes(content)
    assert equal(folder.load()[0], make(2))


def _same_json(a: bytes, b: bytes) -> bool:
    try:
        return json.loads(a) == json.loads(b)
    except ValueError:
        return False


def test_a_lost_file_counts_as_damage_and_nothing_left_is_an_error(tmp_path):
    folder = CheckpointFolder(tmp_path)
    path = folder.save(make(1), 1)
    (path / "optimizer.safetensors").unlink()
    with pytest.raises(RunError, match=r"no usable checkpoint[\s\S]*step-000001 is damaged"):
        folder.load()


@pytest.mark.parametrize("keep", [1, 2])
def test_a_crash_at_any_point_of_a_save_leaves_a_checkpoint(tmp_path, monkeypatch, keep):
    """Stop before the n-th call that touches the disk, for every n, and load what is there."""

    class CrashError(Exception):
        pass

    calls = {"save_file": module, "_flush": module, "replace": os, "rmtree": shutil}
    crashed = 0
    for number in range(30):
        folder = CheckpointFolder(tmp_path / str(number), keep=keep)
        folder.save(make(1), 1)
        count = iter(range(1000))
        with monkeypatch.context() as patch:
            for name, owner in calls.items():
                original = getattr(owner, name)

                def counted(*args, _original=original, _count=count, _number=number, **kwargs):
                    if next(_count) == _number:
                        raise CrashError
                    return _original(*args, **kwargs)

                patch.setattr(owner, name, counted)
            try:
                folder.save(make(2), 2)
            except CrashError:
                crashed += 1
        loaded, _ = CheckpointFolder(tmp_path / str(number), keep=keep).load()
        assert equal(loaded, make(1)) or equal(loaded, make(2)), number
        # The next save replaces what the crash left behind.
        folder.save(make(3), 3)
        assert equal(folder.load()[0], make(3))
    assert crashed >= 8


def test_a_full_disk_leaves_earlier_checkpoints(tmp_path, monkeypatch):
    folder = CheckpointFolder(tmp_path, keep=1)
    folder.save(make(1), 1)

    def full(*args, **kwargs):  # what safetensors raises, seen on a full tmpfs
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(module, "save_file", full)
    with pytest.raises(RunError, match=r"No space left on device.*Earlier checkpoints are untouched"):
        folder.save(make(2), 2)
    assert equal(folder.load()[0], make(1))
    assert [path.name for path in tmp_path.iterdir()] == ["step-000001"]


def test_a_million_steps_are_after_the_ones_before(tmp_path):
    folder = CheckpointFolder(tmp_path, keep=2)
    for step in (999_998, 999_999, 1_000_000):
        folder.save(make(step), step)
    assert folder.load()[0].progress["step"] == 1_000_000
    assert sorted(os.listdir(tmp_path)) == ["step-1000000", "step-999999"]


def test_files_can_be_read_by_others(tmp_path):
    old = os.umask(0o022)
    try:
        path = CheckpointFolder(tmp_path).save(make(1), 1)
    finally:
        os.umask(old)
    assert {oct(file.stat().st_mode & 0o777) for file in path.iterdir()} == {"0o644"}


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
