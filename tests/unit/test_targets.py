"""Labels of frames: kept by utterance id, read back exactly, cropped with the audio, refused with the line."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from ssft.data.targets import KIND, Targets, read_targets, write_targets
from ssft.errors import DataError
from ssft.types import SAMPLE_RATE

LABELS = {"b.wav": [3, 3, 0], "a/ü.wav": [7], "c d.wav": [1, -1, 2, 2]}


@pytest.fixture
def targets() -> Targets:
    return Targets.of(LABELS, source="by hand")


def as_lists(targets: Targets) -> dict[str, list[int]]:
    return {name: targets.labels(name).tolist() for name in targets.ranges}


# --- what they hold ------------------------------------------------------------------------------------------------


def test_labels_by_id(targets: Targets) -> None:
    assert as_lists(targets) == LABELS
    assert (len(targets), targets.classes, targets.frame_rate) == (3, 8, 50.0)
    assert "b.wav" in targets
    assert "d.wav" not in targets
    with pytest.raises(DataError, match=r"no labels for 'd.wav'.*ssft units encode"):
        targets.labels("d.wav")


def test_what_is_returned_is_the_callers_own(targets: Targets) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of PyTorch, about arrays that may not be written
        torch.from_numpy(targets.labels("b.wav")).fill_(5)
        torch.from_numpy(targets.crop("b.wav", start_seconds=0.0, seconds=1.0)).fill_(5)
    assert targets.labels("b.wav").tolist() == [3, 3, 0]


@pytest.mark.parametrize(
    ("labels", "how", "message"),
    [
        ({}, {}, "no labels. Give at least one"),
        ({"a": []}, {}, "array of float64 with shape"),
        ({"a": [1.5]}, {}, "array of float64"),
        ({"a": np.zeros((2, 2), dtype=int)}, {}, r"shape \(2, 2\); give one whole number"),
        ({"a": [0, -2]}, {}, "'a' has labels from -2 to 0; give 0 to"),
        ({"a": [2**31]}, {}, "'a' has labels from 2147483648"),
        ({"a": [5]}, {"classes": 5}, "5 classes are stated. Labels are 0 to 4"),
        ({"a": [-1, -1]}, {}, "some frame must have one"),
        ({"a": [1]}, {"frame_rate": 0.0}, "frame_rate=0.0 must be positive"),
    ],
)
def test_refused(labels: dict, how: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Targets.of(labels, **how)


# --- parts ---------------------------------------------------------------------------------------------------------


def stem_frames(samples: int) -> int:
    """What the seven convolutions of a wav2vec 2.0 stem make of so many samples."""
    for kernel, stride in zip((10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2), strict=True):
        samples = (samples - kernel) // stride + 1
    return samples


@given(samples=st.integers(400, 80_000))
def test_a_whole_utterance_has_as_many_labels_as_an_encoder_makes_frames(samples: int) -> None:
    targets = Targets.of({"a": np.arange(400)})
    assert len(targets.crop("a", start_seconds=0.0, seconds=samples / SAMPLE_RATE)) == stem_frames(samples)


@given(total=st.integers(4000, 64_000), start=st.integers(0, 60_000), samples=st.integers(400, 16_000))
def test_a_part_takes_the_labels_of_its_own_frames(total: int, start: int, samples: int) -> None:
    start = min(start, total - samples) if total >= samples else 0
    samples = min(samples, total - start)
    frames = stem_frames(total)
    targets = Targets.of({"first": [0], "x": np.arange(frames), "z": [0]})
    part = targets.crop("x", start_seconds=start / SAMPLE_RATE, seconds=samples / SAMPLE_RATE)
    expected = stem_frames(samples)
    # One that begins in the second half of a frame may lack the last one.
    assert expected - 1 <= len(part) <= expected
    distances = abs(np.arange(frames) * 320 - start)
    assert distances[part[0]] == distances.min()
    assert np.array_equal(part, part[0] + np.arange(len(part)))


def test_a_part_behind_the_end_is_refused(targets: Targets) -> None:
    with pytest.raises(DataError, match=r"labels of 'b.wav' end after 0.06 s, before the part at 1.00 s.*other audio"):
        targets.crop("b.wav", start_seconds=1.0, seconds=0.5)
    assert targets.crop("b.wav", start_seconds=0.04, seconds=5.0).tolist() == [0]


# --- files ---------------------------------------------------------------------------------------------------------

IDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SEQUENCES = st.lists(st.integers(0, 2**31 - 2), min_size=1, max_size=8)


@given(labels=st.dictionaries(IDS, SEQUENCES, min_size=1, max_size=6), classes=st.integers(0, 3))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_a_safetensors_file_gives_back_everything(tmp_path: Path, labels: dict, classes: int) -> None:
    largest = max(map(max, labels.values()))
    written = Targets.of(labels, classes=largest + 1 + classes, frame_rate=25.0, source="ü\n")
    write_targets(tmp_path / "t.safetensors", written)
    read = read_targets(tmp_path / "t.safetensors")
    assert as_lists(read) == labels
    assert (read.classes, read.frame_rate, read.source) == (largest + 1 + classes, 25.0, "ü\n")


def test_the_file_does_not_depend_on_the_order(tmp_path: Path, targets: Targets) -> None:
    write_targets(tmp_path / "a.safetensors", targets)
    write_targets(tmp_path / "b.safetensors", Targets.of(dict(reversed(LABELS.items())), source="by hand"))
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_the_format_is_the_documented_one(tmp_path: Path, targets: Targets) -> None:
    write_targets(tmp_path / "new" / "t.safetensors", targets)
    tensors = load_file(tmp_path / "new" / "t.safetensors")
    assert json.loads(tensors["ids"].tobytes()) == sorted(LABELS)
    assert tensors["labels"].dtype == np.int32
    assert tensors["labels"].tolist() == [7, 3, 3, 0, 1, -1, 2, 2]
    assert tensors["offsets"].tolist() == [0, 1, 4, 8]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["t.safetensors"]


def test_a_table_is_read_and_written(tmp_path: Path, targets: Targets) -> None:
    path = tmp_path / "t.tsv"
    write_targets(path, targets)
    assert path.read_text(encoding="utf-8") == "id\tlabels\na/ü.wav\t7\nb.wav\t3 3 0\nc d.wav\t1 -1 2 2\n"
    assert as_lists(read_targets(path)) == LABELS
    path.write_bytes("\ufeffid\tlabels\r\nb.wav\t3 3 0\r\n\r\na/ü.wav\t 7 \r\n".encode())
    read = read_targets(path)
    assert as_lists(read) == {"b.wav": [3, 3, 0], "a/ü.wav": [7]}
    assert (read.classes, read.source) == (8, "t.tsv")


@pytest.mark.parametrize("name", ["", "a\tb", "a\nb", "a\rb"])
def test_an_id_that_would_break_a_table_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"does not fit into a table. Write to a .safetensors file"):
        write_targets(tmp_path / "t.tsv", Targets.of({name: [1]}))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: the header must be id<TAB>labels, but it is ''"),
        ("id labels\na\t1\n", "line 1: the header must be"),
        ("id\tlabels\n", "holds no labels. Expected a line for every utterance"),
        ("id\tlabels\na\t1\nb 2\n", "line 3: expected an id, one tab"),
        ("id\tlabels\n\t1\n", "line 2: expected an id, one tab"),
        ("id\tlabels\na\t1\t2\n", "line 2: expected an id, one tab"),
        ("id\tlabels\na\t\n", "line 2: there are no labels. Leave out the line"),
        ("id\tlabels\na\t1 x 2\n", "line 2: 'x' is no label; give 0 to 2147483646, or -1 for none."),
        ("id\tlabels\na\t1 2.0\n", "line 2: '2.0' is no label"),
        ("id\tlabels\na\t99999999999999999999\n", "line 2: '99999999999999999999' is no label"),
        ("id\tlabels\n\na\t1 -5\n", "line 3: labels are from -5 to 1; give 0"),
        ("id\tlabels\na\t9999999999\n", "line 2: labels are from 9999999999"),
        ("id\tlabels\na\t1\nb\t1\na\t2\n", "line 4: 'a' has labels already, on line 2. Keep one"),
    ],
)
def test_a_bad_table_is_refused_with_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.tsv"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        read_targets(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_table_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_bytes(b"id\tlabels\n\xff\t1\n")
    with pytest.raises(DataError, match=r"not UTF-8 text .* at byte 10"):
        read_targets(tmp_path / "t.tsv")


@pytest.mark.parametrize("name", ["t.npy", "t.pt", "t", "t.TSV.gz"])
def test_other_kinds_of_file_are_refused_by_name(tmp_path: Path, targets: Targets, name: str) -> None:
    for action in (lambda: write_targets(tmp_path / name, targets), lambda: read_targets(tmp_path / name)):
        with pytest.raises(DataError, match=r"kept in .safetensors or .tsv files. Give such a name"):
            action()


DAMAGE = {
    "an id twice": {"ids": b'["a", "a"]'},
    "an id too few": {"ids": b'["a"]'},
    "nobody": {"ids": b"[]", "offsets": [0], "labels": []},
    "offsets that go back": {"offsets": [0, 3, 2]},
    "an utterance without labels": {"offsets": [0, 0, 3]},
    "offsets that stop early": {"offsets": [0, 1, 2]},
    "offsets that begin late": {"offsets": [1, 2, 3]},
    "a label too large": {"labels": [0, 1, 9]},
    "ids that are no list": {"ids": b"{"},
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "t.safetensors"
    parts = {"ids": b'["a", "b"]', "offsets": [0, 1, 3], "labels": [0, 1, 2], **DAMAGE[damage]}
    facts = json.dumps({"classes": 3, "frame_rate": 50.0, "source": ""})
    save_file(
        {
            "ids": np.frombuffer(parts["ids"], dtype=np.uint8),
            "offsets": np.array(parts["offsets"], dtype=np.int64),
            "labels": np.array(parts["labels"], dtype=np.int32),
        },
        path,
        metadata={KIND: facts},
    )
    with pytest.raises(DataError, match=r"t\.safetensors.*Make it again\."):
        read_targets(path)


def test_what_is_no_file_of_labels(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    with pytest.raises(DataError, match=r"does not exist. `ssft units encode` makes"):
        read_targets(path)
    save_file({"labels": np.zeros(3)}, path)
    with pytest.raises(DataError, match="does not hold labels of frames"):
        read_targets(path)
    path.write_bytes(b"no safetensors")
    with pytest.raises(DataError, match="cannot be read as labels of frames"):
        read_targets(path)


def test_what_cannot_be_written_says_so(tmp_path: Path, targets: Targets) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"Cannot write .*t.safetensors: .*Give a file in another folder"):
        write_targets(tmp_path / "file" / "t.safetensors", targets)
