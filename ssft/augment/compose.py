"""Augmentations made of augmentations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ssft.augment.base import Parameters, Transform
from ssft.errors import RecipeError


class Compose(Transform):
    """Applies every step, one after the other.

    Every step draws its parameters from the waveform that enters the pipeline, before anything is applied.

    Args:
        steps: augmentations, in the order in which they are applied.

    Example:
        >>> Compose([SpeedPerturb(factors=(0.9, 1.1)), PitchShift(semitones=2)])(wave, rng)
    """

    def __init__(self, steps: Sequence[Transform]) -> None:
        self.steps = _not_empty(steps, "Compose", "steps")

    @property
    def changes_length(self) -> bool:
        return any(step.changes_length for step in self.steps)

    def check(self) -> None:
        for step in self.steps:
            step.check()

    def draw(self, rng: np.random.Generator, wave: np.ndarray) -> Parameters:
        return {"steps": [step.draw(rng, wave) for step in self.steps]}

    def apply(self, wave: np.ndarray, parameters: Parameters) -> np.ndarray:
        for step, drawn in zip(self.steps, parameters["steps"], strict=True):
            wave = step.apply(wave, drawn)
        return wave


class OneOf(Transform):
    """Applies one of the choices, each equally often.

    Args:
        choices: augmentations, one of which is drawn for each waveform.

    Example:
        >>> OneOf([PitchShift(semitones=2), PitchShift(semitones=-2)])(wave, rng)
    """

    def __init__(self, choices: Sequence[Transform]) -> None:
        self.choices = _not_empty(choices, "OneOf", "choices")

    @property
    def changes_length(self) -> bool:
        return any(choice.changes_length for choice in self.choices)

    def check(self) -> None:
        for choice in self.choices:
            choice.check()

    def draw(self, rng: np.random.Generator, wave: np.ndarray) -> Parameters:
        choice = int(rng.integers(len(self.choices)))
        return {"choice": choice, "parameters": self.choices[choice].draw(rng, wave)}

    def apply(self, wave: np.ndarray, parameters: Parameters) -> np.ndarray:
        return self.choices[parameters["choice"]].apply(wave, parameters["parameters"])


def _not_empty(parts: Sequence[Transform], owner: str, name: str) -> list[Transform]:
    if not isinstance(parts, Sequence) or not parts:
        raise RecipeError(f"{owner}({name}={parts!r}) does nothing; give it a list of at least one augmentation.")
    for part in parts:
        if not isinstance(part, Transform):
            raise RecipeError(
                f"{owner}({name}): {part!r} is not an augmentation. Derive its class from ssft.augment.Transform."
            )
    return list(parts)
