"""Manifests and folders: every row and every file is listed once, or reported."""

from __future__ import annotations

import inspect
import json
import os
import sys
from contextlib import nullcontext

import pytest

from ssft.data import manifest
from ssft.data.entry import Entry
from ssft.errors import DataError
from ssft.types import Reject


def read_manifest(path, **how):
    """The entries and the rejects."""
    found = list(manifest.read_manifest(path, **how))
    return [item for item in found if isinstance(item, Entry)], [item for item in found if isinstance(item, Reject)]


def list_folder(root):
    return list(manifest.list_folder(root))


def write(path, *lines):
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("suffix", ["tsv", "csv"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_a_table_is_read_by_its_header(tmp_path, suffix, bom):
    comma = "\t" if suffix == "tsv" else ","
    rows = ["text|path|speaker|id", "hello there|a/1.wav|ann|one", "|a/2.wav|unknown|", "", "bye|b/1.wav|-|"]
    path = tmp_path / f"manifest.{suffix}"
    path.write_text(bom + "\r\n".join(row.replace("|", comma) for row in rows), encoding="utf-8")
    entries, rejects = read_manifest(path)
    assert rejects == []
    assert [entry.id for entry in entries] == ["one", "a/2.wav", "b/1.wav"]
    assert [entry.path for entry in entries] == [tmp_path / name for name in ("a/1.wav", "a/2.wav", "b/1.wav")]
    assert [entry.speaker for entry in entries] == ["ann", None, None]
    assert [entry.text for entry in entries] == ["hello there", None, "bye"]
    assert all((entry.start, entry.seconds) == (0.0, None) for entry in entries)


def test_nemo_json_lines(tmp_path):
    path = write(
        tmp_path / "manifest.json",
        json.dumps({"audio_filepath": "a.wav", "offset": 1.5, "duration": 2, "text": "hi", "speaker": None}),
        json.dumps({"audio_filepath": "b.wav", "duration": 1e-5 + 3}),
    )
    entries, rejects = read_manifest(path)
    assert rejects == []
    assert [(e.id, e.start, e.seconds, e.speaker, e.text) for e in entries] == [
        ("a.wav@1.5", 1.5, 2.0, None, "hi"),
        ("b.wav", 0.0, 3.00001, None, None),
    ]


def test_common_voice_columns_and_capitals(tmp_path):
    path = write(
        tmp_path / "train.tsv",
        "client_id\tPath \tsentence\tup_votes",
        'd1\tcv_1.mp3\tHe said "no\t2',
        "d2\tcv_2.mp3\tYes.\t0",
    )
    entries, rejects = read_manifest(path)
    assert rejects == []
    assert [(entry.path.name, entry.speaker, entry.text) for entry in entries] == [
        ("cv_1.mp3", "d1", 'He said "no'),
        ("cv_2.mp3", "d2", "Yes."),
    ]


def test_quotes_and_commas_in_csv(tmp_path):
    path = write(tmp_path / "m.csv", "path,text", '"a, b.wav","one\ntwo ""three"""', "c.wav,x")
    entries, rejects = read_manifest(path)
    assert rejects == []
    assert [(entry.path.name, entry.text) for entry in entries] == [("a, b.wav", 'one\ntwo "three"'), ("c.wav", "x")]


def test_a_quote_that_is_never_closed_does_not_swallow_the_rest(tmp_path):
    path = write(tmp_path / "m.csv", "path,text", 'a.wav,"one', "b.wav,two", "c.wav,three")
    with pytest.raises(DataError, match=r"m\.csv is not a readable CSV manifest"):
        read_manifest(path)


def test_segments_by_length_and_by_end(tmp_path):
    path = write(
        tmp_path / "m.tsv",
        "path\tstart_s\tend_s\tduration",
        "a.wav\t0\t1.5\t",
        "a.wav\t1.5\t2.25\t99",
        "a.wav\t3\t\t0.5",
        "a.wav\t4\t\t",
    )
    entries, rejects = read_manifest(path)
    assert rejects == []
    assert [(e.id, e.start, e.seconds) for e in entries] == [
        ("a.wav", 0.0, 1.5),
        ("a.wav@1.5", 1.5, 0.75),
        ("a.wav@3", 3.0, 0.5),
        ("a.wav@4", 4.0, None),
    ]


def test_rows_are_read_one_by_one(tmp_path):
    """The second row is there before the last, which is not UTF-8, is read."""
    path = write(tmp_path / "m.tsv", "path", *(f"{number}.wav" for number in range(20_000)))
    with path.open("ab") as file:
        file.write(b"\xff\xff.wav\n")
    rows = manifest.read_manifest(path)
    assert [next(rows).id, next(rows).id] == ["0.wav", "1.wav"]
    with pytest.raises(DataError, match="Save it as UTF-8"):
        list(rows)


def test_of_two_names_for_a_column_the_first_that_says_something_counts(tmp_path):
    entries, _ = read_manifest(write(tmp_path / "m.csv", "audio,path,spk,speaker", "a.wav,b.wav,x,y", "c.wav,d.wav"))
    assert [(entry.path.name, entry.speaker) for entry in entries] == [("b.wav", "y"), ("d.wav", None)]
    lines = ('{"path": null, "file": "a.wav"}', '{"file": "b.wav", "path": "c.wav"}', '{" PATH": 7}')
    entries, _ = read_manifest(write(tmp_path / "m.jsonl", *lines))
    assert [entry.path.name for entry in entries] == ["a.wav", "c.wav", "7"]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("../out.wav", "leaves the manifest's folder"),
        ("a/../../out.wav", "leaves the manifest's folder"),
        ("/etc/out.wav", "leaves the manifest's folder"),
        ("http://example.org/a.wav", "URL or a command"),
        ("file:///etc/a.wav", "URL or a command"),
        ("sox a.sph -t wav - |", "URL or a command"),
        ("| touch owned", "URL or a command"),
        ("", "no path"),
        ("a.wav\tone", "start 'one' is not a number"),
        ("a.wav\tnan", "start 'nan' is not a number"),
        ("a.wav\t0\tinf", "seconds 'inf' is not a number"),
        ("a.wav\t-1", "do not select anything"),
        ("a.wav\t0\t0", "do not select anything"),
        ("a.wav\t0\t1\t2", "4 fields, the header has 3"),
    ],
)
def test_a_bad_row_is_rejected_alone_and_with_its_line(tmp_path, row, says):
    path = write(tmp_path / "m.tsv", "path\tstart\tseconds", "first.wav", row or "\t1\t1", "last.wav\t1\t2")
    entries, rejects = read_manifest(path)
    assert [entry.path.name for entry in entries] == ["first.wav", "last.wav"]
    assert [(reject.reason, reject.path) for reject in rejects] == [("bad_row", path)]
    assert says in rejects[0].detail
    assert "m.tsv line 3" in rejects[0].detail
    assert rejects[0].id


def test_outside_paths_on_request_but_never_urls_or_commands(tmp_path):
    rows = ("../out.wav", "/etc/out.wav", "http://example.org/a.wav", "cat a.wav |")
    entries, rejects = read_manifest(write(tmp_path / "m.tsv", "path", *rows), allow_outside=True)
    assert [str(entry.path) for entry in entries] == [str(tmp_path / "../out.wav"), "/etc/out.wav"]
    assert [reject.id for reject in rejects] == ["http://example.org/a.wav", "cat a.wav |"]


def test_bad_json_lines_are_rejected_alone(tmp_path):
    path = write(tmp_path / "m.jsonl", '{"path": "a.wav"}', '{"path": ', "[1]", "", '{"path": "b.wav"}', '{"x": 1}')
    entries, rejects = read_manifest(path)
    assert [entry.id for entry in entries] == ["a.wav", "b.wav"]
    assert [reject.id for reject in rejects] == ["line 2", "line 3", "line 6"]
    assert "m.jsonl line 2: not JSON" in rejects[0].detail
    assert "not a JSON object" in rejects[1].detail
    assert "no path" in rejects[2].detail


def test_text_that_is_no_unicode_survives(tmp_path):
    path = write(tmp_path / "m.jsonl", r'{"path": "a\ud800.wav"}', r'{"path": "ok.wav", "id": "\udce9"}')
    entries, _ = read_manifest(path)
    assert [entry.id for entry in entries] == [r"a\ud800.wav", r"\udce9"]
    assert all(entry.id.encode() for entry in entries)


def test_the_split_filter(tmp_path):
    lines = ("path\tsplit", "a.wav\ttrain", "b.wav\tdev", "c.wav", "d.wav\ttrain", "e.wav\tdev\textra")
    path = write(tmp_path / "m.tsv", *lines)
    entries, rejects = read_manifest(path, split="train")
    assert [entry.id for entry in entries] == ["a.wav", "d.wav"]
    assert [reject.id for reject in rejects] == ["e.wav"]
    assert len(read_manifest(path)[0]) == 4
    with pytest.raises(DataError, match=r"no rows with split 'test'. Its splits: dev, train\."):
        read_manifest(path, split="test")
    with pytest.raises(DataError, match=r"no 'split' column.*Leave data\.split out"):
        read_manifest(write(tmp_path / "n.tsv", "path", "a.wav"), split="train")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("m.tsv", b"", "no column for the audio path. Found: nothing"),
        ("m.jsonl", b"", "holds no rows"),
        ("m.tsv", b"path\ttext\n", "holds no rows"),
        ("m.csv", b"name,words\na,b\n", "Found: name, words. Name one of them path or audio_filepath or file"),
        ("m.csv", b"path;text\na.wav;b\n", "Found: path;text"),
        ("m.jsonl", b'[{"path": "a.wav"}]\n', "not a JSON object; expected one {...} per line"),
        ("m.json", b'{\n "path": "a.wav"\n}\n', "not a readable JSON manifest: line 1: not JSON"),
        ("m.tsv", "path\ttext\na.wav\té".encode("latin-1"), "Save it as UTF-8"),
        ("m.tsv", "path\na.wav\n".encode("utf-16"), "Save it as UTF-8"),
    ],
)
def test_a_manifest_that_is_none(tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_manifest(tmp_path / name)
    assert says in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)


# ------------------------------------------------------------------------------------------------------- folders


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_a_folder_is_listed_recursively_without_hidden_files(tmp_path):
    root = touch(
        tmp_path / "mein Ordner ü 音",
        *(
            "b/same.wav",
            "a/same.wav",
            "A.WAV",
            "b.m4a",
            "notes.txt",
            ".hidden.wav",
            "._a.wav",
            ".git/x.wav",
            "c/.x.flac",
        ),
    )
    entries = list_folder(root)
    assert [entry.id for entry in entries] == ["A.WAV", "a/same.wav", "b.m4a", "b/same.wav"]
    assert all(entry.path == root / entry.id for entry in entries)


def test_the_order_does_not_depend_on_the_file_system(tmp_path, monkeypatch):
    names = [f"{folder}/{name}.wav" for folder in ("x", "a", "m/n") for name in ("2", "1", "10")]
    root = touch(tmp_path / "r", *names)
    for link in ("y", "b"):  # the same folder under two names: the first in the alphabet counts
        (root / link).symlink_to(touch(tmp_path / "elsewhere", "3.wav"))
    straight = list_folder(root)
    assert [entry.id for entry in straight] == sorted([*names, "b/3.wav"])
    scandir = os.scandir
    monkeypatch.setattr(
        os, "scandir", lambda path: nullcontext(sorted(scandir(path), key=lambda item: item.name)[::-1])
    )
    assert list_folder(root) == straight


def test_the_listing_is_in_the_order_of_its_paths(tmp_path):
    names = ["a b/1.wav", "a.wav", "a/1.wav", "a-1/x/y.wav", "a/b.wav", "a/b/c.wav", "B.wav", "b.wav", "ä.wav"]
    entries = list_folder(touch(tmp_path, *names))
    assert [entry.id for entry in entries] == sorted(names)


def test_folders_may_be_nested_deeper_than_calls(tmp_path):
    deep = touch(tmp_path, f"{'d/' * 150}a.wav")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 100)
    try:
        entries = list_folder(deep)
    finally:
        sys.setrecursionlimit(limit)
    assert [entry.id for entry in entries] == [f"{'d/' * 150}a.wav"]


def test_the_layout_of_librispeech_has_speakers_and_texts(tmp_path):
    root = touch(
        tmp_path,
        *("dev-clean/84/121123/84-121123-0000.flac", "dev-clean/84/121123/84-121123-0001.flac"),
        *("dev-clean/84/121550/84-121550-0000.flac", "174/50561/174-50561-0000.wav"),
        *("dev-clean/84/121123/noise.flac", "dev-clean/84/121123/85-121123-0002.flac", "84-121123-0000.flac"),
        *("x84/121123/84-121123-0000.flac", "84/121123/more/84-121123-0000.flac"),
    )
    transcript = root / "dev-clean" / "84" / "121123" / "84-121123.trans.txt"
    transcript.write_text("84-121123-0000 GO  DO YOU HEAR\n\n84-121123-0001\n", encoding="utf-8")
    (root / "dev-clean" / "84" / "121550" / "84-121550.trans.txt").write_bytes(b"84-121550-0000 caf\xe9\n")
    entries = {entry.id: entry for entry in list_folder(root)}
    assert len(entries) == 9
    speakers = {name: entry.speaker for name, entry in entries.items() if entry.speaker}
    assert speakers == {
        "174/50561/174-50561-0000.wav": "174",
        "dev-clean/84/121123/84-121123-0000.flac": "84",
        "dev-clean/84/121123/84-121123-0001.flac": "84",
        "dev-clean/84/121550/84-121550-0000.flac": "84",
    }
    texts = {name: entry.text for name, entry in entries.items() if entry.text}
    assert texts == {"dev-clean/84/121123/84-121123-0000.flac": "GO  DO YOU HEAR"}


def test_links_are_followed_once_and_loops_end(tmp_path):
    root = touch(tmp_path / "r", "a/1.wav", "b/2.wav")
    elsewhere = touch(tmp_path / "elsewhere", "3.wav")
    (root / "a" / "up").symlink_to(root)
    (root / "loop").symlink_to(root / "loop2")
    (root / "loop2").symlink_to(root / "loop")
    (root / "other").symlink_to(elsewhere)
    (root / "dangling.wav").symlink_to(root / "nowhere")
    (root / "another").symlink_to(elsewhere)
    assert [entry.id for entry in list_folder(root)] == ["a/1.wav", "another/3.wav", "b/2.wav", "dangling.wav"]


def test_names_that_are_not_utf8_have_an_id(tmp_path):
    try:
        touch(tmp_path, "caf\udce9.wav", r"caf\udce9.wav", "ok.wav")
    except (OSError, UnicodeError) as error:
        pytest.skip(f"this file system takes only UTF-8 names: {error}")
    entries = list_folder(tmp_path)
    assert [entry.id for entry in entries] == [r"caf\udce9.wav", r"caf\udce9.wav", "ok.wav"]
    assert {entry.path.name for entry in entries} == {"caf\udce9.wav", r"caf\udce9.wav", "ok.wav"}
