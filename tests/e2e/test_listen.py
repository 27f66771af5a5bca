"""`ssft listen`: what it writes and says, and how it ends when something is wrong."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ssft.data import Data
from ssft.recipe import load_recipe
from ssft.runs import pairs_of
from ssft.types import Pair

Call = Callable[..., tuple[int, str, str]]
SIDES = ("original", "augmented")


@pytest.fixture
def place(recordings: Path, tmp_path: Path) -> Path:
    (tmp_path / "recordings").symlink_to(recordings)
    return tmp_path


@pytest.fixture
def call(call: Call) -> Call:
    """Run `ssft listen ARGUMENTS` beside recordings/; return exit code, output and errors."""

    def run(recipe: str, *arguments: str, data: str = "recordings") -> tuple[int, str, str]:
        return call("listen", recipe, "--data", data, *arguments)

    return run


def heard(folder: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob("[0-9]*.json"))]


def sound(folder: Path, record: dict, side: str) -> np.ndarray:
    wave, rate = soundfile.read(folder / record["files"][side], dtype="float32")
    assert (rate, wave.ndim) == (16_000, 1)
    return wave


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# --- what is written -------------------------------------------------------------------------------------------------


def test_the_folder_holds_the_pairs_of_training_and_a_page_that_plays_them(call: Call, tmp_path: Path) -> None:
    code, out, err = call("score_tiny", "--count", "3")
    assert (code, err) == (0, "")
    folder = tmp_path / "listen-score_tiny"
    stems = [
        f"{number:02}{end}" for number in (1, 2, 3) for end in (".json", ".png", "_augmented.wav", "_original.wav")
    ]
    assert sorted(contents(folder)) == sorted([*stems, "index.html", "listen.json"])
    assert out.endswith("open listen-score_tiny/index.html\n")

    recipe = load_recipe("score_tiny")
    pairs = pairs_of(recipe, Data(root="recordings").load())
    places = {utterance.id: place for place, utterance in enumerate(pairs.utterances)}
    records = heard(folder)
    assert len({record["id"] for record in records}) == 3
    for number, record in enumerate(records, start=1):
        pair = pairs[0, places[record["id"]]]
        assert isinstance(pair, Pair)
        for side in SIDES:
            own = getattr(pair, side).numpy() * record["scale_in_files"]
            np.testing.assert_allclose(sound(folder, record, side), own, atol=2**-15)
            assert record[side]["samples"] == len(own)
        assert record["drawn"] == pair.drawn
        assert (record["number"], record["student_hears"]) == (number, SIDES[not pair.swapped])
        factor = record["drawn"]["augmented"]["steps"][0]["factor"]
        assert f"  {number}  {record['id']}" in out
        assert f"speed_perturb factor {factor:g}" in out

    html = (folder / "index.html").read_text()
    assert html.count("<audio") == 6
    linked = set(re.findall(r'(?:src|href)="([^"]*)"', html))
    assert linked == {name for name in stems if not name.endswith(".json")}
    assert all(record["id"] in html for record in records)


def test_json_says_the_same_as_the_file(call: Call, tmp_path: Path) -> None:
    code, out, err = call("noise_robust_softdtw_tiny", "--count", "2", "--out", "deep/er", "--json")
    assert (code, err) == (0, "")
    summary = json.loads(out)
    assert summary == json.loads((tmp_path / "deep/er/listen.json").read_text())
    assert summary["pairs"] == heard(tmp_path / "deep/er")
    assert (summary["recipe"], summary["seed"], summary["epoch"]) == ("noise_robust_softdtw_tiny", 0, 0)
    for record in summary["pairs"]:
        noise = record["steps"]["augmented"][1]
        assert noise["measured_snr_db"] == pytest.approx(noise["parameters"]["snr_db"], abs=2e-3)


def test_equal_settings_give_equal_folders_and_an_epoch_draws_its_own(call: Call, tmp_path: Path) -> None:
    given = ("score_tiny", "--count", "2", "--train.cache_variants", "2", "--out", "again")
    epochs = {}
    for epoch in (0, 1, 2, 0):
        assert call(*given, "--epoch", str(epoch))[0] == 0
        found = contents(tmp_path / "again")
        assert found == epochs.setdefault(epoch, found)
    sounds = [{name: data for name, data in epochs[epoch].items() if name.endswith("wav")} for epoch in range(3)]
    assert sounds[0] != sounds[1]
    assert sounds[0] == sounds[2]  # two variants of each utterance, then the first again


def test_settings_change_what_is_heard(call: Call, tmp_path: Path) -> None:
    halves = ("--views.augmented.steps.0.factors", "[0.5]", "--train.seed", "3")
    assert call("score_tiny", "--count", "1", *halves)[0] == 0
    (record,) = heard(tmp_path / "listen-score_tiny")
    assert record["augmented"]["samples"] == 2 * record["original"]["samples"]


def test_a_recorded_recipe_is_heard_as_the_one_it_was(call: Call, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(load_recipe("spin_tiny").to_yaml())
    assert call("spin_tiny", "--count", "1", "--out", "one")[0] == 0
    assert call("recipe.yaml", "--count", "1", "--out", "two")[0] == 0
    one, two = (contents(tmp_path / name) for name in ("one", "two"))
    assert {**one, "listen.json": b""} == {**two, "listen.json": b""}


def test_what_is_too_loud_for_a_file_is_turned_down_on_both_sides(call: Call, tmp_path: Path) -> None:
    noisy = ("--views.augmented", "add_noise", "--views.augmented.source", "white")
    assert call("score_tiny", "--count", "1", *noisy, "--views.augmented.snr_db", "[-25.0]")[0] == 0
    folder = tmp_path / "listen-score_tiny"
    (record,) = heard(folder)
    scale = record["scale_in_files"]
    assert scale == pytest.approx(1 / record["augmented"]["peak"], rel=1e-4)
    assert scale < 1
    assert np.abs(sound(folder, record, "augmented")).max() == pytest.approx(1, abs=2**-14)
    clean = soundfile.read(record["path"], dtype="float32")[0]
    np.testing.assert_allclose(sound(folder, record, "original"), scale * clean, atol=2**-15)
    assert "so that no peak is cut off" in (folder / "index.html").read_text()


def test_without_augmentation_both_are_equal_and_it_is_said(call: Call, tmp_path: Path) -> None:
    code, out, _ = call("score_tiny", "--count", "1", "--views.augmented", "null")
    assert code == 0
    assert "views.augmented is null: the two waveforms of a pair are equal\n" in out
    folder = tmp_path / "listen-score_tiny"
    (record,) = heard(folder)
    np.testing.assert_array_equal(*(sound(folder, record, side) for side in SIDES))
    assert "views.augmented is null" in (folder / "index.html").read_text()


def test_where_training_augments_on_the_device_it_is_said_that_here_it_does_not(call: Call) -> None:
    code, out, _ = call("score_tiny", "--count", "1", "--views.augmented", "null", "--views.where", "device")
    assert code == 0
    assert "views.where='device'" in out


# --- which utterances ------------------------------------------------------------------------------------------------


def test_rejects_are_said_and_replaced_by_others(call: Call, tmp_path: Path, recordings: Path) -> None:
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for name in ("00.wav", "01.wav"):
        shutil.copy(recordings / name, mixed)
    for number in range(6):  # found out only when they are decoded
        soundfile.write(mixed / f"silent{number}.wav", np.zeros(16_000), 16_000)
    (mixed / "text.wav").write_text("no audio")
    code, out, _ = call("score_tiny", "--count", "9", data="mixed")
    assert code == 0
    assert "8 utterances, 0.00 h; 1 rejected (corrupt 1)" in out
    assert out.count("rejected silent") == 6
    assert "the corpus has no more utterances" in out
    assert {record["id"] for record in heard(tmp_path / "listen-score_tiny")} == {"00.wav", "01.wav"}
    rejects = json.loads((tmp_path / "listen-score_tiny/listen.json").read_text())["rejects"]
    assert {reject["reason"] for reject in rejects} == {"silent"}


def test_nothing_but_rejects_is_a_failure(call: Call, tmp_path: Path) -> None:
    (tmp_path / "silent").mkdir()
    soundfile.write(tmp_path / "silent/0.wav", np.zeros(16_000), 16_000)
    code, _, err = call("score_tiny", data="silent")
    assert (code, err) == (1, "ssft: None of the 1 utterances can be used. The first: there is no signal.\n")
    assert not (tmp_path / "listen-score_tiny").exists()


def test_labels_may_still_be_missing(call: Call) -> None:
    assert call("rspin_tiny", "--count", "1", "--data.targets", "nowhere.safetensors")[0] == 0


# --- whose folder it is ----------------------------------------------------------------------------------------------


def test_an_earlier_listening_is_replaced_and_other_files_stay(call: Call, tmp_path: Path) -> None:
    folder = tmp_path / "listen-score_tiny"
    assert call("score_tiny", "--count", "2")[0] == 0
    (folder / "notes.txt").write_text("mine")
    assert call("score_tiny", "--count", "1")[0] == 0
    assert {name for name in contents(folder) if name[0] != "0"} == {"index.html", "listen.json", "notes.txt"}
    assert len(heard(folder)) == 1
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("record", [None, "{}", "[1]", "no JSON", '{"kind": "other", "files": []}'])
def test_a_folder_of_something_else_is_left_as_it_is(call: Call, tmp_path: Path, record: str | None) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "01.json").write_text("{}")
    if record is not None:
        (folder / "listen.json").write_text(record)
    before = contents(folder)
    code, _, err = call("score_tiny", "--out", "mine")
    assert code == 1
    assert "mine holds something that `ssft listen` did not write, and is left as it is. Choose another --out." in err
    assert contents(folder) == before


def test_a_file_that_was_put_into_an_earlier_listening_is_not_overwritten(call: Call, tmp_path: Path) -> None:
    folder = tmp_path / "listen-score_tiny"
    assert call("score_tiny", "--count", "1")[0] == 0
    (folder / "02.png").write_text("mine")
    before = contents(folder)
    code, _, err = call("score_tiny", "--count", "2")
    assert code == 1
    assert "holds a file of yours, 02.png" in err
    assert contents(folder) == before


def test_a_record_cannot_make_it_delete_what_lies_elsewhere(call: Call, tmp_path: Path) -> None:
    folder = tmp_path / "listen-score_tiny"
    assert call("score_tiny", "--count", "1")[0] == 0
    summary = json.loads((folder / "listen.json").read_text())
    (tmp_path / "precious.txt").write_text("mine")
    summary["files"] += ["../precious.txt", str(tmp_path / "precious.txt")]
    (folder / "listen.json").write_text(json.dumps(summary))
    assert call("score_tiny", "--count", "1")[0] == 0
    assert (tmp_path / "precious.txt").read_text() == "mine"


def test_a_folder_that_cannot_be_written_is_said(call: Call, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for out in ("file", "file/inside"):
        code, _, err = call("score_tiny", "--count", "1", "--out", out)
        assert code == 1
        assert "Choose another --out." in err


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("score_tiny", "--count", "0"), 2, "--count 0: give a whole number of 1 or more."),
        (("score_tiny", "--epoch", "-1"), 2, "--epoch -1: give a whole number of 0 or more."),
        (("score_tiny", "--count", "few"), 2, "invalid int value: 'few'"),
        (("score_tny",), 2, "Did you mean 'score_tiny'?"),
        (("score_tiny", "--views.augmnted", "null"), 2, "Did you mean 'augmented'?"),
        (("score_tiny", "--data", "nowhere"), 1, "nowhere does not exist. Pass a folder of audio or a manifest"),
        (
            ("noise_robust_softdtw_tiny", "--views.augmented.steps.1.source", "no_noise"),
            2,
            "AddNoise(source='no_noise')",
        ),
    ],
)
def test_what_cannot_be_heard_is_refused_with_the_remedy(
    call: Call, tmp_path: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    ended, out, err = call(*arguments)
    assert ended == code
    assert message in err
    assert "open" not in out
    assert [path.name for path in tmp_path.iterdir()] == ["recordings"]


# --- real speech -----------------------------------------------------------------------------------------------------


def test_on_real_speech_the_pitch_moves_as_was_drawn(call: Call, tmp_path: Path, shared_speech: Path) -> None:
    corpus = str(shared_speech / "librivox_bits" / "manifest.tsv")
    code, _, err = call("score_tiny", "--count", "6", data=corpus)
    assert (code, err) == (0, "")
    records = heard(tmp_path / "listen-score_tiny")
    assert len({record["speaker"] for record in records}) == 6
    misses = []
    for record in records:
        speed, pitch = record["drawn"]["augmented"]["steps"]
        drawn = 12 * np.log2(speed["factor"]) + pitch["parameters"]["semitones"]
        misses.append(abs(record["f0_change_semitones"] - drawn))
        assert record["augmented"]["samples"] == pytest.approx(record["original"]["samples"] / speed["factor"], abs=1)
    assert np.median(misses) < 0.35
