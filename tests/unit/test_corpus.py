"""`Data` and `Corpus`: everything in a folder is either an utterance or a reject with a reason, and counted once."""

from __future__ import annotations

import csv
import shutil
from collections import Counter

import numpy as np
import pytest
import soundfile

from ssft.data import Data
from ssft.data.audio import REASONS
from ssft.data.corpus import fingerprint
from ssft.data.rejects import count_reasons, write_rejects
from ssft.errors import DataError, RecipeError
from ssft.types import Reject


def read_rejects(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def test_a_hostile_folder_is_sorted_out_exactly(hostile_folder, tmp_path):
    root, usable, reasons = hostile_folder
    corpus = Data(root=str(root)).load()
    assert [u.id for u in corpus.utterances] == sorted(usable)
    assert {reject.id: reject.reason for reject in corpus.rejects} == reasons
    assert len(corpus.rejects) == len(reasons)
    assert set(reasons.values()) <= set(REASONS)
    lengths = {u.id: u.seconds for u in corpus.utterances}
    assert lengths.pop("3200 samples.wav") == 0.2
    assert lengths.pop("3279 samples.wav") == 3279 / 16_000
    assert all(seconds == pytest.approx(1.0, abs=0.001) for seconds in lengths.values())
    counts = Counter(reasons.values())
    assert f"{len(usable)} utterances, " in corpus.summary()
    assert f"; {len(reasons)} rejected (too_short {counts['too_short']}, " in corpus.summary()

    write_rejects(corpus.rejects, tmp_path / "rejects.tsv")
    rows = read_rejects(tmp_path / "rejects.tsv")
    assert {row["id"]: row["reason"] for row in rows} == reasons
    assert len(rows) == len(reasons)
    assert all(row["path"] == str(root / row["id"]) and row["detail"] for row in rows)


def test_headers_alone_leave_the_samples_for_later(hostile_folder):
    root, usable, reasons = hostile_folder
    corpus = Data(root=str(root), verify="header").load()
    in_samples = {name for name, reason in reasons.items() if reason in ("silent", "not_finite") or name == "cut.flac"}
    assert {u.id for u in corpus.utterances} == usable | in_samples
    assert {reject.id: reject.reason for reject in corpus.rejects} == {
        name: reason for name, reason in reasons.items() if name not in in_samples
    }


def test_nothing_usable_is_an_error_that_says_why(tmp_path):
    (tmp_path / "a.wav").write_text("text")
    (tmp_path / "b.wav").write_bytes(b"")
    soundfile.write(tmp_path / "c.wav", np.zeros(16_000), 16_000)
    with pytest.raises(DataError) as caught:
        Data(root=str(tmp_path)).load()
    message = str(caught.value)
    assert message.startswith(f"None of the 3 recordings in {tmp_path} can be used (")
    assert all(f"{reason} 1" in message for reason in ("corrupt", "empty", "silent"))
    assert f"{tmp_path / 'a.wav'}: corrupt" in message


def test_folders_and_files_that_are_no_corpus(tmp_path):
    (tmp_path / "notes.txt").touch()
    for root, says in (
        (tmp_path / "nowhere", "does not exist. Pass a folder"),
        (tmp_path, "holds no audio"),
        (tmp_path / "notes.txt", "neither a folder nor a manifest"),
    ):
        with pytest.raises(DataError, match=says) as caught:
            Data(root=str(root)).load()
        assert str(root) in str(caught.value)
    with pytest.raises(DataError, match="needs a manifest with a split column"):
        Data(root=str(tmp_path), split="train").load()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"root": ""}, "data.root is empty"),
        ({"min_seconds": 0.04}, "data.min_seconds=0.04"),
        ({"min_seconds": float("nan")}, "data.min_seconds=nan"),
        ({"max_seconds": 0.1}, "data.max_seconds=0.1"),
        ({"max_seconds": float("nan")}, "data.max_seconds=nan"),
        ({"workers": -1}, "data.workers=-1"),
        ({"verify": "headers"}, "data.verify='headers' is not known. Did you mean 'header'"),
    ],
)
def test_bad_settings_are_named(settings, says):
    with pytest.raises(RecipeError) as caught:
        Data(**settings)
    assert says in str(caught.value)


def test_a_manifest_of_segments(tmp_path, make_audio):
    make_audio(tmp_path / "audio" / "long.wav", seconds=5)
    rows = {
        "good": "0\t2",
        "rounded up": "3\t2.05",
        "too long": "3\t3",
        "behind": "5.05\t",
        "short": "1\t0.1",
        "silly": "x\t",
        "to the end": "4.5\t",
    }
    lines = [f"{name}\taudio/long.wav\t{segment}" for name, segment in rows.items()] + ["gone\taudio/gone.wav\t\t"]
    (tmp_path / "m.tsv").write_text("\n".join(["id\tpath\tstart\tduration", *lines]))
    corpus = Data(root=str(tmp_path / "m.tsv")).load()
    assert [(u.id, u.start, u.seconds) for u in corpus.utterances] == [
        ("good", 0.0, 2.0),
        ("rounded up", 3.0, 2.0),
        ("to the end", 4.5, 0.5),
    ]
    assert {reject.id: reject.reason for reject in corpus.rejects} == {
        "silly": "bad_row",
        "too long": "outside",
        "behind": "outside",
        "short": "too_short",
        "gone": "missing",
    }
    assert "audio/gone.wav" in str(next(r.path for r in corpus.rejects if r.id == "gone"))


def test_a_silent_minute_is_no_defect_but_a_bad_sample_behind_it_is(tmp_path):
    wave = np.zeros(8_000 * 130, np.float32)
    wave[-8_000:] = 0.3 * np.sin(np.arange(8_000))
    soundfile.write(tmp_path / "pause.wav", wave, 8_000, subtype="FLOAT")
    wave[8_000 * 125] = np.nan
    soundfile.write(tmp_path / "nan.wav", wave, 8_000, subtype="FLOAT")
    corpus = Data(root=str(tmp_path)).load()
    assert [u.id for u in corpus.utterances] == ["pause.wav"]
    assert [(r.id, r.reason) for r in corpus.rejects] == [("nan.wav", "not_finite")]


def test_the_fingerprint_survives_copying_and_sees_changes(tmp_path, make_audio):
    for name, seconds in (("a/x.wav", 1.0), ("b/x.wav", 1.5), ("ü z.flac", 0.7)):
        make_audio(tmp_path / "one" / name, seconds=seconds)
    shutil.copytree(tmp_path / "one", tmp_path / "somewhere else" / "two")
    first, copy = (Data(root=str(tmp_path / name)).load() for name in ("one", "somewhere else/two"))
    assert [u.id for u in first.utterances] == ["a/x.wav", "b/x.wav", "ü z.flac"]
    assert fingerprint(first.utterances) == fingerprint(copy.utterances)
    assert fingerprint(first.utterances) == fingerprint(first.utterances[::-1])
    assert fingerprint(first.utterances) != fingerprint(first.utterances[:2])
    make_audio(tmp_path / "one" / "b/x.wav", seconds=1.6)
    assert fingerprint(first.utterances) != fingerprint(Data(root=str(tmp_path / "one")).load().utterances)


def test_names_that_are_not_utf8_go_through(tmp_path, make_audio):
    folder = tmp_path / "r"
    try:
        make_audio(folder / "a.wav").rename(folder / "caf\udce9.wav")
        (folder / "bad\udce9.wav").write_text("text")
    except (OSError, UnicodeError) as error:
        pytest.skip(f"this file system takes only UTF-8 names: {error}")
    corpus = Data(root=str(folder)).load()
    assert [u.id for u in corpus.utterances] == [r"caf\udce9.wav"]
    assert fingerprint(corpus.utterances)
    write_rejects(corpus.rejects, tmp_path / "rejects.tsv")
    assert [row["id"] for row in read_rejects(tmp_path / "rejects.tsv")] == [r"bad\udce9.wav"]


def test_a_reject_is_one_line_whatever_its_name(tmp_path):
    reject = Reject("two  spaces\tand\r\nlines", tmp_path / "two  spaces", "corrupt", "first\nsecond")
    write_rejects([reject], tmp_path / "rejects.tsv")
    (row,) = read_rejects(tmp_path / "rejects.tsv")
    assert row["id"] == "two  spaces and  lines"
    assert row["path"].endswith("two  spaces")
    assert row["detail"] == "first second"


def test_reasons_are_counted_most_frequent_first(tmp_path):
    rejects = [Reject(str(i), tmp_path, reason, "") for i, reason in enumerate(("silent", "corrupt", "silent"))]
    assert count_reasons(rejects) == "silent 2, corrupt 1"


def test_the_bundled_speech_is_a_corpus():
    corpus = Data().load()
    assert corpus.rejects == []
    assert len({u.id for u in corpus.utterances}) == len(corpus.utterances) > 10
    assert len({u.speaker for u in corpus.utterances}) > 1


def test_real_corpora_have_no_rejects(shared_speech):
    manifest = shared_speech / "speechocean762_train" / "manifest.tsv"
    corpus = Data(root=str(manifest), split="dev", verify="header").load()
    assert (len(corpus.utterances), corpus.rejects) == (420, [])
    assert len({u.speaker for u in corpus.utterances}) == 21
    noise = Data(root=str(shared_speech / "noise")).load()
    assert noise.rejects == []
    assert noise.hours * 60 == pytest.approx(9.7, abs=0.2)
