"""Every loss of the table, made small, and frames to give it: what holds for all losses is tested on these."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch.nn.functional import normalize

from ssft.heads import Projection
from ssft.losses import LOSSES, FrameLoss
from ssft.types import Frames, Materializable

DIM, CLASSES = 16, 8
# How to make the losses whose defaults are too large for a few frames, or that cannot be made without settings.
MAKE: dict[str, Callable[[], Any]] = {
    "masked_prediction": lambda: LOSSES["masked_prediction"](classes=CLASSES),
    "pseudo_label": lambda: LOSSES["pseudo_label"](classes=CLASSES),
    "swapped_prediction": lambda: LOSSES["swapped_prediction"](codebook_size=[8, 4]),
    "weighted": lambda: LOSSES["weighted"](
        {
            "align": LOSSES["soft_dtw"](),
            "label": LOSSES["pseudo_label"](CLASSES),
            "apart": LOSSES["temporal_contrast"](),
        },
        heads={"align": Projection(4)},
    ),
}
NAMES = sorted(LOSSES)


def make(name: str, seed: int = 0) -> FrameLoss:
    return materialized(MAKE.get(name, LOSSES[name])(), seed)


def materialized(loss: Any, seed: int = 0) -> FrameLoss:
    torch.manual_seed(seed)
    if isinstance(loss, Materializable):
        assert loss.materialize(DIM) is None
    made: FrameLoss = loss
    return made


def frames(*lengths: int, seed: int = 0, scale: float = 1.0) -> Frames:
    generator = torch.Generator().manual_seed(seed)
    made = Frames.stack([scale * normalize(torch.randn(n, DIM, generator=generator), dim=-1) for n in lengths])
    masked = torch.zeros(made.mask.shape, dtype=torch.bool)
    masked[:, ::2] = True
    return replace(made, masked=masked & made.mask)


def labels(*lengths: int) -> Frames:
    return Frames.stack([torch.arange(n) % CLASSES for n in lengths])


def call(loss: FrameLoss, student: Frames, reference: Frames, targets: Frames) -> Any:
    return loss(student, reference, *((targets,) if loss.needs_targets else ()))
