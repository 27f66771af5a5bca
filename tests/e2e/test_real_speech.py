"""The main job on real recordings, where they are there."""

from __future__ import annotations

import json

import torch

from ssft.cli.main import main
from ssft.data import read_audio
from ssft.encoders import PretrainedEncoder
from ssft.types import Waves

SETTINGS = ["--train.steps", "4", "--train.batch_seconds", "12", "--train.warmup_steps", "1", "--train.lr", "1e-3"]


def test_train_on_a_folder_and_on_its_manifest(shared_speech, tmp_path, capsys):
    corpus = shared_speech / "speechocean762_train"
    for name, root, split in (("folder", corpus, "null"), ("manifest", corpus / "manifest.tsv", "train")):
        run = tmp_path / name
        data = ["--data.root", str(root), "--data.split", split, "--data.verify", "header"]
        assert main(["train", "score_tiny", *data, *SETTINGS, "--out", str(run)]) == 0
        records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        assert [record["step"] for record in records] == [1, 2, 3, 4]
        assert all(0 < record["loss"] < 2 for record in records)
        assert (run / "rejects.tsv").read_text() == "id\tpath\treason\tdetail\n"
    screen = capsys.readouterr().out
    assert "2,500 utterances, 2.88 h" in screen
    assert "2,080 utterances, 2.40 h" in screen

    wave = torch.from_numpy(read_audio(corpus / "audio" / "000010011.opus"))
    base, adapted = PretrainedEncoder.load("tiny"), PretrainedEncoder.load(str(tmp_path / "folder" / "adapted"))
    before, after = (encoder.hidden_states(Waves.stack([wave])) for encoder in (base, adapted))
    assert all(torch.equal(before[layer].values, after[layer].values) for layer in range(5))
    assert not torch.allclose(before[6].values, after[6].values, atol=1e-3)


def test_every_corpus_of_every_format_can_be_read(shared_speech):
    from ssft.data import Data

    folders = sorted(path for path in shared_speech.iterdir() if (path / "manifest.tsv").is_file())
    assert len(folders) >= 5
    for folder in folders:
        by_manifest = Data(str(folder / "manifest.tsv"), verify="header", min_seconds=0.05).load()
        by_folder = Data(str(folder), verify="header", min_seconds=0.05).load()
        assert not by_manifest.rejects, folder
        assert {u.path for u in by_manifest.utterances} == {u.path for u in by_folder.utterances}
