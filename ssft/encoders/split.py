"""An encoder in two parts: a frozen bottom, run once without gradients, and a top with the layers that are trained."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ssft.encoders.pretrained import PretrainedEncoder
from ssft.errors import RecipeError
from ssft.types import Frames, Waves


class SplitEncoder(nn.Module):
    """A pre-trained encoder, split below its lowest trained layer, so that `top(bottom(waves)) == encoder(waves)`.

    Everything is frozen but the chosen layers. Whatever mode is asked for, frozen parts stay in eval mode: no dropout,
    no layer drop, no SpecAugment.

    Args:
        encoder: what to split.
        trainable_layers: a count from the top, or layer numbers counted from 1.

    Attributes:
        trainable_layers: numbers of the trained layers, ascending.
        cut: how many layers belong to the bottom.

    Raises:
        RecipeError: the encoder has no such layers.
    """

    def __init__(self, encoder: PretrainedEncoder, trainable_layers: int | Sequence[int]) -> None:
        super().__init__()
        self.encoder = encoder
        self.trainable_layers = layer_numbers(trainable_layers, encoder.num_layers, encoder.source)
        self.cut = self.trainable_layers[0] - 1
        encoder.requires_grad_(False)
        for number in self.trainable_layers:
            self._layer(number).requires_grad_(True)
        self.__dict__["_bottom"] = _bottom_view(encoder.model, self.cut)  # not a second owner of the parameters
        self.train()

    @property
    def top_layers(self) -> nn.ModuleList:
        """The layers above the cut."""
        return nn.ModuleList(self.encoder.model.encoder.layers[self.cut :])

    def train(self, mode: bool = True) -> SplitEncoder:
        """Set the mode of the trained layers; everything else stays in eval mode."""
        super().train(False)
        self.training = mode
        for number in self.trainable_layers:
            self._layer(number).train(mode)
        return self

    @torch.no_grad()
    def bottom(self, waves: Waves) -> Frames:
        """Waveforms to the input of the top's first layer, [B, F, D]."""
        output = self.encoder.call(self._bottom, waves)
        return Frames(output.last_hidden_state, self.encoder.frame_lengths(waves.lengths))

    def top(self, frames: Frames, layers: nn.ModuleList | None = None) -> Frames:
        """The bottom's frames [B, F, D] to the last hidden state [B, F, D].

        Args:
            frames: what `bottom` gave.
            layers: other weights for the same layers, e.g. a frozen copy of `top_layers`; the encoder's own if None.
        """
        layers = self.top_layers if layers is None else layers
        hidden = frames.values
        mask = self._layer_mask(frames)
        if self.encoder.family.shared_position_bias:
            bias = self._position_bias(frames)
            for layer in layers:
                hidden, bias = layer(hidden, attention_mask=mask, position_bias=bias)
        else:
            for layer in layers:
                hidden = layer(hidden, attention_mask=mask)
        if self.encoder.model.config.do_stable_layer_norm:
            hidden = self.encoder.model.encoder.layer_norm(hidden)
        return Frames(hidden, frames.lengths)

    def forward(self, waves: Waves) -> Frames:
        """The whole encoder: waveforms to the last hidden state [B, F, D]."""
        return self.top(self.bottom(waves))

    def _layer(self, number: int) -> nn.Module:
        layer: nn.Module = self.encoder.model.encoder.layers[number - 1]
        return layer

    def _layer_mask(self, frames: Frames) -> Tensor | None:
        padding = None if bool(frames.mask.all()) else frames.mask
        if self.encoder.family.mask == "padding":
            return padding
        from transformers.masking_utils import create_bidirectional_mask

        attention: Tensor | None = create_bidirectional_mask(
            config=self.encoder.model.config, inputs_embeds=frames.values, attention_mask=padding
        )
        return attention

    def _position_bias(self, frames: Frames) -> Tensor | None:
        """The bias [B * heads, F, F] that the encoder's first layer would have handed up; at cut 0 the top makes it."""
        if self.cut == 0:
            return None
        batch, size, _ = frames.values.shape
        bias: Tensor = self.encoder.model.encoder.layers[0].attention.compute_bias(size, size)
        return bias.unsqueeze(0).repeat(batch, 1, 1, 1).view(-1, size, size)


def layer_numbers(layers: int | Sequence[int], num_layers: int, source: str) -> tuple[int, ...]:
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
                f"encoder.trainable_layers={layers}, but {source} has {num_layers} transformer layers. "
                f"Give a count from 1 to {num_layers}, or a list of layer numbers."
            )
        return tuple(range(num_layers - layers + 1, num_layers + 1))
    numbers = tuple(sorted(layers))
    wrong = [number for number in numbers if not 1 <= number <= num_layers]
    if wrong or not numbers:
        raise RecipeError(
            f"encoder.trainable_layers={list(layers)}: {source} has layers 1 to {num_layers}"
            + (f", not {', '.join(map(str, wrong))}." if wrong else "; the list is empty.")
        )
    if len(set(numbers)) < len(numbers):
        raise RecipeError(f"encoder.trainable_layers={list(layers)} names a layer twice.")
    return numbers


def _bottom_view(model: Any, cut: int) -> Any:
    """A model that shares all modules with `model` but ends before layer `cut + 1`, without a final norm."""
    view, encoder = _shallow(model), _shallow(model.encoder)
    encoder.layers = nn.ModuleList(model.encoder.layers[:cut])
    if model.config.do_stable_layer_norm:
        encoder.layer_norm = nn.Identity()
    view.encoder = encoder
    return view.eval()


def _shallow(module: nn.Module) -> Any:
    """A copy with its own table of sub-modules, but the same sub-modules, parameters and buffers in it."""
    shallow = copy.copy(module)
    shallow.__dict__["_modules"] = dict(module._modules)
    return shallow
