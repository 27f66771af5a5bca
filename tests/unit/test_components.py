"""Components to plain settings and back, with every value converted by its annotation."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Union

import numpy as np
import pytest
import torch
import yaml

from ssft.augment import AUGMENTATIONS, Compose, OneOf, PitchShift, SpeedPerturb
from ssft.cli.settings import argument_docs
from ssft.components import build, construct, describe, settings_of
from ssft.conversion import convert, expected
from ssft.errors import RecipeError
from ssft.heads import HEADS
from ssft.losses import LOSSES
from ssft.recipe import SECTIONS, Recipe

TABLES = {"augmentation": AUGMENTATIONS, "head": HEADS, "loss": LOSSES}
SHIPPED = [(kind, name) for kind, table in TABLES.items() for name in table]
# Plain settings for components that cannot be built without any.
NEEDED: dict[str, dict[str, Any]] = {
    "add_noise": {"source": "pink", "min_snr_db": 0.0, "max_snr_db": 10.0},
    "weighted": {
        "losses": {"align": {"name": "soft_dtw"}, "apart": {"name": "temporal_contrast"}},
        "weights": {"apart": 0.5},
    },
    "compose": {"steps": [{"name": "speed_perturb", "factors": [0.9, 1.0]}, {"name": "pitch_shift"}]},
    "audiomentations": {"transform": "TanhDistortion"},
    "maybe": {"augmentation": {"name": "gain", "max_gain_db": 3.0}},
    "one_of": {"choices": [{"name": "pitch_shift", "semitones": 3.0}, {"name": "pitch_shift", "semitones": -3.0}]},
}


class Marker:
    """A component of the tests.

    Args:
        level: how much.
        steps: which.
        path: where.
    """

    def __init__(self, level: float, steps: Sequence[int] = (), path: Path | None = None) -> None:
        if level < 0:
            raise ValueError("level must not be negative")
        self.level = level
        self.steps = tuple(steps)
        self.path = path


class Bare:
    def __init__(self, alpha=0.3, count=1, flag=False, word="a", anything=None):  # type: ignore[no-untyped-def]
        self.alpha, self.count, self.flag, self.word, self.anything = alpha, count, flag, word, anything


class Outer:
    class Inner:
        def __init__(self, depth: int = 2) -> None:
            self.depth = depth


class Holder:
    """Holds other components in a mapping and in a list."""

    def __init__(self, parts: dict[str, Any], others: Sequence[Any] = ()) -> None:
        self.parts, self.others = parts, list(others)


class Forgetful:
    def __init__(self, gamma: float = 1.0) -> None:
        self._gamma = gamma


class Named:
    def __init__(self, name: str = "x") -> None:
        self.name = name


TABLE = {"marker": Marker, "holder": Holder, "bare": Bare}


# --- every shipped component ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "name"), SHIPPED)
def test_shipped_component_round_trips(kind: str, name: str) -> None:
    table = TABLES[kind]
    component = build(table, {"name": name, **NEEDED.get(name, {})}, where=kind)
    description = describe(component, [table])
    again = build(table, yaml.safe_load(yaml.safe_dump(description)), where=kind)
    assert type(again) is table[name]
    assert description["name"] == name
    assert describe(again, [table]) == description
    assert set(description) == {"name", *settings_of(table[name])}


@pytest.mark.parametrize(
    "cls",
    [Recipe, *SECTIONS.values(), *(TABLES[kind][name] for kind, name in SHIPPED)],
    ids=lambda cls: cls.__name__,
)
def test_every_setting_has_a_meaning(cls: type) -> None:
    """What `ssft train RECIPE --help` prints: the class docstring's first line, and its Args section."""
    assert (cls.__doc__ or "").strip().split("\n")[0].endswith("."), "the first line says what it is"
    meanings = argument_docs(cls)
    assert sorted(meanings) == sorted(settings_of(cls)), "Args documents each setting, and nothing else"
    assert all(len(text) > 3 for text in meanings.values())


# --- describe ------------------------------------------------------------------------------------------------------


def test_describe_nested() -> None:
    pipeline = Compose([SpeedPerturb(factors=(1.0,)), OneOf([PitchShift(2), PitchShift(-2)])])
    described = describe(pipeline, [AUGMENTATIONS])
    assert described["steps"][0] == {"name": "speed_perturb", "factors": [1.0]}
    assert [choice["semitones"] for choice in described["steps"][1]["choices"]] == [2, -2]


def test_describe_gives_plain_values_whatever_the_numbers_came_from() -> None:
    marker = Marker(np.float64(0.5), steps=(np.int64(3), 4), path=Path("a") / "b")
    described = describe(marker, [TABLE])
    assert described == {"name": "marker", "level": 0.5, "steps": [3, 4], "path": str(Path("a") / "b")}
    assert type(described["level"]) is float
    assert yaml.safe_load(yaml.safe_dump(described)) == described
    assert describe(np.arange(3)) == [0, 1, 2]
    assert describe(torch.tensor([1.5, 2.5])) == [1.5, 2.5]


def test_components_in_mappings_and_lists_round_trip() -> None:
    holder = Holder({"left": Marker(1.0), "weight": 0.5}, [Marker(2.0), 3])
    described = describe(holder, [TABLE])
    again = build(TABLE, described, where="loss")
    assert isinstance(again.parts["left"], Marker)
    assert again.others[0].level == 2.0
    assert describe(again, [TABLE]) == described


@pytest.mark.parametrize("value", [len, lambda x: x, {1, 2}, b"x", 1j, int], ids=lambda value: type(value).__name__)
def test_what_cannot_be_written_down_is_refused(value: Any) -> None:
    with pytest.raises(RecipeError, match="cannot be written into a recipe"):
        describe(Bare(anything=value))


def test_component_that_forgets_its_setting() -> None:
    with pytest.raises(RecipeError, match=r"Forgetful does not keep its setting 'gamma'.*self\.gamma = gamma"):
        describe(Forgetful())


def test_setting_called_name_is_refused() -> None:
    with pytest.raises(RecipeError, match="Named has a setting 'name'"):
        describe(Named())


def test_class_inside_a_function_is_refused() -> None:
    class Local:
        pass

    with pytest.raises(RecipeError, match=r"Local is defined inside a function.*top level"):
        describe(Local())


# --- classes of one's own ------------------------------------------------------------------------------------------


def test_nested_class_has_a_dotted_path() -> None:
    described = describe(Outer.Inner(5))
    assert described["name"].endswith("test_components.Outer.Inner")
    assert isinstance(build({}, described, where="loss"), Outer.Inner)


def test_dotted_path_of_a_module_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_lab").mkdir()
    (tmp_path / "my_lab" / "losses.py").write_text(
        "class Mine:\n    def __init__(self, alpha: float = 1.0):\n        self.alpha = alpha\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    mine = build(LOSSES, {"name": "my_lab.losses.Mine", "alpha": "1e-5"}, where="loss")
    assert mine.alpha == 1e-5
    assert describe(mine, [LOSSES]) == {"name": "my_lab.losses.Mine", "alpha": 1e-5}


def test_dotted_path_of_a_shipped_class_gets_its_short_name() -> None:
    loss = build(LOSSES, "ssft.losses.SoftDTW", where="loss")
    assert describe(loss, [LOSSES])["name"] == "soft_dtw"


def test_class_of_the_running_script_keeps_its_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = type(sys)("__main__")
    script.__file__ = str(tmp_path / "my_script.py")
    exec("class Mine:\n    pass", script.__dict__)
    monkeypatch.setitem(sys.modules, "__main__", script)
    described = describe(script.Mine())
    assert described == {"name": "my_script.Mine"}
    assert type(build({}, described, where="loss")) is script.Mine


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module.Mine", "cannot import 'no_such_module.Mine'.*No module named 'no_such_module'.*PYTHONPATH"),
        ("ssft.losses.SoftDWT", "cannot import 'ssft.losses.SoftDWT'.*has no attribute 'SoftDWT'"),
        ("os.path", "'os.path' is not a class"),
        ("broken_lab.Mine", "cannot import 'broken_lab.Mine'.*ZeroDivisionError"),
        ("lacking_lab.Mine", "cannot import 'lacking_lab.Mine'.*No module named 'not_installed'"),
    ],
)
def test_dotted_path_that_leads_nowhere(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_lab.py").write_text("1 / 0\n")
    (tmp_path / "lacking_lab.py").write_text("import not_installed\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RecipeError, match=f"(?s)^loss: {message}"):
        build(LOSSES, name, where="loss")


# --- build and construct refuse ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("makrer", "loss: 'makrer' is not known. Did you mean 'marker'?"),
        ("Marker", "loss: 'Marker' is not known. Did you mean 'marker'?"),
        ({"level": 1}, "loss: {'level': 1} is neither a name nor a mapping with a name"),
        ([1], r"loss: \[1\] is neither a name"),
        (5, "loss: 5 is neither a name"),
        ("marker", "loss: marker needs a value for level"),
        ({"name": "marker", "levle": 1}, "loss: marker has no setting 'levle'. Did you mean 'level'?"),
        ({"name": "marker", 3: 1}, "loss: marker has no setting '3'"),
        ({"name": "marker", "level": "high"}, "loss.level: 'high' is not a number"),
        ({"name": "marker", "level": -1}, "loss: marker: level must not be negative"),
        (
            {"name": "holder", "parts": {"left": {"name": "marker", "level": "x"}}},
            "loss.parts.left.level: 'x' is not a number",
        ),
        ({"name": "holder", "parts": {}, "others": [{"name": "makrer"}]}, "loss.others.0: 'makrer' is not known"),
    ],
)
def test_build_refuses(spec: Any, message: str) -> None:
    with pytest.raises(RecipeError, match=f"^{message}"):
        build(TABLE, spec, where="loss")


def test_settings_without_annotations_take_the_type_of_their_default() -> None:
    bare = construct(Bare, {"alpha": "1e-5", "count": "3", "flag": "true", "word": "5", "anything": "5"}, where="loss")
    assert (bare.alpha, bare.count, bare.flag, bare.word, bare.anything) == (1e-5, 3, True, "5", "5")
    assert construct(Bare, {"count": "0.5"}, where="loss").count == 0.5


def test_annotation_that_only_a_type_checker_can_resolve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "typed_lab.py").write_text(
        "from __future__ import annotations\n"
        "class Mine:\n    def __init__(self, other: Unknown = None, alpha: float = 0.1):\n"
        "        self.other, self.alpha = other, alpha\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert build({}, {"name": "typed_lab.Mine", "alpha": "1e-3"}, where="loss").alpha == 1e-3


# --- conversion ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "hint", "result"),
    [
        ("1e-5", float, 1e-5),
        (2, float, 2.0),
        ("50", int, 50),
        ("1e3", int, 1000),
        (1000.0, int, 1000),
        (None, float | None, None),
        ("1e-5", float | None, 1e-5),
        ("true", bool, True),
        ("no", bool, False),
        (2024, str, "2024"),
        (1.5, str, "1.5"),
        (5, str | None, "5"),
        ([0.9, 1.1], tuple[float, float], (0.9, 1.1)),
        (["0.9", "1e-1"], tuple[float, ...], (0.9, 0.1)),
        (["1e-5", 1], Sequence[float], [1e-5, 1.0]),
        (2, int | Sequence[int], 2),
        ("2", int | Sequence[int], 2),
        ([7, "8"], int | Sequence[int], [7, 8]),
        ("linear", Literal["linear", "cosine"], "linear"),
        ({"a": "1"}, dict[str, float], {"a": 1.0}),
        ("x", Any, "x"),
        ("a/b", Path, Path("a/b")),
        (True, Literal[True, "auto"], True),
    ],
)
def test_convert(value: Any, hint: Any, result: Any) -> None:
    converted = convert(value, hint, "x")
    assert converted == result
    assert type(converted) is type(result)


@pytest.mark.parametrize(
    ("value", "hint", "message"),
    [
        ("fast", float, "x: 'fast' is not a number."),
        (2.5, int, "x: 2.5 is not a whole number."),
        (True, int, "x: true is not a whole number."),
        (True, float | None, "x: true is not a number or null."),
        (True, str, "x: true is not text."),
        (None, int, "x: null is not a whole number."),
        (None, str, "x: null is not text."),
        ("maybe", bool, "x: 'maybe' is not true or false."),
        (0.9, Sequence[float], "x: 0.9 is not a list of numbers in brackets."),
        ("0.9", Sequence[str], "x: '0.9' is not a list of text in brackets."),
        ([0.9], tuple[float, float], "x: [0.9] is not a list of 2 numbers in brackets."),
        ("two", int | Sequence[int], "x: 'two' is not a whole number or a list of whole numbers in brackets."),
        ("linaer", Literal["linear", "cosine"], "x: 'linaer' is not 'linear' or 'cosine'. Did you mean 'linear'?"),
        ("frozn", Union[Literal["frozen"], None], "x: 'frozn' is not 'frozen' or null. Did you mean 'frozen'?"),  # noqa: UP007
        ([1], dict[str, float], "x: [1] is not a mapping."),
        (3, Path, "x: 3 is not a path."),
        (3, Marker, "x: 3 is not a Marker."),
    ],
)
def test_convert_refuses(value: Any, hint: Any, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        convert(value, hint, "x")
    assert str(caught.value) == message


def test_objects_pass() -> None:
    marker = Marker(1.0)
    assert convert(marker, float, "x") is marker
    assert convert([marker], Sequence[Marker], "x") == [marker]


def test_expected_reads_like_english() -> None:
    assert expected(Sequence[int] | None) == "a list of whole numbers in brackets or null"
