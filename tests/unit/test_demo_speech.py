"""The bundled demo speech: complete, small, and labelled where the sound is."""

from __future__ import annotations

import csv
from collections import defaultdict
from itertools import groupby, pairwise
from operator import itemgetter
from pathlib import Path

import numpy as np
import pytest
import soundfile

import ssft

FOLDER = Path(ssft.__file__).parent / "assets" / "demo_speech"
VOWELS = {"a", "A@", "0", "O:", "E", "I", "i:", "U", "u:", "V", "aI", "aU", "eI", "oU"}

Row = dict[str, str]
Segment = tuple[float, float, str]


def read_table(name: str) -> list[Row]:
    with (FOLDER / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def read_segments(name: str, label: str) -> dict[str, list[Segment]]:
    rows = groupby(read_table(name), key=itemgetter("path"))
    return {path: [(float(row["start_s"]), float(row["end_s"]), row[label]) for row in group] for path, group in rows}


@pytest.fixture(scope="module")
def manifest() -> list[Row]:
    return read_table("manifest.tsv")


@pytest.fixture(scope="module")
def phones() -> dict[str, list[Segment]]:
    return read_segments("alignments.tsv", "phone")


@pytest.fixture(scope="module")
def words() -> dict[str, list[Segment]]:
    return read_segments("words.tsv", "word")


def values(manifest: list[Row], split: str, column: str) -> set[str]:
    return {row[column] for row in manifest if row["split"] == split}


def test_is_small_enough_to_ship() -> None:
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) <= 4_000_000


def test_manifest_lists_exactly_the_files_on_disk(manifest: list[Row]) -> None:
    listed = [row["path"] for row in manifest]
    assert len(listed) == len(set(listed))
    assert set(listed) == {path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.opus")}
    for row in manifest:
        assert row["path"].split("/")[:2] == [row["split"], row["speaker"]]


def test_splits_share_no_voice_and_no_sentence(manifest: list[Row]) -> None:
    speakers = [values(manifest, split, "speaker") for split in ("train", "heldout")]
    texts = [values(manifest, split, "text") for split in ("train", "heldout")]
    assert len(speakers[0]) >= 12
    assert len(speakers[1]) >= 5
    assert speakers[0].isdisjoint(speakers[1])
    assert len(texts[0]) >= 100
    assert texts[0].isdisjoint(texts[1])


def test_files_decode_to_the_stated_duration(manifest: list[Row]) -> None:
    for row in manifest[::10]:
        audio, sample_rate = soundfile.read(FOLDER / row["path"], always_2d=True)
        assert sample_rate == 16_000
        assert audio.shape[1] == 1
        assert len(audio) / sample_rate == pytest.approx(float(row["duration_s"]), abs=0.001)
        assert 0.5 < np.abs(audio).max() < 0.9


def test_only_the_heldout_part_has_labels(
    manifest: list[Row], phones: dict[str, list[Segment]], words: dict[str, list[Segment]]
) -> None:
    assert set(phones) == set(words) == values(manifest, "heldout", "path")


def test_phones_cover_each_file_without_gaps(manifest: list[Row], phones: dict[str, list[Segment]]) -> None:
    durations = {row["path"]: float(row["duration_s"]) for row in manifest}
    for path, segments in phones.items():
        starts, ends, _ = zip(*segments, strict=True)
        assert starts[0] == 0
        assert starts[1:] == ends[:-1]
        assert all(start < end for start, end, _ in segments)
        assert ends[-1] == pytest.approx(durations[path], abs=0.002)
    assert 40 <= len({phone for segments in phones.values() for _, _, phone in segments}) <= 48


def test_words_start_and_end_with_phones(phones: dict[str, list[Segment]], words: dict[str, list[Segment]]) -> None:
    for path, segments in words.items():
        spoken = [segment for segment in phones[path] if segment[2] != "SIL"]
        assert {start for start, _, _ in segments} <= {start for start, _, _ in spoken}
        assert {end for _, end, _ in segments} <= {end for _, end, _ in spoken}
        assert all(start < end for start, end, _ in segments)
        assert all(left[1] <= right[0] for left, right in pairwise(segments))


def test_every_heldout_voice_reads_the_same_words(manifest: list[Row], words: dict[str, list[Segment]]) -> None:
    readings: dict[str, list[tuple[str, list[str]]]] = defaultdict(list)
    for row in manifest:
        if row["split"] == "heldout":
            spoken = [word for _, _, word in words[row["path"]]]
            assert spoken == row["text"].lower().translate(str.maketrans("", "", ".,?!")).split()
            readings[row["speaker"]].append((Path(row["path"]).name, spoken))
    first, *others = readings.values()
    assert all(other == first for other in others)


def test_labels_lie_where_the_sound_is(phones: dict[str, list[Segment]]) -> None:
    """Sibilants cross zero far more often than vowels, and pauses are quiet: true only if the times are right."""
    crossings: dict[str, list[float]] = defaultdict(list)
    levels: dict[str, list[float]] = defaultdict(list)
    for path in list(phones)[::4]:
        audio, sample_rate = soundfile.read(FOLDER / path)
        loudness = np.sqrt(np.mean(audio**2))
        for start, end, phone in phones[path]:
            # 5 ms less on either side: sounds do not change at once.
            part = audio[round((start + 0.005) * sample_rate) : round((end - 0.005) * sample_rate)]
            kind = "vowel" if phone in VOWELS else phone
            if len(part) >= 0.02 * sample_rate:
                crossings[kind].append(float(np.mean(part[1:] * part[:-1] < 0)))
                levels[kind].append(20 * np.log10(np.sqrt(np.mean(part**2)) / loudness + 1e-9))
    for sibilant in ("s", "S"):
        assert np.percentile(crossings[sibilant], 10) > 1.2 * np.percentile(crossings["vowel"], 90)
    assert np.percentile(levels["SIL"], 95) < -25
    assert np.percentile(levels["vowel"], 5) > -6
