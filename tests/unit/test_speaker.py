"""What frames give away of the speaker: probes on frames that hold one and on noise, halves, ABX, awkward corpora."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from frame_stores import GivenFrames, one_layer
from hypothesis import given
from hypothesis import strategies as st

from ssft.components import construct
from ssft.errors import DataError, RecipeError
from ssft.evaluation.bootstrap import Bootstrap
from ssft.evaluation.corpus import LabelledCorpus
from ssft.evaluation.items import Segment
from ssft.evaluation.measure import Score
from ssft.evaluation.speaker import Speaker, SpeakerProbe, halve
from ssft.types import Utterance

SPEAKERS = ["ann", "bo", "cy", "di", "ed"]
WORDS = ["cat", "dog"]


def corpus_of(speakers: Mapping[str, str | None], *, words: bool = True) -> LabelledCorpus:
    """Utterances of 0.8 s, in which both words are said, one after the other."""
    test = [Utterance(name, Path(name), 0.8, speaker=who) for name, who in speakers.items()]
    said = {name: [Segment(name, 0.4 * n, 0.4 * (n + 1), word) for n, word in enumerate(WORDS)] for name in speakers}
    return LabelledCorpus("made", {"test": test}, words=said if words else {})


def made_corpus(utterances: int = 8, **options: Any) -> LabelledCorpus:
    return corpus_of({f"{who}-{n}": who for who in SPEAKERS for n in range(utterances)}, **options)


def frames_of(corpus: LabelledCorpus, *, voice: float, seed: int = 0) -> dict[str, np.ndarray]:
    """Noise [40, 10], with so much of the speaker's own direction added."""
    rng = np.random.default_rng(seed)
    voices = np.eye(10)
    return {
        utterance.id: rng.standard_normal((40, 10)) + voice * voices[SPEAKERS.index(utterance.speaker or "ann")]
        for utterance in corpus.splits["test"]
    }


def scores_of(task: Speaker, corpus: LabelledCorpus, store: GivenFrames, seeds: int = 1) -> dict[tuple, Score]:
    return {(s.measure.name, s.layer, s.condition): s for s in task.scores(corpus, store, seeds=seeds)}


# --- halves ---------------------------------------------------------------------------------------------------------


@given(st.dictionaries(st.text("abc", min_size=1, max_size=4), st.sampled_from(SPEAKERS)), st.integers(0, 3))
def test_halves_share_no_utterance_and_all_their_speakers(speakers: dict[str, str], seed: int) -> None:
    halves = halve(speakers, seed=seed)
    counts = Counter(speakers.values())
    enough = {who for who, count in counts.items() if count >= 4}
    assert not set(halves.train) & set(halves.test)
    assert {*halves.train, *halves.test} == {name for name, who in speakers.items() if who in enough}
    assert Counter(speakers[name] for name in halves.train) == {who: counts[who] // 2 for who in enough}
    assert halve(dict(reversed(speakers.items())), seed=seed) == halves


def test_a_half_depends_on_the_seed_and_not_on_other_speakers() -> None:
    speakers = {f"{who}-{n}": who for who in SPEAKERS for n in range(9)}
    splits = [halve(speakers, seed=seed) for seed in range(5)]
    assert len({halves.train for halves in splits}) == 5
    fewer = halve({name: who for name, who in speakers.items() if who != "ann"})
    assert fewer.train == tuple(name for name in splits[0].train if not name.startswith("ann"))


# --- probes ---------------------------------------------------------------------------------------------------------


def test_frames_that_hold_the_speaker_give_all_away_and_noise_gives_nothing_away() -> None:
    corpus = made_corpus(40)
    store = GivenFrames(
        {
            ("test", 0, "clean"): frames_of(corpus, voice=0.0),
            ("test", 1, "clean"): frames_of(corpus, voice=30.0),
            ("test", 1, "noise"): frames_of(corpus, voice=0.0, seed=1),
        }
    )
    found = scores_of(Speaker(), corpus, store, seeds=2)
    for name in ("speaker probe", "speaker probe (frames)"):
        assert found[name, 1, "clean"].value == 1.0
        assert found[name, 0, "clean"].value == pytest.approx(0.2, abs=0.1)
        assert found[name, 1, "noise"].value == pytest.approx(0.2, abs=0.1)
        assert len(found[name, 1, "clean"].measures) == 2
        assert found[name, 1, "clean"].measure.better == "lower"
    assert found["speaker ABX", 1, "clean"].value < 0.01
    assert found["speaker ABX", 0, "clean"].value == pytest.approx(0.5, abs=0.05)
    assert found["speaker ABX", 1, "clean"].measure.better == "higher"
    counts = found["speaker probe", 1, "clean"].measure.counts
    assert counts["speakers"] == 5
    assert counts["chance in percent"] == 20
    assert counts["utterances trained on"] == counts["utterances tested on"] == 100


def test_accuracy_is_that_of_a_loop_and_resampling_counts_speakers_as_often_as_drawn() -> None:
    corpus = made_corpus(9)
    frames = frames_of(corpus, voice=0.5)
    halves = halve(corpus.speakers())
    for rows in ("mean", "mean_std", "frames"):
        probe = SpeakerProbe(frames, halves, rows=rows)
        measure = probe.accuracy(frames, name="probe")
        right, total = Counter(), Counter()
        for name in halves.test:
            pooled = [frames[name].mean(0)] if rows == "mean" else [np.r_[frames[name].mean(0), frames[name].std(0)]]
            for row in frames[name] if rows == "frames" else pooled:
                right[halves.speakers[name]] += probe.classifier.predict(row[None])[0] == halves.speakers[name]
                total[halves.speakers[name]] += 1
        assert 0.2 < measure.value < 1.0
        assert measure.value == pytest.approx(right.total() / total.total())
        assert measure.groups == tuple(SPEAKERS)
        drawn = measure.of(np.array([[2.0, 0, 1, 0, 0]]))[0]
        expected = (2 * right["ann"] + right["cy"]) / (2 * total["ann"] + total["cy"])
        assert drawn == pytest.approx(expected)


def test_standard_deviations_can_give_a_speaker_away_whose_mean_does_not() -> None:
    corpus = made_corpus(20)
    frames = frames_of(corpus, voice=0.0)
    spread = 1 + 2 * np.eye(10)
    frames = {name: frames[name] * spread[SPEAKERS.index(who)] for name, who in corpus.speakers().items()}
    values = [
        scores_of(Speaker(pooling=pooling), corpus, one_layer({"test": frames}))["speaker probe", 0, "clean"].value
        for pooling in ("mean", "mean_std")
    ]
    assert values[0] < 0.5 < 0.95 < values[1]


def test_scale_names_and_order_do_not_matter() -> None:
    corpus = made_corpus(10)
    frames = frames_of(corpus, voice=0.6)
    scores = scores_of(Speaker(), corpus, one_layer({"test": frames}))
    scaled = {name: own * np.arange(1, 11) * 1000 for name, own in reversed(frames.items())}
    renamed = replace(
        corpus, splits={"test": [replace(u, speaker=f"x{u.speaker}") for u in reversed(corpus.splits["test"])]}
    )
    others = scores_of(Speaker(), renamed, one_layer({"test": scaled}))
    for key in (("speaker probe", 0, "clean"), ("speaker probe (frames)", 0, "clean")):
        assert 0.2 < scores[key].value < 1.0
        assert others[key].value == pytest.approx(scores[key].value, abs=0.01)


def test_seeds_are_other_halves_and_a_bootstrap_has_an_interval() -> None:
    corpus = made_corpus(10)
    store = one_layer({"test": frames_of(corpus, voice=0.5)})
    first, again = (scores_of(Speaker(), corpus, store, seeds=3)["speaker probe (frames)", 0, "clean"] for _ in "ab")
    values = [measure.value for measure in first.measures]
    assert values == [measure.value for measure in again.measures]
    assert len(set(values)) > 1
    interval = Bootstrap(replicates=100).interval(first)
    assert interval.low < first.value < interval.high


def test_what_is_not_asked_for_is_not_measured() -> None:
    corpus = made_corpus()
    names = {
        name
        for name, *_ in scores_of(
            Speaker(frames=0, abx="none"), corpus, one_layer({"test": frames_of(corpus, voice=1.0)})
        )
    }
    assert names == {"speaker probe"}
    for setting, said in (({"frames": -1}, "0 or more"), ({"max_group": 1}, "2 or more"), ({"abx": "vowels"}, "abx")):
        with pytest.raises(RecipeError, match=said):
            construct(Speaker, setting, where="speaker")


# --- what users really have -----------------------------------------------------------------------------------------


def test_unknown_and_rare_speakers_and_missing_frames_are_left_out_and_counted() -> None:
    corpus = made_corpus()
    names = {u.id: u.speaker for u in corpus.splits["test"]}
    names |= {"x1": "unknown", "x2": None, "x3": "", "rare-0": "zed", "rare-1": "zed", "rare-2": "zed"}
    mixed = corpus_of(names)
    frames = frames_of(corpus, voice=1.0) | {name: np.full((40, 10), 9.0) for name in names if name[0] in "xr"}
    frames.pop("ann-0")
    found = scores_of(Speaker(), mixed, one_layer({"test": frames}))
    counts = found["speaker probe", 0, "clean"].measure.counts
    assert counts["utterances of unknown speakers"] == 3
    assert counts["utterances of speakers with less than 4"] == 3
    assert counts["utterances without frames"] == 1
    assert counts["speakers"] == 5
    assert found["speaker probe", 0, "clean"].measure.groups == tuple(SPEAKERS)
    assert found["speaker ABX", 0, "clean"].measure.counts["utterances of unknown speakers"] == 3
    assert "unknown" not in found["speaker ABX", 0, "clean"].measure.groups


@pytest.mark.parametrize(
    "speakers",
    [
        {},
        {f"a{n}": "ann" for n in range(9)},
        {f"a{n}": "unknown" for n in range(9)},
        {"a": "ann", "b": "bo", "c": "cy"},
    ],
)
def test_a_corpus_without_two_speakers_to_tell_apart_is_refused_with_what_it_lacks(speakers: dict[str, str]) -> None:
    corpus = corpus_of({**speakers, "x": None})
    assert "two speakers in test" in str(Speaker().obstacle(corpus))
    assert Speaker().obstacle(made_corpus()) is None


def test_two_utterances_of_a_speaker_are_enough_for_abx_and_words_are_not_needed_for_probes() -> None:
    few = corpus_of({"a": "ann", "b": "ann", "c": "bo"})
    assert Speaker().obstacle(few) is None
    assert Speaker(abx="none").obstacle(few)
    assert Speaker(abx="phones").obstacle(few)
    frames = frames_of(few, voice=5.0)
    assert {name for name, *_ in scores_of(Speaker(), few, one_layer({"test": frames}))} == {"speaker ABX"}
    wordless = made_corpus(words=False)
    assert Speaker().obstacle(wordless) is None
    names = {name for name, *_ in scores_of(Speaker(), wordless, one_layer({"test": frames_of(wordless, voice=1.0)}))}
    assert names == {"speaker probe", "speaker probe (frames)"}


def test_too_few_frames_are_refused() -> None:
    corpus = made_corpus()
    frames = {name: own for name, own in frames_of(corpus, voice=1.0).items() if name.startswith("ann")}
    with pytest.raises(DataError, match="Too few utterances of made have frames"):
        scores_of(Speaker(), corpus, one_layer({"test": frames}))


@pytest.mark.parametrize("value", [np.nan, -np.inf])
@pytest.mark.parametrize("pooling", ["mean", "mean_std"])
def test_frames_that_are_no_numbers_are_refused(value: float, pooling: str) -> None:
    corpus = made_corpus()
    frames = frames_of(corpus, voice=1.0)
    frames["cy-3"][5, 5] = value
    with pytest.raises(DataError, match="'cy-3' contain NaN or infinity"):
        scores_of(Speaker(pooling=pooling, abx="none"), corpus, one_layer({"test": frames}))


def test_constant_frames_give_nothing_away() -> None:
    corpus = made_corpus()
    frames = {name: np.full((40, 10), 0.3) for name in corpus.speakers()}
    found = scores_of(Speaker(), corpus, one_layer({"test": frames}))
    assert found["speaker probe", 0, "clean"].value == pytest.approx(0.2)
    assert found["speaker probe (frames)", 0, "clean"].value == pytest.approx(0.2)
    assert found["speaker ABX", 0, "clean"].value == pytest.approx(0.5)


def test_the_tiny_set_of_real_voices_is_told_apart_by_its_spectra(shared_speech: Path) -> None:
    import soundfile

    root = shared_speech / "fsdd"
    rows = [line.split("\t") for line in (root / "manifest.tsv").read_text().splitlines()[1:]][::60]
    test = [Utterance(row[0], root / row[0], float(row[3]), speaker=row[2]) for row in rows]
    frames = {}
    for utterance in test:
        cut = np.lib.stride_tricks.sliding_window_view(soundfile.read(utterance.path)[0], 400)[::320]
        frames[utterance.id] = np.log(1e-4 + np.abs(np.fft.rfft(cut * np.hanning(400)))[:, ::5])
    corpus = LabelledCorpus("fsdd, part", {"test": test})
    found = scores_of(Speaker(), corpus, one_layer({"test": frames}))
    assert found["speaker probe", 0, "clean"].value > 0.5
