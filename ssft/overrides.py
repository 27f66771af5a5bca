"""Settings from the command line: `--loss.gamma 0.2` changes one value of a recipe's description."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from ssft.errors import RecipeError, closest


def parse_overrides(arguments: Sequence[str]) -> list[tuple[str, Any]]:
    """Read `--key value` and `--key=value`; values are YAML, so that `[0.9, 1.1]`, `null` and `true` work.

    Raises:
        RecipeError: an argument that is not a flag, or a flag without a value.

    Example:
        >>> parse_overrides(["--train.steps", "50", "--loss.gamma=0.2"])
        [('train.steps', 50), ('loss.gamma', 0.2)]
    """
    overrides = []
    rest = list(arguments)
    while rest:
        flag = rest.pop(0)
        if not flag.startswith("--") or len(flag) == 2:
            raise RecipeError(
                f"'{flag}' is not understood. Settings are given as --train.steps 50 or --train.steps=50."
            )
        key, equals, text = flag[2:].partition("=")
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise RecipeError(f"--{key} needs a value, as in --{key} VALUE.")
            text = rest.pop(0)
        overrides.append((key, _read(text)))
    return overrides


def apply_overrides(description: dict[str, Any], overrides: Sequence[tuple[str, Any]]) -> None:
    """Change a recipe's description in place; a component given as a bare name replaces the whole component.

    Raises:
        RecipeError: a key that leads nowhere, with the nearest name.
    """
    overrides = [(_without_name(key), value) for key, value in overrides]
    # Components first, so that their settings apply to the new one in whatever order they were typed.
    for key, value in sorted(overrides, key=lambda override: override[0].count(".")):
        has_settings = any(other.startswith(f"{key}.") for other, _ in overrides)
        *parents, last = key.split(".")
        target: Any = description
        for depth, part in enumerate(parents):
            target = target[_step(target, part, ".".join(parents[:depth]), key)]
        place = _step(target, last, ".".join(parents), key, new=True)
        old = target[place] if isinstance(target, list) else target.get(place)
        is_component = isinstance(old, dict) and "name" in old
        if isinstance(old, dict) and not parents and not is_component and not isinstance(value, dict):
            raise RecipeError(f"--{key} is a group of settings. Say which one, as in --{key}.{next(iter(old))} VALUE.")
        target[place] = {"name": value} if isinstance(value, str) and (is_component or has_settings) else value


def merge(description: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a description with nested changes made; a component that is named anew is replaced as a whole.

    Raises:
        RecipeError: a section or setting that the description does not have, with the nearest name.

    Example:
        >>> merge({"train": {"lr": 0.1, "steps": 5}}, {"train": {"steps": 9}})
        {'train': {'lr': 0.1, 'steps': 9}}
    """
    merged = dict(description)
    for key, value in changes.items():
        if key not in description:
            raise RecipeError(f"'{key}' is no setting here. {closest(key, description)}")
        nested = isinstance(value, Mapping) and "name" not in value and isinstance(description[key], Mapping)
        merged[key] = merge(description[key], value) if nested else value
    return merged


def _step(target: Any, part: str, walked: str, key: str, *, new: bool = False) -> Any:
    """Return what `part` of a key selects in `target`: a position in a list, or a key of a mapping."""
    walked = walked or "recipe"
    if isinstance(target, list):
        if not part.isdigit() or int(part) >= len(target):
            positions = f"a position from 0 to {len(target) - 1}" if target else "the whole list"
            raise RecipeError(f"--{key}: {walked} is a list; give {positions}, not '{part}'.")
        return int(part)
    if target is None:
        raise RecipeError(f"--{key}: {walked} is null and has no '{part}'. Name it first: --{walked} NAME.")
    if not isinstance(target, dict):
        raise RecipeError(f"--{key}: {walked} is a single value and has no '{part}'.")
    if part in target or (new and "name" in target and walked != "recipe"):
        return part  # a component's settings are checked against its constructor when it is built
    if list(target) == ["name"]:
        raise RecipeError(f"--{key}: give the new {target['name']} its {part} as a whole: --{walked}.{part} VALUE.")
    raise RecipeError(f"--{key}: {walked} has no setting '{part}'. {closest(part, target)}")


def _without_name(key: str) -> str:
    """`--loss.name laser`, as it stands in recipe.yaml, says the same as `--loss laser`."""
    return key.removesuffix(".name")


def _read(text: str) -> Any:
    """Read a value as YAML, unless that loses what was typed, as in 007, 1.10, no or 2026-01-31.

    Then the text itself goes on, and the type of the setting decides what it means.
    """
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):  # 2026-02-31 is no date
        return text
    if text == "null" or text.startswith(("[", "{", "'", '"')):
        return value
    return value if isinstance(value, (bool, int, float)) and str(value).lower() == text.lower() else text
