"""`ssft units`: from audio to labels that training takes, and how it ends when something is wrong."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from ssft.cli.main import main
from ssft.data import Data
from ssft.data.targets import read_targets
from ssft.encoders import PretrainedEncoder
from ssft.engine import CheckpointFolder, CorrespondenceModel
from ssft.features import stream_features
from ssft.runs import recorded_recipe
from ssft.types import Frames
from ssft.units import Quantizer

Call = Callable[..., tuple[int, str, str]]
FIT = ("units", "fit", "tiny", "--layer", "3", "--clusters", "12", "--mean-removed")


@pytest.fixture(scope="module")
def place(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds recordings/ and units.safetensors."""
    folder = tmp_path_factory.mktemp("units")
    shutil.copytree(recordings, folder / "recordings")
    assert main([*FIT, "--data", str(folder / "recordings"), "--out", str(folder / "units.safetensors")]) == 0
    return folder


def encode(call: Call, *arguments: str) -> dict:
    code, out, err = call("units", "encode", *arguments, "--json")
    assert (code, err) == (0, "")
    return json.loads(out)


# --- fit and encode ------------------------------------------------------------------------------------------------


def test_labels_are_the_nearest_units_of_the_frames_of_every_utterance(call: Call, place: Path) -> None:
    """Worked again from the encoder's own hidden states, with a loop over the centroids."""
    facts = encode(call, "units.safetensors", "--data", "recordings", "--out", "t.safetensors")
    targets = read_targets(place / "t.safetensors")
    utterances = Data(root=str(place / "recordings")).load().utterances
    assert list(targets.ranges) == [utterance.id for utterance in utterances]
    centroids = Quantizer.load(place / "units.safetensors").centroids.double().numpy()
    agreed = []
    for utterance, frames in stream_features(PretrainedEncoder.load("tiny"), utterances, layer=3):
        values = frames.double().numpy() - frames.double().numpy().mean(0)
        distances = np.stack([((values - centroid) ** 2).sum(1) for centroid in centroids], axis=1)
        agreed.append(distances.argmin(1) == targets.labels(utterance.id))
        assert len(targets.crop(utterance.id, start_seconds=0.0, seconds=utterance.seconds)) == len(frames)
    agreed = np.concatenate(agreed)
    assert agreed.mean() > 0.995  # but for rounding of frames that lie between two
    assert facts["utterances"] == 16
    assert facts["frames"] == len(agreed) == len(targets.flat)
    assert facts["classes"] == targets.classes == 12
    assert facts["classes_used"] == len(set(targets.flat.tolist())) > 6
    assert facts["source"] == targets.source == "12 clusters of layer 3 of tiny, means removed"


def test_the_same_seed_gives_the_same_files(call: Call, place: Path) -> None:
    for seed, same in (("0", True), ("1", False)):
        again = place / f"again-{seed}.safetensors"
        assert call(*FIT, "--data", "recordings", "--seed", seed, "--out", again.name)[0] == 0
        assert (again.read_bytes() == (place / "units.safetensors").read_bytes()) == same
    for name in ("a.safetensors", "b.safetensors"):
        encode(call, "units.safetensors", "--data", "recordings", "--out", name)
    assert (place / "a.safetensors").read_bytes() == (place / "b.safetensors").read_bytes()


def test_less_audio_may_be_drawn(call: Call) -> None:
    hours = 6 / 3600
    code, out, _ = call(*FIT, "--data", "recordings", "--max-hours", str(hours), "--out", "few.safetensors", "--json")
    facts = json.loads(out)
    assert code == 0
    assert hours <= facts["hours"] < hours + 1.6 / 3600
    assert facts["frames"] == pytest.approx(facts["hours"] * 3600 * 50, rel=0.03)


def test_what_is_said_names_the_next_command_and_it_works(call: Call, place: Path) -> None:
    """Fit, then whatever it says, then whatever that says."""
    code, out, err = call(*FIT, "--data", "recordings", "--out", "q.safetensors")
    assert (code, err) == (0, "")
    assert re.search(
        r"^units: q.safetensors: 12 clusters of layer 3 of tiny, means removed, from [0-9,]+ frames", out, re.M
    )
    (following,) = re.findall(r"next: ssft (.*)", out)
    code, out, err = call(*shlex.split(following))
    assert (code, err) == (0, "")
    assert re.search(r"^audio: 16 utterances, 0.00 h", out)
    assert re.search(r"^labels: targets.safetensors: 16 utterances, [0-9,]+ frames, \d+ of 12 classes occur", out, re.M)
    (following,) = re.findall(r"next: ssft (.*)", out)
    settings = ["--loss", "pseudo_label", "--loss.classes", "12", "--views.augmented", "pitch_shift"]
    settings += ["--views.augmented.semitones", "2", "--train.steps", "2", "--train.warmup_steps", "0"]
    arguments = ["score_tiny" if word == "RECIPE" else word for word in shlex.split(following)]
    code, out, err = call(*arguments, *settings, "--train.batch_seconds", "6", "--out", "trained")
    assert code == 0, err
    lines = (place / "trained" / "metrics.jsonl").read_text().splitlines()
    assert 0 < json.loads(lines[-1])["accuracy"] < 1


def test_pieces_are_coarser_and_cover_the_units(call: Call, place: Path) -> None:
    encode(call, "units.safetensors", "--data", "recordings", "--out", "t.safetensors")
    facts = encode(call, "units.safetensors", "--data", "recordings", "--pieces", "60", "--out", "p.safetensors")
    units, pieces = read_targets(place / "t.safetensors"), read_targets(place / "p.safetensors")
    assert pieces.source == f"{pieces.classes} acoustic pieces of {units.source}"
    assert 12 < pieces.classes == facts["classes"] == facts["classes_used"] <= 60
    assert pieces.ranges == units.ranges
    changes = {name: (np.diff(targets.flat) != 0).sum() for name, targets in (("u", units), ("p", pieces))}
    assert changes["p"] < changes["u"]


def test_a_table_can_be_asked_for(call: Call, place: Path) -> None:
    encode(call, "units.safetensors", "--data", "recordings", "--out", "t.safetensors")
    encode(call, "units.safetensors", "--data", "recordings", "--out", "t.tsv")
    assert np.array_equal(read_targets(place / "t.tsv").flat, read_targets(place / "t.safetensors").flat)
    assert (place / "t.tsv").read_text().startswith("id\tlabels\n00.wav\t")


def test_of_a_manifest_one_split_and_files_outside(call: Call, place: Path) -> None:
    (place / "lists").mkdir(exist_ok=True)
    rows = [f"../recordings/{number:02d}.wav\tu{number}\t{'train' if number < 3 else 'test'}" for number in range(5)]
    (place / "lists" / "m.tsv").write_text("\n".join(["path\tid\tsplit", *rows]) + "\n")
    manifest = (
        "units",
        "encode",
        "units.safetensors",
        "--data",
        "lists/m.tsv",
        "--split",
        "train",
        "--out",
        "m.safetensors",
    )
    code, _, err = call(*manifest)
    assert code == 1
    assert "leaves the manifest's folder" in err
    code, out, _ = call(*manifest, "--allow-outside")
    assert code == 0
    assert list(read_targets(place / "m.safetensors").ranges) == ["u0", "u1", "u2"]
    assert "--data.root lists/m.tsv --data.split train --data.allow_outside true --data.targets m.safetensors" in out


def test_a_long_recording_is_labelled_from_end_to_end(call: Call, place: Path) -> None:
    """Longer than an encoder takes at once, with half a minute of silence, and beside it what cannot be decoded."""
    folder = place / "long"
    folder.mkdir(exist_ok=True)
    voice = np.tile(soundfile.read(place / "recordings" / "00.wav")[0], 80)[: 35 * 16_000]
    wave = np.concatenate([voice, np.zeros(40 * 16_000), voice[: 20 * 16_000]])
    soundfile.write(folder / "long.wav", wave, 16_000)
    (folder / "broken.wav").write_bytes((folder / "long.wav").read_bytes()[:1000])
    code, out, _ = call("units", "encode", "units.safetensors", "--data", "long", "--out", "l.safetensors")
    assert code == 0
    assert "1 utterances, 0.03 h; 1 rejected (truncated 1)" in out
    targets = read_targets(place / "l.safetensors")
    assert list(targets.ranges) == ["long.wav"]
    assert len(targets.flat) == (len(wave) - 400) // 320 + 1
    # The same voice has the same units wherever it is heard, but at edges.
    assert (targets.flat[100:900] == targets.flat[3850:4650]).mean() > 0.6


# --- the codebook of a run -----------------------------------------------------------------------------------------


def test_the_units_of_a_spin_run(call: Call, place: Path) -> None:
    few = "train.steps=2 train.warmup_steps=0 train.batch_seconds=16 loss.codebook_size=24 data.root=recordings"
    code, _, err = call("train", "spin_tiny", *(f"--{setting}" for setting in few.split()), "--out", "spin")
    assert code == 0, err
    facts = encode(call, "spin", "--data", "recordings", "--out", "s.safetensors")
    assert facts["classes"] == 24
    assert facts["source"] == "24 codes of a trained codebook of the last hidden state of spin/adapted"

    # The trained model itself, put together as export does it, says the same.
    recipe = recorded_recipe(Path("spin"))
    model = CorrespondenceModel(recipe.encoder.load(), recipe.head, recipe.loss, reference="student").eval()
    model.load_training_state(CheckpointFolder(Path("spin/checkpoints")).load()[0].model)
    targets = read_targets(place / "s.safetensors")
    utterances = Data(root="recordings").load().utterances
    agreed = []
    for utterance, frames in stream_features(model.encoder.encoder, utterances):
        seen = model.heads[0](Frames(frames[None], torch.tensor([len(frames)]))).values[0]
        codes = (seen @ model.losses[0].codebook.T).argmax(1).numpy()
        agreed.append(codes == targets.labels(utterance.id))
    assert np.concatenate(agreed).mean() > 0.995


# --- what goes wrong -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "code", "message"),
    [
        ("units", 2, "the following arguments are required: ACTION"),
        ("units fti", 2, "'fti'"),
        ("units fit tiny --data recordings --out q.safetensors", 2, "are required: --layer, --clusters"),
        ("FIT --data recordings --out q.safetensors --sede 1", 2, "'--sede' is not understood. Did you mean '--seed'?"),
        (
            "units fit tiny --data recordings --layer 3 --clusters 0 --out q",
            2,
            "'0' is not a whole number of 1 or more",
        ),
        ("FIT --data recordings --max-hours 0 --out q", 2, "'0' is not a number above 0"),
        ("FIT --data recordings --out q.npz", 1, "q.npz: a quantizer is kept in a .safetensors file"),
        ("FIT --data nowhere --out q.safetensors", 1, "nowhere does not exist. Pass a folder of audio"),
        ("FIT --data recordings --out recordings/00.wav", 1, "a quantizer is kept in a .safetensors file"),
        (
            "FIT --data recordings --out foreign.safetensors",
            1,
            "foreign.safetensors exists, holds something else, and is",
        ),
        ("units fit tiny --data recordings --layer 7 --clusters 9 --out q.safetensors", 1, "tiny has layers 0 to 6"),
        ("units fit ./no --data recordings --layer 3 --clusters 9 --out q.safetensors", 1, "no does not exist. Pass a"),
        ("units fit tiny --data recordings --layer 3 --clusters 5000 --out q.safetensors", 1, "5,000 clusters need at"),
        (
            "units encode no.safetensors --data recordings --out o.tsv",
            1,
            "no.safetensors does not exist. `ssft units fit`",
        ),
        ("units encode recordings --data recordings --out o.tsv", 1, "recordings is not a run with an adapted encoder"),
        ("units encode ENCODER --data recordings --out o.tsv", 1, "is an encoder, which has no units of its own. Fit"),
        (
            "units encode UNITS --data recordings --out o.json",
            1,
            "o.json: labels of frames are kept in .safetensors or",
        ),
        ("units encode UNITS --data recordings --out UNITS", 1, "exists, holds something else, and is left as it is"),
        ("units encode UNITS --data recordings --out o.tsv --pieces 2", 1, "2 pieces are fewer than the"),
        (
            "units encode UNITS --data recordings --out o.tsv --model ENCODER",
            1,
            "is not the encoder that units.safetens",
        ),
    ],
)
def test_wrong_calls(typed: str, code: int, message: str, call: Call, place: Path, tmp_path: Path) -> None:
    (place / "foreign.safetensors").write_text("somebody's own")
    before = {path: path.read_bytes() for path in place.glob("*") if path.is_file()}
    if "ENCODER" in typed:
        encoder = PretrainedEncoder.load("tiny")
        with torch.no_grad():
            next(encoder.parameters()).mul_(1.01)
        encoder.save(tmp_path / "changed")
    typed = typed.replace("FIT", " ".join(FIT)).replace("UNITS", "units.safetensors")
    ended, _, err = call(*typed.replace("ENCODER", str(tmp_path / "changed")).split())
    assert ended == code
    assert message in err
    assert {path: path.read_bytes() for path in place.glob("*") if path.is_file()} == before


def test_an_encoder_that_was_moved_is_found_by_name(call: Call, place: Path, tmp_path: Path) -> None:
    PretrainedEncoder.load("tiny").save(tmp_path / "here")
    fit = ("units", "fit", str(tmp_path / "here"), "--layer", "3", "--clusters", "12", "--data", "recordings")
    assert call(*fit, "--out", "moved.safetensors")[0] == 0
    (tmp_path / "here").rename(tmp_path / "there")
    encoding = ("units", "encode", "moved.safetensors", "--data", "recordings", "--out", "moved.tsv")
    code, _, err = call(*encoding)
    assert code == 1
    assert f"{tmp_path / 'here'} does not exist" in err
    assert call(*encoding, "--model", str(tmp_path / "there"))[0] == 0
    assert len(read_targets(place / "moved.tsv")) == 16


def test_help_is_light_and_names_everything(call: Call) -> None:
    for action, options in (("fit", ("--layer", "--clusters", "--mean-removed")), ("encode", ("--pieces", "--model"))):
        code, out, _ = call("units", action, "--help")
        assert code == 0
        assert out.startswith(f"usage: ssft units {action} ")
        assert all(option in out for option in (*options, "--data", "--out", "--json"))
