"""The other side of the comparison: who speaks for the view that the student is pulled towards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ssft.encoders.split import NOTHING, SplitEncoder
from ssft.errors import RecipeError
from ssft.types import Frames


@dataclass(frozen=True)
class MovingAverage:
    """A reference that follows the student slowly: a moving average of its weights (DinoSR, data2vec).

    After step t the average becomes d(t) times itself and 1 - d(t) times the student; d rises linearly.

    Args:
        first_decay: d at the first step.
        last_decay: d from step `rise_steps` on.
        rise_steps: over how many steps d rises.

    Source:
        Liu et al., "DinoSR", NeurIPS 2023: 0.999 to 0.9999 over 30,000 updates, transformer only.

    Example:
        >>> Views(augmented=SpeakerPerturb(), reference=MovingAverage(rise_steps=1000))
    """

    first_decay: float = 0.999
    last_decay: float = 0.9999
    rise_steps: int = 30_000

    def __post_init__(self) -> None:
        if not 0 <= self.first_decay <= self.last_decay <= 1:
            raise RecipeError(
                f"MovingAverage(first_decay={self.first_decay}, last_decay={self.last_decay}): give numbers from 0 to "
                "1, the lower one first; 0.999 and 0.9999 are published."
            )
        if self.rise_steps < 0:
            raise RecipeError(f"MovingAverage(rise_steps={self.rise_steps}): give 0 or more steps.")

    def decay(self, step: int) -> float:
        """What is kept of the average after a step, counted from 0."""
        share = min(step / self.rise_steps, 1.0) if self.rise_steps else 1.0
        return self.first_decay + share * (self.last_decay - self.first_decay)


REFERENCES = {"moving_average": MovingAverage}
"""References that have settings; `frozen` and `student` are named by a word."""

ReferenceKind = Literal["frozen", "student", "moving_average"] | MovingAverage


class FrozenReference(nn.Module):
    """The encoder as it was before training: the shared bottom and a frozen copy of the top, in eval mode.

    SCORE's reference is a whole second encoder; the bottom being the same, only the top needs copying. Where the
    student's frozen layers keep their dropout, so does the reference.

    Raises:
        RecipeError: the encoder has no frozen bottom to share.
    """

    def __init__(self, encoder: SplitEncoder) -> None:
        super().__init__()
        if encoder.cut == NOTHING:
            raise RecipeError(
                "views.reference='frozen' needs a frozen stem, but encoder.train_also trains the stem. Leave the stem "
                "out, or take views.reference='student'."
            )
        self.frozen_dropout = encoder.frozen_dropout
        self.top = encoder.base_top()
        self.train()

    def train(self, mode: bool = True) -> FrozenReference:
        """Stay in eval mode, unless dropout is to live."""
        return super().train(mode and self.frozen_dropout)

    @torch.no_grad()
    def forward(self, encoder: SplitEncoder, frames: Frames, layers: Sequence[int]) -> list[Frames]:
        """Bottom frames [B, F, D] to the unadapted encoder's outputs of `layers`."""
        return encoder.top_states(frames, layers, self.top)


class AveragedReference(FrozenReference):
    """A moving average of the student's top, in eval mode and without gradients; see `MovingAverage`."""

    steps: Tensor

    def __init__(self, encoder: SplitEncoder, average: MovingAverage) -> None:
        super().__init__(encoder)
        self.average = average
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def after_step(self, encoder: SplitEncoder) -> None:
        """Follow the student by one step."""
        share = 1 - self.average.decay(int(self.steps))
        student = dict(encoder.own_top().named_parameters())
        for name, own in self._averaged(encoder).items():
            own.lerp_(student[name], share)
        self.steps += 1

    def state(self, encoder: SplitEncoder) -> dict[str, Tensor]:
        """What makes it another than the encoder as it was: averaged weights, by name, and how many steps it made."""
        return {**{f"top.{name}": own for name, own in self._averaged(encoder).items()}, "steps": self.steps}

    def _averaged(self, encoder: SplitEncoder) -> dict[str, nn.Parameter]:
        """Its own copies of what the student trains."""
        trained = {name for name, parameter in encoder.own_top().named_parameters() if parameter.requires_grad}
        return {name: own for name, own in self.top.named_parameters() if name in trained}


class StudentReference(nn.Module):
    """The student itself: both views are trained, with gradients (SPIN, LASER)."""

    def forward(self, encoder: SplitEncoder, frames: Frames, layers: Sequence[int]) -> list[Frames]:
        """Bottom frames [B, F, D] to the student's outputs of `layers`."""
        return encoder.top_states(frames, layers)


Reference = FrozenReference | AveragedReference | StudentReference


def make_reference(kind: ReferenceKind, encoder: SplitEncoder) -> Reference:
    """Return the reference of the given kind for an encoder that has not been trained yet."""
    if isinstance(kind, MovingAverage) or kind == "moving_average":
        return AveragedReference(encoder, kind if isinstance(kind, MovingAverage) else MovingAverage())
    return FrozenReference(encoder) if kind == "frozen" else StudentReference()
