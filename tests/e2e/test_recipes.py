"""Every shipped recipe is found, sound, replayable, and explained; without a network."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from random_encoders import random_encoder
from safetensors.torch import load_file

from ssft.cli.main import main
from ssft.cli.settings import settings_rows, settings_table
from ssft.components import settings_of
from ssft.data import Data
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


TINY = [name for name in NAMES if name.endswith("_tiny")]
BASE = [name for name in NAMES if not name.endswith("_tiny")]


def test_every_method_has_its_tiny_twin() -> None:
    methods = {re.sub(r"(_2048)?_(hubert|wavlm)_base$", "", name) for name in BASE}
    assert methods == {name.removesuffix("_tiny") for name in TINY}
    assert {"score", "laser", "spin", "noise_robust_softdtw", "noise_robust_mse", "rspin"} <= methods
    for method in methods:
        assert {f"{method}_hubert_base", f"{method}_wavlm_base"} <= set(BASE)


@pytest.mark.parametrize("name", TINY)
def test_tiny_recipe_trains_offline(name: str, recordings: Path, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    # Labels are those of the bundled speech.
    data = [] if recipe.data.targets else ["--data.root", str(recordings)]
    short = ["--train.steps", "2", "--train.warmup_steps", "0", "--train.batch_seconds", "8", "--data.workers", "0"]
    assert main(["train", name, *data, *short, "--out", str(tmp_path / "run")]) == 0
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert len(records) == 2
    assert all(math.isfinite(record["loss"]) and record["grad_norm"] > 0 for record in records)
    assert (tmp_path / "run" / "adapted" / "model.safetensors").is_file()
    assert main(["resume", str(tmp_path / "run")]) == 0


@pytest.fixture(scope="module")
def small_bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Encoders of the base models' families, small and random, as folders that `--encoder.model` takes."""
    folders = {}
    for family in ("hubert", "wavlm"):
        folders[family] = tmp_path_factory.mktemp(family)
        random_encoder(family, "group").save(folders[family])
    return folders


@pytest.mark.parametrize("preset", ["clean", "official"])
@pytest.mark.parametrize("name", BASE)
def test_base_recipe_trains_a_small_encoder_of_its_family(
    name: str, preset: str, small_bases: dict[str, Path], recordings: Path, tmp_path: Path
) -> None:
    recipe = load_recipe(name)
    if preset == "official" and not recipe.official:
        pytest.skip(f"{name} has no official preset: its authors published no training code")
    settings = ["--encoder.model", str(small_bases[name.split("_")[-2]]), "--data.root", str(recordings)]
    settings += ["--data.min_seconds", "0.2", "--data.workers", "0", "--train.batch_seconds", "6", "--preset", preset]
    settings += ["--train.steps", "1", "--train.warmup_steps", "0"]
    if name.startswith("rspin"):
        labels = tmp_path / "labels.tsv"
        lines = [
            f"{u.id}\t{' '.join(['3', '4'] * int(u.seconds * 25))}" for u in Data(str(recordings)).load().utterances
        ]
        labels.write_text("\n".join(["id\tlabels", *lines]) + "\n")
        settings += ["--encoder.trainable_layers", "3", "--data.targets", str(labels)]
    # Pink noise for the folders of noise that a user would name.
    described = json.dumps(recipe.describe())
    settings += [
        word
        for place in ("views.original", "views.augmented", "views.augmented.steps.1")
        for word in (f"--{place}.source", "pink")
        if place in noise_places(recipe.describe()["views"]) and "add_noise" in described
    ]
    assert main(["train", name, *settings, "--out", str(tmp_path / "run")]) == 0
    (record,) = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert math.isfinite(record["loss"])
    moved = json.loads((tmp_path / "run" / "adapted" / "ssft.json").read_text())
    assert moved["recipe"]["preset"] == preset
    base = load_file(small_bases[name.split("_")[-2]] / "model.safetensors")
    adapted = load_file(tmp_path / "run" / "adapted" / "model.safetensors")
    changed = {tensor for tensor in base if not torch.equal(base[tensor], adapted[tensor])}
    assert any(tensor.startswith("encoder.layers.2") for tensor in changed)
    norms = {tensor.rsplit(".", 1)[0] for tensor in changed if not tensor.startswith("encoder.layers")}
    assert norms == set(recipe.official["encoder"].get("train_also", ()) if preset == "official" else ())


def noise_places(views: dict[str, Any]) -> set[str]:
    """Where in the views noise is added, as a flag names it."""
    places = {f"views.{side}": views[side] for side in ("original", "augmented")}
    for index, step in enumerate((views["augmented"] or {}).get("steps", [])):
        places[f"views.augmented.steps.{index}"] = step
    return {place for place, component in places.items() if component and component["name"] == "add_noise"}


def test_a_loss_is_swapped_by_one_flag(recordings: Path, tmp_path: Path) -> None:
    short = ["--data.root", str(recordings), "--train.steps", "1", "--train.warmup_steps", "0", "--data.workers", "0"]
    for loss in ("laser", "frame_regression", "vicreg", "swapped_prediction"):
        same = ["--views.augmented", "null"] if loss != "laser" else []
        folder = tmp_path / loss
        assert main(["train", "score_tiny", *short, *same, "--loss", loss, "--out", str(folder)]) == 0
        recorded = yaml.safe_load((folder / "recipe.yaml").read_text())
        assert recorded["loss"]["name"] == loss


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--loss", "laser", "--loss.margin", "-1"], "Laser(margin=-1.0): margin must be positive"),
        (["--loss", "swapped_prediction"], "SwappedPrediction compares frame t with frame t"),
        (["--loss", "pseudo_label", "--views.augmented", "null"], "PseudoLabel needs labels of the frames"),
        (["--loss", "masked_prediction", "--data.targets", "demo"], "Add --views.mask span_mask"),
        (["--loss", "lasr"], "Did you mean 'laser'"),
        (["--views.loss_layers", "[2]"], "Give layers from 5 to 6"),
        (["--loss", "swapped_prediction", "--loss.codebook_size", "1"], "at least 2 codes"),
        (["--encoder.train_also", "[encoder.layernorm]"], "Did you mean 'encoder.layer_norm'"),
        (["--preset", "official"], "has no preset 'official'"),
    ],
)
def test_what_does_not_go_together_is_refused_by_name(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "score_tiny", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_check_says_what_is_worth_knowing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "rspin_hubert_base", "--loss.losses.spin.codebook_size", "4096"]) == 0
    out = capsys.readouterr().out
    assert "no labels at data/pieces.safetensors; make them with `ssft units`" in out
    assert "data/noise" in out
    assert "a batch has about 19,200 frames, but the codebook wants 24,576" in out
    assert main(["check", "spin_2048_hubert_base", "--train.accumulate", "8"]) == 0
    assert "a batch has about 1,600 frames, but the codebook wants 12,288" in capsys.readouterr().out
    assert main(["check", "score_tiny", "--views.reference", "student"]) == 0
    assert "SoftDTW alone lets all frames become equal" in capsys.readouterr().out
