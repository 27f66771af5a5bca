"""Bad input through the command line: what is usable is trained on, the rest is reported, and errors are sentences."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import soundfile

SHORT = ["--train.steps", "2", "--train.batch_seconds", "8", "--train.cache_variants", "0", "--train.warmup_steps", "0"]


def train(root, out, *more):
    command = [
        sys.executable,
        "-m",
        "ssft.cli.main",
        "train",
        "score_tiny",
        "--data.root",
        str(root),
        "--out",
        str(out),
    ]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [*command, *SHORT, *more], capture_output=True, text=True, timeout=300, env=environment, check=False
    )
    assert "Traceback" not in result.stderr + result.stdout, result.stderr
    return result


def test_a_hostile_folder_is_trained_on_and_accounted_for(hostile_folder, tmp_path):
    root, usable, reasons = hostile_folder
    run = tmp_path / "run"
    result = train(root, run)
    assert result.returncode == 0, result.stderr
    counts = Counter(reasons.values())
    assert re.search(rf"audio: {len(usable)} utterances, 0\.\d\d h; {len(reasons)} rejected \(", result.stdout)
    assert all(f"{reason} {count}" in result.stdout for reason, count in counts.items())
    assert "rejects.tsv" in result.stdout
    with (run / "rejects.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    assert len(rows) == len(reasons)
    assert {row["id"]: row["reason"] for row in rows} == reasons
    assert (run / "adapted" / "config.json").is_file()
    assert (run / "adapted" / "model.safetensors").stat().st_size > 100_000


@pytest.mark.parametrize(
    ("case", "code", "says"),
    [
        ("nothing in it", 1, "holds no audio"),
        ("not there", 1, "does not exist. Pass a folder"),
        ("only bad files", 1, "None of the 3 recordings"),
        ("only bad samples, found while training", 1, "None of the 3 utterances can be used (silent 3)"),
        ("a setting that is none", 2, "data.min_seconds=0.01 is below"),
    ],
)
def test_nothing_to_train_on_is_a_clear_error(tmp_path, case, code, says):
    root, more = tmp_path / "audio", []
    if case != "not there":
        root.mkdir()
    if case == "only bad files":
        (root / "text.wav").write_text("text")
        (root / "zero.flac").write_bytes(b"")
        soundfile.write(root / "silent.wav", np.zeros(16_000), 16_000)
    if case.startswith("only bad samples"):
        for name in "abc":
            soundfile.write(root / f"{name}.wav", np.zeros(16_000), 16_000)
        more = ["--data.verify", "header"]
    if case == "a setting that is none":
        more = ["--data.min_seconds", "0.01"]
    result = train(root, tmp_path / "run", *more)
    assert result.returncode == code
    message = result.stderr[result.stderr.index("ssft: ") :]
    assert says in message
    assert code == 2 or str(root) in message or "rejects.tsv" in message
    assert not (tmp_path / "run" / "adapted").exists()
