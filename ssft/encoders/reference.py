"""The other side of the comparison: who speaks for the view that the student is pulled towards."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

from ssft.encoders.split import NOTHING, SplitEncoder
from ssft.errors import RecipeError
from ssft.types import Frames

ReferenceKind = Literal["frozen", "student"]


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
        self.top = copy.deepcopy(encoder.own_top()).requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> FrozenReference:
        """Stay in eval mode, unless dropout is to live."""
        return super().train(mode and self.frozen_dropout)

    @torch.no_grad()
    def forward(self, encoder: SplitEncoder, frames: Frames, layers: Sequence[int]) -> list[Frames]:
        """Bottom frames [B, F, D] to the unadapted encoder's outputs of `layers`."""
        return encoder.top_states(frames, layers, self.top)


class StudentReference(nn.Module):
    """The student itself: both views are trained, with gradients (SPIN, LASER)."""

    def forward(self, encoder: SplitEncoder, frames: Frames, layers: Sequence[int]) -> list[Frames]:
        """Bottom frames [B, F, D] to the student's outputs of `layers`."""
        return encoder.top_states(frames, layers)


def make_reference(kind: ReferenceKind, encoder: SplitEncoder) -> FrozenReference | StudentReference:
    """Return the reference of the given kind for an encoder that has not been trained yet."""
    return FrozenReference(encoder) if kind == "frozen" else StudentReference()
