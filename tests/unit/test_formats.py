"""Every kind of input: the same recordings come out of each, and what is hostile in it is refused one by one."""

from __future__ import annotations

import gzip
import importlib.util
import io
import json
import os
import random
import sys
import tarfile

import numpy as np
import pytest
import soundfile

from ssft.data.audio import read_audio, read_header
from ssft.data.entry import Entry
from ssft.data.formats import is_missing, list_entries
from ssft.errors import DataError
from ssft.types import Reject

# name: speaker, text, how it is recorded
RECORDINGS = {
    "anna/1.wav": ("anna", "one two", {"seconds": 1.0, "hz": 300}),
    "anna/2.first.flac": ("anna", "three", {"seconds": 1.3, "hz": 400, "rate": 44_100}),
    "bob/1.ogg": ("bob", "vier ünd", {"seconds": 0.8, "hz": 500, "rate": 22_050}),
    "bob/3.mp3": ("bob", "five", {"seconds": 2.0, "hz": 200, "rate": 44_100}),
}


def needs(*packages):
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


@pytest.fixture
def audio(tmp_path, make_audio, monkeypatch):
    """A folder with the recordings in it, and nothing else."""
    if importlib.util.find_spec("datasets"):
        monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    for name, (_, _, how) in RECORDINGS.items():
        make_audio(tmp_path / "audio" / name, **how)
    return tmp_path / "audio"


def lines(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    return path


def listed(root, **how):
    """What is listed as (entries, rejects)."""
    found = list(list_entries(root, **how))
    return [item for item in found if isinstance(item, Entry)], [item for item in found if isinstance(item, Reject)]


# ------------------------------------------------------------------------------------- one corpus, written in each way


def as_folder(audio):
    return audio


def as_tsv(audio):
    rows = (f"{name}\t{speaker}\t{text}" for name, (speaker, text, _) in RECORDINGS.items())
    return lines(audio / "m.tsv", "path\tspeaker\ttext", *rows)


def as_nemo(audio):
    rows = [
        {"audio_filepath": name, "duration": how["seconds"], "offset": 0, "text": text, "speaker": speaker}
        for name, (speaker, text, how) in RECORDINGS.items()
    ]
    return lines(audio / "manifest.json", *map(json.dumps, rows))


def as_audiofolder(audio):
    rows = (f"{name},{speaker},{text}" for name, (speaker, text, _) in RECORDINGS.items())
    lines(audio / "metadata.csv", "file_name,speaker_id,sentence", *rows)
    return audio


def as_audiofolder_of_splits(audio):
    for folder in ("anna", "bob"):
        rows = [
            {"file_name": name.removeprefix(f"{folder}/"), "speaker": speaker, "transcript": text}
            for name, (speaker, text, _) in RECORDINGS.items()
            if name.startswith(folder)
        ]
        lines(audio / folder / "metadata.jsonl", *map(json.dumps, rows))
    return audio


def as_kaldi(audio):
    keys = {f"u{number}": name for number, name in enumerate(RECORDINGS)}
    lines(audio / "wav.scp", *(f"{key}   {name} " for key, name in keys.items()))
    lines(audio / "utt2spk", *(f"{key} {RECORDINGS[name][0]}" for key, name in keys.items()))
    lines(audio / "text", *(f"{key}\t{RECORDINGS[name][1]}" for key, name in keys.items()))
    return audio


def as_kaldi_with_segments(audio):
    as_kaldi(audio)
    seconds = {f"u{number}": how["seconds"] for number, (_, _, how) in enumerate(RECORDINGS.values())}
    (audio / "wav.scp").write_text((audio / "wav.scp").read_text().replace("u", "r"))
    ends = (f"{end:.2f}" if key != "u3" else "-1" for key, end in seconds.items())
    lines(audio / "segments", *(f"{key} r{key[1:]} 0.00 {end}" for key, end in zip(seconds, ends, strict=True)))
    return audio / "wav.scp"


def as_fairseq(audio):
    frames = {name: soundfile.info(audio / name).frames for name in RECORDINGS}
    return lines(audio / "train.tsv", str(audio), *(f"{name}\t{count}" for name, count in frames.items()))


def packed(path, members, content):
    with tarfile.open(path, "w") as tar:
        for name in members:
            info = tarfile.TarInfo(name)
            info.size = len(content[name])
            tar.addfile(info, io.BytesIO(content[name]))
    return path


def members_of(audio):
    """Recordings and what is said of them, by name in an archive: half as `.json`, half as `.txt`."""
    content = {}
    for name, (speaker, text, _) in RECORDINGS.items():
        content[f"./{name}"] = (audio / name).read_bytes()
        sample = f"./{name.partition('.')[0]}"
        content[f"{sample}.json"] = json.dumps({"spk": speaker, "text": text}).encode()
        content[f"{sample}.txt"] = text.encode()
    return content


def as_tar(audio):
    content = members_of(audio)
    return packed(audio.parent / "one.tar", content, content)


def as_unsorted_tars(audio):
    content = members_of(audio)
    shards = audio.parent / "shards"
    shards.mkdir()
    for number, speaker in enumerate(("anna", "bob")):
        names = [name for name in content if speaker in name]
        random.Random(number).shuffle(names)
        packed(shards / f"{number:03d}.tar", names, content)
    return shards


def as_braces(audio):
    return f"{as_unsorted_tars(audio)}/{{000..001}}.tar"


def as_webdataset(audio):
    from webdataset import TarWriter

    with TarWriter(str(audio.parent / "w.tar")) as sink:
        for name, (speaker, text, _) in RECORDINGS.items():
            sample, _, suffix = name.partition(".")
            content = (audio / name).read_bytes()
            sink.write({"__key__": sample, suffix: content, "json": {"speaker": speaker}, "txt": text})
    return audio.parent / "w.tar"


def dataset(audio, embedded=True):
    from datasets import Audio, ClassLabel, Dataset

    rows = {
        "audio": [
            {"bytes": (audio / name).read_bytes() if embedded else None, "path": str(audio / name)}
            for name in RECORDINGS
        ],
        "speaker_id": [("anna", "bob").index(speaker) for speaker, _, _ in RECORDINGS.values()],
        "text": [text for _, text, _ in RECORDINGS.values()],
    }
    found = Dataset.from_dict(rows).cast_column("speaker_id", ClassLabel(names=["anna", "bob"]))
    return found.cast_column("audio", Audio())


def as_dataset(audio):
    # Three shards, of more rows than are used.
    dataset(audio).save_to_disk(str(audio.parent / "saved"), num_shards=3)
    return audio.parent / "saved"


def as_dataset_of_splits(audio):
    from datasets import DatasetDict

    whole = dataset(audio)
    DatasetDict({"test": whole.select([0]), "train": whole}).save_to_disk(str(audio.parent / "saved"))
    return audio.parent / "saved"


def as_dataset_on_the_hub(audio):
    folder = audio.parent / "owner" / "name"
    folder.mkdir(parents=True)
    dataset(audio).to_parquet(str(folder / "train.parquet"))
    return "hf:owner/name"


def as_cuts(audio):
    from lhotse import CutSet, MonoCut, Recording, SupervisionSegment

    cuts = []
    for number, (name, (speaker, text, _)) in enumerate(RECORDINGS.items()):
        recording = Recording.from_file(audio / name, recording_id=f"r{number}")
        recording.sources[0].source = name
        said = SupervisionSegment(f"s{number}", recording.id, 0.0, recording.duration, speaker=speaker, text=text)
        cuts.append(MonoCut(f"c{number}", 0.0, recording.duration, 0, [said], recording=recording))
    CutSet.from_cuts(cuts).to_file(audio / "cuts.jsonl.gz")
    return audio / "cuts.jsonl.gz"


def as_recordings(audio):
    from lhotse import Recording, RecordingSet

    recordings = [Recording.from_file(audio / name, recording_id=name) for name in RECORDINGS]
    RecordingSet.from_recordings(recordings).with_path_prefix("").to_file(audio / "recordings.jsonl")
    return audio / "recordings.jsonl"


BARE = {as_folder, as_fairseq, as_recordings}
NAMES_ARE_ABSOLUTE = {as_recordings}
WAYS = [
    as_folder,
    as_tsv,
    as_nemo,
    as_audiofolder,
    as_audiofolder_of_splits,
    as_kaldi,
    as_kaldi_with_segments,
    as_fairseq,
    as_tar,
    as_unsorted_tars,
    as_braces,
    pytest.param(as_webdataset, marks=needs("webdataset")),
    pytest.param(as_dataset, marks=needs("datasets")),
    pytest.param(as_dataset_of_splits, marks=needs("datasets")),
    pytest.param(as_dataset_on_the_hub, marks=needs("datasets")),
    pytest.param(as_cuts, marks=needs("lhotse")),
    pytest.param(as_recordings, marks=needs("lhotse")),
]


@pytest.mark.parametrize("write", WAYS)
def test_the_same_corpus_comes_out_of_every_format(audio, write, monkeypatch):
    monkeypatch.chdir(audio.parent)
    expected = {
        read_audio(audio / name).tobytes(): (None, None) if write in BARE else (speaker, text)
        for name, (speaker, text, _) in RECORDINGS.items()
    }
    entries, rejects = listed(write(audio), allow_outside=write in NAMES_ARE_ABSOLUTE)
    assert rejects == []
    found = {}
    for entry in entries:
        wave = read_audio(entry.path, member=entry.member, start=entry.start, seconds=entry.seconds)
        found[wave.tobytes()] = (entry.speaker, entry.text)
        header = read_header(entry.path, member=entry.member)
        assert entry.seconds is None or entry.seconds == pytest.approx(header.seconds, abs=0.01)
        assert os.path.isfile(entry.path)
    assert found == expected
    assert len({entry.id for entry in entries}) == len(RECORDINGS)


def test_what_is_listed_twice_is_the_same_and_in_the_same_order(audio):
    root = as_unsorted_tars(audio)
    assert listed(root) == listed(str(root)) == listed(f"{root}/{{000..001}}.tar")


# ---------------------------------------------------------------------------------------------- what a root may be


@pytest.mark.parametrize(
    ("root", "says"),
    [
        ("nowhere", "does not exist. Pass a folder"),
        ("s-{0..3}.tar", "there is none of the 4 files, as s-0.tar"),
        ("s-{3..0}.tar", "stands for 0 files"),
        ("s-{0..9}{0..99999999999}.tar", "files; give 1 to 100,000"),
        ("s-{a,b}.tar", "braces hold two whole numbers"),
        ("http://x.org/a.tar", "is a URL or a command"),
        ("s3://x/{00..11}.tar", "is a URL or a command"),
        ("pipe:cat {0..1}.tar", "is a URL or a command"),
        ("hf:name", "expected hf:OWNER/NAME"),
        ("hf:a/b/c/d", "expected hf:OWNER/NAME"),
        ("hf:", "expected hf:OWNER/NAME"),
        ("hf:a//b", "expected hf:OWNER/NAME"),
        ("notes.txt", "neither a folder nor a manifest"),
        ("empty", "holds no audio"),
        ("a.tar.gz", "is compressed"),
        ("gzip.tar", "is compressed"),
        ("archives", "is compressed"),
        ("manifest.jsonl.gz", "neither a folder nor a manifest"),
        ("parquet", "metadata.csv instead"),
    ],
)
def test_a_root_that_cannot_be_read(tmp_path, monkeypatch, root, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("notes")
    (tmp_path / "empty").mkdir()
    (tmp_path / "archives").mkdir()
    (tmp_path / "parquet").mkdir()
    (tmp_path / "parquet" / "metadata.parquet").touch()
    for name in ("a.tar.gz", "gzip.tar", "archives/a.tgz"):
        with tarfile.open(tmp_path / name, "w:gz"):
            pass
    with gzip.open(tmp_path / "manifest.jsonl.gz", "wt") as file:
        file.write('{"path": "a.wav"}\n')
    with pytest.raises(DataError) as caught:
        listed(root)
    assert says in str(caught.value)


def test_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s-2.tar").touch()
    there = (".", "s-2.tar", "s-{0..2}.tar", "hf:owner/name")
    assert [is_missing(root) for root in there] == [False] * 4
    assert [is_missing(root) for root in ("nowhere", "s-{3..5}.tar", "s-2.tsv")] == [True] * 3


@pytest.mark.parametrize("write", [as_folder, as_kaldi, as_fairseq, as_tar, as_unsorted_tars, as_braces])
def test_a_split_is_refused_where_there_are_none(audio, write):
    with pytest.raises(DataError, match=r"data.split='train' needs a manifest with a split column, but .* is a "):
        listed(write(audio), split="train")


def test_the_split_of_an_audiofolder_is_a_folder(audio):
    root = as_audiofolder_of_splits(audio)
    assert [entry.id for entry in listed(root, split="bob")[0]] == ["bob/1.ogg", "bob/3.mp3"]
    assert len(listed(root)[0]) == 4
    with pytest.raises(DataError, match=r"no folder 'train' with a table of metadata. There are: anna, bob"):
        listed(root, split="train")


def test_a_folder_with_recordings_beside_tars_is_a_folder(audio):
    as_tar(audio).rename(audio / "old.tar")
    assert len(listed(audio)[0]) == len(RECORDINGS)


def test_without_the_package_the_error_installs_it(audio, monkeypatch):
    (audio / "dataset_dict.json").write_text('{"splits": ["train"]}')
    cuts = lines(audio / "cuts.jsonl", json.dumps({"id": "a", "start": 0, "duration": 1, "recording": {}}))
    for package in ("datasets", "lhotse", "lhotse.serialization"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DataError, match=r"pip install 'ssft\[datasets\]'"):
        listed(audio)
    with pytest.raises(DataError, match=r"pip install 'ssft\[datasets\]'"):
        listed("hf:owner/name")
    with pytest.raises(DataError, match=r"pip install 'ssft\[lhotse\]'"):
        listed(cuts)


# ------------------------------------------------------------------------------------------------ hostile, by format


def reasons(rejects, path):
    assert all(reject.path == path for reject in rejects)
    return {reject.id: (reject.reason, reject.detail) for reject in rejects}


def test_nemo_offsets_and_absolute_paths(audio):
    rows = [
        {"audio_filepath": "anna/1.wav", "offset": 0.25, "duration": 0.5, "text": ""},
        {"audio_filepath": str(audio / "bob/1.ogg"), "duration": 0.8},
        {"audio_filepath": "http://x/a.wav", "duration": 1.0},
        {"audio_filepath": "anna/1.wav", "offset": 0.0, "duration": 0},
    ]
    path = lines(audio / "m.jsonl", *map(json.dumps, rows))
    entries, rejects = listed(path)
    assert [(entry.start, entry.seconds, entry.text) for entry in entries] == [(0.25, 0.5, None)]
    assert [reject.detail.split(":")[0] for reject in rejects] == [f"m.jsonl line {line}" for line in (2, 3, 4)]
    entries, rejects = listed(path, allow_outside=True)
    assert [entry.path for entry in entries] == [audio / "anna/1.wav", audio / "bob/1.ogg"]
    assert len(rejects) == 2


def test_a_kaldi_folder_without_segments_one_line_at_a_time(audio, tmp_path):
    canary = tmp_path / "canary"
    scp = lines(
        audio / "wav.scp",
        f"pipe touch {canary}; cat anna/1.wav |",
        f"stdin | touch {canary}",
        "dash -",
        "ark feats.ark:1234",
        "part feats.ark:1234[0:9]",
        "url https://x/a.wav",
        "up ../a.wav",
        f"far {audio}/bob/1.ogg",
        "bare",
        "",
        "ok anna/1.wav",
        "ok bob/1.ogg",
        "with spaces a folder/a file.wav",
        "unknown anna/1.wav",
    )
    lines(audio / "utt2spk", "ok anna", "unknown unknown", "not-there bob")
    entries, rejects = listed(audio)
    assert not canary.exists()
    assert [(entry.id, entry.path, entry.speaker) for entry in entries] == [
        ("ok", audio / "anna/1.wav", "anna"),
        ("with", audio / "spaces a folder/a file.wav", None),
        ("unknown", audio / "anna/1.wav", None),
    ]
    found = reasons(rejects, scp)
    says = {
        "pipe": "is a command, which is never run; write its output to a wav or flac file",
        "stdin": "is a command",
        "dash": "is a command",
        "ark": "is a place in an archive; write the recording to a wav or flac file",
        "part": "is a place in an archive",
        "url": "is a URL",
        "up": "allow_outside true",
        "far": "allow_outside true",
        "bare": "no path",
        "ok (line 12)": "there already, on line 11",
    }
    assert set(found) == set(says)
    for number, (name, text) in enumerate(says.items()):
        reason, detail = found[name]
        assert reason == "bad_row"
        assert text in detail
        assert name.startswith("ok") or f"wav.scp line {number + 1}:" in detail
    allowed, rejects = listed(audio, allow_outside=True)
    assert {"up", "far"} <= {entry.id for entry in allowed}
    assert not {"up", "far"} & {reject.id for reject in rejects}


def test_kaldi_segments_one_line_at_a_time(audio):
    lines(audio / "wav.scp", "r1 anna/1.wav", "r2 flac -dc anna/2.first.flac |")
    path = lines(
        audio / "segments",
        "a r1 0.25 0.75",
        "to-the-end r1 0.5 -1",
        "piped r2 0.0 0.5",
        "lost r3 0 1",
        "reverse r1 0.5 0.2",
        "negative r1 -0.5 0.2",
        "nan r1 nan 0.2",
        "word r1 0 end",
        "channel r1 0 1 1",
        "few r1",
    )
    entries, rejects = listed(audio / "wav.scp")
    assert [(entry.id, entry.start, entry.seconds) for entry in entries] == [
        ("a", 0.25, 0.5),
        ("to-the-end", 0.5, None),
    ]
    found = reasons(rejects, path)
    says = {
        "piped": "wav.scp line 2: 'flac -dc anna/2.first.flac |' is a command",
        "lost": "no recording 'r3' in wav.scp",
        "reverse": "does not select anything",
        "negative": "does not select anything",
        "nan": "does not select anything",
        "word": "does not select anything",
        "channel": "names channel 1; write each channel to a file of its own",
        "few": "2 fields; expected utterance, recording, start and end",
    }
    assert set(found) == set(says)
    assert all(text in found[name][1] for name, text in says.items())


def test_kaldi_files_that_are_none(audio):
    (audio / "wav.scp").write_bytes("a ü.wav".encode("utf-16"))
    with pytest.raises(DataError, match="Save it as UTF-8"):
        listed(audio)
    (audio / "wav.scp").write_bytes(b"")
    with pytest.raises(DataError, match="holds no lines"):
        listed(audio)


def test_a_fairseq_list_one_line_at_a_time(audio):
    odd = ("../a.wav\t1", "/etc/passwd\t1", "a.zip:10:20\t1", "http://x/a.wav\t1", "x.wav", "y\tz")
    path = lines(audio / "train.tsv", ".", "anna/1.wav\t16000", *odd, "", "bob/1.ogg\t17640")
    entries, rejects = listed(path)
    assert [(entry.id, entry.path.resolve(), entry.seconds) for entry in entries] == [
        (name, (audio / name).resolve(), None) for name in ("anna/1.wav", "bob/1.ogg")
    ]
    found = reasons(rejects, path)
    assert set(found) == {"../a.wav", "/etc/passwd", "a.zip:10:20", "http://x/a.wav", "x.wav", "y"}
    assert "train.tsv line 5: 'a.zip:10:20' is a place in an archive" in found["a.zip:10:20"][1]
    assert "expected a path, one tab, and a number of samples" in found["x.wav"][1]


@pytest.mark.parametrize("root", ["/", "..", "../audio/.."])
def test_the_folder_of_a_fairseq_list_may_need_permission(audio, root):
    path = lines(audio / "lists" / "train.tsv", root, "a.wav\t16000")
    if root == "..":
        (audio / "a.wav").write_bytes((audio / "anna/1.wav").read_bytes())
    with pytest.raises(DataError, match=r"not below the list's own; pass --data\.allow_outside true"):
        listed(path)
    assert len(listed(path, allow_outside=True)[0]) == 1


def test_a_tsv_of_one_column_is_no_fairseq_list(audio):
    path = lines(audio / "m.tsv", "path", "anna/1.wav", "bob/1.ogg")
    assert [entry.id for entry in listed(path)[0]] == ["anna/1.wav", "bob/1.ogg"]


def test_members_of_a_tar_that_reach_out_of_it_are_refused(audio, tmp_path):
    wave = (audio / "anna/1.wav").read_bytes()
    path = tmp_path / "s.tar"
    with tarfile.open(path, "w") as tar:

        def add(name, kind=tarfile.REGTYPE, link="", content=b""):
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, link, len(content)
            tar.addfile(info, io.BytesIO(content))

        add("ok.wav", content=wave)
        add("/etc/absolute.wav", content=wave)
        add("../up.wav", content=wave)
        add("a/../../up.wav", content=wave)
        add("symbolic.wav", tarfile.SYMTYPE, "/etc/passwd")
        add("hard.wav", tarfile.LNKTYPE, "ok.wav")
        add("device.wav", tarfile.CHRTYPE)
        add("pipe.wav", tarfile.FIFOTYPE)
        add("folder.wav", tarfile.DIRTYPE)
        add("link.json", tarfile.SYMTYPE, "/etc/passwd")
        add("._ok.wav", content=b"x")
        add("cover.jpg", content=b"x")
        add("zero.wav")
        add("phone.m4a", content=b"x")
    entries, rejects = listed(path)
    assert [entry.id for entry in entries] == ["s/ok.wav", "s/zero.wav", "s/phone.m4a"]
    assert np.array_equal(read_audio(path, member=entries[0].member), read_audio(audio / "anna/1.wav"))
    found = reasons(rejects, path)
    out, link, odd = "leaves the folder", "which is not followed", "is no ordinary file"
    says = {
        "s//etc/absolute.wav": out,
        "s/../up.wav": out,
        "s/a/../../up.wav": out,
        "s/symbolic.wav": link,
        "s/hard.wav": link,
        "s/device.wav": odd,
        "s/pipe.wav": odd,
    }
    assert set(found) == set(says)
    assert all(reason == "bad_row" and says[name] in detail for name, (reason, detail) in found.items())


def test_labels_of_a_tar_that_cannot_be_read_say_nothing(audio, tmp_path):
    wave = (audio / "anna/1.wav").read_bytes()
    content = {
        "deep.wav": wave,
        "deep.json": b"[" * 100_000,
        "list.wav": wave,
        "list.json": b"[1]",
        "odd.wav": wave,
        "odd.json": b'{"speaker": ["a"], "text": null}',
        "bytes.wav": wave,
        "bytes.txt": b"\xff\xfe",
        "number.wav": wave,
        "number.json": b'{"speaker_id": 7}',
        "none.wav": wave,
        "x.txt": b"of nobody",
    }
    entries, rejects = listed(packed(tmp_path / "s.tar", content, content))
    assert rejects == []
    assert {entry.id[2:]: entry.speaker for entry in entries if entry.speaker} == {"number.wav": "7"}
    assert {entry.id[2:]: entry.text for entry in entries if entry.text} == {"bytes.wav": "��"}
    assert len(entries) == 6


def test_a_damaged_tar_gives_what_can_be_had_and_says_so(audio, tmp_path):
    content = {f"{number}.wav": (audio / "anna/1.wav").read_bytes() for number in range(4)}
    whole = packed(tmp_path / "whole.tar", content, content).read_bytes()
    header = next(at for at in range(0, len(whole), 512) if whole[at : at + 5] == b"2.wav")
    damaged = {
        "header.tar": (whole[:header] + b"\xff" * 512 + whole[header + 512 :], 2, "corrupt", "2 recordings"),
        "joined.tar": (whole + whole, 4, "corrupt", "archives joined together"),
        "cut in a header.tar": (whole[: header + 100], 2, "corrupt", "2 recordings"),
        "cut in a recording.tar": (whole[: header + 5_000], 3, "corrupt", "unexpected end of data"),
        "page.tar": (b"<html>404</html>" * 100, 0, "corrupt", "not readable as an archive"),
        "zero.tar": (b"", 0, "empty", "no samples"),
    }
    for name, (data, count, reason, says) in damaged.items():
        path = tmp_path / name
        path.write_bytes(data)
        entries, rejects = listed(path)
        assert len(entries) == count, name
        assert [(reject.id, reject.reason) for reject in rejects] == [(name, reason)]
        assert says in rejects[0].detail
    # One bad file takes no others with it, and one that is missing is said to be.
    (tmp_path / "s-0.tar").write_bytes(whole)
    (tmp_path / "s-2.tar").write_bytes(damaged["page.tar"][0])
    entries, rejects = listed(f"{tmp_path}/s-{{0..2}}.tar")
    assert len(entries) == 4
    assert {reject.id: reject.reason for reject in rejects} == {"s-1.tar": "missing", "s-2.tar": "corrupt"}


def test_names_in_a_tar_that_are_not_utf8_have_an_id(audio, tmp_path):
    content = {"caf\udce9.wav": (audio / "anna/1.wav").read_bytes()}
    (entry,), rejects = listed(packed(tmp_path / "s.tar", content, content))
    assert rejects == []
    assert entry.id == r"s/caf\udce9.wav"
    assert len(read_audio(entry.path, member=entry.member)) == 16_000


# --------------------------------------------------------------------------------------- Hugging Face datasets, lhotse


@needs("datasets")
def test_the_split_of_a_dataset(audio, monkeypatch):
    monkeypatch.chdir(audio.parent)
    root = as_dataset_of_splits(audio)
    assert [entry.id for entry in listed(root, split="test")[0]] == ["test:0"]
    with pytest.raises(DataError, match=r"no split 'dev'. Its splits: test, train"):
        listed(root, split="dev")
    hub = as_dataset_on_the_hub(audio)
    with pytest.raises(DataError, match="Unknown split"):
        listed(hub, split="test")
    with pytest.raises(DataError, match="give the name of a split"):
        listed(hub, split="train[:2]")
    with pytest.raises(DataError, match="hf:owner/none cannot be read by datasets"):
        listed("hf:owner/none")


@needs("datasets")
def test_a_dataset_reaches_no_files_outside_without_permission(audio, tmp_path):
    from datasets import Audio, Dataset

    secret = {"bytes": None, "path": str(audio / "anna/1.wav")}
    rows = [secret, {"bytes": None, "path": "http://x/a.wav"}, None, {"bytes": None, "path": None}]
    rows += [{"bytes": (audio / "bob/1.ogg").read_bytes(), "path": None}]
    path = tmp_path / "saved"
    path.mkdir()
    found = Dataset.from_dict({"audio": rows, "id": ["far", "url", "none", None, "ok"]}).cast_column("audio", Audio())
    # Not by save_to_disk, which would put the files into it.
    (path / "state.json").write_text(
        json.dumps(
            {"_data_files": [{"filename": "data.arrow"}], "_fingerprint": "x", "_format_columns": None}
            | {"_format_kwargs": {}, "_format_type": None, "_output_all_columns": False, "_split": None}
        )
    )
    found.info.write_to_directory(str(path))
    write_arrow(path / "data.arrow", found.data.table)
    entries, rejects = listed(path)
    assert [entry.id for entry in entries] == ["ok"]
    assert np.array_equal(read_audio(entries[0].path, member=entries[0].member), read_audio(audio / "bob/1.ogg"))
    says = {
        "far": "allow_outside true",
        "url": "is a URL",
        "none": "neither a recording nor the name",
        "train:3": "neither a recording nor the name",
    }
    assert {reject.id: reject.reason for reject in rejects} == dict.fromkeys(says, "bad_row")
    assert all(says[reject.id] in reject.detail for reject in rejects)
    assert [entry.id for entry in listed(path, allow_outside=True)[0]] == ["far", "ok"]
    (path / "data.arrow").rename(tmp_path / "elsewhere.arrow")
    (path / "state.json").write_text((path / "state.json").read_text().replace("data.arrow", "../elsewhere.arrow"))
    with pytest.raises(DataError, match="consists of files elsewhere"):
        listed(path)


def write_arrow(path, table, **how):
    import pyarrow

    with pyarrow.OSFile(str(path), "wb") as file, pyarrow.ipc.new_stream(file, table.schema, **how) as writer:
        writer.write_table(table)


@needs("datasets")
def test_datasets_that_cannot_be_read(audio, tmp_path):
    import pyarrow
    from datasets import Dataset

    root = as_dataset(audio)
    file = sorted(root.glob("*.arrow"))[0]
    whole = file.read_bytes()
    with pyarrow.memory_map(str(file)) as mapped:
        table = pyarrow.ipc.open_stream(mapped).read_all()
        write_arrow(tmp_path / "packed", table, options=pyarrow.ipc.IpcWriteOptions(compression="zstd"))
    file.write_bytes((tmp_path / "packed").read_bytes())
    with pytest.raises(DataError, match="is compressed"):
        listed(root)
    file.write_bytes(whole[:100])
    with pytest.raises(DataError, match="cannot be read by datasets"):
        listed(root)
    Dataset.from_dict({"text": ["a"]}).save_to_disk(str(tmp_path / "texts"))
    with pytest.raises(DataError, match=r"has no column of audio, or several\. Its columns: text"):
        listed(tmp_path / "texts")


@needs("datasets")
def test_no_row_of_a_dataset_is_read_to_list_it_and_none_to_read_another(audio, monkeypatch):
    entries, _ = listed(as_dataset(audio))
    sizes = {name: (audio / name).stat().st_size for name in RECORDINGS}
    assert sorted(int(entry.member.rpartition("+")[2]) for entry in entries) == sorted(sizes.values())
    for package in ("datasets", "pyarrow"):  # nor is any library needed
        monkeypatch.setitem(sys.modules, package, None)
    assert all(len(read_audio(entry.path, member=entry.member)) for entry in entries)


@needs("lhotse")
def test_cuts_one_line_at_a_time(audio, tmp_path):
    from lhotse import CutSet, MonoCut, Recording, SupervisionSegment

    soundfile.write(audio / "two.wav", np.random.default_rng(0).uniform(-0.1, 0.1, (16_000, 2)), 16_000)
    one, two = (Recording.from_file(audio / name) for name in ("anna/1.wav", "two.wav"))
    for recording in (one, two):
        recording.sources[0].source = str(recording.sources[0].source).removeprefix(f"{audio}/")
    said = [SupervisionSegment(f"s{n}", one.id, 0.25 * n, 0.25, speaker=who, text=who) for n, who in enumerate("ab")]
    ok = MonoCut("part", 0.25, 0.5, 0, said[:1], recording=one)
    cuts = {
        "part": ok,
        "two speakers": MonoCut("two speakers", 0.0, 1.0, 0, said, recording=one),
        "resampled": ok.resample(48_000).with_id("resampled"),
        "stereo": two.to_cut().with_id("stereo"),
        "half": MonoCut("half", 0.0, 1.0, 1, [], recording=two),
        "mixed": ok.append(ok).with_id("mixed"),
        "padded": ok.pad(duration=3.0).with_id("padded"),
        "faster": ok.perturb_speed(1.1).with_id("faster"),
        "duller": ok.resample(8_000).with_id("duller"),
    }
    path = audio / "cuts.jsonl"
    CutSet.from_cuts(cuts.values()).to_file(path)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for name, kind, source in (
        ("command", "command", f"touch {tmp_path}/canary"),
        ("url", "url", "https://x/a.wav"),
        ("memory", "memory", "UklGRg=="),
        ("disguised", "file", "https://x/a.wav"),
        ("far", "file", str(audio / "anna/1.wav")),
        ("up", "file", "../a.wav"),
    ):
        row = json.loads(json.dumps(rows[0])) | {"id": name}
        row["recording"]["sources"][0] |= {"type": kind, "source": source}
        rows.append(row)
    rows.append({key: value for key, value in rows[0].items() if key != "recording"} | {"id": "features"})
    rows += [{"id": "odd", "type": "Cat"}, {"id": "bare"}, {"start": 1}, [1], {"id": "s", "sources": 5}]
    lines(path, *map(json.dumps, rows), "{")
    entries, rejects = listed(path)
    assert not (tmp_path / "canary").exists()
    assert [(entry.id, entry.start, entry.seconds, entry.speaker, entry.text) for entry in entries] == [
        ("part", 0.25, 0.5, "a", "a"),
        ("two speakers", 0.0, 1.0, None, "a b"),
        ("resampled", 0.25, 0.5, "a", "a"),
        ("stereo", 0.0, 1.0, None, None),
    ]
    found = reasons(rejects, path)
    says = {
        "half": "channel 1 of a recording of 2; write each channel to a file of its own",
        "mixed": "MixedCut; write the cuts to files first",
        "padded": "MixedCut",
        "faster": "is to be changed (Speed)",
        "duller": "is to be changed (Resample)",
        "command": "the recording is a command, which is never run or loaded; write it to a file first",
        "url": "the recording is a url",
        "memory": "the recording is a memory",
        "disguised": "is a URL",
        "far": "allow_outside true",
        "up": "allow_outside true",
        "features": "no recording",
        "odd": "lhotse cannot read it",
        "bare": "lhotse cannot read it",
        "line 19": "no cut and no recording",
        "line 20": "no cut and no recording",
        "s": "lhotse cannot read it",
        "line 22": "cuts.jsonl line 22:",
    }
    assert set(found) == set(says)
    assert all(found[name][0] == "bad_row" and says[name] in found[name][1] for name in says)


@needs("lhotse")
def test_a_damaged_list_of_cuts(audio):
    path = as_cuts(audio)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="is damaged, or no text"):
        listed(path)
