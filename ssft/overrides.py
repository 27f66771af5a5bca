"""Settings from the command line: `--loss.gamma 0.2` changes one value of a recipe's description."""

from __future__ import annotations

from collections.abc import Sequence
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
        try:
            overrides.append((key, yaml.safe_load(text)))
        except yaml.YAMLError:
            overrides.append((key, text))
    return overrides


def apply_overrides(description: dict[str, Any], overrides: Sequence[tuple[str, Any]]) -> None:
    """Change a recipe's description in place; a part given as a bare name replaces the whole component.

    Raises:
        RecipeError: a key that leads nowhere, with the nearest name.
    """
    # Components first, so that their settings apply to the new one in whatever order they were typed.
    for key, value in sorted(overrides, key=lambda override: override[0].count(".")):
        *parents, last = key.split(".")
        target: Any = description
        walked = "recipe"
        for part in parents:
            target = _enter(target, part, walked, key)
            walked = f"{walked}.{part}".removeprefix("recipe.")
        if isinstance(target, list):
            target[_index(target, last, walked, key)] = value
        elif not isinstance(target, dict):
            raise RecipeError(f"--{key}: {walked} is a single value and has no '{last}'.")
        elif isinstance(target.get(last), dict) and isinstance(value, str) and "name" in target[last]:
            target[last] = {"name": value}
        elif last in target or "name" in target:
            target[last] = value  # a component's settings are checked against its constructor when it is built
        else:
            raise RecipeError(f"--{key}: {walked} has no setting '{last}'. {closest(last, target)}")


def _enter(target: Any, part: str, walked: str, key: str) -> Any:
    if isinstance(target, list):
        return target[_index(target, part, walked, key)]
    if not isinstance(target, dict) or part not in target:
        known = target if isinstance(target, dict) else ()
        raise RecipeError(f"--{key}: {walked} has no setting '{part}'. {closest(part, known)}")
    if isinstance(target[part], str):
        target[part] = {"name": target[part]}
    return target[part]


def _index(target: list[Any], part: str, walked: str, key: str) -> int:
    if not part.isdigit() or int(part) >= len(target):
        raise RecipeError(f"--{key}: {walked} is a list; give a position from 0 to {len(target) - 1}, not '{part}'.")
    return int(part)
