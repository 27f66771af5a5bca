"""Units: information, purities, bitrate and edit distance against loops, resampling, and what users really have."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from frame_stores import GivenFrames, one_layer
from hypothesis import given
from hypothesis import strategies as st
from oracles import mutual_information as oracle

from ssft.components import construct
from ssft.errors import DataError, RecipeError, RunError
from ssft.evaluation.bootstrap import Bootstrap
from ssft.evaluation.corpus import LabelledCorpus
from ssft.evaluation.items import Segment
from ssft.evaluation.measure import Measure, Score
from ssft.evaluation.unit_quality import (
    JointCounts,
    Units,
    active_units,
    bitrate,
    deduplicate,
    label_frames,
    segment_at_frames,
    speaker_information,
    unit_edit_distance,
    unit_measures,
)
from ssft.types import Utterance
from ssft.units import Origin, Quantizer

ONCE = np.ones((1, 1))
PHONES = ["AA", "B", "K", "SH"]
SPEAKERS = ["kim", "lee", "mo"]


def corpus_of(
    phones: Mapping[str, list[str]], speakers: Mapping[str, str | None], *, train: Mapping[str, int] | None = None
) -> LabelledCorpus:
    """One phone per frame of 20 ms, by utterance; "" is a pause."""
    test = [Utterance(name, Path(name), len(own) / 50, speaker=speakers.get(name)) for name, own in phones.items()]
    segments = {
        name: [Segment(name, index / 50, (index + 1) / 50, label) for index, label in enumerate(own)]
        for name, own in phones.items()
    }
    splits = {"test": test}
    if train:
        splits["train"] = [Utterance(name, Path(name), frames / 50) for name, frames in train.items()]
    return LabelledCorpus("made", splits, phones={name: own for name, own in segments.items() if own})


def random_corpus(seed: int = 0, utterances: int = 12, frames: int = 60) -> LabelledCorpus:
    rng = np.random.default_rng(seed)
    phones = {f"u{n}": rng.choice([*PHONES, ""], frames + n).tolist() for n in range(utterances)}
    return corpus_of(phones, {name: SPEAKERS[n % len(SPEAKERS)] for n, name in enumerate(phones)})


def random_codes(corpus: LabelledCorpus, units: int = 7, seed: int = 0) -> dict[str, np.ndarray]:
    """Each phone and each speaker prefers some units."""
    rng = np.random.default_rng(seed)
    codes = {}
    for utterance in corpus.splits["test"]:
        phones = [PHONES.index(segment.label) if segment.label else 0 for segment in corpus.phones[utterance.id]]
        shift = SPEAKERS.index(utterance.speaker) if utterance.speaker in SPEAKERS else 0
        noise = rng.integers(0, 3, len(phones))
        codes[utterance.id] = (2 * np.array(phones) + shift + noise) % units
    return codes


def measures_of(codes: Mapping[str, np.ndarray], corpus: LabelledCorpus, units: int = 7) -> dict[str, Measure]:
    lengths = {name: len(own) for name, own in codes.items()}
    labels = label_frames(corpus, lengths, frame_rate=50.0)
    return {measure.name: measure for measure in unit_measures(codes, labels, units=units, counts={})}


def values_of(codes: Mapping[str, np.ndarray], corpus: LabelledCorpus, units: int = 7) -> dict[str, float]:
    return {name: measure.value for name, measure in measures_of(codes, corpus, units).items()}


def frames_of(corpus: LabelledCorpus, codes: Mapping[str, np.ndarray], *, noise: float = 0.0) -> dict[str, Any]:
    """Frames that are a unit vector for each code."""
    rng = np.random.default_rng(0)
    rows = np.eye(8, dtype=np.float32)
    return {name: rows[own] + noise * rng.standard_normal((len(own), 8)) for name, own in codes.items()}


def phone_codes(corpus: LabelledCorpus) -> dict[str, np.ndarray]:
    number = {name: index for index, name in enumerate([*PHONES, ""])}
    return {name: np.array([number[segment.label] for segment in own]) for name, own in corpus.phones.items()}


def scores_of(task: Units, corpus: LabelledCorpus, store: GivenFrames, seeds: int = 1) -> dict[tuple, Score]:
    return {(s.measure.name, s.layer, s.condition): s for s in task.scores(corpus, store, seeds=seeds)}


# --- against loops --------------------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 2)), min_size=1, max_size=60),
    st.lists(st.lists(st.integers(0, 3), min_size=3, max_size=3), min_size=1, max_size=4),
)
def test_information_and_purities_are_those_of_a_loop_over_the_frames_that_were_drawn(
    frames: list[tuple[int, int, int]], weights: list[list[int]]
) -> None:
    """A frame is (phone, unit, group); a group of weight 2 is there twice, of weight 0 not at all."""
    labels, units, groups = map(np.array, zip(*frames, strict=True))
    counts = JointCounts.of(groups, labels, units, groups=3, labels=4, units=5)
    drawn = np.array(weights, dtype=np.float64)
    found = [figure(drawn) for figure in (counts.normalized_information, counts.label_purity, counts.unit_purity)]
    for draw, information, label_purity, unit_purity in zip(weights, *found, strict=True):
        pairs = [(label, unit) for label, unit, group in frames for _ in range(draw[group])]
        if not pairs:
            assert np.isnan([information, label_purity, unit_purity]).all()
            continue
        assert information == pytest.approx(oracle.normalized_information(pairs), abs=1e-9, nan_ok=True)
        assert label_purity == pytest.approx(oracle.purity(pairs), abs=1e-12)
        assert unit_purity == pytest.approx(oracle.purity([(unit, label) for label, unit in pairs]), abs=1e-12)


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4)), min_size=1, max_size=60),
    st.lists(st.integers(0, 3), min_size=3, max_size=3),
)
def test_speaker_information_is_that_of_a_loop_in_which_who_is_drawn_twice_is_two(
    frames: list[tuple[int, int]], weights: list[int]
) -> None:
    table = np.zeros((3, 5))
    for speaker, unit in frames:
        table[speaker, unit] += 1
    pairs = [((speaker, copy), unit) for speaker, unit in frames for copy in range(weights[speaker])]
    found = float(speaker_information(table)(np.array([weights], dtype=np.float64))[0])
    assert found == pytest.approx(oracle.normalized_information(pairs) if pairs else math.nan, abs=1e-9, nan_ok=True)


@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=20), min_size=1, max_size=5))
def test_bitrate_and_active_units_are_those_of_a_loop(utterances: list[list[int]]) -> None:
    corpus = corpus_of({f"u{n}": ["AA"] * len(own) for n, own in enumerate(utterances)}, {})
    values = values_of({f"u{n}": np.array(own) for n, own in enumerate(utterances)}, corpus, units=4)
    seconds = sum(map(len, utterances)) / 50
    assert values["bitrate"] == pytest.approx(oracle.bitrate(utterances, seconds), rel=1e-9, abs=1e-9)
    assert values["active units"] == len({unit for own in utterances for unit in own})


def test_bitrate_by_hand() -> None:
    """5 5 2 2 5 7 in 2 s is sent as 5 2 5 7: four units of 1.5 bits, 3 bits a second."""
    assert deduplicate(np.array([5, 5, 2, 2, 5, 7])).tolist() == [5, 2, 5, 7]
    assert bitrate(np.array([[0, 0, 1, 0, 0, 2, 0, 1.0]]), np.array([2.0]))(ONCE).tolist() == [pytest.approx(3.0)]
    assert active_units(np.array([[0, 3.0, 0], [0, 0, 1]]))(np.array([[1.0, 0], [1, 1], [0, 0]])).tolist() == [1, 2, 0]


some_units = st.lists(st.integers(0, 120), min_size=1, max_size=15)


@given(st.lists(st.tuples(some_units, some_units), min_size=1, max_size=4))
def test_unit_edit_distance_is_that_of_a_loop(pairs: list[tuple[list[int], list[int]]]) -> None:
    """Units are compared as units: 1 and 12 are one substitution apart, not an insertion."""
    corpus = corpus_of({f"u{n}": ["AA"] * len(after) for n, (_, after) in enumerate(pairs)}, {})
    clean, changed = ({f"u{n}": np.array(pair[side]) for n, pair in enumerate(pairs)} for side in (0, 1))
    labels = label_frames(corpus, {name: len(own) for name, own in changed.items()}, frame_rate=50.0)
    measure = unit_edit_distance(clean, changed, labels, counts={})
    assert measure.value == pytest.approx(oracle.unit_edit_distance(*zip(*pairs, strict=True)))
    assert measure.percent
    assert measure.better == "lower"
    assert measure.grouped_by == "utterance"


@given(
    st.lists(st.integers(0, 60), min_size=2, max_size=9, unique=True),
    st.sets(st.integers(0, 8)),
    st.sampled_from([50, 100, 75]),
)
def test_a_frame_has_the_label_that_holds_its_centre(bounds: list[int], gaps: set[int], frame_rate: int) -> None:
    """Centres often lie on a bound, when times are in hundredths and frames in fiftieths of a second."""
    times = [f"{bound // 100}.{bound % 100:02d}" for bound in sorted(bounds)]
    rows = [(start, end, f"p{n}") for n, (start, end) in enumerate(pairwise(times)) if n not in gaps]
    segments = [Segment("a", float(start), float(end), label) for start, end, label in rows]
    found = segment_at_frames(segments, frames=40, frame_rate=float(frame_rate)) if rows else []
    labels = [rows[index][2] if index >= 0 else None for index in found]
    assert labels == [oracle.label_at(rows, frame, frame_rate) for frame in range(40 if rows else 0)]


# --- what the figures must do ---------------------------------------------------------------------------------------


def test_units_that_are_phones_tell_all_of_phones_and_nothing_of_speakers() -> None:
    phones = {f"u{n}": PHONES * 5 for n in range(6)}
    corpus = corpus_of(phones, {name: SPEAKERS[n % 3] for n, name in enumerate(phones)})
    values = values_of(phone_codes(corpus), corpus)
    assert values["PNMI"] == pytest.approx(1.0)
    assert values["phone purity"] == values["cluster purity"] == 1.0
    assert values["SNMI"] == pytest.approx(0.0, abs=1e-12)
    assert values["active units"] == 4


def test_units_that_are_speakers_tell_all_of_speakers() -> None:
    corpus = random_corpus()
    codes = {name: np.full(len(own), int(name[1:]) % 3) for name, own in corpus.phones.items()}
    values = values_of(codes, corpus)
    assert values["SNMI"] == pytest.approx(1.0)
    assert values["PNMI"] < 0.02
    assert values["active units"] == 3


def test_a_single_unit_tells_nothing_and_needs_no_bits() -> None:
    corpus = random_corpus()
    measures = measures_of({name: np.zeros(len(own), dtype=int) for name, own in corpus.phones.items()}, corpus)
    values = {name: measure.value for name, measure in measures.items()}
    labels = [segment.label for own in corpus.phones.values() for segment in own if segment.label]
    assert values["PNMI"] == values["SNMI"] == values["bitrate"] == 0.0
    assert values["cluster purity"] == 1.0
    assert values["active units"] == 1
    assert values["phone purity"] == pytest.approx(max(map(labels.count, PHONES)) / len(labels))


def test_what_units_phones_and_speakers_are_called_and_their_order_do_not_matter() -> None:
    corpus = random_corpus()
    codes = random_codes(corpus)
    expected = values_of(codes, corpus)
    assert 0.05 < expected["PNMI"] < 0.95
    assert 0.01 < expected["SNMI"] < 0.95
    order = np.random.default_rng(1).permutation(7)
    assert values_of({name: order[own] for name, own in codes.items()}, corpus) == pytest.approx(expected)
    renamed = {
        name: [segment._replace(label={"AA": "SH", "SH": "x"}.get(segment.label, segment.label)) for segment in own]
        for name, own in corpus.phones.items()
    }
    assert values_of(codes, replace(corpus, phones=renamed)) == pytest.approx(expected)
    others = [
        replace(utterance, speaker={"kim": "zoe", "lee": "a"}.get(utterance.speaker, utterance.speaker))
        for utterance in reversed(corpus.splits["test"])
    ]
    backwards = dict(reversed(codes.items()))
    assert values_of(backwards, replace(corpus, splits={"test": others})) == pytest.approx(expected)


@pytest.mark.parametrize("weights", [(2, 1, 0), (1, 0, 1), (0, 3, 1)])
def test_resampling_is_recomputing_with_speakers_who_are_there_twice_or_not_at_all(weights: tuple[int, ...]) -> None:
    corpus = random_corpus()
    codes = random_codes(corpus)
    measures = measures_of(codes, corpus)
    copies, other_codes, other_phones = [], {}, {}
    for utterance in corpus.splits["test"]:
        for copy in range(weights[SPEAKERS.index(utterance.speaker)]):
            name = f"{utterance.id}-{copy}"
            copies.append(replace(utterance, id=name, speaker=f"{utterance.speaker}-{copy}"))
            other_codes[name], other_phones[name] = codes[utterance.id], corpus.phones[utterance.id]
    expected = values_of(other_codes, LabelledCorpus("drawn", {"test": copies}, phones=other_phones))
    drawn = np.array([weights], dtype=np.float64)
    assert measures["PNMI"].groups == tuple(SPEAKERS)
    for name, measure in measures.items():
        assert measure.of(drawn)[0] == pytest.approx(expected[name], rel=1e-9), name


def test_many_draws_at_once_are_the_draws_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    measures = measures_of(random_codes(corpus := random_corpus()), corpus)
    weights = np.random.default_rng(0).integers(0, 3, (50, 3)).astype(np.float64)
    expected = {name: [measure.of(row[None])[0] for row in weights] for name, measure in measures.items()}
    for entries in (1, 100, 10**6):
        monkeypatch.setattr("ssft.evaluation.unit_quality.information._ENTRIES", entries)
        for name, measure in measures.items():
            assert measure.of(weights) == pytest.approx(expected[name], nan_ok=True), name
    assert measures["PNMI"].of(np.zeros((0, 3))).shape == (0,)


# --- the task -------------------------------------------------------------------------------------------------------


def test_k_means_finds_phones_in_frames_that_are_phones_and_noise_changes_units() -> None:
    corpus = random_corpus()
    codes = phone_codes(corpus)
    store = GivenFrames(
        {
            ("test", 3, "clean"): frames_of(corpus, codes, noise=0.02),
            ("test", 3, "noise"): frames_of(corpus, codes, noise=0.6),
            ("test", 3, "same"): frames_of(corpus, codes, noise=0.02),
            ("test", 1, "clean"): frames_of(corpus, random_codes(corpus), noise=0.02),
        }
    )
    found = scores_of(Units(clusters=5), corpus, store, seeds=2)
    assert len(found["PNMI", 3, "clean"].measures) == 2
    assert found["PNMI", 3, "clean"].value == pytest.approx(1.0)
    assert found["PNMI", 1, "clean"].value < 0.9
    assert found["PNMI", 3, "noise"].value < 0.9
    assert found["unit edit distance", 3, "same"].value == 0.0 < found["unit edit distance", 3, "noise"].value
    assert not {(name, condition) for name, layer, condition in found if layer == 1 and condition != "clean"}
    assert ("unit edit distance", 3, "clean") not in found
    counts = found["PNMI", 3, "clean"].measure.counts
    frames = [segment.label for own in corpus.phones.values() for segment in own]
    assert counts["frames"] == sum(map(bool, frames))
    assert counts["frames of pauses"] == frames.count("")
    assert counts["frames of test that k-means was fitted to"] == min(len(frames), 5 * 256)
    assert {found[name, 3, "clean"].measure.grouped_by for name in ("PNMI", "SNMI", "bitrate")} == {"speaker"}
    interval = Bootstrap(replicates=50).interval(found["unit edit distance", 3, "noise"])
    assert 0 < interval.low <= interval.high


def test_k_means_is_fitted_to_train_where_there_is_one() -> None:
    """Its frames lie far from those of test, but for one, which all of them are nearest to."""
    corpus = random_corpus()
    corpus = replace(corpus, splits={**corpus.splits, "train": [Utterance("t", Path("t"), 2.0)]})
    frames = frames_of(corpus, phone_codes(corpus))
    apart = np.eye(4, 8) * [[0], [100], [200], [300]]
    store = one_layer({"test": frames, "train": {"t": np.repeat(apart, 24, axis=0)}})
    found = scores_of(Units(clusters=4), corpus, store)
    assert found["active units", 0, "clean"].value == 1
    assert found["PNMI", 0, "clean"].measure.counts["frames of train that k-means was fitted to"] == 96


def test_seeds_differ_and_repeat() -> None:
    corpus = random_corpus()
    store = one_layer({"test": frames_of(corpus, random_codes(corpus), noise=0.5)})
    first, again = (scores_of(Units(clusters=6), corpus, store, seeds=3)["PNMI", 0, "clean"] for _ in range(2))
    values = [measure.value for measure in first.measures]
    assert values == [measure.value for measure in again.measures]
    assert len(set(values)) > 1


def test_a_quantizer_from_a_file_is_used_at_its_own_layer(tmp_path: Path) -> None:
    corpus = random_corpus()
    frames = frames_of(corpus, phone_codes(corpus))
    store = GivenFrames({("test", layer, "clean"): frames for layer in (1, 2, 3)})
    centroids = torch.eye(8)[:6]
    for layer, measured in ((2, 2), (None, 3)):
        path = tmp_path / f"{layer}.safetensors"
        Quantizer(centroids, origin=Origin("tiny", layer=layer)).save(path)
        found = scores_of(Units(quantizer=str(path)), corpus, store, seeds=3)
        assert {layer for _, layer, _ in found} == {measured}
        score = found["PNMI", measured, "clean"]
        assert score.value == pytest.approx(1.0)
        assert len(score.measures) == 1
        assert score.measure.counts["units"] == 6


def test_removing_means_takes_out_what_an_utterance_has_in_common() -> None:
    corpus = random_corpus()
    voices = {name: SPEAKERS.index(who) for name, who in corpus.speakers().items()}
    frames = frames_of(corpus, phone_codes(corpus), noise=0.05)
    shifted = one_layer({"test": {name: own + 2.0 * voices[name] for name, own in frames.items()}})
    raw, removed = (scores_of(Units(clusters=5, mean_removed=switch), corpus, shifted) for switch in (False, True))
    assert removed["SNMI", 0, "clean"].value < 0.05 < 0.3 < raw["SNMI", 0, "clean"].value
    assert raw["PNMI", 0, "clean"].value < 0.7 < removed["PNMI", 0, "clean"].value


@pytest.mark.parametrize(
    ("quantizer", "said"),
    [
        (Quantizer(torch.eye(8), origin=Origin("tiny", layer=9)), "layer 9"),
        (Quantizer(torch.eye(5)), r"\[F, 5\], not \[\d+, 8\]"),
    ],
)
def test_a_quantizer_for_other_frames_is_refused(tmp_path: Path, quantizer: Quantizer, said: str) -> None:
    corpus = random_corpus()
    quantizer.save(tmp_path / "units.safetensors")
    store = one_layer({"test": frames_of(corpus, phone_codes(corpus))})
    with pytest.raises(DataError, match=said):
        scores_of(Units(quantizer=str(tmp_path / "units.safetensors")), corpus, store)


def test_settings_that_make_no_sense_are_refused() -> None:
    for settings_, said in (
        ({"clusters": 1}, "at least 2 clusters"),
        ({"max_hours": 0}, "some audio"),
        ({"quantizer": "units.safetensors", "mean_removed": True}, "mean_removed is for k-means"),
        ({"cluster": 5}, "clusters"),
    ):
        with pytest.raises(RecipeError, match=said):
            construct(Units, settings_, where="units")
    with pytest.raises(RunError, match="is not a run"):
        scores_of(Units(quantizer=str(Path(__file__).parent)), random_corpus(), one_layer({"test": {}}))
    with pytest.raises(DataError, match="does not exist"):
        scores_of(Units(quantizer="nowhere.safetensors"), random_corpus(), one_layer({"test": {}}))


# --- what users really have -----------------------------------------------------------------------------------------


def test_unknown_speakers_are_left_out_and_counted_if_others_are_known() -> None:
    corpus = random_corpus()
    test = [replace(u, speaker=("unknown", None, "")[n]) if n < 3 else u for n, u in enumerate(corpus.splits["test"])]
    mixed, kept = replace(corpus, splits={"test": test}), replace(corpus, splits={"test": test[3:]})
    codes = random_codes(corpus)
    found = measures_of(codes, mixed)
    assert found["PNMI"].counts["utterances of unknown speakers"] == 3
    known = {utterance.id for utterance in test[3:]}
    expected = values_of({name: own for name, own in codes.items() if name in known}, kept)
    assert {name: measure.value for name, measure in found.items()} == pytest.approx(expected)


def test_without_any_speaker_utterances_are_drawn_and_snmi_is_left_out() -> None:
    corpus = random_corpus()
    corpus = replace(corpus, splits={"test": [replace(u, speaker="unknown") for u in corpus.splits["test"]]})
    found = measures_of(random_codes(corpus), corpus)
    assert "SNMI" not in found
    assert found["PNMI"].grouped_by == "utterance"
    assert len(found["PNMI"].groups) == 12 == found["PNMI"].counts["utterances"]


def test_a_single_speaker_and_a_single_phone_are_no_numbers_and_not_shown_as_such() -> None:
    corpus = random_corpus()
    corpus = replace(corpus, splits={"test": [replace(u, speaker="kim") for u in corpus.splits["test"]]})
    found = measures_of(random_codes(corpus), corpus)
    assert "SNMI" not in found
    assert found["PNMI"].counts["speakers"] == 1
    assert found["PNMI"].value > 0
    corpus = corpus_of({"a": ["B"] * 9, "b": ["B"] * 9}, {"a": "kim", "b": "lee"})
    found = measures_of({"a": np.arange(9) % 3, "b": np.arange(9) % 2}, corpus)
    assert set(found) == {"SNMI", "bitrate", "active units"}
    assert found["SNMI"].counts["frames"] == 18
    assert found["SNMI"].counts["phones"] == 1


def test_without_phones_there_is_what_needs_none() -> None:
    corpus = corpus_of({"a": [], "b": [], "c": []}, {"a": "kim", "b": "lee", "c": "lee"})
    assert Units().obstacle(corpus) is None
    found = measures_of({name: np.arange(20) % (3 + number) for number, name in enumerate("abc")}, corpus)
    assert set(found) == {"SNMI", "bitrate", "active units"}
    assert found["SNMI"].counts["frames"] == 60


def test_alignments_past_the_end_and_missing_frames_are_left_out_and_counted() -> None:
    corpus = random_corpus()
    codes = random_codes(corpus)
    expected = values_of({name: own for name, own in codes.items() if name not in ("u0", "u1")}, corpus)
    shifted = [segment._replace(start=segment.start + 5, end=segment.end + 5) for segment in corpus.phones["u0"]]
    odd = replace(corpus, phones={**corpus.phones, "u0": shifted, "u2": corpus.phones["u2"]})
    codes.pop("u1")
    found = measures_of(codes, odd)
    counts = found["PNMI"].counts
    assert counts["utterances whose alignment goes on after their end"] == 1 == counts["utterances without frames"]
    assert found["PNMI"].value == pytest.approx(expected["PNMI"])
    # A frame or two less than seconds times frame rate is what encoders make.
    shorter = {name: own[:-2] for name, own in codes.items() if name != "u0"}
    assert "utterances whose alignment goes on after their end" not in measures_of(shorter, odd)["PNMI"].counts


def test_frames_outside_of_every_segment_are_counted() -> None:
    segments = {"a": [Segment("a", 0.02, 0.06, "B"), Segment("a", 0.08, 0.1, "SIL"), Segment("a", 0.1, 0.12, "K")]}
    corpus = LabelledCorpus("made", {"test": [Utterance("a", Path("a"), 0.2)]}, phones=segments)
    labels = label_frames(corpus, {"a": 10}, frame_rate=50.0)
    assert labels.phones["a"].tolist() == [-1, 0, 0, -1, -1, 1, -1, -1, -1, -1]
    assert labels.without_phones == {"frames outside of the alignment": 6, "frames of pauses": 1}
    assert labels.left_out == {}


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("split", ["train", "test"])
def test_frames_that_are_no_numbers_are_refused(value: float, split: str) -> None:
    corpus = random_corpus()
    frames = frames_of(corpus, phone_codes(corpus))
    broken = {**frames, "u3": np.full_like(frames["u3"], value)}
    corpus = replace(corpus, splits={**corpus.splits, "train": corpus.splits["test"]})
    store = one_layer({"train": frames, "test": frames, split: broken})
    with pytest.raises(DataError, match="'u3' contain NaN or infinity"):
        scores_of(Units(clusters=4), corpus, store)


def test_more_clusters_than_frames_and_no_frames_at_all_are_refused() -> None:
    corpus = corpus_of({"a": PHONES, "b": PHONES}, {"a": "kim", "b": "lee"})
    store = one_layer({"test": frames_of(corpus, phone_codes(corpus))})
    with pytest.raises(DataError, match="9 clusters need at least as many frames, but there are 8"):
        scores_of(Units(clusters=9), corpus, store)
    with pytest.raises(DataError, match="no utterance to test on has frames"):
        label_frames(corpus, {"other": 5}, frame_rate=50.0)


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_constant_frames_are_one_unit_that_tells_nothing() -> None:
    corpus = random_corpus()
    store = one_layer({"test": {name: np.full((len(own), 3), 0.7) for name, own in corpus.phones.items()}})
    found = scores_of(Units(clusters=5), corpus, store)
    assert found["PNMI", 0, "clean"].value == found["SNMI", 0, "clean"].value == found["bitrate", 0, "clean"].value == 0
    assert found["active units", 0, "clean"].value == 1


def test_real_units_tell_more_of_phones_than_random_ones(shared_speech: Path) -> None:
    """MFCC-like spectra of real speech: some of the phone, some of the speaker, less under noise."""
    import soundfile

    from ssft.evaluation.items import read_segments, read_table

    root = shared_speech / "speechocean762_train"
    rows = read_table(root / "manifest.tsv", ("path", "speaker", "duration_s", "split"))
    rows = [row for row in rows if row[3] == "dev"][::6]
    test = [Utterance(path, root / path, float(seconds), speaker=who) for path, who, seconds, _ in rows]
    phones: dict[str, list[Segment]] = {utterance.id: [] for utterance in test}
    for segment in read_segments(root / "alignments.tsv", "phone"):
        phones.get(segment.utterance, []).append(segment)
    corpus = LabelledCorpus("speechocean762 dev, part", {"test": test}, phones=phones)
    window = np.hanning(400)
    frames = {}
    for utterance in test:
        wave = soundfile.read(utterance.path)[0]
        cut = np.lib.stride_tricks.sliding_window_view(wave, 400)[::320] * window
        frames[utterance.id] = np.log(1e-4 + np.abs(np.fft.rfft(cut))[:, ::5])
    shuffled = {name: own[np.random.default_rng(0).permutation(len(own))] for name, own in frames.items()}
    store = GivenFrames({("test", 0, "clean"): frames, ("test", 1, "clean"): shuffled})
    found = scores_of(Units(clusters=30, frames_per_cluster=100), corpus, store)
    real, random = (found["PNMI", layer, "clean"] for layer in (0, 1))
    assert real.value > 0.1 > 0.06 > random.value
    assert found["SNMI", 0, "clean"].value > 0.05
    assert len(real.measure.groups) == 21
    assert real.measure.counts["frames of pauses"] > 0
