"""Tables of speakers: what they say is read, and what they cannot mean is refused by its line, with the remedy."""

from __future__ import annotations

import pickle
import re

import pytest

from ssft.augment.speaker_table import read_speakers
from ssft.errors import RecipeError

HEADER = "speaker\tmin_pitch_hz\tmax_pitch_hz\n"


def table(tmp_path, text, name="speakers.tsv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_table_is_read(tmp_path):
    path = table(tmp_path, HEADER + "1447\t60\t400\n\nJosé \t 75.5\t250\n1447\t60.0\t400\n")
    expected = {"1447": (60.0, 400.0), "José": (75.5, 250.0)}
    assert read_speakers(path) == expected
    assert read_speakers(str(path)) == expected


def test_columns_may_come_in_any_order_and_among_others(tmp_path):
    text = '\ufeffMax_Pitch_Hz,age,speaker,min_pitch_hz\r\n400,33,"Doe, Jane",100\r\n'
    assert read_speakers(table(tmp_path, text, "speakers.CSV")) == {"Doe, Jane": (100.0, 400.0)}


def test_a_quotation_mark_in_a_tsv_is_a_character(tmp_path):
    assert read_speakers(table(tmp_path, HEADER + '"a\t60\t400\nb\t60\t400\n')) == {'"a': (60, 400), "b": (60, 400)}


def test_the_home_folder_can_be_abbreviated(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    table(tmp_path, HEADER + "a\t60\t400\n")
    assert read_speakers("~/speakers.tsv") == {"a": (60.0, 400.0)}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no column speaker, min_pitch_hz, max_pitch_hz. Found: nothing"),
        ("speaker\tmin_pitch_hz\na\t60\n", "no column max_pitch_hz. Found: speaker, min_pitch_hz"),
        ("speaker,min_pitch_hz,max_pitch_hz\na,60,400\n", "with tabs in between"),
        (HEADER, "names no speakers"),
        (HEADER + "a\t60\t400\nb\tlow\t400\n", "line 3: min_pitch_hz 'low' is not a number"),
        (HEADER + "a\t60\n", "line 2: max_pitch_hz '' is not a number"),
        (HEADER + "a\t60\tinf\n", "line 2: max_pitch_hz 'inf' is not a number"),
        (HEADER + "a\tnan\t100\n", "line 2: min_pitch_hz 'nan' is not a number"),
        (HEADER + " \t60\t400\n", "line 2: no speaker"),
        (HEADER + "a\t400\t60\n", "line 2: min_pitch_hz 400 and max_pitch_hz 60"),
        (HEADER + "a\t60\t60\n", "the lower one first"),
        (HEADER + "a\t10\t400\n", "from 20 to 1000 Hz"),
        (HEADER + "a\t60\t1001\n", "from 20 to 1000 Hz"),
        (HEADER + "a\t60\t400\nb\t60\t400\na\t75\t400\n", "line 4: speaker 'a' had another range"),
        (HEADER.encode() + b"Jos\xe9\t60\t400\n", "is not UTF-8 text"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, text, says):
    path = table(tmp_path, text)
    with pytest.raises(RecipeError, match=re.escape(str(path))) as caught:
        read_speakers(path)
    assert says in str(caught.value)


def test_a_quotation_that_never_ends_is_refused(tmp_path):
    path = table(tmp_path, 'speaker,min_pitch_hz,max_pitch_hz\n"a,60,400\nb,60,400\n', "speakers.csv")
    with pytest.raises(RecipeError, match="not a readable CSV table"):
        read_speakers(path)


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(RecipeError, match=r"speakers\.tsv cannot be read \(No such file or directory\)"):
        read_speakers(tmp_path / "speakers.tsv")
    with pytest.raises(RecipeError, match="cannot be read"):
        read_speakers(tmp_path)


@pytest.mark.parametrize("suffix", ["dict", "pkl", "PICKLE", "pt"])
def test_a_pickle_is_never_read_and_how_to_convert_it_is_said(tmp_path, monkeypatch, suffix):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"spk2info.{suffix}"
    with pytest.raises(RecipeError, match="is a pickle by its name") as caught:
        read_speakers(path)  # which is not even there
    path.write_bytes(pickle.dumps({"train": {"19": ("F", (100, 400, 0)), "26": ("M", (50, 250, 0))}, "valid": {}}))
    lines = [line.strip() for line in str(caught.value).splitlines()[1:]]
    exec("\n".join(lines), {})  # what the message says works
    assert read_speakers(tmp_path / "speakers.tsv") == {"19": (100.0, 400.0), "26": (75.0, 250.0)}
