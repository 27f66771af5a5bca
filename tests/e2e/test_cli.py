"""What users type, what they see, and how it ends: 0 only for a job done, 2 for a recipe that cannot be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile

import ssft
from ssft.cli.main import VERBS, main
from ssft.data import Data
from ssft.encoders import PretrainedEncoder
from ssft.recipe import load_recipe
from ssft.recipe_files import shipped_recipes

COMMAND = Path(sys.executable).parent / "ssft"
OFFLINE = {**os.environ, "HF_HUB_OFFLINE": "1"}


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


Call = Callable[..., Ended]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run `ssft ARGUMENTS` in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def run(*arguments: str) -> Ended:
        try:
            code = main(arguments)
        except SystemExit as ended:
            code = int(ended.code or 0)
        captured = capsys.readouterr()
        return Ended(code, captured.out, captured.err)

    return run


@pytest.fixture
def nothing_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was loaded")

    monkeypatch.setattr(PretrainedEncoder, "load", refuse)
    monkeypatch.setattr(Data, "load", refuse)


@pytest.fixture(scope="session")
def config_only(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder of 12 layers without weights: it can be checked, and not loaded."""
    from transformers import HubertConfig

    folder = tmp_path_factory.mktemp("config_only")
    HubertConfig(num_hidden_layers=12).save_pretrained(folder)
    return folder


# --- misspelt ------------------------------------------------------------------------------------------------------

TYPOS = {
    "--encoder.modle tiny": "--encoder.modle: encoder has no setting 'modle'. Did you mean 'model'?",
    "--encodr.model tiny": "--encodr.model: recipe has no setting 'encodr'. Did you mean 'encoder'?",
    "--veiws.swap 0": "recipe has no setting 'veiws'. Did you mean 'views'?",
    "--views.refrence student": "views has no setting 'refrence'. Did you mean 'reference'?",
    "--haed identity": "recipe has no setting 'haed'. Did you mean 'head'?",
    "--los soft_dtw": "recipe has no setting 'los'. Did you mean 'loss'?",
    "--datta.root x": "recipe has no setting 'datta'. Did you mean 'data'?",
    "--data.roott x": "data has no setting 'roott'. Did you mean 'root'?",
    "--train.step 5": "train has no setting 'step'. Did you mean 'steps'?",
    "--nmae x": "recipe has no setting 'nmae'. Did you mean 'name'?",
    "--loss softdtw": "loss: 'softdtw' is not known. Did you mean 'soft_dtw'?",
    "--loss SoftDTW": "loss: 'SoftDTW' is not known. Did you mean 'soft_dtw'?",
    "--loss.gama 0.2": "loss: soft_dtw has no setting 'gama'. Did you mean 'gamma'?",
    "--loss soft_dtw --loss.diverge 1": "loss: soft_dtw has no setting 'diverge'. Did you mean 'divergence'?",
    "--head projecton": "head: 'projecton' is not known. Did you mean 'projection'?",
    "--head projection --head.dimm 3": "head: projection has no setting 'dimm'. Did you mean 'dim'?",
    "--head.l2_normalise false": "head: identity has no setting 'l2_normalise'. Did you mean 'l2_normalize'?",
    "--views.augmented pitchshift": "views.augmented: 'pitchshift' is not known. Did you mean 'pitch_shift'?",
    "--views.augmented.steps.0 sped_perturb": "views.augmented.steps.0: 'sped_perturb' is not known. Did you mean",
    "--views.augmented.steps.0.factor [1.0]": "speed_perturb has no setting 'factor'. Did you mean 'factors'?",
    "--views.augmented.steps.9.factors [1.0]": "views.augmented.steps is a list; give a position from 0 to 1, not '9'.",
    "--loss absent_lab.Mine": "loss: cannot import 'absent_lab.Mine' (ModuleNotFoundError:",
    "--loss.gamma high": "loss.gamma: 'high' is not a number.",
    "--loss.gamma -1": "SoftDTW(gamma=-1.0): gamma must be positive; 0.1 is the published value.",
    "--train.steps many": "train.steps: 'many' is not a whole number.",
    "--train.steps 2.5": "train.steps: 2.5 is not a whole number.",
    "--train.steps true": "train.steps: true is not a whole number.",
    "--train.lr null": "train.lr: null is not a number.",
    "--train.schedule linaer": "'linaer' is not 'linear' or 'cosine' or 'constant'. Did you mean 'linear'?",
    "--train.betas 0.9": "train.betas: 0.9 is not a list of 2 numbers in brackets.",
    "--views.reference forzen": "views.reference: 'forzen' is not 'frozen' or",
    "--views.augmented.steps.0.factors 1.0": "factors: 1.0 is not a list of numbers in brackets.",
    "--data.verify adio": "'adio' is not 'auto' or 'audio' or 'header' or 'manifest'. Did you mean 'audio'?",
    "--data.allow_outside perhaps": "data.allow_outside: 'perhaps' is not true or false.",
    "--train 5": "--train is a group of settings. Say which one, as in --train.steps VALUE.",
    "--train.steps": "--train.steps needs a value, as in --train.steps VALUE.",
    "--train.steps --train.lr 1": "--train.steps needs a value, as in --train.steps VALUE.",
    "--encoder.trainable_layers 0": "encoder.trainable_layers=0 trains nothing; give at least one layer.",
    "--encoder.trainable_layers -1": "encoder.trainable_layers=-1 trains nothing; give at least one layer.",
    "--encoder.trainable_layers 13": "encoder.trainable_layers=13, but FOLDER has 12 transformer layers. Give a count",
    "--encoder.trainable_layers [0]": "encoder.trainable_layers=[0]: FOLDER has layers 1 to 12, not 0.",
    "--encoder.trainable_layers [13]": "encoder.trainable_layers=[13]: FOLDER has layers 1 to 12, not 13.",
    "--encoder.trainable_layers [7,7]": "encoder.trainable_layers=[7, 7] names a layer twice.",
    "--encoder.trainable_layers []": "encoder.trainable_layers=[] trains nothing; give at least one layer.",
    "--encoder.trainable_layers top": "'top' is not a whole number or a list of whole numbers in brackets.",
    "surplus": "'surplus' is not understood. Settings are given as --train.steps 50 or --train.steps=50.",
    "-s 5": "'-s' is not understood.",
}


@pytest.mark.parametrize("verb", ["check", "train"])
@pytest.mark.parametrize("typed", TYPOS)
@pytest.mark.usefixtures("nothing_loads")
def test_refused_before_anything_is_loaded(typed: str, verb: str, call: Call, config_only: Path) -> None:
    ended = call(verb, "score_tiny", "--encoder.model", str(config_only), *typed.split())
    assert ended.code == 2
    assert TYPOS[typed].replace("FOLDER", str(config_only)) in ended.err
    assert "Traceback" not in ended.err
    assert ended.out == ""
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.usefixtures("nothing_loads")
def test_layers_that_are_there_pass_without_weights(call: Call, config_only: Path) -> None:
    ended = call("check", "score_tiny", "--encoder.model", str(config_only), "--encoder.trainable_layers", "[12, 7]")
    assert ended.code == 0
    assert f"layers 7, 12 of {config_only} will train" in ended.out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "usage: ssft VERB ..."),
        (["trian"], 2, "there is no verb 'trian'. Did you mean 'train'?"),
        (["recipe"], 2, "there is no verb 'recipe'. Did you mean 'recipes'?"),
        (["--verison"], 2, "'--verison' is not understood. Did you mean '--version'?"),
        (["recipes", "--jsn"], 2, "'--jsn' is not understood. Did you mean '--json'?"),
        (["recipes", "--js"], 2, "'--js' is not understood. Did you mean '--json'?"),
        (["export", "runs/x", "--too", "y"], 2, "'--too' is not understood. Did you mean '--to'?"),
        (["export", "runs/x", "y"], 2, "'y' is not understood."),
        (["export"], 2, "the following arguments are required: RUN"),
        (["export", "runs/x", "--train.steps", "5"], 2, "'--train.steps' is not understood."),
        (["demo", "--loss.gamma", "0.2"], 2, "'--loss.gamma' is not understood."),
        (["train", "score_tiny", "--out"], 2, "--out: expected one argument"),
        (["train"], 2, "Which recipe?"),
        (["check"], 2, "the following arguments are required: RECIPE"),
        (
            ["check", "score_tny"],
            2,
            "neither a recipe file (.py, .yaml) nor a shipped recipe. Did you mean 'score_tiny'?",
        ),
        (["train", "my.py"], 2, "my.py does not exist. `ssft recipes` lists the shipped ones."),
        (["recipes", "cpoy", "a", "b"], 2, "'cpoy a b' is not understood. `ssft recipes` lists the recipes"),
        (["recipes", "copy", "score_tiny"], 2, "`ssft recipes copy NAME FILE` copies one."),
        (["recipes", "copy", "score_tny", "a.py"], 2, "no shipped recipe 'score_tny'. Did you mean 'score_tiny'?"),
        (["recipes", "copy", "score_tiny", "mine"], 2, "'mine' does not end in .py. Try mine.py"),
        (["recipes", "copy", "score_tiny", "no/mine.py"], 1, "Cannot write no/mine.py: No such file or directory."),
        (["export", "runs/none"], 1, "runs/none is not a run folder"),
        (["resume", "runs/none"], 1, "runs/none is not a run folder"),
        (["check", "score_tiny", "--encoder.model", "./none"], 1, "none does not exist. Pass a folder, an official"),
        (["check", "score_tiny", "--encoder.model", "a/b/c"], 1, "a/b/c does not exist. Pass a folder, an official"),
        (["check", "score_tiny", "--encoder.model", "my models/a"], 1, "Cannot find the encoder 'my models/a'"),
        (["check", "score_tiny", "--encoder.model", "tinny"], 1, "Cannot find the encoder 'tinny'"),
    ],
)
@pytest.mark.usefixtures("nothing_loads")
def test_wrong_calls(arguments: list[str], code: int, message: str, call: Call) -> None:
    ended = call(*arguments)
    assert ended.code == code
    assert message in ended.err
    assert "Traceback" not in ended.err
    assert ended.out == ""
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("my.py", "x = 1\n", "my.py does not define a recipe. It must say: recipe = Recipe(...)"),
        ("my.py", "recipe = (\n", "my.py, line 1: SyntaxError: '(' was never closed"),
        ("my.yaml", "- a\n- b\n", "my.yaml holds no recipe. A recipe is a mapping with name, encoder"),
        ("my.yaml", "name: x\nlosss: soft_dtw\n", "my.yaml: recipe has no setting 'losss'. Did you mean 'loss'?"),
    ],
)
@pytest.mark.usefixtures("nothing_loads")
def test_broken_recipe_files(file: str, text: str, message: str, call: Call) -> None:
    Path(file).write_text(text)
    ended = call("train", file)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"ssft: {message}")


# --- help ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str, call: Call) -> None:
    ended = call(verb, "--help")
    assert ended.code == 0
    assert ended.out.startswith(f"usage: ssft {verb}")


def test_help_lists_every_verb(call: Call) -> None:
    ended = call("--help")
    assert ended.code == 0
    listed = [line.split()[0] for line in ended.out.splitlines() if line.startswith("    ") and line.split()]
    assert [verb for verb in listed if verb in VERBS] == list(VERBS)


def test_train_help_shows_the_settings_as_they_would_be_used(call: Call) -> None:
    ended = call("train", "score_tiny", "--head", "projection", "--head.dim=99", "--help")
    assert ended.code == 0
    lines = ended.out.splitlines()
    assert lines[0] == "usage: ssft train score_tiny [--out DIR] [--SETTING VALUE ...]"
    assert lines[2].startswith("SCORE on the embedded tiny encoder")
    assert "  --head projection" in lines
    assert "  --head.dim 99" in lines
    steps = load_recipe("score_tiny").train.steps
    assert lines[lines.index(f"  --train.steps {steps}") + 1] == "      optimizer steps."


def test_flags_before_the_recipe(call: Call) -> None:
    ended = call(
        "check", "--loss.gamma", "0.25", "--json", "score_tiny", "--train.steps=7", "--train.warmup_steps", "0"
    )
    assert ended.code == 0
    recipe = json.loads(ended.out)["recipe"]
    assert (recipe["loss"]["gamma"], recipe["train"]["steps"]) == (0.25, 7)


def test_negative_values_are_no_flags(call: Call) -> None:
    ended = call("check", "score_tiny", "--views.augmented.steps.1.choices.0.semitones", "-3", "--json")
    assert ended.code == 0
    choices = json.loads(ended.out)["recipe"]["views"]["augmented"]["steps"][1]["choices"]
    assert [choice["semitones"] for choice in choices] == [-3.0, -2.0]


# --- recipes -------------------------------------------------------------------------------------------------------


def test_recipes_lists_names_and_first_lines(call: Call) -> None:
    ended = call("recipes")
    assert ended.code == 0
    assert any(
        line.split(None, 1)
        == ["score_tiny", "SCORE on the embedded tiny encoder: offline, a minute or two on a laptop."]
        for line in ended.out.splitlines()
        if line
    )
    summaries = json.loads(call("recipes", "--json").out)
    assert summaries["score_tiny"].startswith("SCORE on the embedded")
    assert all(name in ended.out and text in ended.out for name, text in summaries.items())


def test_copy_is_editable_and_passes_check(call: Call) -> None:
    ended = call("recipes", "copy", "score_tiny", "mine.py")
    assert ended.code == 0
    assert "ssft train mine.py --data.root DIR" in ended.out
    mine = Path("mine.py")
    mine.write_text(mine.read_text().replace('name="score_tiny"', 'name="mine"').replace("gamma=0.1", "gamma=0.4"))
    report = json.loads(call("check", "mine.py", "--json").out)["recipe"]
    assert (report["name"], report["loss"]["gamma"]) == ("mine", 0.4)


def test_copy_leaves_an_existing_file_alone(call: Call) -> None:
    Path("mine.py").write_text("precious\n")
    ended = call("recipes", "copy", "score_tiny", "mine.py")
    assert ended.code == 1
    assert "mine.py exists and is left as it is. Give another file name." in ended.err
    assert Path("mine.py").read_text() == "precious\n"


# --- a class of one's own, from script to replay --------------------------------------------------------------------

OWN = '''"""A loss that is defined in the recipe."""

from torch import nn

from ssft import Data, Encoder, Recipe, Train, Views, run
from ssft.augment import PitchShift
from ssft.types import LossOutput


class MeanDistance(nn.Module):
    """How far apart two frames of the same time are.

    Args:
        scale: multiplies the distance.
    """

    needs_same_length = True

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, student, reference):
        return LossOutput(self.scale * (student.values - reference.values).square().mean(), weight=len(student.lengths))


recipe = Recipe(
    name="own",
    encoder=Encoder("tiny", trainable_layers=1),
    views=Views(PitchShift(2)),
    loss=MeanDistance(),
    data=Data(root="audio", workers=0),
    train=Train(steps=2, batch_seconds=2, save_every=2, precision="float32"),
)

if __name__ == "__main__":
    run(recipe)
'''


def test_own_loss_trains_from_the_script_and_replays_in_a_fresh_process(call: Call) -> None:
    rng = np.random.default_rng(0)
    Path("audio").mkdir()
    for number in range(3):
        soundfile.write(f"audio/{number}.wav", 0.1 * rng.standard_normal(16_000), 16_000)
    Path("own_loss.py").write_text(OWN)
    ended = call("train", "own_loss.py", "--loss.scale", "1e-1")
    assert ended.code == 0, ended.err
    assert "trained 2 steps" in ended.out
    assert Path("runs/own/adapted/model.safetensors").is_file()

    ended = call("train", "own_loss.py")
    assert ended.code == 1
    assert "ssft resume runs/own" in ended.err

    # The command, unlike `python -m`, does not begin with the working folder on its path.
    command = [str(COMMAND)] if COMMAND.exists() else [sys.executable, "-m", "ssft.cli.main"]
    arguments = [*command, "check", "runs/own/recipe.yaml", "--json"]
    done = subprocess.run(arguments, capture_output=True, text=True, env=OFFLINE, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["recipe"]["loss"] == {"name": "own_loss.MeanDistance", "scale": 0.1}

    done = fresh("own_loss.py", "--name", "again", "--views.augmented", "speed_perturb")
    assert done.returncode == 2
    assert "MeanDistance compares frame t with frame t" in done.stderr
    assert "Use a loss that aligns the views, such as soft_dtw" in done.stderr


def test_frame_by_frame_loss_and_speed_are_refused_by_check(call: Call) -> None:
    Path("own_frames.py").write_text(OWN)
    assert call("check", "own_frames.py").code == 0
    ended = call("check", "own_frames.py", "--views.augmented", "speed_perturb")
    assert ended.code == 2
    assert (
        "MeanDistance compares frame t with frame t, but SpeedPerturb(factors=(0.9, 1.0, 1.1)) changes the" in ended.err
    )


# --- fresh processes -----------------------------------------------------------------------------------------------


def fresh(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=OFFLINE, timeout=60)


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_answers_at_once(flag: str) -> None:
    seconds = []
    for _ in range(2):
        began = time.monotonic()
        done = fresh("-m", "ssft.cli.main", flag)
        seconds.append(time.monotonic() - began)
        assert done.returncode == 0
        assert "ssft" in done.stdout
    assert min(seconds) < 2.0


def test_the_installed_command() -> None:
    if not COMMAND.exists():
        pytest.skip("ssft is not installed as a command")
    done = subprocess.run([COMMAND], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "Begin with `ssft demo`" in done.stderr
    done = subprocess.run([COMMAND, "--version"], capture_output=True, text=True, timeout=60)
    assert done.stdout == f"ssft {ssft.__version__}\n"


def test_a_reader_that_leaves_is_no_error() -> None:
    command = f"{sys.executable} -m ssft.cli.main recipes | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith(min(shipped_recipes()))
    assert done.stderr == ""
