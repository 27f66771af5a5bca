"""Rank correlations over checkpoints: against scipy and by hand, with intervals that know about runs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from ssft.analysis.trajectory import Moment, rank_correlation
from ssft.errors import DataError


def moments(runs: int, checkpoints: int, *, noise: float, seed: int = 0) -> list[Moment]:
    rng = np.random.default_rng(seed)
    return [
        Moment(f"run {run}", step, {"rank": -error}, {"PER": error + noise * rng.standard_normal()})
        for run in range(runs)
        for step, error in enumerate(rng.standard_normal(checkpoints) + 3 * run)
    ]


def test_the_value_is_scipys_and_the_interval_holds_it() -> None:
    made = moments(5, 6, noise=2.0)
    found = rank_correlation(made, "rank", "PER")
    expected = spearmanr([one.figures["rank"] for one in made], [one.errors["PER"] for one in made])[0]
    assert found.value == pytest.approx(expected, abs=1e-12)
    assert found.low <= found.value <= found.high
    assert (found.checkpoints, found.runs, found.drawn) == (30, 5, "run")
    assert str(found) == f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"


def test_within_is_the_mean_over_runs_and_blind_to_what_differs_between_them() -> None:
    made = [
        Moment(run, step, {"rank": float(base + sign * step)}, {"PER": float(base + step)})
        for run, base, sign in (("up", 0, 1), ("up too", 100, 1), ("down", 200, -1))
        for step in range(5)
    ]
    found = rank_correlation(made, "rank", "PER")
    assert found.within == pytest.approx(1 / 3)
    assert found.value > 0.8


def test_runs_that_disagree_make_the_interval_wider_than_checkpoints_alone_would() -> None:
    by_run = moments(4, 10, noise=0.3)
    as_if_free = [Moment(str(n), 0, one.figures, one.errors) for n, one in enumerate(by_run)]
    wide, narrow = (rank_correlation(made, "rank", "PER") for made in (by_run, as_if_free))
    assert wide.value == narrow.value
    assert wide.high - wide.low > narrow.high - narrow.low


def test_two_runs_are_too_few_to_draw_runs() -> None:
    assert rank_correlation(moments(2, 6, noise=1.0), "rank", "PER").drawn == "checkpoint"


@given(st.lists(st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)), min_size=4, max_size=12))
def test_a_monotone_change_of_either_side_changes_nothing(pairs: list[tuple[float, float]]) -> None:
    def value(change: bool) -> float:
        made = [
            Moment("a", n, {"x": x**3 if change else x}, {"y": 2 * y + 1 if change else y})
            for n, (x, y) in enumerate((round(x, 2), round(y, 2)) for x, y in pairs)
        ]
        return rank_correlation(made, "x", "y", replicates=1).value

    assert value(False) == pytest.approx(value(True), abs=1e-9, nan_ok=True)


def test_what_was_not_measured_is_left_out_and_what_is_constant_has_no_correlation() -> None:
    some = [
        Moment("a", n, {"rank": float(n) if n else None}, {"PER": float(n) if n < 9 else math.nan}) for n in range(10)
    ]
    assert rank_correlation(some, "rank", "PER").checkpoints == 8
    constant = [Moment("a", n, {"rank": 1.0}, {"PER": float(n)}) for n in range(10)]
    assert math.isnan(rank_correlation(constant, "rank", "PER").value)
    assert str(rank_correlation(constant, "rank", "PER")) == "-"
    assert math.isnan(rank_correlation(some[:4], "rank", "PER").value)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(DataError, match="No checkpoint has 'rnak' among its figures"):
        rank_correlation(moments(1, 5, noise=0), "rnak", "PER")
    with pytest.raises(DataError, match="No checkpoint has 'WER' among its errors"):
        rank_correlation(moments(1, 5, noise=0), "rank", "WER")
