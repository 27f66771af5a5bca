"""What an interval promises: it covers the truth as often as it says, is paired, and never claims from too little."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssft.errors import DataError, RecipeError
from ssft.evaluation.bootstrap import Bootstrap
from ssft.evaluation.measure import Measure, Score, ratio

SPEAKERS = [f"speaker-{number:02d}" for number in range(24)]


def score(errors: np.ndarray, *, better: str = "lower", speakers: list[str] | None = None) -> Score:
    """Errors [N] or, of several seeds, [S, N], of 100 words of each speaker."""
    names = SPEAKERS[: errors.shape[-1]] if speakers is None else speakers
    hundred = np.full(len(names), 100.0)
    measures = [ratio("WER", own, hundred, groups=names, better=better) for own in np.atleast_2d(errors)]  # type: ignore[arg-type]
    return Score("asr", 6, "clean", tuple(measures))


def test_a_ratio_is_a_sum_over_a_sum_and_adds_up_what_a_speaker_said() -> None:
    measure = ratio("PER", [1, 2, 5], [10, 10, 20], groups=["b", "a", "b"])
    assert measure.groups == ("a", "b")
    assert measure.value == 8 / 40
    assert measure.of(np.array([[1.0, 0.0], [0.0, 2.0], [2.0, 1.0]])).tolist() == [0.2, 0.2, (4 + 6) / (20 + 30)]


def test_a_ratio_of_nothing_is_no_number_and_of_no_groups_an_error() -> None:
    measure = ratio("PER", [1], [10], groups=["a"])
    assert math.isnan(measure.of(np.zeros((1, 1)))[0])
    with pytest.raises(DataError, match="nothing to measure PER"):
        ratio("PER", [], [], groups=[])


@given(st.permutations(range(6)))
def test_the_order_of_rows_changes_nothing(order: list[int]) -> None:
    errors, totals, groups = [1, 2, 3, 4, 5, 6], [9, 8, 7, 9, 8, 7], list("abcabc")
    one, other = (
        Score(
            "x",
            1,
            "clean",
            (ratio("E", [errors[i] for i in rows], [totals[i] for i in rows], groups=[groups[i] for i in rows]),),
        )
        for rows in (range(6), order)
    )
    assert Bootstrap(replicates=50).interval(one) == Bootstrap(replicates=50).interval(other)


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for trial in range(200):
        found = Bootstrap(replicates=200, seed=trial).interval(score(rng.normal(30, 8, size=24)))
        held += found.low <= 0.30 <= found.high
    assert 175 <= held <= 198  # 95 % of 200 is 190; percentiles of few groups are a little narrow


def test_a_system_does_not_differ_from_itself() -> None:
    own = score(np.random.default_rng(1).normal(30, 8, size=24))
    found = Bootstrap().difference(own, own)
    assert (found.value, found.low, found.high, found.verdict) == (0, 0, 0, "no difference shown")


def test_pairing_shows_a_small_gain_that_differences_between_speakers_would_hide() -> None:
    rng = np.random.default_rng(2)
    base = rng.normal(30, 10, size=24)
    adapted = base - 1 + rng.normal(0, 0.5, size=24)
    found = Bootstrap().difference(score(adapted), score(base))
    assert found.verdict == "better"
    assert found.high < 0 < Bootstrap().interval(score(base)).high - Bootstrap().interval(score(base)).low - 0.02
    assert Bootstrap().difference(score(base), score(adapted)).verdict == "worse"
    assert Bootstrap().difference(score(adapted, better="higher"), score(base, better="higher")).verdict == "worse"
    assert Bootstrap().difference(score(adapted, better="neither"), score(base, better="neither")).verdict == "changed"


def test_noise_shows_no_difference() -> None:
    shown = 0
    for trial in range(60):
        rng = np.random.default_rng(trial)
        base = rng.normal(30, 10, size=24)
        other = base + rng.normal(0, 3, size=24)
        shown += Bootstrap(replicates=200).difference(score(other), score(base)).verdict != "no difference shown"
    assert shown <= 9  # 5 % of 60 is 3


def test_seeds_widen_the_interval_by_what_they_differ() -> None:
    base = np.full(24, 30.0)
    steady = Bootstrap().difference(score(np.stack([base - 1] * 3)), score(base))
    unsteady = Bootstrap().difference(score(np.stack([base - 5, base + 3, base - 1])), score(base))
    assert steady.value == pytest.approx(unsteady.value)
    assert steady.verdict == "better"
    assert unsteady.verdict == "no difference shown"
    assert unsteady.low < -0.03
    assert unsteady.high > 0.01


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_speakers_give_no_interval_and_no_verdict(count: int) -> None:
    found = Bootstrap().difference(score(np.full(count, 10.0)), score(np.full(count, 90.0)))
    assert found.value == pytest.approx(-0.8)
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert found.verdict == "no difference shown"


def test_different_speakers_or_measures_are_not_compared() -> None:
    own = score(np.full(3, 10.0))
    with pytest.raises(DataError, match="same speakers"):
        Bootstrap().difference(own, score(np.full(3, 10.0), speakers=["x", "y", "z"]))


def test_draws_in_which_nothing_is_left_are_left_out_while_most_remain() -> None:
    def of(weights: np.ndarray) -> np.ndarray:
        return np.where(weights[:, 0] > 0, weights[:, 0], np.nan)

    found = Bootstrap().interval(Score("x", 1, "clean", (Measure("M", "lower", tuple(SPEAKERS), of),)))
    assert found.low == 1
    rare = Measure("M", "lower", tuple(SPEAKERS), lambda weights: np.where(weights[:, 0] > 2, 1.0, np.nan))
    assert math.isnan(Bootstrap().interval(Score("x", 1, "clean", (rare,))).low)


def test_options_out_of_range_are_refused() -> None:
    for options in ({"replicates": 1}, {"level": 1.0}, {"level": 0.0}):
        with pytest.raises(RecipeError, match="give at least 2 draws"):
            Bootstrap(**options)  # type: ignore[arg-type]
