"""What a suite promises: all tasks on all systems, nothing lost by one that fails, results that say what is known."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from frame_stores import GivenFrames

from ssft.errors import DataError, RecipeError
from ssft.evaluation.corpus import LabelledCorpus
from ssft.evaluation.frames import FrameStore
from ssft.evaluation.measure import Score, ratio
from ssft.evaluation.page import to_markdown, verdict
from ssft.evaluation.results import results
from ssft.evaluation.results_folder import ResultsFolder
from ssft.evaluation.suite import SystemScores, evaluate
from ssft.types import Utterance

SPEAKERS = [f"s{number}" for number in range(12)]
CORPUS = LabelledCorpus(
    "little",
    {"test": [Utterance(f"{name}.wav", Path(f"/{name}.wav"), 1.0, speaker=name) for name in SPEAKERS]},
    notes=["times are machine-made"],
    skipped={"past the end of the audio": 3, "unknown speaker": 0},
)


@dataclass(frozen=True)
class Loudness:
    """Errors of each speaker are what the first value of its first frame says."""

    name: ClassVar[str] = "loudness"
    needs_training: ClassVar[bool] = False
    trains_by_gradient: ClassVar[bool] = False
    fails_on: str = ""

    def obstacle(self, corpus: LabelledCorpus) -> str | None:
        return None

    def scores(self, corpus: LabelledCorpus, store: FrameStore, *, seeds: int = 1) -> Iterator[Score]:
        if store.name == self.fails_on:
            raise DataError(f"{store.name} is too quiet.")
        for condition in store.conditions:
            for layer in store.layers_in(condition):
                frames = store.frames(layer=layer, condition=condition)
                errors = [float(frames[u.id][0, 0]) for u in corpus.splits["test"]]
                measure = ratio("loud errors", errors, [100.0] * len(errors), groups=SPEAKERS, percent=True)
                yield Score("loudness", layer, condition, (measure,))


@dataclass(frozen=True)
class Trained(Loudness):
    name: ClassVar[str] = "trained"
    needs_training: ClassVar[bool] = True
    trains_by_gradient: ClassVar[bool] = True

    def scores(self, corpus: LabelledCorpus, store: FrameStore, *, seeds: int = 1) -> Iterator[Score]:
        measures = [
            ratio("probe", [50.0 + s] * 12, [100.0] * 12, groups=SPEAKERS, better="higher") for s in range(seeds)
        ]
        yield Score("trained", None, "clean", tuple(measures))


@dataclass(frozen=True)
class Impossible(Loudness):
    name: ClassVar[str] = "impossible"

    def obstacle(self, corpus: LabelledCorpus) -> str | None:
        return "there are no words"


def store(name: str, *, gain: float, layers: int = 3, conditions: tuple[str, ...] = ("clean",)) -> GivenFrames:
    rng = np.random.default_rng(0)
    own = {f"{speaker}.wav": 20.0 + 5 * rng.standard_normal() for speaker in SPEAKERS}
    given = {
        ("test", layer, condition): {
            key: np.full((2, 2), value + gain + layer + (10 if condition != "clean" else 0))
            for key, value in own.items()
        }
        for layer in range(layers)
        for condition in conditions
        if condition == "clean" or layer == layers - 1
    }
    return GivenFrames(given, name=name)


def run(*stores: GivenFrames, **options: Any) -> list[SystemScores]:
    return evaluate(CORPUS, stores, [Loudness(), Trained(), Impossible()], **options)


def test_every_task_is_measured_on_every_system_with_seeds_and_reasons() -> None:
    base, adapted = run(store("base", gain=0), store("adapted", gain=-2), seeds=4)
    assert set(base.scores) == {("loudness", "loud errors", layer, "clean") for layer in range(3)} | {
        ("trained", "probe", None, "clean")
    }
    assert len(adapted.scores["trained", "probe", None, "clean"].measures) == 4
    assert base.unmeasured == {"impossible": "there are no words"}
    assert set(base.seconds) == {"loudness", "trained"}
    assert base.last_layer == 2


def test_controls_are_not_trained_on() -> None:
    _, control = run(store("base", gain=0), store("control", gain=0), untrained_only=["control"])
    assert {key[0] for key in control.scores} == {"loudness"}


def test_one_task_that_fails_costs_only_its_own_scores_and_says_why() -> None:
    told: list[str] = []
    found = evaluate(
        CORPUS,
        [store("base", gain=0), store("quiet", gain=0)],
        [Loudness(fails_on="quiet"), Trained()],
        after_each=lambda systems, task: told.append(f"{systems[-1].name} {task}"),
    )
    assert found[1].unmeasured == {"loudness": "quiet is too quiet."}
    assert sorted(told) == ["base loudness", "base trained", "quiet trained"]
    assert [key[0] for key in found[0].scores] == ["loudness"] * 3 + ["trained"]


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@dataclass(frozen=True)
class Waits(Loudness):
    """Is done when the other lane is half through."""

    others: threading.Event = field(default_factory=threading.Event)

    def scores(self, corpus: LabelledCorpus, store: FrameStore, *, seeds: int = 1) -> Iterator[Score]:
        if not self.others.wait(timeout=20):
            raise RuntimeError("the other lane did not begin")
        assert torch.get_num_threads() == 1
        yield from super().scores(corpus, store, seeds=seeds)


@dataclass(frozen=True)
class Signals(Trained):
    others: threading.Event = field(default_factory=threading.Event)
    error: BaseException | None = None

    def scores(self, corpus: LabelledCorpus, store: FrameStore, *, seeds: int = 1) -> Iterator[Score]:
        self.others.set()
        if self.error:
            raise self.error
        yield from super().scores(corpus, store, seeds=seeds)


def test_what_is_trained_and_what_is_not_are_measured_at_the_same_time(two_threads: None) -> None:
    begun = threading.Event()
    [side_by_side] = evaluate(CORPUS, [store("base", gain=0)], [Waits(others=begun), Signals(others=begun)])
    [in_turn] = evaluate(CORPUS, [store("base", gain=0)], [Loudness(), Trained()])
    assert {key: score.value for key, score in side_by_side.scores.items()} == {
        key: score.value for key, score in in_turn.scores.items()
    }
    assert torch.get_num_threads() == 2


def test_an_interrupt_stops_both_lanes(two_threads: None) -> None:
    begun, given = threading.Event(), []

    class Endless(Waits):
        def scores(self, corpus: LabelledCorpus, store: FrameStore, *, seeds: int = 1) -> Iterator[Score]:
            [score] = Trained().scores(corpus, store)
            while len(given) < 10_000:
                given.append(score)
                time.sleep(0.001)
                yield score

    with pytest.raises(KeyboardInterrupt):
        evaluate(CORPUS, [store("base", gain=0)], [Endless(), Signals(others=begun, error=KeyboardInterrupt())])
    assert len(given) < 10_000
    assert torch.get_num_threads() == 2


def test_a_single_task_that_fails_or_cannot_be_measured_is_an_error() -> None:
    with pytest.raises(DataError, match="quiet is too quiet"):
        evaluate(CORPUS, [store("quiet", gain=0)], [Loudness(fails_on="quiet")])
    with pytest.raises(DataError, match="impossible cannot be measured on little: there are no words"):
        evaluate(CORPUS, [store("base", gain=0)], [Impossible()])


def test_results_are_plain_and_hold_differences_from_the_same_and_from_the_best_layer() -> None:
    found = results(CORPUS, run(store("base", gain=0), store("adapted", gain=-1)), base="base", facts={"command": "x"})
    assert json.loads(json.dumps(found)) == found
    rows = {(row["against"], row["task"], row["layer"]): row for row in found["differences"]}
    last = rows["same layer", "loudness", 2]
    assert (round(last["value"], 6), last["verdict"], last["base_layer"]) == (-0.01, "better", 2)
    best = rows["best layer", "loudness", 2]  # layer 0 of the base has 0.02 less than its layer 2
    assert (round(best["value"], 6), best["verdict"], best["base_layer"]) == (0.01, "worse", 0)
    assert rows["same layer", "trained", None]["verdict"] == "no difference shown"
    score = next(row for row in found["scores"] if row["task"] == "trained")
    assert score["seeds"] == [0.5, 0.51, 0.52]
    assert (score["groups"], score["grouped_by"]) == (12, "speaker")
    assert found["corpus"]["skipped"]["past the end of the audio"] == 3


def test_systems_with_other_numbers_of_layers_are_compared_at_their_last() -> None:
    found = results(CORPUS, run(store("base", gain=0, layers=3), store("deep", gain=0, layers=5)), base="base")
    row = next(row for row in found["differences"] if row["layer"] == 4 and row["against"] == "same layer")
    assert row["base_layer"] == 2
    assert round(row["value"], 6) == 0.02


def test_the_verdict_names_what_got_better_and_never_more_than_was_shown() -> None:
    def said(gain: float) -> str:
        return verdict(results(CORPUS, run(store("base", gain=0), store("adapted", gain=gain)), base="base"), "adapted")

    assert said(-2).startswith("**Better**: adapted is better than base in loud errors; no difference shown in 1 of 2")
    assert said(2).startswith("**Worse**: adapted is worse than base in loud errors")
    assert said(0).startswith("**No difference shown**: none of 2 measures sets adapted apart from base.")


def test_without_an_interval_nothing_is_said() -> None:
    corpus = LabelledCorpus("tiny", {"test": CORPUS.splits["test"][:1]})

    @dataclass(frozen=True)
    class One(Loudness):
        def scores(self, corpus: LabelledCorpus, store: FrameStore, *, seeds: int = 1) -> Iterator[Score]:
            value = {"base": 50.0, "adapted": 1.0}[store.name]
            yield Score("loudness", 0, "clean", (ratio("loud errors", [value], [100.0], groups=["s0"]),))

    stores = [store("base", gain=0, layers=1), store("adapted", gain=0, layers=1)]
    found = results(corpus, evaluate(corpus, stores, [One()]), base="base")
    assert verdict(found, "adapted").startswith("**Nothing can be said**")
    assert found["scores"][0]["low"] is None
    assert "no interval" in to_markdown(found)


def test_the_page_shows_layers_conditions_notes_and_what_was_left_out() -> None:
    stores = [store(name, gain=gain, conditions=("clean", "noise")) for name, gain in (("base", 0), ("adapted", -2))]
    page = to_markdown(results(CORPUS, run(*stores), base="base", facts={"command": "ssft evaluate suite"}))
    assert page.startswith("# Evaluation on little\n\n**Better**: adapted")
    assert "### loud errors % ↓\n\n| layer | base" in page
    assert "## Last layer, by condition" in page
    for said in ("times are machine-made", "past the end of the audio: 3", "there are no words", "ssft evaluate suite"):
        assert said in page
    assert "unknown speaker" not in page  # none was left out for it
    row = [line for line in page.splitlines() if line.startswith("| loud errors % ↓ | adapted")][-1]
    assert row.count("▲") == 2
    assert "nan" not in page.lower()


def test_results_are_written_again_only_over_their_own(tmp_path: Path) -> None:
    folder = tmp_path / "evaluation" / "a b ü"
    systems = run(store("base", gain=0))
    for _ in range(2):
        record = ResultsFolder(folder, CORPUS, facts={"subject": "suite of base"}).save(systems, complete=True)
        assert json.loads((folder / "results.json").read_text(encoding="utf-8")) == record
    assert record["complete"] is True
    before = (folder / "results.json").read_bytes()
    with pytest.raises(DataError, match=r"holds other results: suite of base on little\. Choose another --out"):
        ResultsFolder(folder, CORPUS, facts={"subject": "suite of another"})
    other = LabelledCorpus("other", {"test": CORPUS.splits["test"][:5]})
    with pytest.raises(DataError, match="holds other results"):
        ResultsFolder(folder, other, facts={"subject": "suite of base"})
    assert (folder / "results.json").read_bytes() == before
    (folder / "results.json").write_text("not mine")
    with pytest.raises(DataError, match="is no evaluation of ssft"):
        ResultsFolder(folder, CORPUS, facts={"subject": "suite of base"})


def test_a_corpus_needs_something_to_test_on() -> None:
    with pytest.raises(DataError, match="no utterances to test on"):
        LabelledCorpus("empty", {"train": CORPUS.splits["test"]})


def test_settings_of_tasks_are_named_and_checked() -> None:
    from ssft.evaluation.tasks import TASKS, make_tasks

    names = list(TASKS)
    [abx] = make_tasks(["abx"], [("abx.max_group", "5")])
    assert abx.max_group == 5  # type: ignore[attr-defined]
    assert [task.name for task in make_tasks(names)] == names
    with pytest.raises(RecipeError, match=r"abx.*has no setting 'max_grup'.*max_group"):
        make_tasks(["abx"], [("abx.max_grup", 5)])
    with pytest.raises(RecipeError, match=r"--units\.clusters is no setting of what is evaluated"):
        make_tasks(["abx"], [("units.clusters", 5)])
    with pytest.raises(RecipeError, match="no task 'abxx'"):
        make_tasks(["abxx"])


def test_the_command_line_names_the_tasks_that_there_are() -> None:
    from ssft.cli import evaluate as verb
    from ssft.evaluation.tasks import TASKS

    assert list(TASKS) == list(verb.TASKS)
