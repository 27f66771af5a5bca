"""Which parts of an encoder a recipe names: layers by number, parameters by name."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from typing import Any

from ssft.errors import RecipeError, closest


def layer_numbers(
    layers: int | Sequence[int], num_layers: int, source: str, *, setting: str = "encoder.trainable_layers"
) -> tuple[int, ...]:
    """Return ascending layer numbers, counted from 1, for a count from the top or explicit numbers.

    Raises:
        RecipeError: a number outside 1 to `num_layers`, one named twice, or none.

    Example:
        >>> layer_numbers(2, 12, "base"), layer_numbers([12, 7], 12, "base")
        ((11, 12), (7, 12))
    """
    if isinstance(layers, int):
        if not 1 <= layers <= num_layers:
            raise RecipeError(
                f"{setting}={layers}, but {source} has {num_layers} transformer layers. "
                f"Give a count from 1 to {num_layers}, or a list of layer numbers."
            )
        return tuple(range(num_layers - layers + 1, num_layers + 1))
    numbers = tuple(sorted(layers))
    wrong = [number for number in numbers if not 1 <= number <= num_layers]
    if wrong or not numbers:
        raise RecipeError(
            f"{setting}={list(layers)}: {source} has layers 1 to {num_layers}"
            + (f", not {', '.join(map(str, wrong))}." if wrong else "; the list is empty.")
        )
    if len(set(numbers)) < len(numbers):
        raise RecipeError(f"{setting}={list(layers)} names a layer twice.")
    return numbers


def loss_layer_numbers(layers: Sequence[int], lowest: int, num_layers: int, source: str) -> tuple[int, ...]:
    """Return the layers whose output a loss compares: those given, or the last.

    Args:
        layers: numbers counted from 1, none for the last layer.
        lowest: number of the lowest layer that can learn.
        num_layers: how many there are.
        source: the encoder's name.

    Raises:
        RecipeError: a layer that the encoder does not have, or one below everything that is trained.
    """
    if not layers:
        return (num_layers,)
    numbers = layer_numbers(list(layers), num_layers, source, setting="views.loss_layers")
    if numbers[0] < lowest:
        raise RecipeError(
            f"views.loss_layers={list(layers)}: nothing at or below layer {numbers[0]} is trained, so a loss there "
            f"would teach nothing. Give layers from {lowest} to {num_layers}, or train lower ones."
        )
    return numbers


def parameter_names(model: Any, patterns: Sequence[str], source: str) -> list[str]:
    """Return the model's parameters that are named by `patterns`: parameters, modules, or shell-style patterns.

    Raises:
        RecipeError: a pattern that names nothing.

    Example:
        >>> parameter_names(model, ["encoder.layer_norm"], "tiny")
        ['encoder.layer_norm.weight', 'encoder.layer_norm.bias']
    """
    names = [name for name, _ in model.named_parameters()]
    chosen: set[str] = set()
    for pattern in patterns:
        found = [name for name in names if name.startswith(f"{pattern}.") or fnmatch.fnmatchcase(name, pattern)]
        if not found:
            modules = [name for name, module in model.named_modules() if any(True for _ in module.parameters())]
            outer = [name for name in modules if name and name.count(".") < 2]
            raise RecipeError(f"encoder.train_also: {source} has nothing named '{pattern}'. {closest(pattern, outer)}")
        chosen.update(found)
    return [name for name in names if name in chosen]
