"""Bad input through the command line: what is usable is trained on, the rest is reported, and errors are sentences."""

from __future__ import annotations

import os
import subprocess
import sys

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
        more = ["--data.verify", "header", "--data.max_rejects", "1", "--train.batch_seconds", "1"]
    if case == "a setting that is none":
        more = ["--data.min_seconds", "0.01"]
    result = train(root, tmp_path / "run", *more)
    assert result.returncode == code
    message = result.stderr[result.stderr.index("ssft: ") :]
    assert says in message
    assert code == 2 or str(root) in message or "rejects.tsv" in message
    assert not (tmp_path / "run" / "adapted").exists()
