"""`.item` files: what is read, what is left out and counted, and what is refused."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from ssft.errors import DataError
from ssft.evaluation.corpora.item_files import read_item_file
from ssft.evaluation.corpora.names import Names
from ssft.evaluation.items import Item

HEADER = "#file onset offset #phone prev-phone next-phone speaker\n"
SECONDS = {"84/121123/84-121123-0000.flac": 2.0, "84/121123/84-121123-0001.flac": 1.0}


def read(path: Path, text: str) -> tuple[list[Item], Counter[str]]:
    path.write_text(text)
    skipped: Counter[str] = Counter()
    return read_item_file(path, Names(SECONDS), SECONDS, skipped), skipped


def test_files_are_found_by_their_stem(tmp_path):
    items, skipped = read(tmp_path / "dev-clean.item", HEADER + "84-121123-0000 0.2925 0.4725 IH L NG 84\n")
    assert items == [Item("84/121123/84-121123-0000.flac", 0.2925, 0.4725, "IH", ("L", "NG"), "84")]
    assert skipped == {}


@pytest.mark.parametrize(
    ("header", "row", "context"),
    [
        ("#file onset offset #phone prev-phone next-phone talker", "84-121123-0000 0 1 IH L NG kim", ("L", "NG")),
        ("#file onset offset #word speaker", "84-121123-0000 0 1 IH kim", ()),
        ("\ufeff#file\tonset\toffset\t#phone\tcontext\tspeaker\r", "84-121123-0000\t0\t1\tIH\tL\tkim\r", ("L",)),
    ],
)
def test_what_is_between_label_and_speaker_is_the_context(tmp_path, header, row, context):
    items, _ = read(tmp_path / "x.item", f"{header}\n{row}\n\n")
    assert items == [Item("84/121123/84-121123-0000.flac", 0.0, 1.0, "IH", context, "kim")]


def test_what_cannot_be_is_left_out_and_counted(tmp_path):
    rows = {
        "84-121123-0001 0.5 1.04 good L NG 84": None,
        "84-121123-0001 0.5 1.05 late L NG 84": "items of x.item past the end of the audio",
        "84-121123-0001 1.5 1.8 later L NG 84": "items of x.item past the end of the audio",
        "84-121123-0000 0.5 0.5 short L NG 84": "items of x.item that end before they begin",
        "84-121123-0000 -0.5 0.5 early L NG 84": "items of x.item that end before they begin",
        "84-121123-0000 nan 0.5 nan L NG 84": "items of x.item that end before they begin",
        "84-121123-0000 0.1 0.5 whose L NG unknown": "items of x.item of unknown speakers",
        "85-121123-0000 0.1 0.5 where L NG 85": "items of x.item in utterances that are not there",
    }
    items, skipped = read(tmp_path / "x.item", HEADER + "".join(f"{row}\n" for row in rows))
    assert [item.label for item in items] == ["good"]
    assert skipped == Counter(reason for reason in rows.values() if reason)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: expected '#file onset offset"),
        ("file start end phone\n", "line 1: expected '#file onset offset"),
        (HEADER, "holds nothing"),
        (HEADER + "84-121123-0000 0 1 IH L NG\n", "line 2: 6 columns"),
        (HEADER + "84-121123-0000 0 x IH L NG 84\n", "line 2: '0' or 'x' is not a time"),
        (HEADER + "1-2-3 0 1 IH L NG 84\n", r"has e.g. '1-2-3', the corpus e.g. '84/121123/84-121123-0000.flac'"),
    ],
)
def test_what_is_no_item_file_of_this_corpus_is_refused(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path / "x.item", text)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_item_file(tmp_path / "none.item", Names(SECONDS), SECONDS, Counter())


@pytest.mark.parametrize(
    ("ids", "name", "found"),
    [
        (["a/x.wav", "b/x.wav"], "a/x", "a/x.wav"),
        (["a/x.wav", "b/x.wav"], "corpus/b/x.wav", "b/x.wav"),
        (["a/x.wav", "x.wav"], "x", "x.wav"),
        (["x.wav"], ".\\x.wav", "x.wav"),
        (["x.v1", "x.v2"], "x.v2", "x.v2"),
        (["ax.wav", "b.wav"], "x", None),
        (["test/x.wav", "b.wav"], "train/x.wav", None),
    ],
)
def test_names_are_matched_by_whole_parts_of_paths(ids, name, found):
    names = Names(ids)
    other = ids[1] if len(ids) > 1 and ids[1] != found else ids[0]
    assert names.match([name, other] if other != found else [name], source=Path("t")).get(name) == found


@pytest.mark.parametrize(
    ("ids", "given", "message"),
    [
        (["a/x.wav", "b/x.wav"], ["x"], "'x' may be a/x.wav or b/x.wav"),
        (["x.wav", "x.flac"], ["x"], "'x' may be x.flac or x.wav"),
        (["x.wav", "y.wav"], ["train/x", "test/x", "y"], "'train/x' and 'test/x' both may be x.wav"),
        (["x.wav"], [], "t holds nothing"),
    ],
)
def test_ambiguous_names_are_refused(ids, given, message):
    with pytest.raises(DataError, match=message):
        Names(ids).match(given, source=Path("t"))
