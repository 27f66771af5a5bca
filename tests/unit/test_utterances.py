"""The table of a corpus: it gives back what went in, as a sequence would, and its file is whole or refused."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from ssft.data.columns import Texts
from ssft.data.entry import Entry
from ssft.data.utterances import Utterances
from ssft.errors import DataError
from ssft.types import Utterance

# What a name may hold: anything but a separator and NUL; lone surrogates stand for bytes that are not UTF-8.
words = st.text(st.characters(exclude_characters="/\\\0"), min_size=1, max_size=6).filter(lambda word: word != ".")
paths = st.lists(words, min_size=1, max_size=3).map(lambda parts: Path("/", *parts))
utterances = st.builds(
    Utterance,
    id=words,
    path=paths,
    seconds=st.floats(0.1, 1e4),
    start=st.floats(0, 1e4),
    speaker=st.none() | st.sampled_from(["ann", "bob", "", "ü\udce9"]),
    text=st.none() | words,
    member=st.sampled_from(["", "a.wav@512+32044"]),
    stamp=st.none() | st.tuples(st.integers(0, 2**40), st.integers(0, 2**62)),
)
few = settings(max_examples=60, deadline=None)


def numbered(count, **how):
    return [
        Utterance(
            f"s{i % 3}/{i}", Path(f"/data/s{i % 3}/{i}.wav"), 1.0 + i / 8, start=i / 4, speaker=f"s{i % 3}", **how
        )
        for i in range(count)
    ]


@few
@given(st.lists(utterances, max_size=12))
def test_what_goes_in_comes_out(rows):
    table = Utterances.of(iter(rows))
    assert len(table) == len(rows)
    assert list(table) == rows
    assert table == rows
    assert table == Utterances.of(rows)
    assert [table[index] for index in range(-len(rows), 0)] == rows
    assert table.seconds.tolist() == [row.seconds for row in rows]
    assert list(table.ids) == [row.id for row in rows]
    assert Utterances.of(table) is table
    for index in (len(rows), -len(rows) - 1):
        with pytest.raises(IndexError):
            table[index]


@few
@given(st.lists(utterances, max_size=12), st.data())
def test_a_part_of_a_table_is_the_table_of_the_part(rows, data):
    table = Utterances.of(rows)
    part = data.draw(st.slices(len(rows)))
    assert list(table[part]) == rows[part]
    mask = data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))
    assert list(table[np.array(mask, dtype=bool)]) == [row for row, chosen in zip(rows, mask, strict=True) if chosen]
    places = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=20)) if rows else []
    assert list(table[np.array(places, dtype=np.int64)]) == [rows[place] for place in places]
    assert list(table[part][::-1]) == rows[part][::-1]


@few
@given(st.lists(utterances, max_size=12))
def test_a_file_holds_the_table(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("table") / "corpus.safetensors"
    table = Utterances.of(rows)
    table.save(path)
    loaded = Utterances.load(path)
    assert list(loaded) == rows
    assert loaded.fingerprint == table.fingerprint
    assert np.array_equal(loaded.id_hashes, table.id_hashes)
    assert [item.name for item in path.parent.iterdir()] == [path.name]


def test_values_are_plain_numbers_and_parts_of_parts_hold():
    table = Utterances.of(numbered(9))
    one = table[np.int64(3)]
    assert (type(one.seconds), type(one.start), one.stamp) == (float, float, None)
    assert list(table[2:][::2][1:]) == numbered(9)[4::2]
    assert table[:0] == []
    assert table != numbered(8)
    assert table != [*numbered(8), replace(numbered(9)[8], seconds=7.0)]
    assert table.hours == pytest.approx(sum(row.seconds for row in numbered(9)) / 3600)


def test_a_table_goes_to_another_process():
    table = Utterances.of(numbered(20))
    assert pickle.loads(pickle.dumps(table)) == table


def test_a_listing_has_lengths_that_are_not_known():
    table = Utterances.of([Entry("a", Path("a.wav")), Entry("b", Path("b.wav"), 1.0, 2.0, text="hi", member="x@1+2")])
    assert np.isnan(table.seconds).tolist() == [True, False]
    assert table[1] == Utterance("b", Path("b.wav"), 2.0, 1.0, None, "hi", "x@1+2")


def test_relative_paths_are_kept_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = Utterances.of([Utterance("a", Path("x/a.wav"), 1.0), Utterance("b", Path("b.wav"), 1.0)])
    table.save(Path("t.safetensors"))
    assert [row.path for row in Utterances.load(tmp_path / "t.safetensors")] == [
        tmp_path / "x/a.wav",
        tmp_path / "b.wav",
    ]
    assert [row.path for row in table] == [Path("x/a.wav"), Path("b.wav")]


# ------------------------------------------------------------------------------------------------------------- memory


def test_a_row_takes_little_memory_and_no_object():
    table = Utterances.of(numbered(5_000))
    arrays = [table.seconds, table.starts, table.stamps, table.folders.codes, table.speakers.codes]
    for column in (table.ids, table.files, table.members, table.texts, table.folders.names, table.speakers.names):
        arrays += [column.data, column.ends]
    names = sum(len(row.id) + len(row.path.name) for row in numbered(5_000))
    assert sum(array.nbytes for array in arrays) < names + 5_000 * 80
    assert not any(array.dtype.hasobject for array in arrays)


def test_a_loaded_table_is_mapped_not_read(tmp_path):
    Utterances.of(numbered(500)).save(tmp_path / "t.safetensors")
    base = Utterances.load(tmp_path / "t.safetensors").seconds
    while not isinstance(base, np.memmap) and base.base is not None:
        base = base.base
    assert isinstance(base, np.memmap)


def test_the_file_can_be_read_without_ssft(tmp_path):
    Utterances.of(numbered(5)).save(tmp_path / "t.safetensors")
    with safe_open(tmp_path / "t.safetensors", framework="numpy") as file:
        assert file.get_tensor("seconds").tolist() == [row.seconds for row in numbered(5)]
        assert file.get_tensor("ids.data").tobytes() == b"s0/0s1/1s2/2s0/3s1/4"


# ---------------------------------------------------------------------------------------------------------------- ids


@few
@given(st.lists(st.sampled_from(["a", "a#2", "a#3", "b", "a#2#2"]), max_size=20))
def test_every_id_is_made_unique_and_first_ones_stay(names):
    rows = [Utterance(name, Path(f"{place}.wav"), 1.0) for place, name in enumerate(names)]
    unique = Utterances.of(rows).with_unique_ids()
    ids = list(unique.ids)
    assert len(set(ids)) == len(names)
    assert [row.path for row in unique] == [row.path for row in rows]
    for place, name in enumerate(names):
        assert ids[place] == name if names.index(name) == place else ids[place].startswith(f"{name}#")


def test_running_numbers_pass_over_those_that_are_taken():
    rows = [Utterance(name, Path("x.wav"), 1.0) for name in ("a", "a", "a#2", "b", "a", "a#2")]
    assert list(Utterances.of(rows).with_unique_ids().ids) == ["a", "a#3", "a#2", "b", "a#4", "a#2#2"]


# -------------------------------------------------------------------------------------------------------- fingerprint


def test_the_fingerprint_is_this_one_everywhere():
    assert Utterances.of(numbered(7)).fingerprint == "1a7a0bb8ede33c7c"


@few
@given(st.lists(utterances, min_size=2, max_size=12, unique_by=lambda row: row.id), st.randoms())
def test_the_fingerprint_sees_ids_and_lengths_and_no_order(rows, random):
    before = Utterances.of(rows).fingerprint
    shuffled = random.sample(rows, len(rows))
    moved = [replace(row, path=Path("/elsewhere"), stamp=None, text="other") for row in shuffled]
    assert Utterances.of(moved).fingerprint == before
    for change in ({"id": "no such id before"}, {"seconds": rows[0].seconds + 0.01}, {"start": rows[0].start + 0.01}):
        assert Utterances.of([replace(rows[0], **change), *rows[1:]]).fingerprint != before
    assert Utterances.of(rows[1:]).fingerprint != before
    swapped = [replace(rows[0], seconds=rows[1].seconds), replace(rows[1], seconds=rows[0].seconds), *rows[2:]]
    if abs(rows[0].seconds - rows[1].seconds) > 0.01:
        assert Utterances.of(swapped).fingerprint != before


# ------------------------------------------------------------------------------------------------------------- damage


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "corpus.safetensors"
    Utterances.of(numbered(40, text="said")).save(path)
    return path


def test_every_flipped_bit_is_noticed(saved):
    content = saved.read_bytes()
    rng = np.random.default_rng(0)
    header = 8 + int.from_bytes(content[:8], "little")
    places = [*range(8), *rng.integers(8, header, 200), *rng.integers(header, len(content), 200)]
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(rng.integers(8))
        saved.write_bytes(damaged)
        with pytest.raises(DataError, match="is damaged") as caught:
            Utterances.load(saved)
        assert str(saved) in str(caught.value)
        assert "Remove it" in str(caught.value)


def test_every_truncation_is_noticed_and_so_is_what_is_too_much(saved):
    content = saved.read_bytes()
    for size in [0, 1, 8, 9, *np.linspace(10, len(content) - 1, 30, dtype=int).tolist()]:
        saved.write_bytes(content[:size])
        with pytest.raises(DataError, match="is damaged"):
            Utterances.load(saved)
    saved.write_bytes(content + b"\0")
    with pytest.raises(DataError, match="is damaged"):
        Utterances.load(saved)


def test_other_files_are_refused(tmp_path):
    from safetensors.numpy import save_file

    save_file({"seconds": np.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(DataError, match="is damaged"):
        Utterances.load(tmp_path / "other.safetensors")
    with pytest.raises(DataError, match="does not exist"):
        Utterances.load(tmp_path / "none.safetensors")
    with pytest.raises(DataError, match="Cannot write"):
        Utterances.of(numbered(2)).save(tmp_path / "no folder" / "t.safetensors")


def test_a_table_that_cannot_be_written_leaves_the_old_one(saved, monkeypatch):
    before = saved.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ssft.files.os.fsync", full)
    with pytest.raises(DataError, match="No space left on device"):
        Utterances.of(numbered(3)).save(saved)
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_texts_are_a_sequence():
    texts = Texts.of(["one", "", "ü\udce9", "three"])
    assert list(texts) == ["one", "", "ü\udce9", "three"]
    assert list(texts[1:3]) == ["", "ü\udce9"]
    assert texts[-1] == "three"
    assert "three" in texts
    with pytest.raises(IndexError):
        texts[4]
