"""The parts of an encoder above its cut, as modules that can be copied."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ssft.encoders.families import Family
from ssft.encoders.padding import hiding_padding
from ssft.errors import RecipeError
from ssft.types import Frames


class Entry(nn.Module):
    """From the stem's features to the input of the first layer: projection, mask, positions, norm.

    Args:
        model: a Hugging Face encoder; its modules are shared, not copied.
        family: its family.
    """

    def __init__(self, model: Any, family: Family) -> None:
        super().__init__()
        self.projection: nn.Module = _projection(model)
        self.mask_embedding: Tensor | None = getattr(model, "masked_spec_embed", None)
        self.encoder = _without_layers(model.encoder, ends=final_module_name(model, family))
        self.squeeze: int = model.config.squeeze_factor if family.squeezed else 1

    def forward(self, frames: Frames) -> Frames:
        """Features [B, F, C] to hidden states [B, F, D]; frames that are masked become the mask embedding.

        Raises:
            RecipeError: frames are masked, but the encoder does not know masks.
        """
        projected = self.projection(frames.values)
        hidden = projected[0] if isinstance(projected, tuple) else projected
        if frames.masked is not None:
            if self.mask_embedding is None or self.squeeze > 1:
                raise RecipeError("views.mask: this encoder has no embedding for frames that are hidden. Hide none.")
            hidden = torch.where(frames.masked[..., None], self.mask_embedding.to(hidden.dtype), hidden)
        padding = None if bool(frames.mask.all()) else frames.mask
        with hiding_padding(self.encoder, frames.lengths, hidden.shape[1]):
            entered: Tensor = self.encoder(hidden, attention_mask=padding).last_hidden_state
        lengths = frames.lengths // self.squeeze
        return replace(frames, values=entered[:, : int(lengths.max())], lengths=lengths)


class Top(nn.Module):
    """What a split encoder has above its cut, stem excluded.

    Args:
        layers: the transformer layers.
        last: what comes after the last layer: a norm, which large models have, or what brings back the frame rate.
        entry: what lies between stem and first layer, if that is above the cut too.
    """

    def __init__(self, layers: nn.ModuleList, last: nn.Module | None, entry: Entry | None) -> None:
        super().__init__()
        self.layers = layers
        self.last = last
        self.entry = entry

    def finish(self, frames: Frames) -> Frames:
        """The last layer's output to the last hidden state."""
        if self.last is None:
            return frames
        values: Tensor = self.last(frames.values)
        rate = values.shape[1] // frames.values.shape[1]
        return replace(frames, values=values, lengths=frames.lengths * rate)


def final_module_name(model: Any, family: Family) -> str | None:
    """The name, in the transformer, of the module after the last layer; None where nothing comes after it."""
    if family.squeezed:
        return "upsample"
    has_norm = family.final_norm == "always" or (family.final_norm == "stable" and model.config.do_stable_layer_norm)
    return "layer_norm" if has_norm else None


def _projection(model: Any) -> nn.Module:
    if model.config.model_type != "sew":
        projection: nn.Module = model.feature_projection
        return projection
    # SEW has no module for it: norm, projection if the widths differ, dropout.
    parts: Sequence[nn.Module | None] = (
        model.layer_norm,
        getattr(model, "feature_projection", None),
        model.feature_dropout,
    )
    return nn.Sequential(*(part for part in parts if part is not None))


def _without_layers(encoder: Any, ends: str | None) -> Any:
    """An encoder that shares its modules with `encoder` but ends before the first layer, without what comes last."""
    shallow = copy.copy(encoder)
    shallow.__dict__["_modules"] = dict(encoder._modules)
    shallow.layers = nn.ModuleList()
    if ends is not None:
        setattr(shallow, ends, nn.Identity())
    shallow.training = False  # its own flag is for layer drop
    return shallow
