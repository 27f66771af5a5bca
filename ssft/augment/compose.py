"""Augmentations made of augmentations."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np

from ssft.augment.base import Parameters, Transform
from ssft.errors import RecipeError
from ssft.types import Waves

Group = TypeVar("Group", bound="_Group")


class _Group(Transform):
    """An augmentation that owns others, as the list `parts`."""

    parts: list[Transform]

    @property
    def changes_length(self) -> bool:
        return any(part.changes_length for part in self.parts)

    @property
    def runs_on_device(self) -> bool:
        return all(part.runs_on_device for part in self.parts)

    @property
    def fallbacks(self) -> int:
        return sum(part.fallbacks for part in self.parts)

    def check(self) -> None:
        for part in self.parts:
            part.check()

    def for_speaker(self: Group, speaker: str | None) -> Group:
        parts = [part.for_speaker(speaker) for part in self.parts]
        if all(own is other for own, other in zip(parts, self.parts, strict=True)):
            return self
        group = copy.copy(self)
        group.parts = parts
        return group


class Compose(_Group):
    """Applies every step, one after the other.

    Every step draws its parameters from the waveform that enters the pipeline, before anything is applied.

    Args:
        steps: augmentations, in the order in which they are applied.

    Example:
        >>> Compose([SpeedPerturb(factors=(0.9, 1.1)), PitchShift(semitones=2)])(wave, rng)
    """

    def __init__(self, steps: Sequence[Transform]) -> None:
        self.parts = _augmentations(steps, "Compose", "steps")

    @property
    def steps(self) -> list[Transform]:
        return self.parts

    def draw(self, rng: np.random.Generator, wave: np.ndarray) -> Parameters:
        return {"steps": [step.draw(rng, wave) for step in self.steps]}

    def apply(self, wave: np.ndarray, parameters: Parameters) -> np.ndarray:
        for step, drawn in zip(self.steps, parameters["steps"], strict=True):
            wave = step.apply(wave, drawn)
        return wave

    def apply_batch(self, waves: Waves, parameters: Sequence[Parameters]) -> Waves:
        for number, step in enumerate(self.steps):
            waves = step.apply_batch(waves, [drawn["steps"][number] for drawn in parameters])
        return waves


class OneOf(_Group):
    """Applies one of the choices, each equally often.

    Args:
        choices: augmentations, one of which is drawn for each waveform.

    Example:
        >>> OneOf([PitchShift(semitones=2), PitchShift(semitones=-2)])(wave, rng)
    """

    def __init__(self, choices: Sequence[Transform]) -> None:
        self.parts = _augmentations(choices, "OneOf", "choices")

    @property
    def choices(self) -> list[Transform]:
        return self.parts

    def draw(self, rng: np.random.Generator, wave: np.ndarray) -> Parameters:
        choice = int(rng.integers(len(self.choices)))
        return {"choice": choice, "parameters": self.choices[choice].draw(rng, wave)}

    def apply(self, wave: np.ndarray, parameters: Parameters) -> np.ndarray:
        return self.choices[parameters["choice"]].apply(wave, parameters["parameters"])

    def apply_batch(self, waves: Waves, parameters: Sequence[Parameters]) -> Waves:
        for number, choice in enumerate(self.choices):
            rows = [row for row, drawn in enumerate(parameters) if drawn["choice"] == number]
            waves = _apply_to_rows(choice, waves, rows, [parameters[row]["parameters"] for row in rows])
        return waves


class Maybe(_Group):
    """Applies an augmentation to some waveforms and leaves the others as they are.

    Args:
        augmentation: what is applied.
        probability: of applying it.

    Relations:
        `Reverb` and `AddNoise` have a `probability` of their own.

    Example:
        >>> Maybe(Codec(("telephone",)), probability=0.3)(wave, rng)
    """

    def __init__(self, augmentation: Transform, probability: float = 0.5) -> None:
        self.parts = _augmentations([augmentation], "Maybe", "augmentation")
        if not 0 <= probability <= 1:
            raise RecipeError(f"Maybe(probability={probability}): give a probability between 0 and 1.")
        self.probability = probability

    @property
    def augmentation(self) -> Transform:
        return self.parts[0]

    def draw(self, rng: np.random.Generator, wave: np.ndarray) -> Parameters:
        if rng.random() >= self.probability:
            return {}
        return {"parameters": self.augmentation.draw(rng, wave)}

    def apply(self, wave: np.ndarray, parameters: Parameters) -> np.ndarray:
        return self.augmentation.apply(wave, parameters["parameters"]) if parameters else wave

    def apply_batch(self, waves: Waves, parameters: Sequence[Parameters]) -> Waves:
        rows = [row for row, drawn in enumerate(parameters) if drawn]
        return _apply_to_rows(self.augmentation, waves, rows, [parameters[row]["parameters"] for row in rows])


def _apply_to_rows(
    augmentation: Transform, waves: Waves, rows: Sequence[int], parameters: Sequence[Parameters]
) -> Waves:
    if not rows:
        return waves.zeroed()
    return waves.replaced(rows, augmentation.apply_batch(waves.select(rows), parameters))


def _augmentations(parts: Sequence[Transform], owner: str, name: str) -> list[Transform]:
    if not isinstance(parts, Iterable) or not list(parts):
        raise RecipeError(f"{owner}({name}={parts!r}) does nothing; give it a list of at least one augmentation.")
    for part in parts:
        if not isinstance(part, Transform):
            raise RecipeError(
                f"{owner}({name}): {part!r} is not an augmentation. Derive its class from ssft.augment.Transform."
            )
    return list(parts)
