"""Every shipped recipe is found, sound, replayable, and explained; without a network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ssft.cli.main import main
from ssft.cli.settings import settings_rows, settings_table
from ssft.components import settings_of
from ssft.overrides import parse_overrides
from ssft.recipe import Recipe, load_recipe
from ssft.recipe_files import shipped_recipes, summary
from ssft.runs import with_overrides

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted((ROOT / "recipes").rglob("*.py"))
NAMES = [path.stem for path in SCRIPTS]
OFFLINE = {**os.environ, "HF_HUB_OFFLINE": "1"}


def classes(value: Any) -> Any:
    """The classes of an object and of everything that its settings hold."""
    if isinstance(value, dict):
        return {key: classes(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [classes(item) for item in value]
    if type(value).__module__ == "builtins":
        return None
    return type(value), {key: classes(getattr(value, key)) for key in settings_of(type(value))}


def test_recipes_are_found_and_all_are_shipped() -> None:
    assert {"score_tiny", "score_hubert_base", "score_wavlm_base"} <= set(NAMES)
    assert sorted(shipped_recipes().values()) == SCRIPTS, "two recipes of one name, or one that is not shipped"


@pytest.mark.parametrize("name", NAMES)
def test_round_trip(name: str) -> None:
    recipe = with_overrides(load_recipe(name), [])
    again = Recipe.from_yaml(recipe.to_yaml())
    assert recipe.name == name
    assert again.describe() == recipe.describe() == yaml.safe_load(recipe.to_yaml())
    assert classes(again) == classes(recipe)


@pytest.mark.parametrize("path", SCRIPTS, ids=NAMES)
def test_check_passes(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(path)]) == 0
    recipe = load_recipe(str(path))
    out = capsys.readouterr().out
    assert out.endswith(f"{recipe.name}: no problems found\n")
    model = recipe.encoder.model
    assert (
        f"of {model} will train" in out or f"{model} is not on this machine yet, so its layers were not checked" in out
    )
    assert ("no audio at" in out) == (recipe.data.root != "demo")


def test_check_of_a_hub_recipe_says_what_it_did_not_check(capsys: pytest.CaptureFixture[str]) -> None:
    model = "nobody-at-all/no-such-encoder"
    assert main(["check", "score_hubert_base", "--encoder.model", model, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert f"{model} is not on this machine yet, so its layers were not checked" in report["notes"]
    assert report["recipe"]["encoder"]["model"] == model


@pytest.mark.parametrize("path", SCRIPTS, ids=NAMES)
def test_recipe_explains_itself(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert summary(path).endswith(".")
    assert f"python {path.relative_to(ROOT).as_posix()} --" in text, "the docstring says how to run it"
    assert 'if __name__ == "__main__":\n    run(recipe)\n' in text


@pytest.mark.parametrize("name", NAMES)
def test_help_shows_every_setting_with_its_value_and_meaning(name: str) -> None:
    recipe = load_recipe(name)
    rows = list(settings_rows(recipe))
    assert [key for key, _, meaning in rows if not meaning.strip()] == []
    assert {key for key, _, _ in rows} == set(leaves(recipe.describe()))
    table = settings_table(recipe)
    for key, _, _ in rows:
        assert f"  --{key} " in table


@pytest.mark.parametrize("name", NAMES)
def test_what_help_shows_can_be_typed_back(name: str) -> None:
    """Every flag with its printed value is accepted, and changes nothing."""
    import shlex

    recipe = with_overrides(load_recipe(name), [])
    arguments = [
        word for line in settings_table(recipe).splitlines() if line.startswith("  --") for word in shlex.split(line)
    ]
    plain = [word for flag, word in zip(arguments[::2], arguments[1::2], strict=True)]
    assert len(parse_overrides(arguments)) == len(plain) > 30
    settings = [
        word
        for flag, value in zip(arguments[::2], plain, strict=True)
        if not any(other.startswith(f"{flag}.") for other in arguments[::2])
        for word in (flag, value)
    ]
    assert with_overrides(recipe, settings).describe() == recipe.describe()


def leaves(described: Any, key: str = "") -> list[str]:
    """The flags of a description: a component is one itself, and so is each of its settings."""
    if isinstance(described, list) and any(isinstance(item, dict) for item in described):
        return [leaf for index, item in enumerate(described) for leaf in leaves(item, f"{key}.{index}")]
    if not isinstance(described, dict) or not described:
        return [key]
    return [
        leaf
        for name, value in described.items()
        for leaf in leaves(value, key if name == "name" and key else f"{key}.{name}".strip("."))
    ]


def test_recipe_script_is_a_command() -> None:
    """One fresh process: `python recipes/score_tiny.py --help`."""
    script = ROOT / "recipes" / "score_tiny.py"
    done = subprocess.run(
        [sys.executable, str(script), "--loss.gamma", "0.25", "--help"],
        capture_output=True,
        text=True,
        env=OFFLINE,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == f"usage: python {script} [--out DIR] [--SETTING VALUE ...]"
    assert summary(script) in lines
    assert "  --loss.gamma 0.25" in lines
    assert f"  --train.steps {load_recipe('score_tiny').train.steps}" in lines
