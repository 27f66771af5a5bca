"""The parts of an encoder above its cut, as modules that can be copied."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from ssft.types import Frames


class Entry(nn.Module):
    """From the stem's features to the input of the first layer: projection, mask, positions, norm.

    Args:
        model: a Hugging Face encoder; its modules are shared, not copied.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.projection = model.feature_projection
        self.mask_embedding: Tensor = model.masked_spec_embed
        self.encoder = _without_layers(model.encoder)

    def forward(self, frames: Frames) -> Tensor:
        """Features [B, F, C] to hidden states [B, F, D]; frames that are masked become the mask embedding."""
        projected = self.projection(frames.values)
        hidden = projected[0] if isinstance(projected, tuple) else projected
        if frames.masked is not None:
            hidden = torch.where(frames.masked[..., None], self.mask_embedding.to(hidden.dtype), hidden)
        padding = None if bool(frames.mask.all()) else frames.mask
        entered: Tensor = self.encoder(hidden, attention_mask=padding).last_hidden_state
        return entered


class Top(nn.Module):
    """What a split encoder has above its cut, stem excluded.

    Args:
        layers: the transformer layers.
        norm: the norm after the last layer, which large models have.
        entry: what lies between stem and first layer, if that is above the cut too.
    """

    def __init__(self, layers: nn.ModuleList, norm: nn.Module | None, entry: Entry | None) -> None:
        super().__init__()
        self.layers = layers
        self.norm = norm
        self.entry = entry


def _without_layers(encoder: Any) -> Any:
    """An encoder that shares its modules with `encoder` but ends before the first layer, without a final norm."""
    shallow = copy.copy(encoder)
    shallow.__dict__["_modules"] = dict(encoder._modules)
    shallow.layers = nn.ModuleList()
    if encoder.config.do_stable_layer_norm:
        shallow.layer_norm = nn.Identity()
    shallow.training = False  # its own flag is for layer drop
    return shallow
