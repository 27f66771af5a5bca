"""`ssft analyze trajectory`: all checkpoints of a run, with and without labels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ssft.cli.main import main
from ssft.data import Data
from ssft.evaluation.corpora import open_corpus

SMALL = ["--frames", "2000", "--clusters", "20", "--max-hours", "0.02"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three checkpoints on a little of the demo."""
    folder = tmp_path_factory.mktemp("trajectory")
    chosen = list(Data(root="demo", split="train").load().utterances)[:24]
    rows = "".join(f"{u.path}\t{u.speaker}\n" for u in chosen)
    (folder / "manifest.tsv").write_text(f"path\tspeaker\n{rows}")
    settings = {
        "data.root": folder / "manifest.tsv",
        "data.allow_outside": "true",
        "data.workers": 0,
        "data.held_out": 8,
        "train.steps": 6,
        "train.warmup_steps": 2,
        "train.save_every": 2,
        "train.keep": 9,
        "train.batch_seconds": 6,
        "train.select": "label_free",
    }
    typed = [text for key, value in settings.items() for text in (f"--{key}", str(value))]
    assert main(["train", "score_tiny", *typed, "--out", str(folder / "run")]) == 0
    return folder / "run"


def test_every_checkpoint_is_measured_beside_the_base(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["analyze", "trajectory", str(run), "--data", "demo", "--out", str(out), *SMALL, "--json"]) == 0
    record = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert record == json.loads((out / "analysis.json").read_text())
    base, *others = record["checkpoints"]
    assert [one["step"] for one in (base, *others)] == [0, 2, 4, 6]
    assert base["figures"]["cosine_distance"] == 0.0
    drift = [one["figures"]["cosine_distance"] for one in others]
    assert 0 < drift[0] < drift[-1]
    assert all(name in others[0]["figures"] for name in ("loss", "score", "global_rank", "davies_bouldin", "alignment"))
    assert set(base["errors"]) == set(others[0]["errors"])
    assert all("within" not in name for name in base["errors"])
    page = (out / "analysis.md").read_text()
    assert "4 checkpoints of 1 run are few" in page
    assert (out / "trajectory.png").read_bytes()[:4] == b"\x89PNG"


def test_audio_without_labels_has_figures_and_no_errors(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    audio = tmp_path / "audio"
    audio.mkdir()
    for number, utterance in enumerate(open_corpus("demo").splits["test"][:6]):
        samples, rate = soundfile.read(utterance.path, dtype="float32")
        soundfile.write(audio / f"{number}.wav", np.asarray(samples), rate)
    out = tmp_path / "out"
    typed = ["--data", str(audio), "--out", str(out), "--augmented", "none", *SMALL]
    assert main(["analyze", "trajectory", str(run), *typed]) == 0
    said = capsys.readouterr().out
    assert "abx is left out" in said
    record = json.loads((out / "analysis.json").read_text())
    assert record["correlations"] == {} or all(not own for own in record["correlations"].values())
    assert record["checkpoints"][-1]["figures"]["global_rank"] > 1
    assert record["checkpoints"][-1]["figures"].get("alignment") is None


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", "trajectory", str(tmp_path), "--data", "demo", "--out", str(tmp_path / "out"), *SMALL]) == 1
    assert "is not a run folder" in capsys.readouterr().err
