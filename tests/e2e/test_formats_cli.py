"""Training through the command line on other inputs than a folder: what is in them arrives, the rest is listed."""

from __future__ import annotations

import csv
import importlib.util
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

Call = Callable[..., tuple[int, str, str]]

SHORT = (
    *("--train.steps", "2", "--train.batch_seconds", "8", "--train.cache_variants", "0"),
    *("--train.warmup_steps", "0", "--data.workers", "1"),
)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path


def rejected(run: Path) -> dict[str, tuple[str, str]]:
    with (run / "rejects.tsv").open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return {row["id"]: (row["reason"], row["detail"]) for row in rows}


def train(call: Call, root: str, *more: str) -> str:
    code, out, err = call("train", "score_tiny", "--data.root", root, "--out", "run", *SHORT, *more)
    assert code == 0, err
    assert Path("run", "adapted", "model.safetensors").is_file()
    return out


def test_a_kaldi_folder_whose_pipes_are_not_run(call: Call, recordings: Path, place: Path) -> None:
    rows = [f"{path.stem} {path}" for path in sorted(recordings.iterdir())]
    rows.append(f"piped touch {place}/canary; cat {recordings}/00.wav |")
    (place / "wav.scp").write_text("\n".join(rows) + "\n")
    (place / "segments").write_text("".join(f"{n:02d}-a {n:02d} 0.1 0.45\n" for n in range(16)) + "p piped 0.0 1.0\n")
    (place / "utt2spk").write_text("".join(f"{n:02d}-a {n % 3}\n" for n in range(16)))
    code, _, err = call("train", "score_tiny", "--data.root", ".", "--out", "run", *SHORT)
    assert code == 1
    assert "allow_outside true" in err
    out = train(call, ".", "--data.allow_outside", "true", "--data.max_rejects", "0.1")
    assert "audio: 16 utterances, 0.00 h; 1 rejected (bad_row 1)" in out
    assert not (place / "canary").exists()
    ((reason, detail),) = rejected(place / "run").values()
    assert reason == "bad_row"
    assert "is a command, which is never run; write its output to a wav or flac file" in detail


def test_tar_files(call: Call, recordings: Path, place: Path) -> None:
    files = sorted(recordings.iterdir())
    for number in range(2):
        with tarfile.open(place / f"shard-{number:03d}.tar", "w") as tar:
            for path in files[number::2]:
                tar.add(path, path.name)
            tar.add(__file__, f"text-{number}.wav")
    out = train(call, "shard-{000..001}.tar", "--data.max_rejects", "0.2")
    assert "audio: 16 utterances, 0.00 h; 2 rejected (corrupt 2)" in out
    found = rejected(place / "run")
    assert {name: reason for name, (reason, _) in found.items()} == {
        "shard-000/text-0.wav": "corrupt",
        "shard-001/text-1.wav": "corrupt",
    }
    lines = (place / "run" / "metrics.jsonl").read_text().splitlines()
    assert len([line for line in lines if "loss" in json.loads(line)]) == 2


@pytest.mark.skipif(importlib.util.find_spec("datasets") is None, reason="not installed: datasets")
def test_a_dataset_saved_on_disk(call: Call, recordings: Path, place: Path) -> None:
    from datasets import Audio, Dataset

    rows = [{"bytes": path.read_bytes(), "path": path.name} for path in sorted(recordings.iterdir())]
    Dataset.from_dict({"audio": rows}).cast_column("audio", Audio()).save_to_disk(str(place / "saved"))
    out = train(call, "saved")
    assert "audio: 16 utterances, 0.00 h" in out
    assert not rejected(place / "run")
