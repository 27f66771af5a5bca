"""The other side of the comparison: who speaks for the view that the student is pulled towards."""

from __future__ import annotations

import copy
from typing import Literal

import torch
from torch import nn

from ssft.encoders.split import SplitEncoder
from ssft.types import Frames

ReferenceKind = Literal["frozen", "student"]


class FrozenReference(nn.Module):
    """The encoder as it was before training: the shared bottom and a frozen copy of the top, in eval mode.

    SCORE's reference is a whole second encoder; the bottom being the same, only the top needs copying.
    """

    def __init__(self, encoder: SplitEncoder) -> None:
        super().__init__()
        self.layers = copy.deepcopy(encoder.top_layers).requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> FrozenReference:
        """Stay in eval mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, encoder: SplitEncoder, frames: Frames) -> Frames:
        """Bottom frames [B, F, D] to the unadapted encoder's last hidden state."""
        return encoder.top(frames, layers=self.layers)


class StudentReference(nn.Module):
    """The student itself: both views are trained, with gradients (SPIN, LASER)."""

    def forward(self, encoder: SplitEncoder, frames: Frames) -> Frames:
        """Bottom frames [B, F, D] to the student's last hidden state."""
        return encoder.top(frames)


def make_reference(kind: ReferenceKind, encoder: SplitEncoder) -> FrozenReference | StudentReference:
    """Return the reference of the given kind for an encoder that has not been trained yet."""
    return FrozenReference(encoder) if kind == "frozen" else StudentReference()
