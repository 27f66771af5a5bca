"""A corpus of what users really have, through the command line: trained on what can be used, all else accounted for."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ssft.data.audio import REASONS

SHORT = ["--train.steps", "9", "--train.batch_seconds", "10", "--train.warmup_steps", "0"]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path


def rows_of(run: Path) -> list[dict[str, str]]:
    with (run / "rejects.tsv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def lines_of(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("verify", "variants"), [("audio", "0"), ("header", "0"), ("header", "2")], ids=["audio", "header", "cached"]
)
def test_all_that_is_usable_is_trained_on_and_all_else_is_listed(call, place, hostile_folder, verify, variants):
    root, usable, reasons = hostile_folder
    how = ["--data.max_rejects", "1", "--data.verify", verify, "--train.cache_variants", variants]
    code, out, err = call("train", "score_tiny", "--data.root", str(root), "--out", "run", *SHORT, *how)
    assert code == 0, err
    rows = rows_of(place / "run")
    assert Counter(row["id"] for row in rows) == Counter(reasons.keys())  # each once
    assert {row["id"]: row["reason"] for row in rows} == reasons
    assert set(reasons.values()) <= set(REASONS)
    assert all(Path(row["path"]) == root / row["id"] and row["detail"] for row in rows)
    if verify == "audio":
        assert f"audio: {len(usable)} utterances, " in out
        assert f"{len(reasons)} rejected (" in out
        assert all(f"{reason} {count}" in out for reason, count in Counter(reasons.values()).items())
    # Whatever a batch loses, the others in it are trained on: whole epochs have every usable utterance.
    pairs: Counter[int] = Counter()
    for record in lines_of(place / "run"):
        pairs[record["epoch"]] += record["pairs"]
    assert max(pairs) >= 2
    assert pairs[0] == pairs[1] == len(usable)
    assert (place / "run" / "adapted" / "model.safetensors").stat().st_size > 100_000


@pytest.mark.parametrize("verify", ["audio", "header"])
def test_too_many_defects_stop_a_run_before_it_trains(call, place, hostile_folder, verify):
    root, usable, reasons = hostile_folder
    code, _, err = call(
        "train", "score_tiny", "--data.root", str(root), "--out", "run", *SHORT, "--data.verify", verify
    )
    assert code == 1
    found = {row["id"]: row["reason"] for row in rows_of(place / "run")}
    assert found.items() <= reasons.items()
    if verify == "audio":
        assert found == reasons
    counts = Counter(reason for reason in found.values() if reason != "too_short")
    total = len(usable) + len(reasons)
    assert re.search(rf"ssft: {sum(counts.values())} of {total} recordings \(\d\d\.?\d? %\) cannot be used", err)
    for reason, count in counts.items():
        assert re.search(rf"\n  {reason} +{count} .*{re.escape(REASONS[reason])}\n +{re.escape(str(root))}", err)
    assert "run/rejects.tsv" in err
    assert "shorter than data.min_seconds" in err
    accepting = re.findall(r"--data\.max_rejects (0\.\d+)\.\n", err)
    assert len(accepting) == 1
    assert float(accepting[0]) >= sum(counts.values()) / total
    assert not list(place.glob("run/checkpoints/step-*"))


@pytest.fixture
def silence_among_recordings(place: Path, recordings: Path) -> Path:
    """16 recordings and 4 that headers cannot tell from others."""
    root = place / "audio"
    shutil.copytree(recordings, root)
    for seconds in (0.5, 0.8, 1.1, 1.4):  # not all in one batch
        soundfile.write(root / f"silent {seconds}.wav", np.zeros(round(16_000 * seconds)), 16_000)
    return root


def test_too_many_found_while_training_stop_a_run_that_can_be_resumed(call, place, silence_among_recordings):
    root = str(silence_among_recordings)
    how = ["--data.verify", "header", "--data.max_rejects", "0.1", "--train.cache_variants", "0"]
    code, _, err = call(
        "train", "score_tiny", "--data.root", root, "--out", "run", *SHORT, *how, "--train.batch_seconds", "4"
    )
    assert code == 1
    assert "3 of 20 recordings (15 %) cannot be used; data.max_rejects accepts 10 %." in err
    found = [row["id"] for row in rows_of(place / "run")]
    assert len(found) == len(set(found)) == 3
    made = lines_of(place / "run")[-1]["step"]
    assert (place / "run" / "checkpoints" / f"step-{made:06d}").is_dir()

    code, _, err = call("resume", "run", "--data.max_rejects", "0.2")
    assert code == 0, err
    assert f"continuing from step {made} of 9" in err
    assert [record["step"] for record in lines_of(place / "run")] == list(range(1, 10))
    found = [row["id"] for row in rows_of(place / "run")]
    assert len(found) == len(set(found)) <= 4
