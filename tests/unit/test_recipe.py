"""`Recipe`: the same object from a script, from YAML, and after overrides; refused with the place where it is wrong."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from torch import nn

from ssft import Data, Encoder, Recipe, SpanMask, Train, Views
from ssft.augment import Compose, OneOf, PitchShift, SpeedPerturb
from ssft.errors import RecipeError
from ssft.heads import Identity, Projection
from ssft.losses import SoftDTW
from ssft.recipe import load_recipe
from ssft.runs import with_overrides


@pytest.fixture(autouse=True)
def own_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading a script puts its folder on the path; take it off again."""
    monkeypatch.setattr(sys, "path", list(sys.path))


class FrameDistance(nn.Module):
    """A loss that compares frame t with frame t."""

    needs_same_length = True

    def __init__(self, power: float = 2.0) -> None:
        super().__init__()
        self.power = power


def make(**parts: Any) -> Recipe:
    return Recipe(**{"name": "mine", "encoder": Encoder("tiny"), **parts})


FULL = make(
    encoder=Encoder("some/encoder", trainable_layers=(7, 9), revision="0123456"),
    views=Views(Compose([SpeedPerturb((0.9, 1.1)), OneOf([PitchShift(2), PitchShift(-2)])]), "student", 0.25),
    head=Projection(64, hidden=(32,), l2_normalize=False),
    loss=SoftDTW(0.3, divergence=False, normalize="none"),
    data=Data(root="a/b", split="no", max_seconds=5, workers=0),
    train=Train(steps=7, lr=1e-5, head_lr=None, betas=(0.8, 0.9), schedule="cosine", eps=1e-30),
)


# --- one path ------------------------------------------------------------------------------------------------------


def test_yaml_round_trip() -> None:
    again = Recipe.from_yaml(FULL.to_yaml())
    assert again.describe() == FULL.describe()
    assert again.to_yaml() == Recipe.from_yaml(again.to_yaml()).to_yaml()
    for part in ("encoder", "views", "head", "loss", "data", "train"):
        assert type(getattr(again, part)) is type(getattr(FULL, part))
    assert again.train == FULL.train
    assert again.data == FULL.data
    assert again.views.augmented.steps[1].choices[1].semitones == -2


def test_a_recipe_keeps_what_was_written() -> None:
    described = FULL.describe()
    assert described["encoder"] == {
        "model": "some/encoder",
        "trainable_layers": [7, 9],
        "revision": "0123456",
        "train_also": [],
        "frozen_dropout": False,
        "adapter": None,
        "reset_layers": 0,
        "checkpoint_layers": False,
        "compile_bottom": False,
    }
    assert described["head"] == {"name": "projection", "dim": 64, "hidden": [32], "l2_normalize": False}
    assert described["train"]["betas"] == [0.8, 0.9]


def test_short_yaml_takes_the_defaults() -> None:
    recipe = Recipe.from_yaml("name: short\nloss: soft_dtw\nhead:\n  name: projection\n  dim: 8\ntrain:\n  lr: 1e-5\n")
    assert recipe.train == Train(lr=1e-5)
    assert recipe.data == Data()
    assert isinstance(recipe.loss, SoftDTW)
    assert recipe.head.dim == 8
    assert recipe.views.augmented is None


def test_overrides_are_converted_like_yaml() -> None:
    arguments = [
        *("--train.lr", "1e-5"),
        *("--train.steps", "1e3"),
        *("--train.head_lr", "3e-4"),
        *("--train.betas", "[0.5, 0.6]"),
        *("--encoder.trainable_layers", "[5, 6]"),
        *("--loss.gamma", "0.2"),
        *("--loss.divergence", "false"),
        *("--loss", "soft_dtw"),
        *("--head.dim", "32"),
        *("--views.augmented.steps.0.factors", "[1.0]"),
        *("--data.split", "null"),
        *("--data.root", "2026-01-31"),
        *("--name", "007"),
    ]
    recipe = with_overrides(FULL, arguments)
    assert recipe.train == Train(
        steps=1000, lr=1e-5, head_lr=3e-4, betas=(0.5, 0.6), schedule="cosine", eps=1e-30, warmup_steps=0
    )
    assert recipe.encoder.trainable_layers == [5, 6]
    assert (recipe.loss.gamma, recipe.loss.divergence, recipe.loss.normalize) == (0.2, False, "total_length")
    assert (recipe.head.dim, recipe.head.hidden) == (32, (32,))
    assert recipe.views.augmented.steps[0].factors == (1.0,)
    assert (recipe.data.split, recipe.data.root, recipe.name) == (None, "2026-01-31", "007")
    assert FULL.train.lr == 1e-5
    assert FULL.loss.gamma == 0.3, "the recipe itself stays as it was"


# --- refused -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- name: mine", "mine.yaml holds no recipe. A recipe is a mapping with name, encoder"),
        ("", "mine.yaml holds no recipe"),
        ("name: [unfinished", "mine.yaml is not YAML"),
        ("name: 2026-02-31", "mine.yaml is not YAML"),
        ("loss: soft_dtw", "mine.yaml: recipe needs a value for name"),
        ("name:", "mine.yaml: name: null is not text"),
        ("name: ''", "mine.yaml: name: '' cannot name a run"),
        ("name: x\nencodr: {model: tiny}", "mine.yaml: recipe has no setting 'encodr'. Did you mean 'encoder'?"),
        ("name: x\nencoder: {modle: tiny}", "mine.yaml: encoder has no setting 'modle'. Did you mean 'model'?"),
        ("name: x\nencoder: tiny", "mine.yaml: encoder: 'tiny' is no group of settings. encoder has model,"),
        ("name: x\nviews: 3", "mine.yaml: views: 3 is no group of settings"),
        ("name: x\nviews: [1]", r"mine.yaml: views: [1] is no group of settings"),
        ("name: x\ntrain: 5", "mine.yaml: train: 5 is no group of settings"),
        ("name: x\nloss: softdtw", "mine.yaml: loss: 'softdtw' is not known. Did you mean 'soft_dtw'?"),
        ("name: x\nloss:", "mine.yaml: loss: None does not fit"),
        ("name: x\nhead: {dim: 3}", "mine.yaml: head: {'dim': 3} is neither a name nor a mapping with a name"),
        ("name: x\nhead: {name: projection, dmi: 3}", "mine.yaml: head: projection has no setting 'dmi'. Did you mean"),
        ("name: x\nviews: {augmented: {name: compose}}", "mine.yaml: views.augmented: compose needs a value for steps"),
        (
            "name: x\nviews: {augmented: {name: compose, steps: [{name: sped_perturb}]}}",
            "mine.yaml: views.augmented.steps.0: 'sped_perturb' is not known. Did you mean 'speed_perturb'?",
        ),
        ("name: x\nviews: {augmented: [{name: pitch_shift}]}", "mine.yaml: views.augmented: [{'name'"),
        ("name: x\nviews: {reference: forzen}", "mine.yaml: views.reference: 'forzen' is not 'frozen' or"),
        ("name: x\ntrain: {steps: many}", "mine.yaml: train.steps: 'many' is not a whole number"),
        ("name: x\ntrain: {steps: yes}", "mine.yaml: train.steps: true is not a whole number"),
        ("name: x\nloss: {name: soft_dtw, gamma: -1}", "mine.yaml: SoftDTW(gamma=-1.0): gamma must be positive"),
        ("name: x\nloss: pathlib.Path", "mine.yaml: loss: .* does not fit"),
    ],
)
def test_yaml_refused(text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(text)
    pattern = re.escape(message).replace(r"\.\*", ".*")
    with pytest.raises(RecipeError, match=f"^{pattern}"):
        load_recipe("mine.yaml")


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"loss": "soft_dtw"}, "loss: 'soft_dtw' does not fit. Give an object, as loss=SoftDTW(...)."),
        ({"head": None}, "head: None does not fit. Give an object, as head=Identity(...)."),
        ({"encoder": "tiny"}, "encoder: 'tiny' does not fit. Give an object, as encoder=Encoder(...)."),
        ({"train": SoftDTW()}, "train: SoftDTW() does not fit. Give an object, as train=Train(...)."),
        ({"name": ""}, "name: '' cannot name a run. Give the recipe a name, such as 'my_run'."),
    ],
)
def test_wrong_objects_refused(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        make(**parts)
    assert str(caught.value) == message


def test_list_of_augmentations_is_refused_with_the_remedy() -> None:
    with pytest.raises(RecipeError, match=r"views.augmented: .* is not an augmentation.*Compose"):
        Views(augmented=[SpeedPerturb()])


# --- cross-checks --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "augmented",
    [SpeedPerturb((0.9, 1.1)), Compose([PitchShift(2), OneOf([PitchShift(1), SpeedPerturb((1.1,))])])],
    ids=["directly", "deep inside"],
)
def test_frame_by_frame_loss_and_speed_are_refused_with_the_remedy(augmented: Any) -> None:
    with pytest.raises(RecipeError, match=r"FrameDistance compares frame t with frame t.*soft_dtw, or leave out"):
        make(loss=FrameDistance(), views=Views(augmented)).check()


@pytest.mark.parametrize("augmented", [None, PitchShift(2), SpeedPerturb((1.0,))], ids=repr)
def test_frame_by_frame_loss_goes_with_what_keeps_the_length(augmented: Any) -> None:
    assert make(loss=FrameDistance(), views=Views(augmented)).check() == (5, 6)


def test_aligning_loss_goes_with_speed() -> None:
    assert make(views=Views(SpeedPerturb()), encoder=Encoder("tiny", [1, 3])).check() == (1, 3)


# --- scripts -------------------------------------------------------------------------------------------------------

HEADER = "from ssft import Encoder, Recipe, Train, Views, run\nfrom ssft.losses import SoftDTW\n"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("x = 1", "broken.py does not define a recipe. It must say: recipe = Recipe(...)"),
        ("recipe = 'score_tiny'", "broken.py does not define a recipe"),
        ("recipe = Recipe(", "broken.py, line 3: SyntaxError: '(' was never closed"),
        ("recipe = Recipe(nam='x')", "broken.py, line 3: Recipe has no setting 'nam'. Did you mean 'name'?"),
        ("\nSoftDTW(gama=1)", "broken.py, line 4: SoftDTW has no setting 'gama'. Did you mean 'gamma'?"),
        ("SoftDTW(gamma=-1)", "broken.py, line 3: SoftDTW(gamma=-1): gamma must be positive"),
        ("Train(steps=0)", "broken.py, line 3: train.steps=0 must be at least 1"),
        ("from ssft.losses import SoftDWT", "broken.py, line 3: ssft.losses has no 'SoftDWT'. Did you mean 'SoftDTW'?"),
        ("from ssft import Recipee", "broken.py, line 3: ssft has no 'Recipee'. Did you mean 'Recipe'?"),
        ("import no_such_module", "broken.py, line 3: ModuleNotFoundError: No module named 'no_such_module'"),
        ("def f():\n    return 1 / 0\nf()", "broken.py, line 4: ZeroDivisionError"),
        ("recipe = Recipe(name='x')\nrun(recipe)", "broken.py runs when it is imported. End it with: if __name__ =="),
    ],
)
def test_broken_script(body: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["ssft", "train", "broken.py"])
    Path("broken.py").write_text(HEADER + body + "\n")
    with pytest.raises(RecipeError, match=f"^{re.escape(message)}"):
        load_recipe("broken.py")


OWN = """
from torch import nn
from ssft import Encoder, Recipe
from neighbour import FACTOR

class Own(nn.Module):
    def __init__(self, scale: float = 1.0):
        super().__init__()
        self.scale = scale

recipe = Recipe(name="own", encoder=Encoder("tiny"), loss=Own({scale} * FACTOR))
"""


def test_class_of_the_script_works_and_replays(tmp_path: Path) -> None:
    (tmp_path / "own_recipe.py").write_text(OWN.format(scale=2.0))
    (tmp_path / "neighbour.py").write_text("FACTOR = 1.5\n")
    recipe = load_recipe(str(tmp_path / "own_recipe.py"))
    changed = with_overrides(recipe, ["--loss.scale", "1e-1"])
    assert recipe.loss.scale == 3.0
    assert changed.loss.scale == 0.1
    assert type(changed.loss) is type(recipe.loss)
    (tmp_path / "recipe.yaml").write_text(changed.to_yaml())
    assert yaml.safe_load(changed.to_yaml())["loss"] == {"name": "own_recipe.Own", "scale": 0.1}
    replayed = load_recipe(str(tmp_path / "recipe.yaml"))
    assert replayed.describe() == changed.describe()
    assert type(replayed.loss) is type(recipe.loss)


def test_two_scripts_of_one_name_do_not_meet(tmp_path: Path) -> None:
    for folder, scale in (("first", 1.0), ("second", 2.0)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "twin.py").write_text(OWN.format(scale=scale).replace("from neighbour", "FACTOR = 1 #"))
    first = load_recipe(str(tmp_path / "first" / "twin.py"))
    second = load_recipe(str(tmp_path / "second" / "twin.py"))
    assert (first.loss.scale, second.loss.scale) == (1.0, 2.0)
    assert type(with_overrides(second, []).loss) is type(second.loss)


def test_script_called_like_a_package_leaves_it_alone(tmp_path: Path) -> None:
    (tmp_path / "yaml.py").write_text("from ssft import Recipe\nrecipe = Recipe(name='shadow')\n")
    assert load_recipe(str(tmp_path / "yaml.py")).name == "shadow"
    assert sys.modules["yaml"] is yaml


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "score_tny",
            "'score_tny' is neither a recipe file (.py, .yaml) nor a shipped recipe. Did you mean 'score_tiny'?",
        ),
        ("score_tny.py", "score_tny.py does not exist. `ssft recipes` lists the shipped ones."),
        ("nothing/recipe.yaml", "nothing/recipe.yaml does not exist"),
    ],
)
def test_no_such_recipe(source: str, message: str) -> None:
    with pytest.raises(RecipeError, match=f"^{re.escape(message)}"):
        load_recipe(source)


def test_yaml_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "noise.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match=r"noise\.yaml is not UTF-8 text"):
        load_recipe(str(tmp_path / "noise.yaml"))


def test_identity_is_the_default_head() -> None:
    assert isinstance(make().head, Identity)


# --- presets -------------------------------------------------------------------------------------------------------

OFFICIAL = {"encoder": {"train_also": ["encoder.layer_norm"], "frozen_dropout": True}, "train": {"eps": 1e-7}}


def test_official_preset_applies_what_the_recipe_lists_and_is_recorded_as_applied() -> None:
    recipe = make(official=OFFICIAL)
    assert recipe.encoder.train_also == ()
    official = with_overrides(recipe, ["--preset", "official"])
    assert (official.encoder.train_also, official.encoder.frozen_dropout) == (["encoder.layer_norm"], True)
    assert official.train.eps == 1e-7
    assert (official.preset, official.official) == ("official", {})
    again = with_overrides(Recipe.from_yaml(official.to_yaml()), [])
    assert again.describe() == official.describe()
    assert with_overrides(recipe, []).preset == "clean"


def test_what_is_typed_beside_the_preset_wins_whatever_its_place() -> None:
    recipe = make(official=OFFICIAL)
    for arguments in (
        ["--preset", "official", "--encoder.frozen_dropout", "false"],
        ["--encoder.frozen_dropout", "false", "--preset", "official"],
    ):
        official = with_overrides(recipe, arguments)
        assert official.encoder.frozen_dropout is False
        assert official.train.eps == 1e-7
        # A replay of what was recorded does not apply the preset a second time.
        assert with_overrides(Recipe.from_yaml(official.to_yaml()), []).encoder.frozen_dropout is False


def test_a_script_may_ask_for_its_official_preset() -> None:
    assert make(preset="official", official=OFFICIAL).with_preset("official").encoder.frozen_dropout is True


@pytest.mark.parametrize(
    ("recipe", "preset", "message"),
    [
        (make(), "official", "mine has no preset 'official'"),
        (make(official=OFFICIAL), "offical", "Did you mean 'official'"),
        (make(official=OFFICIAL).with_preset("official"), "clean", "begin with the clean recipe"),
        (make(official={"encodr": {}}), "official", "'encodr' is no setting here. Did you mean 'encoder'"),
        (make(official={"encoder": {"dropout": 1}}), "official", "'dropout' is no setting here"),
    ],
)
def test_preset_refused(recipe: Recipe, preset: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        with_overrides(recipe, ["--preset", preset])


def test_views_round_trip_with_everything_set() -> None:
    views = Views(
        SpeedPerturb((0.9,)),
        "student",
        0.5,
        PitchShift(1),
        loss_layers=[5, 6],
        mask=SpanMask(0.5, 4),
        pad_jitter=[0.1, 0.2],
    )
    recipe = make(views=views)
    again = with_overrides(recipe, ["--views.mask.frames", "7"])
    assert again.views.mask.frames == 7
    assert again.views.original.semitones == 1
    assert again.describe()["views"]["mask"] == {"name": "span_mask", "probability": 0.5, "frames": 7}
    assert with_overrides(recipe, ["--views.mask", "null"]).views.mask is None
    assert with_overrides(make(), ["--views.mask", "span_mask"]).views.mask.frames == 10


def test_needs_of_a_loss_are_checked_against_the_rest() -> None:
    class Needy(FrameDistance):
        needs_same_length = False

    needy = Needy()
    needy.needs_targets = True
    with pytest.raises(RecipeError, match=r"Needy needs labels of the frames.*--data\.targets FILE"):
        make(loss=needy).check()
    needy.needs_targets, needy.needs_mask = False, True
    with pytest.raises(RecipeError, match=r"--views\.mask span_mask"):
        make(loss=needy).check()
    with pytest.raises(RecipeError, match=r"Set train\.cache_variants to 0"):
        make(loss=needy, views=Views(mask=SpanMask()), train=Train(cache_variants=1)).check()
    with pytest.raises(RecipeError, match="changes the length"):
        make(loss=FrameDistance(), views=Views(original=SpeedPerturb((0.9,)))).check()
    with pytest.raises(RecipeError, match=r"views\.loss_layers=\[2\]"):
        make(views=Views(loss_layers=[2])).check()
