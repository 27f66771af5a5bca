"""`ssft plan`: a file that trains to the bit what was asked for, and nothing else left behind."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from ssft.engine.step import OptimizerStep

SHORT = (
    "--data.root", "recordings", "--train.steps", "3", "--train.batch_seconds", "4", "--train.warmup_steps", "0",
    "--train.cache_variants", "1", "--encoder.trainable_layers", "1", "--data.workers", "1",
)  # fmt: skip


@pytest.fixture
def place(tmp_path: Path, recordings: Path) -> Path:
    (tmp_path / "recordings").symlink_to(recordings)
    return tmp_path


def names(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir())


def test_the_plan_trains_what_was_planned_to_the_bit(call, place):
    code, out, err = call("plan", "score_tiny", *SHORT, "--steps", "1")
    assert (code, names(place)) == (0, ["recordings", "score_tiny-plan.yaml"]), err
    assert "16 utterances" in out
    assert "3 steps" in out
    assert "warning" not in err
    assert out.endswith("carry it out with: ssft train score_tiny-plan.yaml\n")
    assert call("train", "score_tiny-plan.yaml")[0] == 0
    assert call("train", "score_tiny", *SHORT, "--out", "runs/asked")[0] == 0
    for name in ("recipe.yaml", "adapted/model.safetensors", "checkpoints/step-000003/model.safetensors"):
        planned, asked = (place / "runs" / run / name for run in ("score_tiny", "asked"))
        assert planned.read_bytes() == asked.read_bytes()


def test_json_is_all_there_is_and_has_all_figures(call, place):
    code, out, err = call("plan", "score_tiny", *SHORT, "--steps", "1", "--json", "--out", "mine.yaml")
    assert code == 0, err
    found = json.loads(out)
    assert (found["ok"], found["file"], found["problems"]) == (True, "mine.yaml", [])
    assert list(found)[:4] == ["ssft", "file", "recipe", "ok"]
    assert all(found[part] for part in ("audio", "steps", "time", "space", "notes"))
    assert 0 < found["time"]["minutes_range"][0] <= found["time"]["minutes"] <= found["time"]["minutes_range"][1]
    assert names(place) == ["mine.yaml", "recordings"]


@pytest.mark.parametrize("is_json", [False, True])
def test_a_run_that_cannot_go_is_no_success_and_no_file(call, place, monkeypatch, is_json):
    (place / "bad").mkdir()
    (place / "bad" / "good.wav").symlink_to(place / "recordings" / "00.wav")
    (place / "bad" / "page.wav").write_text("<html>404</html>")
    code, out, err = call("plan", "score_tiny", *SHORT, "--data.root", "bad", "--steps", "1", *["--json"] * is_json)
    assert code == 1
    assert "The run cannot go as planned" in err
    assert "1 of 2 recordings (50 %) cannot be used" in err
    assert "corrupt" in out
    if is_json:
        found = json.loads(out)
        assert (found["ok"], found["file"], found["audio"]["rejects"][0]["id"]) == (False, None, "page.wav")
    assert names(place) == ["bad", "recordings"]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["score_tny"], 2, "Did you mean 'score_tiny'?"),
        (["score_tiny", "--train.stpes", "3"], 2, "Did you mean 'steps'?"),
        (["score_tiny", "--steps", "0"], 2, "'0' is not a whole number of 1 or more"),
        (["score_tiny", "--data.root", "nowhere"], 1, "nowhere does not exist. Pass a folder"),
        (["score_tiny", "--data.root", "empty"], 1, "holds no audio"),
        (["score_tiny", "--out", "nowhere/plan.yaml"], 1, "nowhere is no folder that can be written"),
        (["score_tiny", "--out", "empty"], 1, "Choose another --out"),
        (["score_tiny", "--out", "mine.yaml"], 1, "is no plan of ssft, so it would be lost"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(call, place, arguments, code, says):
    (place / "empty").mkdir()
    (place / "mine.yaml").write_text("name: mine\n")
    ended = call("plan", *arguments)
    assert ended[0] == code
    assert says in ended[2]
    assert names(place) == ["empty", "mine.yaml", "recordings"]


def test_a_signal_stops_it_and_leaves_nothing(call, place, monkeypatch):
    def stop(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(OptimizerStep, "__call__", stop)
    code, _, err = call("plan", "score_tiny", *SHORT)
    assert (code, names(place)) == (143, ["recordings"])
    assert err.endswith("ssft: Stopped; no plan was written.\n")
    assert multiprocessing.active_children() == []
