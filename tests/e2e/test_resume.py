"""Killed at some instant, a run goes on as if nothing had happened."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from ssft.cli.main import main

SETTINGS = [
    *("--train.steps", "24", "--train.batch_seconds", "4", "--train.warmup_steps", "2", "--train.save_every", "3"),
    *("--train.cache_variants", "0", "--train.accumulate", "2", "--data.workers", "1"),
]


@pytest.fixture(scope="module")
def straight(recordings, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("straight") / "run"
    assert main(["train", "score_tiny", "--data.root", str(recordings), "--out", str(folder), *SETTINGS]) == 0
    return folder


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_interrupted_and_resumed_equals_uninterrupted(recordings, straight, tmp_path, how):
    run = tmp_path / "a run"
    command = [sys.executable, "-m", "ssft.cli.main", "train", "score_tiny", "--data.root", str(recordings)]
    process = subprocess.Popen(
        [*command, "--out", str(run), *SETTINGS], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    _wait_for_step(run, 7, process)
    os.killpg(process.pid, how)  # as a terminal or a scheduler does it: data workers get it too
    message = process.communicate(timeout=60)[1]
    saved = sorted(path.name for path in (run / "checkpoints").glob("step-??????"))
    assert saved
    assert _steps(run) < list(range(1, 25))
    if how == signal.SIGKILL:
        assert process.returncode == -how
    else:
        assert process.returncode == 128 + how, message
        assert f"ssft resume {run}" in message
        assert "Traceback" not in message
        assert saved[-1] == f"step-{_steps(run)[-1]:06d}"  # the step it was in is saved

    assert main(["resume", str(run)]) == 0
    assert _losses(run) == _losses(straight)
    final, expected = (load_file(folder / "adapted" / "model.safetensors") for folder in (run, straight))
    assert all(final[name].equal(expected[name]) for name in expected)


def test_resuming_a_finished_run_changes_nothing(straight, capsys):
    with (straight / "rejects.tsv").open("a") as file:
        file.write("a.wav\ta.wav\tsilent\tfound while training\n")
    before = {path: path.read_bytes() for path in straight.rglob("*") if path.is_file()}
    assert main(["resume", str(straight)]) == 0
    assert {path: path.read_bytes() for path in straight.rglob("*") if path.is_file()} == before


def test_a_run_whose_recipe_was_edited_is_neither_resumed_nor_exported(straight, tmp_path, capsys):
    run = tmp_path / "edited"
    shutil.copytree(straight, run)
    recipe = (run / "recipe.yaml").read_text()
    (run / "recipe.yaml").write_text(
        recipe.replace("gamma: 0.1", "gamma: 5.0").replace("batch_seconds: 4", "batch_seconds: 60")
    )
    for verb in ("resume", "export"):
        assert main([verb, str(run)]) == 1
        message = capsys.readouterr().err
        assert "loss.gamma 0.1 -> 5.0" in message
        assert "train.batch_seconds 4.0 -> 60.0" in message
    (run / "recipe.yaml").write_text(recipe.replace("workers: 1", "workers: 0"))
    assert main(["resume", str(run)]) == 0  # what cannot change the result may change


def test_a_setting_can_be_changed_on_purpose(straight, tmp_path, capsys):
    run = tmp_path / "longer"
    shutil.copytree(straight, run)
    longer = ["resume", str(run), "--train.steps", "26", "--loss.gamma", "0.2"]
    assert main(longer) == 1
    message = capsys.readouterr().err
    assert "loss.gamma 0.1 -> 0.2" in message
    assert "--allow-change loss.gamma --allow-change train.steps" in message
    assert (run / "recipe.yaml").read_text() == (straight / "recipe.yaml").read_text()
    assert main([*longer, "--allow-change", "train.steps"]) == 1
    assert "train.steps" not in capsys.readouterr().err.split("add:")[0]
    assert main([*longer, "--allow-change", "train.stepz"]) == 2
    assert "Did you mean 'train.steps'?" in capsys.readouterr().err
    assert main([*longer, "--allow-change", "train.steps", "--allow-change", "loss"]) == 0
    assert "changed: train.steps 24 -> 26" in capsys.readouterr().err
    assert _steps(run) == list(range(1, 27))
    assert "gamma: 0.2" in (run / "recipe.yaml").read_text()
    assert main(["resume", str(run)]) == 0  # what was changed is what the run now stands on
    progress = json.loads((run / "checkpoints" / "step-000026" / "progress.json").read_text())
    assert progress["changes"] == ["step 24: loss.gamma 0.1 -> 0.2", "step 24: train.steps 24 -> 26"]


@pytest.mark.parametrize("out", ["file", "file/below", "recipe"])
def test_a_folder_that_cannot_be_a_run_is_refused_without_loss(recordings, tmp_path, capsys, out):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "recipe").mkdir()
    (tmp_path / "recipe" / "recipe.yaml").write_text("# my notes")
    assert main(["train", "score_tiny", "--data.root", str(recordings), "--out", str(tmp_path / out), *SETTINGS]) == 1
    assert "choose another --out" in capsys.readouterr().err.lower()
    assert (tmp_path / "file").read_text() == "mine"
    assert (tmp_path / "recipe" / "recipe.yaml").read_text() == "# my notes"


def test_a_recorded_recipe_replays(straight, recordings, tmp_path):
    assert main(["train", str(straight / "recipe.yaml"), "--out", str(tmp_path / "again")]) == 0
    assert _losses(tmp_path / "again") == _losses(straight)
    assert (tmp_path / "again" / "recipe.yaml").read_text() == (straight / "recipe.yaml").read_text()


def test_resuming_what_is_no_run_is_refused(tmp_path, capsys):
    assert main(["resume", str(tmp_path)]) == 1
    assert "is not a run folder" in capsys.readouterr().err
    assert main(["export", str(tmp_path / "nowhere")]) == 1
    assert "is not a run folder" in capsys.readouterr().err


def test_a_second_run_in_the_folder_is_refused_before_anything_is_lost(straight, recordings, capsys):
    before = {path: path.read_bytes() for path in straight.rglob("*") if path.is_file()}
    assert main(["train", "score_tiny", "--data.root", str(recordings), "--out", str(straight)]) == 1
    assert "already holds a run" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in straight.rglob("*") if path.is_file()} == before


def _wait_for_step(run: Path, step: int, process: subprocess.Popen[str]) -> None:
    for _ in range(1200):
        if process.poll() is not None:
            pytest.fail(f"the run ended by itself: {process.communicate()[1]}")
        if len(_steps(run)) >= step:
            return
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    pytest.fail("the run did not come to the step in a minute")


def _steps(run: Path) -> list[int]:
    path = run / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line)["step"] for line in lines if line.endswith("\n")]


def _losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]
