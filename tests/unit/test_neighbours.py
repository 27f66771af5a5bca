"""Nearest neighbours: which are found, how often they are the same word or speaker, and where there are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from ssft.errors import DataError
from ssft.evaluation.bootstrap import Bootstrap
from ssft.evaluation.corpus import TEST, LabelledCorpus
from ssft.evaluation.items import Segment
from ssft.report.neighbours import (
    NeighbourSearch,
    Stretch,
    drawn,
    loud_stretches,
    score,
    whole_utterances,
    word_stretches,
)
from ssft.types import Utterance

RATE = 50.0


def stretch(utterance: str, start: float, label: str = "", speaker: str = "", seconds: float = 0.2) -> Stretch:
    return Stretch(utterance, start, round(start + seconds, 3), label, speaker)


def frames_of(stretches: list[Stretch], vectors: np.ndarray, seconds: float = 4.0) -> dict[str, np.ndarray]:
    """Frames that are a stretch's vector inside of it, and noise elsewhere."""
    rng = np.random.default_rng(0)
    frames = {one.utterance: rng.standard_normal((int(seconds * RATE), vectors.shape[1])) for one in stretches}
    for one, vector in zip(stretches, vectors, strict=True):
        frames[one.utterance][round(one.start * RATE) : round(one.end * RATE)] = vector
    return frames


@given(st.integers(0, 2**32 - 1), st.integers(2, 30), st.integers(1, 5))
def test_neighbours_are_those_of_a_search_one_by_one(seed: int, count: int, most: int) -> None:
    rng = np.random.default_rng(seed)
    ids = [f"u{number}" for number in rng.integers(0, 5, size=count)]
    if len(set(ids)) < 2:
        ids[:2] = "u0", "u1"
    stretches = [stretch(name, 0.1 * place) for place, name in enumerate(ids)]
    vectors = rng.standard_normal((count, 6))
    frames = frames_of([stretch(one.utterance, one.start, seconds=0.1) for one in stretches], vectors)
    stretches = [stretch(one.utterance, one.start, seconds=0.1) for one in stretches]
    search = NeighbourSearch(stretches, frames, RATE, most=most)
    assert search.stretches == stretches
    for place, own in enumerate(stretches):
        cosines = {
            other: float(
                vectors[place] @ vectors[number] / np.linalg.norm(vectors[place]) / np.linalg.norm(vectors[number])
            )
            for number, other in enumerate(stretches)
            if other.utterance != own.utterance
        }
        wanted = sorted(cosines, key=lambda other: -cosines[other])[:most]
        found = search.of(own)
        assert [one for one, _ in found] == wanted
        np.testing.assert_allclose([cosine for _, cosine in found], [cosines[one] for one in wanted], atol=1e-5)


def test_the_share_counts_what_could_be_found_and_chance_is_a_guess_among_other_utterances() -> None:
    labels = [("a", "cat", "kim"), ("b", "cat", "lee"), ("c", "dog", "kim"), ("d", "dog", "lee"), ("e", "owl", "may")]
    stretches = [stretch(utterance, 0.5, label, speaker) for utterance, label, speaker in labels]
    # By word: cats lie together, one dog lies with them; the owl is nobody's word but its own.
    vectors = np.array([[1.0, 0.0, 0.0], [1.0, 0.1, 0.0], [0.9, 0.2, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    search = NeighbourSearch(stretches, frames_of(stretches, vectors), RATE)
    words = search.share("same word", "label")
    assert words is not None
    assert words.value == pytest.approx(3 / 4)  # of two cats and two dogs; the dog among the cats finds a cat
    assert (words.counts["queries"], words.grouped_by, words.better) == (4, "speaker", "higher")
    assert search.chance("label") == pytest.approx(1 / 4)
    speakers = search.share("same speaker", "speaker")
    assert speakers is not None
    assert speakers.counts["queries"] == 4  # may speaks once
    assert speakers.better == "neither"


def test_word_and_speaker_at_one_are_measured_with_an_interval() -> None:
    words, speakers = ("cat", "dog", "owl"), ("kim", "lee", "may", "noa")
    stretches = [stretch(f"{speaker}-{word}", 0.5, word, speaker) for speaker in speakers for word in words]
    by_word = np.array([np.eye(3)[words.index(one.label)] for one in stretches])
    by_speaker = np.array([np.eye(4)[speakers.index(one.speaker)] for one in stretches])
    good = NeighbourSearch(stretches, frames_of(stretches, by_word), RATE).share("same word", "label")
    bad = NeighbourSearch(stretches, frames_of(stretches, by_speaker), RATE).share("same word", "label")
    assert good is not None
    assert bad is not None
    assert (good.value, bad.value) == (1.0, 0.0)
    found = Bootstrap(replicates=200).difference(score(good, 6), score(bad, 6))
    assert (found.value, found.low, found.verdict) == (1.0, 1.0, "better")


def test_without_words_or_speakers_there_is_no_share_but_there_are_neighbours() -> None:
    stretches = [stretch("a", 0.5), stretch("b", 0.5), stretch("b", 1.5)]
    search = NeighbourSearch(stretches, frames_of(stretches, np.eye(3)), RATE)
    assert search.share("same word", "label") is None
    assert search.share("same speaker", "speaker") is None
    assert len(search.of(stretches[0])) == 2
    assert len(search.of(stretches[1])) == 1  # never of its own utterance


def test_what_has_no_frames_or_no_direction_is_left_out_and_one_utterance_is_too_few() -> None:
    stretches = [stretch("a", 0.5), stretch("b", 0.5), stretch("gone", 0.5), stretch("b", 3.99), stretch("b", 9.0)]
    frames = frames_of(stretches[:2], np.eye(3)[:2])
    frames["b"][175:] = 0.0
    assert NeighbourSearch(stretches, frames, RATE).stretches == stretches[:2]
    with pytest.raises(DataError, match="fewer than two"):
        NeighbourSearch([stretches[0], stretch("a", 1.5)], frames, RATE)


def test_a_draw_does_not_depend_on_what_else_there_is() -> None:
    stretches = [stretch(f"u{number}", 0.25) for number in range(100)]
    few = drawn(stretches, most=10, seed=3)
    assert len(few) == 10
    assert drawn(list(reversed(stretches)), most=10, seed=3) == few
    assert drawn(list({*few, *stretches[:50]}), most=10, seed=3) == few
    assert drawn(stretches, most=10, seed=4) != few


@pytest.fixture
def corpus(tmp_path: Path) -> LabelledCorpus:
    """Two recordings of a tone that falls silent after a second, of which one begins a second later in its file."""
    time = np.arange(32_000) / 16_000
    tone = 0.3 * np.sin(2 * np.pi * 200 * time) * (time < 1.0)
    soundfile.write(tmp_path / "a.wav", tone, 16_000)
    soundfile.write(tmp_path / "b.wav", np.r_[np.zeros(16_000), tone], 16_000)
    utterances = [
        Utterance("a", tmp_path / "a.wav", 2.0, speaker="kim"),
        Utterance("b", tmp_path / "b.wav", 2.0, start=1.0, speaker="unknown"),
    ]
    words = {"a": [Segment("a", 0.0, 0.1, "the"), Segment("a", 0.1, 0.6, "cat"), Segment("a", 0.6, 1.0, "SIL")]}
    return LabelledCorpus("tones", {TEST: utterances}, words=words)


def test_words_are_those_that_are_long_enough_and_no_pauses(corpus: LabelledCorpus) -> None:
    assert word_stretches(corpus) == [Stretch("a", 0.1, 0.6, "cat", "kim")]


def test_stretches_are_of_half_a_second_and_never_silent(corpus: LabelledCorpus) -> None:
    frames = {"a": np.zeros((99, 2), np.float32), "b": np.zeros((99, 2), np.float32)}
    found = loud_stretches(corpus, frames)
    assert [(one.utterance, one.start, one.end) for one in found] == [
        (name, start, start + 0.5) for name in "ab" for start in (0.0, 0.5)
    ]
    assert [one.speaker for one in found] == ["kim", "kim", "", ""]
    assert {one.utterance for one in loud_stretches(corpus, {"a": frames["a"]})} == {"a"}
    assert whole_utterances(corpus) == [Stretch("a", 0.0, 2.0, "", "kim"), Stretch("b", 0.0, 2.0, "", "")]
