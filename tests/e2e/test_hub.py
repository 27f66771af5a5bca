"""A base model named by its Hub id, from a cache on disk: nothing is downloaded here."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import yaml
from random_encoders import random_encoder

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_a_hub_run_is_pinned_to_its_commit_resumed_and_exported(recordings, tmp_path):
    repository = tmp_path / "hub" / "models--me--small-hubert"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    encoder = random_encoder("hubert", "group")
    encoder.save(repository / "snapshots" / COMMIT)
    settings = ["--train.steps", "2", "--train.batch_seconds", "5", "--train.warmup_steps", "0", "--data.workers", "0"]
    model = ["--encoder.model", "me/small-hubert", "--data.root", str(recordings)]
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    for command in (["train", "score_tiny", *model, *settings, "--out", "run"], ["resume", "run"], ["export", "run"]):
        done = subprocess.run(
            [sys.executable, "-m", "ssft.cli.main", *command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{command[0]}: {done.stderr[-2000:]}"

    recorded = yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())
    assert recorded["encoder"]["revision"] == COMMIT
    facts = json.loads((tmp_path / "run" / "adapted" / "ssft.json").read_text())
    assert facts["base"]["revision"] == COMMIT
    card = (tmp_path / "run" / "adapted" / "README.md").read_text()
    assert "base_model: me/small-hubert" in card
    assert COMMIT in card
