import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssft.components import construct
from ssft.errors import DataError, RecipeError
from ssft.evaluation.abx import Abx, Design, abx, speaker_abx
from ssft.evaluation.bootstrap import Bootstrap
from ssft.evaluation.corpus import LabelledCorpus
from ssft.evaluation.items import (
    Item,
    Segment,
    frame_span,
    phone_items,
    read_segments,
    read_table,
    triphone_items,
    word_items,
)
from ssft.evaluation.measure import Score
from ssft.types import Utterance
from tests.oracles import abx as oracle

MODES = ("within", "across")


def random_task(seed: int, discrete: bool = False) -> tuple[dict[str, np.ndarray], list[Item]]:
    """About thirty items of two contexts, three labels and three speakers, spread unevenly."""
    rng = np.random.default_rng(seed)
    features, items = {}, []
    for speaker, take in itertools.product(("s", "t", "u"), range(3)):
        name = f"{speaker}{take}"
        features[name] = np.eye(3)[rng.integers(0, 3, 60)] if discrete else rng.standard_normal((60, 4))
        for _ in range(int(rng.integers(2, 5))):
            onset, length = int(rng.integers(0, 100)), int(rng.integers(4, 13))
            label, context = "pqr"[rng.integers(0, 3)], (("x", "y"), ())[int(rng.random() < 0.3)]
            items.append(Item(name, onset / 100, (onset + length) / 100, label, context, speaker))
    return features, sorted(set(items))


def grid(labels: int = 3, speakers: int = 3, takes: int = 2, frames: int = 10) -> list[Item]:
    """Every speaker says every label as often, each in its own utterance."""
    return [
        Item(f"{s}-{w}-{n}", 0.0, frames / 50, f"w{w}", (), f"s{s}")
        for s, w, n in itertools.product(range(speakers), range(labels), range(takes))
    ]


def noise(items: list[Item], frames: int = 10, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal((frames, 8)) for name in sorted({item.utterance for item in items})}


@settings(max_examples=12, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.booleans(), st.sampled_from(MODES))
def test_agrees_with_loops_over_all_triples(seed, discrete, speaker):
    features, items = random_task(seed, discrete)
    expected = oracle.abx(features, [dataclasses.astuple(item) for item in items], speaker)
    if not expected:
        with pytest.raises(DataError, match="nothing to compare"):
            abx(features, items, speaker=speaker)
        return
    result = abx(features, items, speaker=speaker, max_group=100, max_x_speakers=None)
    assert result.label_pairs.keys() == expected.keys()
    assert result.label_pairs == pytest.approx(expected, abs=1e-12)
    assert result.error == pytest.approx(sum(expected.values()) / len(expected), abs=1e-12)


@pytest.mark.parametrize("speaker", MODES)
def test_perfect_constant_and_random_features(speaker):
    items = grid(labels=6, speakers=4)
    perfect = {item.utterance: np.tile(np.eye(6)[int(item.label[1:])], (10, 1)) for item in items}
    assert abx(perfect, items, speaker=speaker).error == 0
    constant = {item.utterance: np.full((10, 192), 0.3, dtype=np.float32) for item in items}
    assert abx(constant, items, speaker=speaker).error == 0.5
    # 48 items as X, each against 5 other labels: a standard error of about 0.5 / sqrt(240) = 0.03.
    assert abx(noise(items), items, speaker=speaker).error == pytest.approx(0.5, abs=0.06)


def test_counts_cells_items_and_label_pairs():
    items = grid(labels=3, speakers=3, takes=2)
    across, within = (abx(noise(items), items, speaker=speaker) for speaker in ("across", "within"))
    assert (across.cells, across.items, across.dropped) == (3 * 2 * 3 * 2, 18, 0)
    assert within.cells == 3 * 2 * 3
    assert set(across.label_pairs) == set(itertools.permutations(["w0", "w1", "w2"], 2))
    assert across.error == pytest.approx(np.mean(list(across.label_pairs.values())))


def test_contexts_then_speakers_then_labels_weigh_alike():
    # Of p against q: right in one context with many items, wrong in another with few. The mean is 1/2, not 1/5.
    features = {"right": np.eye(2).repeat(10, 0), "wrong": np.eye(2)[::-1].repeat(10, 0)}
    items = []
    for speaker in "st":
        features |= {name + speaker: value for name, value in list(features.items()) if len(name) == 5}
        for shift in range(4):
            for label, onset in (("p", 0.0), ("q", 0.2)):
                on = onset + shift * 0.02
                items.append(Item("right" + speaker, on, on + 0.1, label, ("many",), speaker))
        side = "right" if speaker == "s" else "wrong"
        items += [
            Item(side + speaker, on, on + 0.1, label, ("few",), speaker) for label, on in (("p", 0.0), ("q", 0.2))
        ]
    result = abx(features, items, speaker="across")
    assert result.label_pairs == {("p", "q"): 0.5, ("q", "p"): 0.5}


@pytest.mark.parametrize("speaker", MODES)
def test_invariances(speaker):
    features, items = random_task(7)
    expected = abx(features, items, speaker=speaker)
    shuffled = [items[i] for i in np.random.default_rng(0).permutation(len(items))]
    assert abx(features, [*shuffled, items[0]], speaker=speaker) == expected
    assert abx(dict(reversed(features.items())), items, speaker=speaker) == expected
    names = {"s": "zoe", "t": "kim", "u": "abe"}
    renamed = [dataclasses.replace(item, speaker=names[item.speaker]) for item in items]
    assert abx(features, renamed, speaker=speaker).label_pairs == pytest.approx(expected.label_pairs, abs=1e-12)
    assert abx({name: 0.01 * value for name, value in features.items()}, items, speaker=speaker) == expected
    rotation = np.linalg.qr(np.random.default_rng(1).standard_normal((4, 4)))[0]
    assert abx({name: value @ rotation for name, value in features.items()}, items, speaker=speaker) == expected
    tensors = {name: torch.from_numpy(value).requires_grad_() for name, value in features.items()}
    assert abx(tensors, items, speaker=speaker).error == pytest.approx(expected.error, abs=1e-12)


@pytest.mark.parametrize("speaker", MODES)
def test_threads_change_nothing(speaker):
    items = grid(labels=8, speakers=5, takes=3)
    features = noise(items)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(abx(features, items, speaker=speaker))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize(("a", "x", "expected"), [("1", "2", 1.0), ("2", "1", 0.0)])
@pytest.mark.parametrize("speakers", ["st", "ts"])
def test_x_is_the_first_sequence_whatever_the_speakers_are_called(a, x, expected, speakers):
    # Several best paths of different lengths: A is 1/6 from X if X is the short one, else 1/7. B is 0.15 from X.
    unit = np.eye(4)
    features = {"1": unit[[0, 0, 0, 2, 0, 1]], "2": unit[[0, 1, 0]]}
    features["b"] = np.cos(0.15 * np.pi) * features[x] + np.sin(0.15 * np.pi) * unit[3]
    who = {a: speakers[0], "b": speakers[0], x: speakers[1]}
    items = [Item(u, 0.0, len(v) / 50, "q" if u == "b" else "p", (), who[u]) for u, v in features.items()]
    assert abx(features, items, speaker="across").error == expected


def test_subsampling_is_bounded_repeatable_and_independent_of_order():
    items = grid(labels=3, speakers=4, takes=6)
    features = noise(items)
    few = abx(features, items, speaker="across", max_group=2, max_x_speakers=1)
    assert (few.cells, few.items) == (3 * 2 * 4, 3 * 4 * 2)
    assert abx(features, items[::-1], speaker="across", max_group=2, max_x_speakers=1) == few
    assert abx(features, items, speaker="across", max_group=2, max_x_speakers=1, seed=1) != few
    # A draw has nothing to do with what else there is.
    fewer = [item for item in items if item.label != "w2"]
    part = abx(features, fewer, speaker="across", max_group=2, max_x_speakers=1)
    assert part.label_pairs == {pair: few.label_pairs[pair] for pair in part.label_pairs}
    assert abx(features, items, speaker="across", max_group=6, max_x_speakers=3) == abx(
        features, items, speaker="across", max_group=99, max_x_speakers=None
    )


@pytest.mark.parametrize("speaker", MODES)
@pytest.mark.parametrize("seed", [2, 7])
def test_the_measure_is_the_error_drawn_again_over_speakers(speaker, seed):
    features, items = random_task(seed)
    result = abx(features, items, speaker=speaker, max_group=100, max_x_speakers=None)
    measure = result.measure(f"phone ABX {speaker}", forgotten=3, nothing=0)
    assert measure.value == pytest.approx(result.error, abs=1e-12)
    assert (measure.better, measure.percent, measure.grouped_by) == ("lower", True, "speaker")
    assert measure.groups == ("s", "t", "u")
    assert measure.counts == {
        "items": result.items,
        "cells": result.cells,
        "pairs of labels": len(result.label_pairs),
        "forgotten": 3,
    }

    errors = oracle.cell_errors(features, [dataclasses.astuple(item) for item in items], speaker)
    weights = np.array([*itertools.product(range(3), repeat=3)] * 12, dtype=float)  # more draws than are taken at once
    expected = []
    for row in weights:
        pairs = oracle.label_pairs(errors, dict(zip(measure.groups, row, strict=True)))
        expected.append(np.mean(list(pairs.values())) if pairs else np.nan)
    np.testing.assert_allclose(measure.of(weights), expected, atol=1e-12)
    assert np.isnan(expected).any()


@pytest.mark.parametrize("speaker", MODES)
def test_a_speaker_of_no_weight_might_as_well_not_be_there(speaker):
    features, items = random_task(7)
    everything = {"speaker": speaker, "max_group": 100, "max_x_speakers": None}
    measure = abx(features, items, **everything).measure("")
    for index, name in enumerate(measure.groups):
        weights = np.ones((1, 3))
        weights[0, index] = 0
        others = [item for item in items if item.speaker != name]
        assert measure.of(weights)[0] == pytest.approx(abx(features, others, **everything).error, abs=1e-12)


def test_who_is_in_no_cell_is_not_drawn():
    items = grid(labels=2, speakers=3)
    lonely = Item(items[0].utterance, 0.0, 0.1, "elsewhere", (), "zoe")
    assert abx(noise(items), [*items, lonely], speaker="across").measure("").groups == ("s0", "s1", "s2")


def test_the_interval_of_noise_is_around_a_half():
    items = grid(labels=6, speakers=8)
    interval = Bootstrap().interval(
        Score("abx", 0, "clean", (abx(noise(items), items, speaker="across").measure("ABX"),))
    )
    assert interval.low < interval.value < interval.high
    assert interval.low < 0.5 < interval.high


def test_speaker_abx_asks_who_speaks():
    items = grid(labels=3, speakers=4, takes=3)
    voice = {item.utterance: np.tile(np.eye(4)[int(item.speaker[1:])], (10, 1)) for item in items}
    words = {item.utterance: np.tile(np.eye(4)[int(item.label[1:])], (10, 1)) for item in items}
    assert speaker_abx(voice, items).error == 0
    assert speaker_abx(words, items).error == 0.5
    assert speaker_abx(noise(items), items).error == pytest.approx(0.5, abs=0.06)
    result = speaker_abx(voice, items)
    assert set(result.label_pairs) == set(itertools.permutations(["s0", "s1", "s2", "s3"], 2))
    assert (result.cells, result.items) == (3 * 4 * 3, 36)
    with pytest.raises(DataError, match="nothing to compare"):
        speaker_abx(voice, grid(takes=1))


def test_speaker_abx_is_abx_with_speakers_as_labels():
    features, items = random_task(3)
    result = speaker_abx(features, items, max_group=100)
    relabelled = [(i.utterance, i.onset, i.offset, i.speaker, (i.label, *i.context), "") for i in items]
    expected = oracle.abx(features, relabelled, "within")
    assert result.label_pairs == pytest.approx(expected, abs=1e-12)
    measure = result.measure("speaker ABX")
    assert (measure.better, measure.groups) == ("higher", ("s", "t", "u"))
    assert measure.value == pytest.approx(result.error, abs=1e-12)
    above, below = 2 * expected["s", "u"] + 2 * expected["u", "s"], 4
    assert measure.of(np.array([[2.0, 0.0, 1.0]]))[0] == pytest.approx(above / below, abs=1e-12)
    assert np.isnan(measure.of(np.array([[3.0, 0.0, 0.0]]))[0])


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 300), st.integers(1, 100), st.sampled_from([50, 100]))
def test_frames_are_those_whose_centre_is_inside(onset, length, frame_rate):
    item = Item("a", onset / 100, (onset + length) / 100, "p", (), "s")
    inside = oracle.frames_inside(str(item.onset), str(item.offset), frame_rate, 500)
    assert list(frame_span(item, frame_rate, 500)) == inside


@pytest.mark.parametrize(
    ("onset", "offset", "expected"),
    [
        (0.0, 0.01, [0]),  # the centre of frame 0, at 10 ms, is the end of the item
        (0.01, 0.03, [0, 1]),
        (0.011, 0.029, []),
        (0.02, 0.06, [1, 2]),
        (0.15, 0.20, [7, 8, 9]),
        (0.15, 0.24, [7, 8, 9]),  # two frames more than there are: cut
        (0.15, 0.25, []),  # three
        (0.20, 0.22, []),
        (5.0, 6.0, []),
    ],
)
def test_slicing_by_hand(onset, offset, expected):
    assert list(frame_span(Item("a", onset, offset, "p", (), "s"), 50.0, 10)) == expected


def test_items_without_frames_are_dropped_and_counted():
    items = grid()
    features = noise(items)
    name = items[0].utterance
    bad = [Item(name, 0.011, 0.012, "w0", (), "s0"), Item(name, 0.1, 9.0, "w0", (), "s0")]
    good, both = abx(features, items, speaker="across"), abx(features, items + bad, speaker="across")
    assert both == dataclasses.replace(good, dropped=2)


@pytest.mark.parametrize(
    ("speaker", "items", "message"),
    [
        ("across", grid(speakers=1), "two speakers.*6 items.*3 labels, 1 speakers"),
        ("across", grid(labels=1), "another label too.*1 labels"),
        ("within", grid(takes=1), "one label twice"),
        ("across", [dataclasses.replace(item, context=(item.label,)) for item in grid()], "one context"),
        ("within", [], "0 items"),
    ],
)
def test_says_what_is_missing(speaker, items, message):
    with pytest.raises(DataError, match=message):
        abx(noise(items), items, speaker=speaker)


def test_refuses_bad_features_and_options():
    items = grid()
    features = noise(items)
    first = items[0].utterance
    for value, message in [
        (np.full((10, 8), np.nan), "NaN"),
        (np.ones(10), r"\[F, 8\]"),
        (np.ones((10, 3)), r"\[F, 8\]"),
    ]:
        with pytest.raises(DataError, match=message):
            abx({**features, items[-1].utterance: value}, items, speaker="across")
    with pytest.raises(DataError, match=f"no features of {first}"):
        abx({name: value for name, value in features.items() if name != first}, items, speaker="across")
    for options in ({"speaker": "any"}, {"max_group": 0}, {"max_x_speakers": 0}, {"frame_rate": 0.0}):
        with pytest.raises(ValueError, match="must be"):
            abx(features, items, **{"speaker": "across", **options})


def test_a_design_is_for_frames_of_one_layout():
    items = grid()
    features = noise(items)
    design = Design(items, {name: len(frames) for name, frames in features.items()}, speaker="across")
    assert design.measure(features) == abx(features, items, speaker="across")
    shorter = {name: frames[:-1] for name, frames in features.items()}
    with pytest.raises(DataError, match="has 9 frames, but the items were laid out for 10"):
        design.measure(shorter)


@dataclasses.dataclass
class Store:
    """Frames as they are, the same in every layer and condition but for noise."""

    values: dict[str, np.ndarray]
    name: str = "test"
    layers: tuple[int, ...] = (0, 3)
    conditions: tuple[str, ...] = ("clean", "noisy")
    rates: dict[int, float] = dataclasses.field(default_factory=dict)

    def layers_in(self, condition):
        return self.layers if condition == "clean" else self.layers[-1:]

    def frame_rate(self, layer):
        return self.rates.get(layer, 50.0)

    def frames(self, split="test", *, layer, condition="clean"):
        rng = np.random.default_rng([layer, len(condition)])
        repeats = round(self.frame_rate(layer) / 50)
        return {
            name: value.repeat(repeats, 0) + 0.1 * rng.standard_normal((len(value) * repeats, value.shape[1]))
            for name, value in self.values.items()
        }


def corpus(words=("ab", "ba", "aba", "bab"), speakers=("kim", "lee", "unknown"), takes=2, **more):
    """Every speaker says every word as often; a word is its phones, of 0.1 s, between pauses. With perfect frames."""
    utterances, phones, spoken, values = [], {}, {}, {}
    for speaker, word, take in itertools.product(speakers, words, range(takes)):
        name = f"{speaker}-{word}-{take}"
        own = f".{word}."
        utterances.append(Utterance(name, Path(name), len(own) / 10, speaker=speaker))
        phones[name] = [
            Segment(name, i / 10, (i + 1) / 10, "SIL" if letter == "." else letter) for i, letter in enumerate(own)
        ]
        spoken[name] = [Segment(name, 0.1, (len(own) - 1) / 10, word)]
        values[name] = np.eye(3)[[".ab".index(letter) for letter in own]].repeat(5, 0)
    return LabelledCorpus("toy", {"test": utterances}, phones=phones, words=spoken, **more), Store(values)


def scores(task, corpus, store):
    return {(score.measure.name, score.layer, score.condition): score for score in task.scores(corpus, store)}


def test_the_task_measures_every_level_layer_and_condition():
    toy, store = corpus()
    found = scores(Abx(), toy, store)
    places = [(0, "clean"), (3, "clean"), (3, "noisy")]
    # "aba" and "bab" have no context in common: there are triphones, but none to compare.
    assert Abx(level="triphone").obstacle(toy) is None
    names = [f"phone ABX {mode} (any context)" for mode in MODES] + [f"word ABX {mode}" for mode in MODES]
    assert list(found) == [(name, *place) for place in places for name in names]
    for (name, *_), score in found.items():
        assert score.task == "abx"
        assert score.value == pytest.approx(0, abs=0.05), name
        counts = score.measure.counts
        assert counts["items of unknown speakers"] == (8 if "word" in name else 20)
        assert counts["items that triphone ABX across was not measured on, for want of pairs"] == 8


def test_phones_in_any_context_only_where_triphones_are_too_few():
    toy, store = corpus(words=("aaa", "aba", "bab", "bbb"))
    names = {name for name, *_ in scores(Abx(), toy, store)}
    assert "triphone ABX across" in names
    assert not any("any context" in name for name in names)
    asked = {name for name, *_ in scores(Abx(level="phone"), toy, store)}
    assert asked == {"phone ABX within (any context)", "phone ABX across (any context)"}


def test_one_speaker_has_no_across():
    toy, store = corpus(speakers=("kim",))
    found = scores(Abx(level="word"), toy, store)
    assert {name for name, *_ in found} == {"word ABX within"}
    assert found["word ABX within", 0, "clean"].measure.counts == {
        "items": 8,
        "cells": 12,
        "pairs of labels": 12,
        "items that word ABX across was not measured on, for want of pairs": 8,
    }


def test_the_task_says_what_is_lacking():
    toy, _ = corpus()
    nobody, _ = corpus(speakers=("unknown",))
    assert "does not say who speaks" in Abx().obstacle(nobody)
    assert Abx().obstacle(toy) is None
    assert "item files" in Abx(level="items").obstacle(toy)
    bare = dataclasses.replace(toy, phones={}, words={})
    assert Abx().obstacle(bare) == "It has no item files or phones with times or words with times."
    assert Abx(level="word").obstacle(dataclasses.replace(toy, phones={})) is None
    with pytest.raises(DataError, match=r"word ABX within: There is nothing to compare.*\nword ABX across: There"):
        scores(Abx(level="word"), *corpus(words=("ab",)))


def test_items_from_files_take_the_place_of_triphones():
    toy, store = corpus()
    items = [
        Item(u.id, 0.1, 0.2, u.id.split("-")[1][0], (), u.speaker) for u in toy.splits["test"] if u.speaker != "unknown"
    ]
    elsewhere = Item("not-here", 0.0, 0.1, "a", (), "kim")
    toy = dataclasses.replace(toy, items={"dev-toy": [*items, elsewhere]})
    found = scores(Abx(), toy, store)
    assert {name for name, *_ in found} == {
        "dev-toy ABX within",
        "dev-toy ABX across",
        "word ABX within",
        "word ABX across",
    }
    counts = found["dev-toy ABX across", 3, "noisy"].measure.counts
    assert (counts["items"], counts["items in recordings without frames"]) == (16, 1)
    assert {name for name, *_ in scores(Abx(level="items"), toy, store)} == {"dev-toy ABX within", "dev-toy ABX across"}


def test_frames_of_other_rates_and_missing_recordings():
    toy, store = corpus()
    missing = store.values.pop("kim-ab-0")
    assert len(missing) == 20
    store.rates = {3: 100.0}
    found = scores(Abx(level="word", max_x_speakers=None), toy, store)
    for score in found.values():
        assert score.measure.counts["items in recordings without frames"] == 1
        assert score.measure.counts["items"] == 15
        assert score.value == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"level": "words"}, "'word'"),
        ({"max_group": 1}, "at least 2"),
        ({"max_x_speakers": 0}, "at least 1, or null"),
        ({"min_word_seconds": -1}, "0 or more"),
    ],
)
def test_the_task_refuses_bad_settings(settings, message):
    with pytest.raises(RecipeError, match=message):
        construct(Abx, settings, where="abx")


def test_words():
    words = [
        Segment("a", 0.0, 0.1, "the"),
        Segment("a", 0.55, 0.75, "cat"),
        Segment("b", 0, 1, "dog"),
        Segment("c", 0, 1, "x"),
    ]
    items, without_speaker = word_items(words, {"a": "kim", "b": "unknown"})
    assert items == [Item("a", 0.55, 0.75, "cat", (), "kim")]
    assert without_speaker == 2
    assert len(word_items(words, {"a": "kim"}, min_seconds=0).items) == 2


def test_phones_and_triphones():
    labels = ["SIL", "B", "AE", "G", "Z", "SIL", "K"]
    phones = [Segment("a", i / 10, (i + 1) / 10, label) for i, label in enumerate(labels)]
    phones += [Segment("b", 0.0, 0.1, "B"), Segment("b", 0.1, 0.2, "AE"), Segment("b", 0.25, 0.3, "G")]  # a gap
    expected = [Item("a", 0.1, 0.4, "AE", ("B", "G"), "kim"), Item("a", 0.2, 0.5, "G", ("AE", "Z"), "kim")]
    speakers = {"a": "kim", "b": "kim"}
    assert triphone_items(phones[::-1], speakers) == (expected, 0)
    assert triphone_items(phones, {"b": "kim"}) == ([], 2)
    assert [item.label for item in phone_items(phones, {"a": "kim"}).items] == ["B", "AE", "G", "Z", "K"]
    assert phone_items(phones, {"a": "kim"}).without_speaker == 3
    assert [item.label for item in triphone_items(phones, speakers, pauses={"AE"}).items] == ["Z", "SIL"]


def test_reads_tables_by_column_name(tmp_path):
    path = tmp_path / "words.tsv"
    path.write_text("word\tpath\tend_s\tstart_s\nwe\ta.flac\t0.92\t0.55\n", encoding="utf-8")
    assert read_segments(path, "word") == [Segment("a.flac", 0.55, 0.92, "we")]
    assert dict(read_table(path, ("path", "word"))) == {"a.flac": "we"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: no column 'path'"),
        ("path\tstart_s\tend_s\n", "line 1: no column 'word'"),
        ("path\tstart_s\tend_s\tword\na\t0\t1\tx\na\t0\t1\n", "line 3: 3 columns"),
        ("path\tstart_s\tend_s\tword\na\t0\tx\tw\n", "line 2: '0' or 'x'"),
        ("path\tstart_s\tend_s\tword\na\t2\t1\tw\n", "line 2: a segment from 2 to 1"),
        ("path\tstart_s\tend_s\tword\na\tnan\t1\tw\n", "line 2: a segment from nan"),
    ],
)
def test_table_errors_name_file_and_line(tmp_path, text, message):
    path = tmp_path / "words.tsv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=rf"words\.tsv, {message}"):
        read_segments(path, "word")


def test_missing_file(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_table(tmp_path / "none.tsv", ("path",))


def test_items_must_last():
    with pytest.raises(DataError, match="ends before it begins"):
        Item("a", 1.0, 1.0, "p", (), "s")
