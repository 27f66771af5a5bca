"""Two processes are one: losses, weights, faults and resuming, over gloo on a CPU, and through torchrun."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
WORKER = Path(__file__).with_name("train_together.py")
TOGETHER = ["soft_dtw", "spin", "vicreg", "empty soft_dtw", "empty spin", "poisoned", "signal"]

pytestmark = pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="PyTorch without gloo")


def start(command, **how):
    places = [str(WORKER.parents[2]), str(WORKER.parents[1])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(places), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, env=environment, timeout=300, check=False, **how
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory, recordings) -> Path:
    """All cases, by two processes and by one."""
    root = tmp_path_factory.mktemp("together")
    (root / "silence").mkdir()
    rng = np.random.default_rng(0)
    for number in range(5):  # in batches of about two, three of them turn out to be silent
        soundfile.write(root / "silence" / f"{number}.wav", 0.1 * rng.standard_normal(16_000) * (number < 2), 16_000)
    both = start([*TORCHRUN, WORKER, *TOGETHER, root, recordings])
    assert both.returncode == 0, both.stderr
    one = start([sys.executable, WORKER, *TOGETHER[:5], root, recordings])
    assert one.returncode == 0, one.stderr
    return root


def records(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def weights(run: Path, step: int) -> dict[str, torch.Tensor]:
    return load_file(run / "checkpoints" / f"step-{step:06d}" / "model.safetensors")


def assert_same(one: Path, both: Path, step: int = 6) -> None:
    for name in ("loss", "grad_norm", "pairs", "hours", "lr", "epoch"):
        found, expected = ([record[name] for record in records(run)] for run in (both, one))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    found, expected = weights(both, step), weights(one, step)
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("case", TOGETHER[:5])
def test_two_processes_give_the_losses_and_weights_of_one(runs, case):
    assert_same(runs / case / "one", runs / case / "both")


def test_a_process_whose_part_is_unusable_takes_part_nevertheless(runs):
    both = runs / "empty spin" / "both"
    assert min(record["pairs"] for record in records(both)) == 1  # so the other had none
    assert (both / "rejects.tsv").read_text().count("\tsilent\t") == 3


def test_what_one_began_two_continue_and_the_other_way_round(runs, recordings, tmp_path):
    """More processes keep the order of utterances: the position of a checkpoint belongs to all of them."""
    for folder, command in (("one", [sys.executable]), ("both", TORCHRUN)):
        half = runs / "soft_dtw" / "half"
        shutil.copytree(half, tmp_path / "continued" / folder)
        done = start([*command, WORKER, "continued", tmp_path, recordings])
        assert done.returncode == 0, done.stderr
        assert "continuing from step 3 of 6" in done.stderr
        assert_same(runs / "soft_dtw" / "one", tmp_path / "continued" / folder)


def test_what_is_not_finite_in_one_process_moves_nothing_in_any(runs):
    (line,) = (json.loads(text) for text in (runs / "poisoned" / "both" / "discarded.jsonl").read_text().splitlines())
    assert line["step"] == 2
    assert "nan" in line["what"]
    assert len(records(runs / "poisoned" / "both")) == 4


def test_a_signal_to_one_process_stops_and_saves_all(runs):
    messages = [(runs / "signal" / f"error {rank}.txt").read_text() for rank in (0, 1)]
    assert messages[0] == messages[1]
    assert re.match(r"Stopped at step 5 of 1000 and saved\. Continue with: ssft resume", messages[0])
    assert (runs / "signal" / "both" / "checkpoints" / "step-000005").is_dir()


def test_a_process_that_is_killed_ends_all_with_a_clear_error_and_loses_nothing(recordings, tmp_path):
    done = start([*TORCHRUN, WORKER, "killed", tmp_path, recordings])
    assert done.returncode != 0
    message = (tmp_path / "killed" / "error 0.txt").read_text()
    assert "lost the others" in message
    assert "ssft resume" in message
    assert (tmp_path / "killed" / "both" / "checkpoints" / "step-000004").is_dir()  # saved by the one that lived


def test_the_command_line_trains_in_two_processes_and_checks_that_they_are_two(recordings, tmp_path):
    settings = [
        "--data.root", recordings, "--train.steps", "2", "--train.warmup_steps", "0", "--train.batch_seconds", "4",
        "--train.processes", "2", "--data.workers", "0",
    ]  # fmt: skip
    train = ["-m", "ssft", "train", "score_tiny", "--out", tmp_path / "run", *settings]
    alone = start([sys.executable, *train])
    assert alone.returncode == 1
    assert "train.processes=2, but 1 was started. Use: torchrun --nproc_per_node 2" in alone.stderr
    assert not (tmp_path / "run").exists()
    done = start([*TORCHRUN, *train])
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("trained 2 steps") == 1
    assert (tmp_path / "run" / "adapted" / "model.safetensors").is_file()
    again = start([*TORCHRUN, *train])
    assert again.returncode != 0
    assert again.stderr.count("already holds a run") == 1  # said once, though two processes end
