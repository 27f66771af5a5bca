"""`Recipe`: every choice of a run, as objects in a script and as YAML in the run's folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

import yaml
from torch import nn

from ssft.augment import AUGMENTATIONS
from ssft.components import build, check_names, construct, describe, settings_of
from ssft.conversion import convert
from ssft.data import Data
from ssft.encoders import ADAPTERS, MASKS, REFERENCES, Encoder
from ssft.engine.anchors import ANCHORS
from ssft.engine.settings import Train
from ssft.errors import RecipeError, closest
from ssft.heads import HEADS, Identity
from ssft.losses import LOSSES, SoftDTW
from ssft.overrides import merge
from ssft.recipe_files import find_recipe, import_script
from ssft.views import Views

Preset = Literal["clean", "official"]

SECTIONS: dict[str, type] = {"encoder": Encoder, "views": Views, "data": Data, "train": Train}
"""The parts of a recipe whose class is fixed, so that their description needs no name."""


@dataclass(frozen=True, eq=False)
class Recipe:
    """All choices of a run.

    Args:
        name: of the run's folder, `runs/NAME`.
        encoder: what is adapted.
        views: what is made invariant.
        head: between encoder and loss, thrown away after training.
        loss: what pulls the views together.
        data: the audio.
        train: how long and how fast.
        preset: `clean`, or `official`, which applies the settings below.
        official: settings, by section, that reproduce what the authors' published code does beside its paper.

    Example:
        >>> recipe = Recipe(name="mine", encoder=Encoder("tiny"), loss=SoftDTW(gamma=0.1))
        >>> Recipe.from_description(recipe.describe()).loss.gamma
        0.1
    """

    name: str
    encoder: Encoder = field(default_factory=Encoder)
    views: Views = field(default_factory=Views)
    head: nn.Module = field(default_factory=Identity)
    loss: nn.Module = field(default_factory=SoftDTW)
    data: Data = field(default_factory=Data)
    train: Train = field(default_factory=Train)
    preset: Preset = "clean"
    official: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise RecipeError(f"name: {self.name!r} cannot name a run. Give the recipe a name, such as 'my_run'.")
        kinds = {**SECTIONS, "head": nn.Module, "loss": nn.Module}
        for part in fields(self):
            value = getattr(self, part.name)
            if part.name in kinds and not isinstance(value, kinds[part.name]):
                example = getattr(part.default_factory, "__name__", "")
                raise RecipeError(
                    f"{part.name}: {value!r} does not fit. Give an object, as {part.name}={example}(...)."
                )

    def describe(self) -> dict[str, Any]:
        """Return the recipe as plain settings, from which `from_description` makes an equal one."""
        tables = (ADAPTERS, ANCHORS, AUGMENTATIONS, HEADS, LOSSES, MASKS, REFERENCES)
        return {
            part.name: describe(getattr(self, part.name), tables, named=part.name not in SECTIONS)
            for part in fields(self)
        }

    @staticmethod
    def from_description(description: Mapping[str, Any]) -> Recipe:
        """Build a recipe from plain settings.

        Raises:
            RecipeError: an unknown name or setting, or a value that does not fit, with its place and the nearest name.
        """
        check_names(Recipe, description, "recipe")
        parts = dict(description)
        for section, cls in SECTIONS.items():
            settings = parts.get(section) or {}
            if not isinstance(settings, Mapping):
                raise RecipeError(
                    f"{section}: {settings!r} is no group of settings. {section} has {', '.join(settings_of(cls))}."
                )
            if components := getattr(cls, "components", None):  # sections that hold components build them first
                settings = components(settings)
            parts[section] = construct(cls, settings, where=section)
        if "head" in parts:
            parts["head"] = build(HEADS, parts["head"], where="head")
        if "loss" in parts:
            parts["loss"] = build(LOSSES, parts["loss"], where="loss", nested=HEADS)
        for name, hint in {"name": str, "preset": Preset, "official": dict[str, Any]}.items():
            if name in parts:
                parts[name] = convert(parts[name], hint, name)
        return Recipe(**parts)

    def with_preset(self, preset: str) -> Recipe:
        """Return the recipe under a preset, its settings applied; what was applied is no longer listed.

        Raises:
            RecipeError: an unknown preset, or `official` where nothing differs from the authors' code.
        """
        if preset not in get_args(Preset):
            raise RecipeError(f"preset='{preset}' is not known. {closest(preset, get_args(Preset))}")
        if preset == self.preset and not self.official:
            return self
        if preset == "clean":
            if self.preset == "official":
                raise RecipeError("preset: the settings of 'official' have been applied; begin with the clean recipe.")
            return self
        if not self.official:
            raise RecipeError(f"{self.name} has no preset 'official': nothing in it is known to differ.")
        description = {**merge(self.describe(), self.official), "preset": preset, "official": {}}
        return Recipe.from_description(description)

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.describe(), sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)

    @staticmethod
    def from_yaml(text: str, *, where: str = "recipe.yaml") -> Recipe:
        """Build a recipe from what `to_yaml` wrote.

        Raises:
            RecipeError: not YAML, or not a recipe.
        """
        try:
            description = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError) as error:
            raise RecipeError(f"{where} is not YAML: {error}") from None
        if not isinstance(description, Mapping):
            raise RecipeError(
                f"{where} holds no recipe. A recipe is a mapping with name, encoder, views, head, loss, data and train."
            )
        try:
            return Recipe.from_description(description)
        except RecipeError as error:
            raise RecipeError(f"{where}: {error}") from error

    def check(self, *, local_files_only: bool = False) -> tuple[int, ...]:
        """Cross-check the parts, reading at most the encoder's configuration; return the layers that would train.

        Raises:
            RecipeError: parts that do not go together, with the remedy, or layers that the encoder does not have.
            EncoderError: the encoder is not found or of an unknown family.
        """
        loss = type(self.loss).__name__
        for augmentation in (self.views.augmented, self.views.original):
            if getattr(self.loss, "needs_same_length", False) and getattr(augmentation, "changes_length", False):
                raise RecipeError(
                    f"{loss} compares frame t with frame t, but {augmentation!r} changes the length. Use a loss that "
                    "aligns the views, such as soft_dtw, or leave out what changes the length."
                )
        if getattr(self.loss, "needs_targets", False) and self.data.targets is None:
            raise RecipeError(
                f"{loss} needs labels of the frames. Make them with `ssft units` and give them with "
                "--data.targets FILE; docs/units.md says how."
            )
        if getattr(self.loss, "needs_mask", False) and self.views.mask is None:
            raise RecipeError(f"{loss} predicts hidden frames, but views.mask hides none. Add --views.mask span_mask.")
        if self.views.mask is not None and self.train.cache_variants:
            raise RecipeError(
                f"views.mask hides other frames in every epoch, but train.cache_variants={self.train.cache_variants} "
                "keeps what the bottom said. Set train.cache_variants to 0."
            )
        return self.encoder.check(loss_layers=self.views.loss_layers, local_files_only=local_files_only)


def load_recipe(source: str) -> Recipe:
    """Load a recipe from a script, from a recipe.yaml, or by the name of a shipped one.

    A script is imported, not run: it assigns a `Recipe` to the name `recipe`.

    Raises:
        RecipeError: no such file or name, or no recipe in it.
    """
    path = find_recipe(source)
    if path.suffix != ".py":
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise RecipeError(f"{path} is not UTF-8 text.") from None
        return Recipe.from_yaml(text, where=str(path))
    recipe = getattr(import_script(path), "recipe", None)
    if not isinstance(recipe, Recipe):
        raise RecipeError(f"{path} does not define a recipe. It must say: recipe = Recipe(...)")
    return recipe
