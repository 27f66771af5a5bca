"""`ssft features`: from audio to files of features, in one process or in two, and how wrong calls end."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from ssft.cli.main import main
from ssft.data import Data
from ssft.encoders import PretrainedEncoder
from ssft.features import read_features, stream_features

Call = Callable[..., tuple[int, str, str]]
MAKE = ("features", "tiny", "--data", "recordings", "--layers", "2,4")


@pytest.fixture(scope="module")
def place(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds recordings/, one of them unreadable, and the features of them in made/."""
    folder = tmp_path_factory.mktemp("features")
    shutil.copytree(recordings, folder / "recordings")
    broken = np.r_[soundfile.read(recordings / "00.wav")[0], np.nan].astype(np.float32)
    soundfile.write(folder / "recordings" / "nan.wav", broken, 16_000, subtype="FLOAT")
    (folder / "recordings" / "text.wav").write_text("This is no audio.\n" * 40)
    assert main(["features", "tiny", "--data", str(folder / "recordings"), "--out", str(folder / "made")]) == 0
    return folder


def streamed(place: Path, layer: int) -> dict[str, np.ndarray]:
    utterances = Data(root=str(place / "recordings"), verify="audio").load().utterances
    stream = stream_features(PretrainedEncoder.load("tiny"), utterances, layer=layer)
    return {utterance.id: frames.numpy() for utterance, frames in stream}


@pytest.mark.parametrize("form", ["safetensors", "npy"])
def test_features_of_a_folder_and_a_line_about_them(form: str, call: Call, place: Path) -> None:
    code, out, err = call(*MAKE, "--format", form, "--out", form, "--shard-seconds", "5")
    assert (code, err) == (0, "")
    assert re.search(r"^audio: 17 utterances, 0.00 h; 1 rejected \(corrupt 1\)$", out, re.M)
    line = rf"^features: {form}: 16 utterances, 0.00 h, [0-9,]+ frames of layers 2, 4, [0-9.]+ MB, [0-9,]+ x real time"
    assert re.search(line, out, re.M)
    assert f"1 could not be read (not_finite 1), see {form}/rejects-000.tsv" in out
    rejects = (place / form / "rejects-000.tsv").read_text()
    assert all(name in rejects for name in ("nan.wav", "text.wav"))
    for layer in (2, 4):
        features = read_features(place / form, layer=layer)
        expected = streamed(place, layer)
        assert set(features) == set(expected)
        assert features.missing == ["nan.wav"]
        for name, values in expected.items():
            np.testing.assert_allclose(features[name], values, rtol=0, atol=1e-4)


def test_again_there_is_nothing_left_to_do(call: Call, place: Path) -> None:
    before = {path: path.read_bytes() for path in (place / "made").rglob("*") if path.is_file()}
    code, out, _ = call("features", "tiny", "--data", str(place / "recordings"), "--out", "made", "--json")
    assert code == 0
    facts = json.loads(out)
    assert (facts["utterances"], facts["already"], facts["rejected"], facts["missing"]) == (0, 16, 2, 1)
    assert facts["layers"] == [6]
    assert {path: path.read_bytes() for path in (place / "made").rglob("*") if path.is_file()} == before


def test_two_processes_make_what_one_makes(place: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += ["-m", "ssft.cli.main", "features", "tiny", "--data", "recordings", "--out", "two"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert sorted(re.findall(r"process (\d) of 2: features: two: 8 utterances", done.stdout)) == ["1", "2"]
    assert {path.name[:3] for path in (place / "two").glob("*.jsonl")} == {"000", "001"}
    one, two = read_features(place / "made"), read_features(place / "two")
    assert set(one) == set(two)
    assert one.missing == two.missing == ["nan.wav"]
    for name in one:
        np.testing.assert_allclose(one[name], two[name], rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("typed", "code", "message"),
    [
        ("features", 2, "the following arguments are required: MODEL, --data, --out"),
        ("MAKE --layers 9 --out o", 1, "tiny has layers 0 to 6"),
        ("MAKE --layers two --out o", 2, "'two' is not one or several layer numbers; give them as 6,9"),
        ("MAKE --layers 2,2 --out o", 2, "each once"),
        ("MAKE --out o --layer 2", 2, "'--layer' is not understood. Did you mean '--layers'?"),
        ("MAKE --out o --format npz", 2, "invalid choice: 'npz'"),
        ("MAKE --out o --window-seconds 3", 2, "an overlap of at most half of it"),
        ("MAKE --out o --shard-seconds 0", 2, "shard_seconds=0"),
        ("MAKE --out made", 1, "made holds other features (layers [6] -> [2, 4])"),
        ("MAKE --out recordings", 1, "recordings exists, holds something else, and is left as it is"),
        ("MAKE --data nowhere --out o", 1, "nowhere does not exist. Pass a folder of audio"),
        ("features ./no --data recordings --out o", 1, "no does not exist. Pass a folder"),
        ("features CHANGED --data recordings --out made", 1, "has other weights"),
    ],
)
def test_wrong_calls(typed: str, code: int, message: str, call: Call, place: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    if "CHANGED" in typed:
        encoder = PretrainedEncoder.load("tiny")
        with torch.no_grad():
            next(encoder.parameters()).mul_(1.01)
        encoder.save(tmp_path / "changed")
    typed = typed.replace("MAKE", " ".join(MAKE)).replace("CHANGED", str(tmp_path / "changed"))
    ended, _, err = call(*typed.split())
    assert ended == code
    assert message in err
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before


def test_help_names_everything(call: Call) -> None:
    code, out, _ = call("features", "--help")
    assert code == 0
    assert all(
        option in out for option in ("MODEL", "--data", "--layers", "--out", "--format", "--window-seconds", "--json")
    )
