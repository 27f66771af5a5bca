"""`Data` and `Corpus`: everything in a folder is either an utterance or a reject with a reason, and counted once."""

from __future__ import annotations

import csv
import io
import itertools
import re
import shutil
import time
from collections import Counter

import numpy as np
import pytest
import soundfile

from ssft.data import Corpus, Data
from ssft.data.audio import REASONS
from ssft.data.corpus import fingerprint
from ssft.data.probe import probe
from ssft.data.progress import with_progress
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


def test_a_manifest_that_is_believed_is_all_that_is_opened(tmp_path, make_audio):
    make_audio(tmp_path / "a.wav", seconds=2)
    (tmp_path / "text.wav").write_text("no audio")
    rows = ("a.wav\t1.5", "gone.wav\t3", "text.wav\t4", "short.wav\t0.1", "a.wav\t", "nowhere.wav\t", "text.wav\t")
    (tmp_path / "m.tsv").write_text("\n".join(["path\tseconds", *rows]))
    corpus = Data(root=str(tmp_path / "m.tsv"), verify="manifest").load()
    assert [(u.id, u.seconds) for u in corpus.utterances] == [
        ("a.wav", 1.5),
        ("gone.wav", 3.0),
        ("text.wav", 4.0),
        ("a.wav#2", 2.0),
    ]
    rejects = [(reject.id, reject.reason) for reject in corpus.rejects]
    assert rejects == [("short.wav", "too_short"), ("nowhere.wav", "missing"), ("text.wav#2", "corrupt")]
    stamps = [u.stamp for u in corpus.utterances]
    facts = (tmp_path / "a.wav").stat()
    assert stamps == [None, None, None, (facts.st_size, facts.st_mtime_ns)]


def test_a_large_manifest_is_believed_and_a_small_one_is_not(tmp_path, make_audio, monkeypatch):
    make_audio(tmp_path / "a.wav", seconds=1)
    lines = ["id\tpath\tseconds", "lie\ta.wav\t3", "truth\ta.wav\t1", "unsaid\ta.wav\t"]
    (tmp_path / "m.tsv").write_text("\n".join(lines))
    assert [u.id for u in Data(root=str(tmp_path / "m.tsv")).load().utterances] == ["truth", "unsaid"]
    monkeypatch.setattr("ssft.data.probe._READ_HEADERS", 2)
    corpus = Data(root=str(tmp_path / "m.tsv")).load()
    assert [(u.id, u.seconds) for u in corpus.utterances] == [("lie", 3.0), ("truth", 1.0), ("unsaid", 1.0)]
    assert [u.id for u in Data(root=str(tmp_path / "m.tsv"), verify="header").load().utterances] == ["truth", "unsaid"]


@pytest.mark.parametrize("verify", ["audio", "header", "manifest"])
def test_utterances_and_rejects_keep_the_order_of_the_corpus(tmp_path, make_audio, verify):
    names = [f"{number:03d}.wav" for number in range(150)]
    for number, name in enumerate(names):
        if number % 7 == 3:
            (tmp_path / name).write_text("no audio")
        else:
            make_audio(tmp_path / name, seconds=0.2 + number / 1000)
    corpus = Data(root=str(tmp_path), verify=verify).load()
    assert [reject.id for reject in corpus.rejects] == names[3::7]
    assert [u.id for u in corpus.utterances] == [name for name in names if name not in names[3::7]]
    assert [round(1000 * (u.seconds - 0.2)) for u in corpus.utterances] == [int(u.id[:3]) for u in corpus.utterances]


def test_no_more_files_are_waiting_than_keep_the_threads_busy(monkeypatch):
    """A million entries must not become a million tasks."""
    asked, given = [], []
    monkeypatch.setattr("ssft.data.probe._measure", lambda entry, min_seconds: entry)
    for _ in probe((asked.append(number) or number for number in range(20_000)), min_seconds=0, verify="header"):
        given.append(len(asked) - len(given))
    assert len(given) == 20_000
    assert max(given) <= 2_000


def test_an_error_in_one_file_ends_the_look_at_the_others(monkeypatch):
    looked = []

    def measure(number, min_seconds):
        looked.append(number)
        if number == 40:
            raise ZeroDivisionError
        return number

    monkeypatch.setattr("ssft.data.probe._measure", measure)
    with pytest.raises(ZeroDivisionError):
        list(probe(range(100_000), min_seconds=0, verify="header"))
    assert len(looked) < 5_000


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


def test_ids_are_unique_and_nothing_is_lost(tmp_path, make_audio):
    make_audio(tmp_path / "x.wav")
    rows = [f"{name}\tx.wav\t{place / 100}" for place, name in enumerate(("a", "a", "a#2", "b", "a", "a#2"))]
    (tmp_path / "m.tsv").write_text("\n".join(["id\tpath\tstart", *rows]))
    for verify in ("audio", "manifest"):
        corpus = Data(root=str(tmp_path / "m.tsv"), verify=verify).load()
        assert [u.id for u in corpus.utterances] == ["a", "a#3", "a#2", "b", "a#4", "a#2#2"]
        assert [u.start for u in corpus.utterances] == [place / 100 for place in range(6)]


# ------------------------------------------------------------------------------------------- held out, saved, resumed


def test_the_held_out_utterances_are_the_same_in_any_order(tmp_path, make_audio):
    for number in range(30):
        make_audio(tmp_path / f"{number}.wav", seconds=0.2 + number / 100)
    corpus = Data(root=str(tmp_path)).load()
    turned = Corpus(corpus.utterances[::-1], corpus.rejects)
    chosen = set()
    for count in (0, 1, 7, 29):
        training, held_out = corpus.held_out(count)
        other_training, other = turned.held_out(count)
        assert len(held_out) == count
        assert {u.id for u in held_out} == {u.id for u in other}
        assert {u.id for u in training.utterances} == {u.id for u in other_training.utterances}
        assert sorted([*training.utterances, *held_out], key=lambda u: u.id) == list(corpus.utterances)
        assert chosen <= {u.id for u in held_out}, "more of them are others besides, not instead"
        chosen = {u.id for u in held_out}
    assert {u.id for u in corpus.held_out(7)[1]} != {u.id for u in corpus.utterances[:7]}
    for count in (30, 31, -1):
        with pytest.raises(DataError, match=f"{count} of 30 utterances cannot be kept from training"):
            corpus.held_out(count)


def test_a_corpus_that_is_read_again_is_not_looked_at(tmp_path, make_audio, monkeypatch):
    make_audio(tmp_path / "r" / "a.wav")
    make_audio(tmp_path / "r" / "b" / "c.wav")
    (tmp_path / "t.tsv").write_text("id\tlabels\na.wav\t1 2\nb/c.wav\t0\n")
    data = Data(root=str(tmp_path / "r"), targets=str(tmp_path / "t.tsv"))
    corpus = data.load()
    corpus.save(tmp_path / "corpus.safetensors")
    for name in ("read_header", "read_audio", "stamp_of"):
        monkeypatch.delattr(f"ssft.data.probe.{name}")
    shutil.rmtree(tmp_path / "r")
    again = data.reload(tmp_path / "corpus.safetensors")
    assert again.utterances == corpus.utterances
    assert all(u.stamp for u in again.utterances)
    assert fingerprint(again.utterances) == fingerprint(corpus.utterances)
    assert again.targets.labels("a.wav").tolist() == [1, 2]
    assert again.rejects == []


# ----------------------------------------------------------------------------------------------------------- progress


def test_a_log_gets_a_line_now_and_then(capsys, monkeypatch):
    now = itertools.count(0.0, 4.0)
    monkeypatch.setattr("ssft.data.progress.time.monotonic", lambda: next(now))
    assert list(with_progress(range(6), "reading headers", total=600)) == list(range(6))
    assert list(with_progress(iter("abc"), "listing audio")) == ["a", "b", "c"]
    assert capsys.readouterr().err.splitlines() == [
        "reading headers: 3 of 600 (0 %), 40 min left",
        "reading headers: 6 of 600 (1 %), 40 min left",
        "listing audio: 3",
    ]


def test_a_terminal_gets_a_bar_unless_it_is_quick(monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr("sys.stderr", terminal)
    assert list(with_progress(range(1000), "reading headers", total=1000)) == list(range(1000))
    assert terminal.getvalue() == ""
    for _ in with_progress(range(7), "reading headers", total=7):
        time.sleep(0.2)
    assert re.search(r"reading headers: +\d+%\|.* (5|6)/7 ", terminal.getvalue())


def test_a_quick_look_says_nothing(tmp_path, make_audio, capsys):
    make_audio(tmp_path / "a.wav")
    Data(root=str(tmp_path)).load()
    assert capsys.readouterr().err == ""


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
