import dataclasses
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssft.errors import DataError
from ssft.evaluation.bootstrap import Bootstrap
from ssft.evaluation.corpus import LabelledCorpus
from ssft.evaluation.items import Segment
from ssft.evaluation.search import (
    Matches,
    QueryByExample,
    across_speakers,
    average_precision,
    make_search_task,
    match,
    search_measures,
)
from ssft.evaluation.search_task import Query, SearchTask
from ssft.types import Utterance
from tests.oracles import mtwv as oracle

RATE = 50.0
WORD_SECONDS = 0.32
BETA = 12.49


@dataclasses.dataclass
class Store:
    """Frames by (split, layer, condition)."""

    given: dict
    name: str = "made up"

    @property
    def layers(self):
        return sorted({layer for _, layer, _ in self.given})

    @property
    def conditions(self):
        return list(dict.fromkeys(condition for _, _, condition in self.given))

    def layers_in(self, condition):
        return sorted({layer for _, layer, own in self.given if own == condition})

    def frames(self, split="test", *, layer, condition="clean"):
        return self.given[split, layer, condition]

    def frame_rate(self, layer):
        return RATE

    def describe(self):
        return {}


def made_corpus(count: int = 40, vocabulary: int = 12, speakers: int = 4, seed: int = 0, **more) -> LabelledCorpus:
    """Utterances of three different words, each 16 frames long."""
    rng = np.random.default_rng(seed)
    utterances, words = [], {}
    for number in range(count):
        name = f"u{number:02d}"
        chosen = rng.permutation(vocabulary)[:3]
        words[name] = [
            Segment(name, i * WORD_SECONDS, (i + 1) * WORD_SECONDS, f"word{word}") for i, word in enumerate(chosen)
        ]
        speaker = f"s{number % speakers}" if speakers else None
        utterances.append(Utterance(name, f"/{name}.wav", 3 * WORD_SECONDS, speaker=speaker))
    return LabelledCorpus("made up", {"test": utterances}, words=words, **more)


def perfect_frames(corpus: LabelledCorpus) -> dict:
    """16 frames of every word, the same whoever says it."""
    frames = {}
    for name, words in corpus.words.items():
        parts = [
            np.random.default_rng(int(word.label.removeprefix("word"))).standard_normal((16, 24)) for word in words
        ]
        frames[name] = np.concatenate(parts).astype(np.float32)
    return frames


def random_frames(corpus: LabelledCorpus, seed: int = 0, dim: int = 24) -> dict:
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal((48, dim)).astype(np.float32) for name in corpus.words}


def noisy_frames(corpus: LabelledCorpus, noise: float = 2.0) -> dict:
    perfect, other = perfect_frames(corpus), random_frames(corpus)
    return {name: perfect[name] + np.float32(noise) * other[name] for name in perfect}


def measured(corpus: LabelledCorpus, frames: dict, **settings) -> dict:
    store = Store({("test", 0, "clean"): frames})
    return {score.measure.name: score.measure for score in QueryByExample(**settings).scores(corpus, store)}


def a_search(scores: np.ndarray, hits: np.ndarray, speakers: list[str | None]) -> tuple:
    """A search whose query q finds document d with the score [q, d], and its matches."""
    queries, documents = len(scores), scores.shape[1]
    search = SearchTask(
        name="given",
        queries=[Query(f"q{q}", f"t{q}", "u", speaker=speakers[q]) for q in range(queries)],
        documents=[f"d{d}" for d in range(documents)],
        relevant={f"t{q}": frozenset(f"d{d}" for d in np.flatnonzero(hits[q])) for q in range(queries)},
    )
    rows, columns = ({f"{kind}{i}": i for i in range(n)} for kind, n in (("q", queries), ("d", documents)))
    return search, Matches(rows, columns, -scores.astype(np.float32), {})


# Measures


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=3), st.lists(st.integers(0, 3), min_size=1, max_size=4))
def test_average_precision_is_the_mean_over_all_orders_of_ties(hits, others):
    found = average_precision(np.array(hits, float), np.array(others, float))
    assert found == pytest.approx(oracle.average_precision(hits, others), abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_measures_agree_with_brute_force(seed):
    rng = np.random.default_rng(seed)
    queries, documents = int(rng.integers(1, 5)), int(rng.integers(3, 7))
    # Few different scores, so that there are ties within queries and between them.
    scores = rng.integers(0, 4, (queries, documents)).astype(float)
    hits = rng.random((queries, documents)) < 0.4
    hits[:, 0], hits[:, 1] = True, False
    beta = float(rng.choice([0.1, 1.0, BETA]))
    speakers = [f"s{q % 2}" for q in range(queries)]
    mtwv, mean_precision = search_measures(*a_search(scores, hits, speakers), beta=beta)

    trials = []
    for row, own in zip(scores, hits, strict=True):
        standard = np.round((row - row.mean()) / max(row.std(), 1e-9), 4)
        trials.append((standard[own].tolist(), standard[~own].tolist()))
    assert mtwv.value == pytest.approx(oracle.mtwv(trials, beta), abs=1e-12)
    precisions = [oracle.average_precision(*trial) for trial in trials]
    assert mean_precision.value == pytest.approx(np.mean(precisions), abs=1e-12)

    # A speaker of weight n is as if all of theirs were there n times.
    assert mtwv.groups == mean_precision.groups == tuple(sorted(set(speakers)))
    weights = rng.integers(0, 3, (4, len(mtwv.groups))).astype(float)
    by_weight = dict(zip(mtwv.groups, weights.T, strict=True))
    for r in range(len(weights)):
        drawn = [q for q in range(queries) for _ in range(int(by_weight[speakers[q]][r]))]
        if drawn:
            assert mtwv.of(weights)[r] == pytest.approx(oracle.mtwv([trials[q] for q in drawn], beta), abs=1e-12)
            assert mean_precision.of(weights)[r] == pytest.approx(np.mean([precisions[q] for q in drawn]), abs=1e-12)
        else:
            assert math.isnan(mtwv.of(weights)[r])
            assert math.isnan(mean_precision.of(weights)[r])


def test_thresholds_are_many_blocks_of_one_result(monkeypatch):
    rng = np.random.default_rng(0)
    given = a_search(rng.standard_normal((6, 30)), rng.random((6, 30)) < 0.3, [None] * 6)
    weights = rng.integers(0, 3, (50, 6)).astype(float)
    whole = search_measures(*given, beta=0.5)[0].of(weights)
    monkeypatch.setattr("ssft.evaluation.search.measures.THRESHOLDS_AT_ONCE", 5)
    np.testing.assert_array_equal(search_measures(*given, beta=0.5)[0].of(weights), whole)


def test_the_speakers_of_queries_are_drawn_again_if_all_are_known_else_queries():
    scores, hits = np.random.default_rng(1).random((4, 5)), np.eye(4, 5, dtype=bool)
    by_speaker = search_measures(*a_search(scores, hits, ["kim", "lee", "kim", "lee"]), beta=BETA)
    by_query = search_measures(*a_search(scores, hits, ["kim", "lee", None, "lee"]), beta=BETA)
    assert [(m.grouped_by, m.groups) for m in by_speaker] == [("speaker", ("kim", "lee"))] * 2
    assert [(m.grouped_by, m.groups) for m in by_query] == [("query", ("q0", "q1", "q2", "q3"))] * 2
    assert [m.value for m in by_speaker] == pytest.approx([m.value for m in by_query])


def test_queries_without_a_hit_or_with_nothing_else_tell_nothing():
    scores = np.random.default_rng(2).random((3, 4))
    hits = np.array([[0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 0, 0]], dtype=bool)
    mtwv, _ = search_measures(*a_search(scores, hits, ["kim"] * 3), beta=BETA)
    assert mtwv.counts == {
        "queries": 1,
        "terms": 1,
        "documents": 4,
        "queries that no document answers": 1,
        "queries that every document answers": 1,
    }
    assert search_measures(*a_search(scores[:2], hits[:2], ["kim"] * 2), beta=BETA) == []


# The whole task


def test_perfect_frames_find_everything():
    corpus = made_corpus()
    found = measured(corpus, perfect_frames(corpus))
    assert set(found) == {"MTWV", "MAP", "MTWV across", "MAP across"}
    assert [measure.value for measure in found.values()] == pytest.approx([1.0] * 4)
    assert all(measure.better == "higher" and measure.percent for measure in found.values())


def test_random_frames_find_what_chance_finds():
    corpus = made_corpus(count=60)
    found = measured(corpus, random_frames(corpus))["MAP"]
    search = make_search_task(corpus)
    chance = []
    for query in search.queries:
        hits = len(search.relevant[query.term] - query.excluded)
        chance.append(average_precision(np.zeros(hits), np.zeros(len(search.documents) - 1 - hits)))
    assert len(chance) == 150
    assert found.value == pytest.approx(np.mean(chance), abs=0.05)
    assert np.mean(chance) < 0.35


def test_what_makes_words_hard_to_find_lowers_both_measures():
    corpus = made_corpus()
    values = [
        [measure.value for measure in measured(corpus, noisy_frames(corpus, noise)).values()] for noise in (0.5, 2, 8)
    ]
    assert (np.diff(values, axis=0) < 0).all()


def test_order_scale_and_names_of_speakers_change_nothing():
    corpus = made_corpus()
    frames = noisy_frames(corpus)

    def values(corpus: LabelledCorpus, frames: dict) -> dict:
        return {name: measure.value for name, measure in measured(corpus, frames, max_queries=40).items()}

    expected = values(corpus, frames)

    reversed_ = dataclasses.replace(corpus, splits={"test": corpus.splits["test"][::-1]})
    assert values(reversed_, frames) == pytest.approx(expected, abs=1e-6)

    scaled = {name: own * np.float32(1000) + np.float32(5) for name, own in frames.items()}
    assert values(corpus, scaled) == pytest.approx(expected, abs=2e-3)

    # Which speaker goes by which name decides nothing, not even which queries are drawn.
    names = {"s0": "z", "s1": "a"}
    renamed = [dataclasses.replace(u, speaker=names.get(u.speaker, u.speaker)) for u in corpus.splits["test"]]
    renamed_corpus = dataclasses.replace(corpus, splits={"test": renamed})
    assert values(renamed_corpus, frames) == pytest.approx(expected, abs=1e-12)
    assert measured(renamed_corpus, frames)["MAP"].groups == ("a", "s2", "s3", "z")


def test_a_query_is_not_looked_for_in_what_it_was_cut_from():
    # Frames that know their utterance, and nothing of words: only their own document is near.
    corpus = made_corpus()
    rng = np.random.default_rng(3)
    frames = {
        name: (10 * rng.standard_normal(24) + rng.standard_normal((48, 24))).astype(np.float32) for name in corpus.words
    }
    assert measured(corpus, frames)["MAP"].value < 0.5


def test_across_does_not_reward_finding_the_speaker():
    corpus = made_corpus(speakers=2)
    perfect = perfect_frames(corpus)
    own_words = {"s0": 100, "s1": 200}  # each speaker says every word in a way of their own
    frames = {}
    for utterance in corpus.splits["test"]:
        labels = [int(word.label.removeprefix("word")) for word in corpus.words[utterance.id]]
        parts = [
            np.random.default_rng(own_words[utterance.speaker] + label).standard_normal((16, 24)) for label in labels
        ]
        frames[utterance.id] = np.concatenate(parts).astype(np.float32)
    found = measured(corpus, frames)
    assert found["MAP across"].value < 0.5 < found["MAP"].value
    assert measured(corpus, perfect)["MAP across"].value == pytest.approx(1)


def test_every_layer_and_condition_is_measured_by_itself():
    corpus = made_corpus()
    store = Store(
        {
            ("test", 2, "clean"): random_frames(corpus),
            ("test", 5, "clean"): perfect_frames(corpus),
            ("test", 5, "noise 5 dB"): noisy_frames(corpus),
        }
    )
    scores = list(QueryByExample().scores(corpus, store))
    assert len({score.key for score in scores}) == len(scores) == 3 * 4
    by_place = {(score.layer, score.condition): score.value for score in scores if score.measure.name == "MAP"}
    assert by_place[2, "clean"] < by_place[5, "noise 5 dB"] < by_place[5, "clean"] == pytest.approx(1)
    interval = Bootstrap().interval(scores[0])
    assert interval.low <= interval.high


def test_the_best_layer_on_dev_is_scored_on_eval():
    base = made_corpus()
    documents = [utterance.id for utterance in base.splits["test"]]
    rest = make_search_task(base)
    queries = {
        name: [dataclasses.replace(query, id=f"{name} {query.id}") for query in rest.queries[start::2]]
        for start, name in enumerate(("dev", "eval"))
    }
    searches = [SearchTask(name, queries[name], documents, rest.relevant, "spoken") for name in ("dev", "eval")]
    corpus = dataclasses.replace(base, searches=searches, splits={**base.splits, "spoken": base.splits["test"]})
    layers = {1: perfect_frames(corpus), 0: noisy_frames(corpus), 2: random_frames(corpus)}
    store = Store({(split, layer, "clean"): own for split in ("test", "spoken") for layer, own in layers.items()})
    found = {(score.measure.name, score.layer): score.measure for score in QueryByExample().scores(corpus, store)}
    assert {name for name, _ in found if "across" not in name} == {
        *("MTWV dev", "MAP dev", "MTWV eval", "MAP eval"),
        *("MTWV eval, best layer on dev", "MAP eval, best layer on dev"),
    }
    chosen = found["MTWV eval, best layer on dev", None]
    assert chosen.value == found["MTWV eval", 1].value > found["MTWV eval", 2].value
    assert chosen.counts["best layer on dev"] == 1


# Lists


def test_what_becomes_a_query():
    words = {
        "a": [Segment("a", 0.0, 0.4, "cat"), Segment("a", 0.4, 0.6, "dog"), Segment("a", 0.6, 1.0, "sil")],
        "b": [Segment("b", 0.0, 0.2, "cat"), Segment("b", 0.5, 0.8, "dog"), Segment("b", 0.8, 1.2, "bird")],
        "c": [Segment("c", 0.0, 0.4, "sil")],
    }
    utterances = [Utterance(name, f"/{name}.wav", 1.2, speaker="unknown" if name == "b" else name) for name in "abcd"]
    search = make_search_task(LabelledCorpus("small", {"test": utterances}, words=words))
    # `cat` of b is too short to be asked for, but b holds it. 0.8 - 0.5 is not quite 0.3 in binary, but is long enough.
    assert [(query.term, query.utterance, query.speaker) for query in search.queries] == [
        ("cat", "a", "a"),
        ("dog", "b", None),
    ]
    assert [query.excluded for query in search.queries] == [{"a"}, {"b"}]
    assert list(search.documents) == ["a", "b", "c"]
    assert search.relevant == {"cat": {"a", "b"}, "dog": {"a", "b"}}
    assert {reason: count for reason, count in search.skipped.items() if count} == {
        "utterances without aligned words": 1,
        "words shorter than 0.3 s": 2,
        "words in fewer than 2 documents": 1,
    }


def test_draws_depend_on_names_and_seed_alone():
    corpus = made_corpus(count=60)
    settings = {"max_queries": 20, "max_documents": 30}
    search = make_search_task(corpus, **settings)
    assert (len(search.queries), len(search.documents)) == (20, 30)
    assert search.skipped["documents that were not drawn"] == 30
    assert {query.utterance for query in search.queries} <= set(search.documents)
    backwards = dataclasses.replace(corpus, splits={"test": corpus.splits["test"][::-1]})
    again = make_search_task(backwards, **settings)
    assert again.queries == search.queries
    assert list(again.documents) == list(search.documents)[::-1]
    assert make_search_task(corpus, **settings, seed=1).queries != search.queries
    # More queries are the same ones and others.
    more = make_search_task(corpus, max_queries=40, max_documents=30)
    assert {query.id for query in search.queries} < {query.id for query in more.queries}


def test_queries_are_spread_over_terms_and_speakers():
    corpus = made_corpus(count=60)
    assert set(Counter(q.term for q in make_search_task(corpus, max_queries=24).queries).values()) == {2}
    own = Counter((q.term, q.speaker) for q in make_search_task(corpus, max_queries=36).queries)
    assert max(own.values()) == 1  # three of a term, of three of the four speakers


def test_words_of_their_own_are_searched_too():
    names = [f"{digit}-{speaker}-{take}" for digit in "012" for speaker in ("kim", "lee") for take in "ab"]
    words = {name: [Segment(name, 0.0, 0.3, name[0])] for name in names}
    utterances = [Utterance(name, f"/{name}.wav", 0.3, speaker=name.split("-")[1]) for name in names]
    corpus = LabelledCorpus("digits", {"test": utterances}, words=words)
    frames = {name: np.random.default_rng(int(name[0])).standard_normal((15, 8)).astype(np.float32) for name in names}
    found = measured(corpus, frames)
    assert [measure.value for measure in found.values()] == pytest.approx([1.0] * 4)
    assert found["MAP"].counts["documents"] == 12


def test_across_leaves_out_whoever_is_unknown():
    search = SearchTask(
        "given",
        [Query("1", "t", "a", speaker="kim", excluded=frozenset("a")), Query("2", "t", "c")],
        ["a", "b", "c", "d"],
        {"t": frozenset("abcd")},
    )
    across = across_speakers(search, {"a": "kim", "b": "kim", "d": "lee"})
    assert [(query.id, query.excluded) for query in across.queries] == [("1", {"a", "b", "c"})]
    assert across.skipped == {"queries of unknown speakers": 1, "documents of unknown speakers": 1}


def test_without_speakers_there_is_no_across():
    corpus = made_corpus(speakers=0)
    found = measured(corpus, perfect_frames(corpus))
    assert set(found) == {"MTWV", "MAP"}
    assert found["MAP"].grouped_by == "query"
    assert set(measured(made_corpus(speakers=1), perfect_frames(corpus))) == {"MTWV", "MAP"}


def test_two_of_one_name_are_refused():
    with pytest.raises(DataError, match="2 documents of the search 'given' are called a"):
        SearchTask("given", [], ["a", "a"], {})


# Hostile


def test_short_queries_find_nothing():
    corpus = made_corpus()
    frames = perfect_frames(corpus)
    nothing = measured(corpus, frames, min_frames=17)
    assert nothing["MAP"].counts["queries shorter than 17 frames"] == 120
    assert nothing["MTWV"].value == 0
    search = make_search_task(corpus)
    query = search.queries[0]
    hits = len(search.relevant[query.term]) - 1
    alone = dataclasses.replace(search, queries=[query])
    matches = match(alone, queries=frames, documents=frames, frame_rate=RATE, min_frames=17)
    chance = average_precision(np.zeros(hits), np.zeros(39 - hits))
    assert search_measures(alone, matches, beta=BETA)[1].value == pytest.approx(chance)


def test_a_query_of_one_frame_or_longer_than_every_document():
    corpus = made_corpus()
    frames = noisy_frames(corpus)
    queries = {"q": np.random.default_rng(0).standard_normal((500, 24)).astype(np.float32)}
    documents = list(frames)
    asked = [Query("long", "t", "q"), Query("one", "t", "q", start=0.0, end=0.02), Query("rest", "t", "q", start=9.0)]
    search = SearchTask("given", asked, documents, {"t": frozenset(documents[:5])})
    matches = match(search, queries=queries, documents=frames, frame_rate=RATE)
    assert np.isfinite(matches.distances).all()
    assert matches.counts["queries longer than every document"] == 2  # 500 and 50 frames; documents have 48
    assert matches.counts["queries shorter than 5 frames"] == 1
    assert all(np.isfinite(measure.value) for measure in search_measures(search, matches, beta=BETA))


def test_what_has_no_frames_is_left_out_and_counted():
    corpus = made_corpus()
    frames = perfect_frames(corpus)
    del frames["u00"]
    frames["u01"] = frames["u01"][:0]
    frames["u02"] = frames["u02"][:20]  # its second and third word lie past the end
    found = measured(corpus, frames)["MAP"]
    assert found.counts["documents without frames"] == 2
    assert found.counts["queries without frames"] == 3 + 3 + 2
    assert found.value > 0.9


def test_frames_that_cannot_be_compared_are_named():
    corpus = made_corpus()
    for broken in (np.full((48, 24), np.nan, np.float32), np.ones((48, 23), np.float32), np.ones(48, np.float32)):
        frames = {**perfect_frames(corpus), "u07": broken}
        with pytest.raises(DataError, match="u07"):
            measured(corpus, frames)


def test_constant_documents_and_dimensions_are_not_found():
    corpus = made_corpus()
    frames = perfect_frames(corpus)
    for own in frames.values():
        own[:, 3] = 0.1
    assert measured(corpus, frames)["MAP"].value == pytest.approx(1)
    frames["u00"][:] = frames["u00"][0]
    frames["u01"] = frames["u01"][:1]
    assert measured(corpus, frames)["MAP"].value > 0.8


def test_nothing_to_search_is_an_obstacle():
    task = QueryByExample()
    assert task.obstacle(made_corpus()) is None
    assert "no aligned words" in task.obstacle(LabelledCorpus("mute", {"test": [Utterance("a", "/a.wav", 1.0)]}))
    one = made_corpus(count=1)
    assert "no word of at least 0.3 s that 2 of its 1 documents hold" in task.obstacle(one)
    assert "0.9 s" in QueryByExample(min_seconds=0.9).obstacle(made_corpus())
    with pytest.raises(DataError, match="2 of its 1 documents"):
        measured(one, perfect_frames(one))


def test_a_search_without_answers_is_refused():
    corpus = made_corpus()
    search = make_search_task(corpus)
    unanswerable = dataclasses.replace(search, relevant={})
    with pytest.raises(DataError, match="None of the 120 queries of the search 'words' is answered"):
        measured(dataclasses.replace(corpus, searches=[unanswerable]), perfect_frames(corpus))
    elsewhere = dataclasses.replace(search, documents=["nowhere"])
    with pytest.raises(DataError, match="0 of its 1 documents"):
        measured(dataclasses.replace(corpus, searches=[elsewhere]), perfect_frames(corpus))


@pytest.mark.parametrize(
    "setting",
    [
        {"min_seconds": -1.0},
        {"min_seconds": math.nan},
        {"min_documents": 1},
        {"max_documents": 1},
        {"max_queries": 0},
        {"min_frames": 0},
        {"prior": 0.0},
        {"prior": 1.0},
        {"miss_cost": 0.0},
        {"false_alarm_cost": math.inf},
    ],
)
def test_settings_out_of_range(setting):
    with pytest.raises(ValueError, match=r"must be|give"):
        QueryByExample(**setting)


def test_the_costs_are_those_of_quesst():
    task = QueryByExample()
    assert task.beta == pytest.approx(12.49)
    # The scoring tool of QUESST is given the prior that costs of one would have: 0.0741289.
    assert 1 / (1 + task.beta) == pytest.approx(0.0741289, abs=1e-6)


def test_real_speech(shared_speech):
    from ssft.evaluation.corpora import open_corpus

    corpus = open_corpus(shared_speech / "speechocean762_train")
    search = make_search_task(corpus)
    assert len(search.queries) == 150
    assert len({query.speaker for query in search.queries}) == len(set(corpus.speakers().values()))
    for query in search.queries:
        assert query.end - query.start >= 0.3 - 1e-6
        assert query.utterance in search.relevant[query.term]
        assert len(search.relevant[query.term]) >= 2
