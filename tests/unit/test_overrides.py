"""`--key value` on the command line: reading without loss, and finding the place in a recipe."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssft.conversion import convert
from ssft.errors import RecipeError
from ssft.overrides import apply_overrides, parse_overrides

DESCRIPTION = {
    "name": "mine",
    "encoder": {"model": "tiny", "trainable_layers": 2},
    "views": {
        "augmented": {
            "name": "compose",
            "steps": [{"name": "speed_perturb", "factors": [0.9]}, {"name": "one_of", "choices": [{"name": "pitch"}]}],
        },
        "swap": 0.5,
    },
    "head": None,
    "loss": {"name": "soft_dtw", "gamma": 0.1, "divergence": True},
    "train": {"steps": 10, "betas": [0.9, 0.999]},
}


def applied(*arguments: str) -> dict[str, Any]:
    description = copy.deepcopy(DESCRIPTION)
    apply_overrides(description, parse_overrides(arguments))
    return description


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("50", 50),
        ("-2", -2),
        ("0.2", 0.2),
        ("true", True),
        ("False", False),
        ("null", None),
        ("[0.9, 1.1]", [0.9, 1.1]),
        ("[]", []),
        ("{name: pitch_shift, semitones: 2}", {"name": "pitch_shift", "semitones": 2}),
        ("'0.2'", "0.2"),
        ("", ""),
        # what YAML would change stays as it was typed
        ("1e-5", "1e-5"),
        ("007", "007"),
        ("1.10", "1.10"),
        ("no", "no"),
        ("12:30", "12:30"),
        ("1_000", "1_000"),
        ("2026-01-31", "2026-01-31"),
        ("2026-02-31", "2026-02-31"),
        ("Lab #3", "Lab #3"),
        ("a: b", "a: b"),
        ("#3", "#3"),
        ("[unfinished", "[unfinished"),
        ("*star", "*star"),
    ],
)
def test_values(text: str, value: Any) -> None:
    assert parse_overrides(["--key", text]) == [("key", value)]
    assert parse_overrides([f"--key={text}"]) == [("key", value)]


@given(st.text(max_size=12) | st.from_regex(r"[-+0-9.:_eExX]{1,8}", fullmatch=True))
def test_text_arrives_as_it_was_typed(text: str) -> None:
    if text.startswith(("[", "{", "'", '"')) or text == "null" or text.lower() in ("true", "false"):
        return
    ((_, value),) = parse_overrides([f"--key={text}"])
    assert convert(value, str, "key") == text


@given(st.floats(allow_nan=False))
def test_numbers_arrive_exactly(number: float) -> None:
    ((_, value),) = parse_overrides([f"--key={number!r}"])
    assert convert(value, float, "key") == number


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--train.steps"], "--train.steps needs a value, as in --train.steps VALUE."),
        (["--train.steps", "--loss"], "--train.steps needs a value"),
        (["train.steps", "5"], "'train.steps' is not understood. Settings are given as --train.steps 50"),
        (["--train.steps", "5", "6"], "'6' is not understood"),
        (["-s", "5"], "'-s' is not understood"),
        (["--"], "'--' is not understood"),
    ],
)
def test_parse_refuses(arguments: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=f"^{message}"):
        parse_overrides(arguments)


def test_single_values_lists_and_nested_components() -> None:
    changed = applied(
        *("--train.steps", "50"),
        *("--train.betas", "[0.8, 0.9]"),
        *("--encoder.trainable_layers=[7, 8]",),
        *("--views.augmented.steps.0.factors", "[1.0]"),
        *("--views.augmented.steps.1.choices.0.semitones", "3"),
        *("--train.betas.1", "0.99"),
    )
    assert changed["train"] == {"steps": 50, "betas": [0.8, 0.99]}
    assert changed["encoder"]["trainable_layers"] == [7, 8]
    assert changed["views"]["augmented"]["steps"] == [
        {"name": "speed_perturb", "factors": [1.0]},
        {"name": "one_of", "choices": [{"name": "pitch", "semitones": 3}]},
    ]
    untouched = {key: DESCRIPTION[key] for key in ("name", "head", "loss")}
    assert {key: changed[key] for key in untouched} == untouched


@pytest.mark.parametrize("flag", ["--loss", "--loss.name"])
@pytest.mark.parametrize("reverse", [False, True])
def test_new_component_and_its_settings_in_any_order(flag: str, reverse: bool) -> None:
    pairs = [(flag, "laser"), ("--loss.alpha", "0.3")]
    arguments = [word for pair in (pairs[::-1] if reverse else pairs) for word in pair]
    assert applied(*arguments)["loss"] == {"name": "laser", "alpha": 0.3}


def test_component_where_there_was_none() -> None:
    assert applied("--head", "projection")["head"] == "projection"
    assert applied("--head.dim", "8", "--head", "projection")["head"] == {"name": "projection", "dim": 8}


def test_component_in_a_list_can_be_replaced() -> None:
    steps = applied("--views.augmented.steps.1.level", "3", "--views.augmented.steps.1", "noise")["views"]["augmented"]
    assert steps["steps"][1] == {"name": "noise", "level": 3}
    assert applied("--views.augmented.steps.1", "noise")["views"]["augmented"]["steps"][1] == {"name": "noise"}


def test_component_can_be_taken_away_or_written_out() -> None:
    assert applied("--views.augmented", "null")["views"]["augmented"] is None
    assert applied("--loss", "{name: laser, alpha: 0.3}")["loss"] == {"name": "laser", "alpha": 0.3}


def test_whole_section_as_a_mapping() -> None:
    assert applied("--train", "{steps: 3}")["train"] == {"steps": 3}


def test_the_last_of_two_equal_flags_counts() -> None:
    assert applied("--train.steps", "5", "--train.steps", "6")["train"]["steps"] == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--los", "laser"], "--los: recipe has no setting 'los'. Did you mean 'loss'?"),
        (["--trian.steps", "5"], "--trian.steps: recipe has no setting 'trian'. Did you mean 'train'?"),
        (["--train.stps", "5"], "--train.stps: train has no setting 'stps'. Did you mean 'steps'?"),
        (["--train", "5"], "--train is a group of settings. Say which one, as in --train.steps VALUE."),
        (["--encoder", "tiny"], "--encoder is a group of settings. Say which one, as in --encoder.model VALUE."),
        (["--train.name", "x"], "--train is a group of settings"),
        (["--name.x", "5"], "--name.x: name is a single value and has no 'x'."),
        (["--train.steps.x", "5"], "--train.steps.x: train.steps is a single value"),
        (["--train.betas.2", "5"], "--train.betas.2: train.betas is a list; give a position from 0 to 1, not '2'."),
        (["--views.augmented.steps.x.factors", "5"], "--views.*: views.augmented.steps is a list; .*, not 'x'."),
        (["--views.augmented.stps.0", "5"], "--views.*: views.augmented has no setting 'stps'. Did you mean 'steps'?"),
        (["--head.dim", "5"], "--head.dim: head is null and has no 'dim'. Name it first: --head NAME."),
        (["--loss", "laser", "--loss.a.b", "1"], "--loss.a.b: give the new laser its a as a whole: --loss.a VALUE."),
    ],
)
def test_apply_refuses(arguments: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=f"^{message.replace('[', chr(92) + '[')}"):
        applied(*arguments)
