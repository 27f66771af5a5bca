"""Which checkpoint is the best: the same one whether or not the run was interrupted."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssft.engine.selection import CANDIDATES, Selection, best_step
from ssft.engine.tracking import Metrics
from ssft.errors import RecipeError, RunError

VALUES = st.sampled_from([0.1, 0.5, 1.0, 2.0, math.nan, math.inf, -math.inf])


def lines(folder: Path) -> list[dict]:
    return [json.loads(line, parse_constant=pytest.fail) for line in (folder / CANDIDATES).read_text().splitlines()]


def run(folder: Path, select: str, losses, *, every=2, patience=0, begin=0, end=None, measure=True) -> Selection:
    """What the trainer does from one step to another: a loss per step, a candidate after every few of them."""
    folder.mkdir(parents=True, exist_ok=True)
    metrics = Metrics(folder / "metrics.jsonl", resume_at=begin)
    selection = Selection(select, patience=patience, folder=folder, resume_at=begin)

    def candidate(step):
        if step and (step % every == 0 or step == len(losses)) and selection.missing(step):
            selection.candidate(step, {"score": -losses[step - 1], "rank": float(step)})

    candidate(begin)
    for step in range(begin + 1, (len(losses) if end is None else end) + 1):
        record = {"step": step, "loss": losses[step - 1], "grad_norm": 1.0}
        metrics.write(record)
        selection.note_step(record)
        if measure or step != end:
            candidate(step)
    return selection


def test_a_number_is_averaged_since_the_candidate_before(tmp_path):
    selection = run(tmp_path, "min:loss", [9.0, 1.0, 2.0, 4.0, 5.0])
    assert [(line["step"], line["value"]) for line in lines(tmp_path)] == [(2, 5.0), (4, 3.0), (5, 5.0)]
    assert selection.best(2) == [4, 2]  # of equal ones the first
    assert run(tmp_path / "most", "max:loss", [9.0, 1.0, 2.0, 4.0, 5.0]).best(9) == [2, 5, 4]


def test_label_free_goes_by_the_measured_score_and_keeps_all_numbers(tmp_path):
    selection = run(tmp_path, "label_free", [1.0, 0.4, 1.0, 0.2, 1.0, 0.3])
    assert selection.best(1) == [4]
    assert lines(tmp_path)[1] == {"step": 4, "select": "label_free", "value": -0.2, "score": -0.2, "rank": 4.0}


def test_last_is_the_last_and_never_exhausted(tmp_path):
    selection = run(tmp_path, "last", [1.0] * 8, patience=1)
    assert selection.best(2) == [8, 6]
    assert best_step(tmp_path) == 8
    assert not selection.is_exhausted


def test_patience_counts_candidates_in_a_row_that_were_no_better(tmp_path):
    # An equal one is no better, and a better one begins the count again.
    losses = [3.0, 2.0, 2.0, 1.0, 1.5, 1.0, 4.0]
    no_better = [0, 0, 1, 0, 1, 2, 3]
    for patience in (0, 1, 2, 3):
        for end, count in enumerate(no_better, start=1):
            selection = run(tmp_path / f"{patience}-{end}", "min:loss", losses, every=1, patience=patience, end=end)
            assert selection.is_exhausted == (patience > 0 and count >= patience), (patience, end)


@pytest.mark.parametrize("select", ["min:loss", "max:loss", "label_free"])
def test_what_is_not_finite_never_wins_and_wears_patience_out(tmp_path, select):
    selection = run(tmp_path, select, [math.nan, math.inf, -math.inf], every=1, patience=3)
    assert [line["value"] for line in lines(tmp_path)] == [None, None, None]
    assert selection.best(3) == []
    assert best_step(tmp_path) is None
    assert selection.is_exhausted
    selection.note_step({"step": 4, "loss": 1e9})
    selection.candidate(4, {"score": -1e9})
    assert selection.best(3) == [4]
    assert best_step(tmp_path) == 4


@settings(deadline=None, max_examples=40)
@given(
    values=st.lists(VALUES, min_size=1, max_size=9),
    select=st.sampled_from(["min:loss", "max:loss", "label_free", "last"]),
    stops=st.lists(st.integers(0, 9), max_size=3),
    every=st.integers(1, 4),
)
def test_an_interrupted_run_chooses_what_an_uninterrupted_one_does(tmp_path_factory, values, select, stops, every):
    """Stopped anywhere, also between saving a checkpoint and measuring it, and with steps that are lost."""
    folder = tmp_path_factory.mktemp("run")
    straight = run(folder / "straight", select, values, every=every, patience=2)
    begin = 0
    for stop in sorted(min(stop, len(values)) for stop in stops):
        run(folder / "stopped", select, values, every=every, patience=2, begin=begin, end=stop, measure=False)
        begin = max(begin, stop - stop % every) if stop % 2 else stop  # a kill goes back, a signal saves where it is
    resumed = run(folder / "stopped", select, values, every=every, patience=2, begin=begin)
    assert (folder / "stopped" / CANDIDATES).read_text() == (folder / "straight" / CANDIDATES).read_text()
    assert resumed.best(9) == straight.best(9)
    assert resumed.is_exhausted == straight.is_exhausted
    assert best_step(folder / "stopped") == best_step(folder / "straight")


def test_before_the_first_step_nothing_is_missing(tmp_path):
    selection = Selection("min:loss", patience=1, folder=tmp_path)
    assert not selection.missing(0)
    assert selection.missing(2)
    assert selection.best(1) == []
    assert not selection.is_exhausted
    assert best_step(tmp_path) is None


@pytest.mark.parametrize(("select", "hint"), [("min:los", "Did you mean 'loss'"), ("max:accuracy", "grad_norm, loss")])
def test_an_unknown_number_is_an_error_that_names_the_nearest(tmp_path, select, hint):
    with pytest.raises(RecipeError, match=hint):
        run(tmp_path, select, [1.0, 1.0])


def test_a_number_that_only_some_steps_have_is_averaged_over_those(tmp_path):
    selection = Selection("min:fallbacks", patience=0, folder=tmp_path)
    for step, extra in enumerate([{"fallbacks": 4}, {}, {"fallbacks": 1}, {}], start=1):
        selection.note_step({"step": step, "loss": 1.0, **extra})
        if step > 1:
            selection.candidate(step, {})
    assert [line["value"] for line in lines(tmp_path)] == [4.0, 1.0, None]
    assert selection.best(9) == [3, 2]


@pytest.mark.parametrize("rest", ['{"step": 3, "val', '{"step": 3}', "\n", "[3]\n", '{"value": 1}\n', "\0\0\0"])
def test_what_a_crash_left_behind_is_dropped(tmp_path, rest):
    run(tmp_path, "min:loss", [1.0, 2.0], every=1)
    whole = (tmp_path / CANDIDATES).read_text()
    for name in (CANDIDATES, "metrics.jsonl"):
        with (tmp_path / name).open("a") as file:
            file.write(rest)
    selection = Selection("min:loss", patience=0, folder=tmp_path, resume_at=9)
    assert (tmp_path / CANDIDATES).read_text() == whole
    assert selection.best(1) == [1] == [best_step(tmp_path)]


def test_a_new_way_to_choose_does_not_go_by_the_old_ones_values(tmp_path):
    run(tmp_path, "min:loss", [-9.0, 1.0], every=1)
    selection = Selection("label_free", patience=0, folder=tmp_path, resume_at=2)
    assert selection.missing(2)
    selection.candidate(2, {"score": 0.1})
    assert selection.best(9) == [2] == [best_step(tmp_path)]


def test_a_folder_that_cannot_be_written_or_read_is_an_error_of_ours(tmp_path):
    selection = Selection("last", patience=0, folder=tmp_path / "missing")
    with pytest.raises(RunError, match=r"Cannot write .*validation"):
        selection.candidate(1, {})
    (tmp_path / CANDIDATES).write_bytes(b"\xff\xfe\n")
    with pytest.raises(RunError, match=r"Cannot read .*validation"):
        best_step(tmp_path)
