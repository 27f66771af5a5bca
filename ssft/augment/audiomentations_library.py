"""Transforms of the audiomentations library as names and plain settings, and back."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ssft.components import construct, settings_of
from ssft.errors import RecipeError, closest

_COMPOSITIONS = ("Compose", "OneOf", "SomeOf")

# What an object of the library keeps of its last call.
_CALL = ("parameters", "are_parameters_frozen")


def build_transform(name: str, settings: Mapping[str, Any]) -> Any:
    """Return an object of the library.

    Raises:
        RecipeError: the library has no such transform, or it does not take these settings.
    """
    try:
        return construct(_class(name), settings, where=f"Audiomentations('{name}')")
    except (AssertionError, OSError) as error:
        raise RecipeError(
            f"Audiomentations('{name}', {dict(settings)!r}): the library refuses these settings "
            f"({type(error).__name__}: {error})."
        ) from error


def read_settings(transform: Any) -> tuple[str, dict[str, Any]]:
    """Return the name and the settings of an object of the library, of which it can be built again.

    Raises:
        RecipeError: it is not of the library, is a composition, or does not keep what it was made with.
    """
    cls = type(transform)
    if not cls.__module__.startswith("audiomentations."):
        raise RecipeError(
            f"Audiomentations({transform!r}): this is no transform of audiomentations. Give an object or the name of "
            "one, or derive a class of your own from ssft.augment.Transform."
        )
    # What is None is so by default, or is not kept: then the comparison decides.
    kept = {key: getattr(transform, key, None) for key in settings_of(_class(cls.__name__))}
    settings = plain_settings(cls.__name__, {key: value for key, value in kept.items() if value is not None})
    reason = ""
    try:
        if _state(build_transform(cls.__name__, settings)) != _state(transform):
            reason = "what it keeps makes another one"
    except RecipeError as error:
        reason = str(error)
    if reason:
        raise RecipeError(
            f"Audiomentations({cls.__name__}(...)): its settings cannot be read back ({reason}). Give its name and "
            f"settings instead, as in Audiomentations('{cls.__name__}', {{'p': 1.0}})."
        )
    return cls.__name__, settings


def plain_settings(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as a recipe can hold them.

    Raises:
        RecipeError: one of them is a function or another object.
    """

    def refuse(value: Any) -> None:
        raise RecipeError(
            f"Audiomentations('{name}'): a recipe cannot hold {value!r}. Settings are numbers, text and lists of "
            "these; for more, derive a class of your own from ssft.augment.Transform."
        )

    return {key: _plain(value, refuse) for key, value in settings.items()}


def drawn_by(transform: Any) -> dict[str, Any]:
    """What an object of the library and those inside it have drawn, fit for JSON."""
    drawn = transform.serialize_parameters()
    if not drawn["should_apply"]:
        return {"should_apply": False}
    inner = {key: value for key, value in vars(transform).items() if _is_transform(value) or _are_transforms(value)}
    return {key: _plain(value, drawn_by) for key, value in {**drawn, **inner}.items()}


def _class(name: str) -> type:
    """Return a waveform transform of the library."""
    library = importlib.import_module("audiomentations")
    base = importlib.import_module("audiomentations.core.transforms_interface").BaseWaveformTransform
    if name in _COMPOSITIONS:
        raise RecipeError(
            f"Audiomentations('{name}'): compose with Compose, OneOf and Maybe of ssft.augment, and give each "
            "transform an Audiomentations of its own."
        )
    known = {key: cls for key, cls in vars(library).items() if inspect.isclass(cls) and issubclass(cls, base)}
    if name not in known:
        raise RecipeError(f"Audiomentations('{name}'): the library has no such transform. {closest(name, known)}")
    return known[name]


def _state(transform: Any) -> dict[str, Any]:
    """What an object of the library and those inside it were told: no caches, and nothing of their last call."""

    def inner(value: Any) -> Any:
        return _state(value) if _is_transform(value) else None

    skipped = _CALL + tuple(key for key, value in vars(transform).items() if isinstance(value, np.ndarray))
    return {key: _plain(value, inner) for key, value in vars(transform).items() if key not in skipped}


def _is_transform(value: Any) -> bool:
    return hasattr(value, "serialize_parameters")


def _are_transforms(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_transform, value))


def _plain(value: Any, other: Callable[[Any], Any]) -> Any:
    """Return `value` as numbers, text, lists and dicts, and what `other` makes of what is none of them."""
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item, other) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, other) for item in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else other(value)
