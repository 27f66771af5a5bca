"""`Recipe`: every choice of a run, as objects in a script and as YAML in the run's folder."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from ssft.augment import AUGMENTATIONS, Transform
from ssft.components import build, construct, describe
from ssft.data import Data
from ssft.encoders import Encoder
from ssft.encoders.reference import ReferenceKind
from ssft.engine.settings import Train
from ssft.errors import RecipeError, closest
from ssft.heads import HEADS, Identity
from ssft.losses import LOSSES, SoftDTW


@dataclass(frozen=True)
class Views:
    """The two views of an utterance.

    Args:
        augmented: makes the second waveform; None compares an utterance with itself.
        reference: whose view the student's is compared with: `frozen`, the encoder as it was, or `student`, itself.
        swap: probability that the student gets the original and the reference the augmented waveform.
    """

    augmented: Transform | None = None
    reference: ReferenceKind = "frozen"
    swap: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.swap <= 1:
            raise RecipeError(f"views.swap={self.swap} is a probability; give a number from 0 to 1.")


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

    def describe(self) -> dict[str, Any]:
        """Return the recipe as plain settings, from which `from_description` makes an equal one."""
        tables = (AUGMENTATIONS, HEADS, LOSSES)
        sections = ("encoder", "views", "data", "train")
        return {
            part.name: describe(getattr(self, part.name), tables, named=part.name not in sections)
            for part in fields(self)
        }

    @staticmethod
    def from_description(description: Mapping[str, Any]) -> Recipe:
        """Build a recipe from plain settings.

        Raises:
            RecipeError: an unknown name or setting, or a value that does not fit, with its place and the nearest name.
        """
        parts = dict(description)
        parts["views"] = dict(parts.get("views") or {})
        parts["views"]["augmented"] = build(AUGMENTATIONS, parts["views"].get("augmented"), where="views.augmented")
        for section, cls in (("encoder", Encoder), ("views", Views), ("data", Data), ("train", Train)):
            parts[section] = construct(cls, parts.get(section) or {}, where=section)
        for component, table in (("head", HEADS), ("loss", LOSSES)):
            if component in parts:
                parts[component] = build(table, parts[component], where=component)
        return construct(Recipe, parts, where="recipe")

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.describe(), sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)

    @staticmethod
    def from_yaml(text: str, *, where: str = "recipe") -> Recipe:
        """Build a recipe from what `to_yaml` wrote.

        Raises:
            RecipeError: not YAML, or not a recipe.
        """
        try:
            description = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise RecipeError(f"{where} is not YAML: {error}") from None
        if not isinstance(description, dict):
            raise RecipeError(f"{where} does not hold a recipe (name, encoder, views, head, loss, data, train).")
        return Recipe.from_description(description)

    def check(self, *, local_files_only: bool = False) -> tuple[int, ...]:
        """Cross-check the parts, reading at most the encoder's configuration; return the layers that would train.

        Raises:
            RecipeError: parts that do not go together, with the remedy, or layers that the encoder does not have.
            EncoderError: the encoder is not found or of an unknown family.
        """
        if getattr(self.loss, "needs_same_length", False) and getattr(self.views.augmented, "changes_length", False):
            raise RecipeError(
                f"{type(self.loss).__name__} compares frame t with frame t, but {self.views.augmented!r} changes the "
                "length. Use a loss that aligns the views, such as soft_dtw, or leave out what changes the length."
            )
        return self.encoder.check(local_files_only=local_files_only)


def recipes_folder() -> Path:
    """Return the folder of shipped recipes: inside an installed package, or at the top of the repository."""
    package = Path(str(files("ssft")))
    installed = package / "assets" / "recipes"
    return installed if installed.is_dir() else package.parent / "recipes"


def shipped_recipes() -> dict[str, Path]:
    """Return the shipped recipes by name."""
    return {path.stem: path for path in sorted(recipes_folder().glob("*.py"))}


def load_recipe(source: str) -> Recipe:
    """Load a recipe from a script, from a recipe.yaml, or by the name of a shipped one.

    A script is imported, not run: it assigns a `Recipe` to the name `recipe`.

    Raises:
        RecipeError: no such file or name, or no recipe in it.
    """
    path = Path(source).expanduser()
    if path.suffix not in (".py", ".yaml", ".yml"):
        shipped = shipped_recipes()
        if source not in shipped:
            raise RecipeError(
                f"'{source}' is neither a recipe file (.py, .yaml) nor a shipped recipe. {closest(source, shipped)}"
            )
        path = shipped[source]
    if not path.is_file():
        raise RecipeError(f"{path} does not exist. `ssft recipes` lists the shipped ones.")
    if path.suffix == ".py":
        return _from_script(path)
    return Recipe.from_yaml(path.read_text(encoding="utf-8"), where=str(path))


def _from_script(path: Path) -> Recipe:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise RecipeError(f"{path} cannot be imported as Python.")
    module = importlib.util.module_from_spec(spec)
    # Under its own name, so that a class defined in the script is found again by its dotted path.
    sys.modules.setdefault(path.stem, module)
    try:
        spec.loader.exec_module(module)
    except (SyntaxError, ImportError, NameError, TypeError, AttributeError) as error:
        line = getattr(error, "lineno", None) or _line_in(error, path)
        raise RecipeError(f"{path}, line {line}: {error}") from error
    recipe = getattr(module, "recipe", None)
    if not isinstance(recipe, Recipe):
        raise RecipeError(f"{path} does not define `recipe = Recipe(...)`.")
    return recipe


def _line_in(error: BaseException, path: Path) -> int | str:
    line: int | str = "?"
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
