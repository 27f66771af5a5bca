"""Anchors against forgetting: what keeps an adapted encoder near the one that it began as."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from ssft.components import settings_of
from ssft.errors import RecipeError, closest
from ssft.types import Frames

Distance = Literal["mse", "cosine"]


class Anchor:
    """Holds trained weights, or what they compute, near their beginning; this one does nothing.

    `hold` is given the encoder's trained weights before the first step. A subclass keeps its constructor's arguments
    under their own names.

    Attributes:
        compares_original: whether `penalty` is to be asked for in every step.
    """

    compares_original = False

    def hold(self, weights: dict[str, nn.Parameter]) -> None:
        """Remember the weights [any shape] as they are now."""
        self._held = [(weight, weight.detach().clone()) for weight in weights.values()]

    def lr_factor(self, step: int) -> float:
        """What the held weights' learning rate is multiplied by in a step, counted from 0."""
        return 1.0

    def before_step(self) -> None:
        """Change gradients, which are those of the mean loss."""

    def after_step(self, step: int, lr: float) -> None:
        """Change weights once the optimizer has moved them; `lr` is the scheduled rate, without `lr_factor`."""

    def penalty(self, student: Frames, original: Frames) -> Tensor:
        """What is added to the loss, given what the student and the unadapted encoder say of originals [B, F, D]."""
        raise NotImplementedError(f"{type(self).__name__} compares no views.")

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={getattr(self, name)!r}" for name in settings_of(type(self)))
        return f"{type(self).__name__}({settings})"


class L2SP(Anchor):
    """Pulls every trained weight of the encoder towards its start, more the farther it went.

    Adds strength / 2 * ||w - w0||^2 to the loss, so strength * (w - w0) to its gradient, after gradients were clipped.

    Args:
        strength: of the pull. AdamW divides gradients by their size, so what counts is its share of the loss's own.

    Source:
        Li, Grandvalet, Davoine, "Explicit inductive bias for transfer learning with convolutional networks", ICML 2018,
        eq. 2, for the weights that have a start; head and loss have none.

    Relations:
        `RecAdam` pulls beside the optimizer, and lets go with time.

    Example:
        >>> Train(steps=1000, anchor=L2SP(strength=0.01))
    """

    def __init__(self, strength: float = 0.01) -> None:
        if not 0 <= strength < math.inf:
            raise RecipeError(f"L2SP(strength={strength}): give a number that is not negative, such as 0.01.")
        self.strength = strength

    def before_step(self) -> None:
        for weight, start in self._held:
            if weight.grad is not None:
                weight.grad.add_(weight.detach() - start, alpha=self.strength)


class RecAdam(Anchor):
    """Recalls the start first and lets the loss take over with time, by an annealed share.

    With s(t) = 1 / (1 + exp(-rate (t - middle))), a step is s times AdamW's and -lr (1 - s) strength (w - w0).

    Args:
        strength: of the pull; lr times strength is the part of the way back that one step takes at first.
        rate: how abruptly the loss takes over.
        middle: the step at which both weigh the same.

    Source:
        Chen et al., "Recall and learn: fine-tuning deep pretrained language models with less forgetting", EMNLP 2020,
        section 3; the authors' code (Sanyuan-Chen/RecAdam at 505ba3c) has strength 5000, rates of 0.05 to 1 and middles
        of 100 to 1000.

    Example:
        >>> Train(steps=3600, anchor=RecAdam(middle=500))
    """

    def __init__(self, strength: float = 5000.0, rate: float = 0.1, middle: int = 250) -> None:
        if not 0 <= strength < math.inf:
            raise RecipeError(f"RecAdam(strength={strength}): give a number that is not negative; 5000 is published.")
        if not 0 < rate < math.inf:
            raise RecipeError(f"RecAdam(rate={rate}): give a positive number; 0.05 to 1 were published.")
        if middle < 0:
            raise RecipeError(f"RecAdam(middle={middle}): give a step, 0 or later; 100 to 1000 were published.")
        self.strength = strength
        self.rate = rate
        self.middle = middle

    def lr_factor(self, step: int) -> float:
        return 0.5 * (1 + math.tanh(0.5 * self.rate * (step - self.middle)))  # a sigmoid that cannot overflow

    @torch.no_grad()
    def after_step(self, step: int, lr: float) -> None:
        # More than the whole way back would be past the start.
        share = min(lr * (1 - self.lr_factor(step)) * self.strength, 1.0)
        for weight, start in self._held:
            weight.lerp_(start, share)


class Distillation(Anchor):
    """Keeps what the encoder says of originals near what it said of them before it was adapted.

    Adds weight * d(student(original), unadapted(original)) to the loss, d being a mean over frames of the last hidden
    state, before any head: `mse`, the squared difference averaged over dimensions as well, or `cosine`, 1 - cos.

    Args:
        weight: of the distance beside the loss.
        distance: `mse` or `cosine`.

    Source:
        Li and Hoiem, "Learning without forgetting", ECCV 2016, with features in place of class scores as in Romero et
        al., "FitNets", ICLR 2015.

    Requirements:
        A frozen bottom: the unadapted encoder shares it. Costs one more pass through the top, and one more frozen one.

    Example:
        >>> Train(steps=1000, anchor=Distillation(weight=0.5))
    """

    compares_original = True

    def __init__(self, weight: float = 1.0, distance: Distance = "mse") -> None:
        if not 0 <= weight < math.inf:
            raise RecipeError(f"Distillation(weight={weight}): give a number that is not negative, such as 1.")
        if distance not in get_args(Distance):
            known = get_args(Distance)
            raise RecipeError(f"Distillation(distance='{distance}') is not known. {closest(distance, known)}")
        self.weight = weight
        self.distance = distance

    def penalty(self, student: Frames, original: Frames) -> Tensor:
        with torch.autocast(student.values.device.type, enabled=False):
            x, y = student.valid().float(), original.valid().float()
            if self.distance == "mse":
                return self.weight * (x - y).square().mean()
            return self.weight * (1 - torch.cosine_similarity(x, y, dim=-1)).mean()


ANCHORS = {"distillation": Distillation, "l2_sp": L2SP, "rec_adam": RecAdam}
