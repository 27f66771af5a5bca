"""An encoder in two parts: a frozen bottom, run once without gradients, and a top with everything that is trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from ssft.encoders.pretrained import PretrainedEncoder
from ssft.encoders.selection import layer_numbers, parameter_names
from ssft.encoders.top import Entry, Top
from ssft.types import Frames, Waves

STEM = -1
"""The cut of an encoder whose bottom is the convolutional stem alone."""

NOTHING = -2
"""The cut of an encoder that is trained from the first convolution on."""


class SplitEncoder(nn.Module):
    """A pre-trained encoder, split below the lowest thing trained, so that `top(bottom(waves)) == encoder(waves)`.

    Everything is frozen but the chosen layers and parameters. Frozen parts stay in eval mode whatever mode is asked
    for: no dropout, no layer drop, no SpecAugment.

    Args:
        encoder: what to split.
        trainable_layers: a count from the top, or layer numbers counted from 1.
        train_also: names of further modules or parameters to train, or patterns such as `feature_extractor.*`. What
            lies below the layers moves the cut to the stem or below it, so that every layer records gradients.
        frozen_dropout: let the dropout of frozen layers live while training, as published code does by accident.

    Attributes:
        trainable_layers: numbers of the trained layers, ascending.
        cut: how many layers belong to the bottom, or `STEM` or `NOTHING`.

    Raises:
        RecipeError: the encoder has no such layers or parameters.
    """

    _entry: Entry

    def __init__(
        self,
        encoder: PretrainedEncoder,
        trainable_layers: int | Sequence[int],
        *,
        train_also: Sequence[str] = (),
        frozen_dropout: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.trainable_layers = layer_numbers(trainable_layers, encoder.num_layers, encoder.source)
        self.frozen_dropout = frozen_dropout
        names = parameter_names(encoder.model, train_also, encoder.source)
        encoder.requires_grad_(False)
        for number in self.trainable_layers:
            self._layer(number).requires_grad_(True)
        for name in names:
            encoder.model.get_parameter(name).requires_grad_(True)
        self.cut = self._lowest_cut(names)
        self.__dict__["_entry"] = Entry(encoder.model)  # past nn.Module: not a second owner of the parameters
        self.train()

    @property
    def top_layers(self) -> nn.ModuleList:
        """The layers above the cut."""
        return nn.ModuleList(self.encoder.model.encoder.layers[max(self.cut, 0) :])

    def own_top(self) -> Top:
        """Everything above the cut and the stem; its modules are the encoder's own."""
        model = self.encoder.model
        norm = model.encoder.layer_norm if model.config.do_stable_layer_norm else None
        return Top(self.top_layers, norm, self._entry if self.cut < 0 else None)

    def train(self, mode: bool = True) -> SplitEncoder:
        """Set the mode of what is trained; everything else stays in eval mode, unless its dropout is to live."""
        super().train(False)
        self.training = mode
        if self.frozen_dropout:
            self.encoder.model.train(mode)
        # In training mode the stem makes autograd record it.
        self.encoder.model.feature_extractor.train(mode and self.cut == NOTHING)
        for number in self.trainable_layers:
            self._layer(number).train(mode)
        return self

    @torch.no_grad()
    def bottom(self, waves: Waves, masked: Tensor | None = None) -> Frames:
        """Waveforms to the input of the top, [B, F, D].

        Args:
            waves: a batch of B.
            masked: frames to hide from the layers, [B, F] bool.
        """
        if self.cut == NOTHING:  # a waveform is a sequence of frames of one number each
            return Frames(self.encoder.prepare(waves)[0][..., None], waves.lengths, masked)
        frames = self._stem(self.encoder.prepare(waves)[0], waves.lengths, masked)
        if self.cut == STEM:
            return frames
        frames = replace(frames, values=self._entry(frames))
        for _, hidden in self._run(self.encoder.model.encoder.layers[: self.cut], frames):
            frames = replace(frames, values=hidden)
        return frames

    def top(self, frames: Frames, top: Top | None = None) -> Frames:
        """The bottom's frames [B, F, D] to the last hidden state [B, F, D]; see `top_states`."""
        return self.top_states(frames, (self.encoder.num_layers,), top)[0]

    def top_states(self, frames: Frames, layers: Sequence[int], top: Top | None = None) -> list[Frames]:
        """The bottom's frames [B, F, D] to the outputs of some of the top's layers, each [B, F, D].

        Args:
            frames: what `bottom` gave.
            layers: numbers of layers above the cut; that of the last layer stands for the last hidden state.
            top: other weights for the same modules, e.g. a frozen copy of `own_top`; the encoder's own if None.
        """
        top = self.own_top() if top is None else top
        if self.cut == NOTHING:
            frames = self._stem(frames.values[..., 0], frames.lengths, frames.masked)
        if top.entry is not None:
            frames = replace(frames, values=top.entry(frames))
        last = self.encoder.num_layers
        run = self._run(top.layers, frames, first=max(self.cut, 0) + 1)
        states = {number: hidden for number, hidden in run if number in layers or number == last}
        if top.norm is not None:
            states[last] = top.norm(states[last])
        return [replace(frames, values=states[layer]) for layer in layers]

    def forward(self, waves: Waves) -> Frames:
        """The whole encoder: waveforms to the last hidden state [B, F, D]."""
        return self.top(self.bottom(waves))

    def _layer(self, number: int) -> nn.Module:
        layer: nn.Module = self.encoder.model.encoder.layers[number - 1]
        return layer

    def _lowest_cut(self, names: Sequence[str]) -> int:
        """How far down gradients have to reach."""
        cuts = [self.trainable_layers[0] - 1]
        for name in names:
            parts = name.split(".")
            if parts[0] == "feature_extractor":
                cuts.append(NOTHING)
            elif parts[:2] == ["encoder", "layers"]:
                cuts.append(int(parts[2]))
            elif parts[:2] != ["encoder", "layer_norm"] or not self.encoder.model.config.do_stable_layer_norm:
                cuts.append(STEM)
        return min(cuts)

    def _stem(self, samples: Tensor, lengths: Tensor, masked: Tensor | None) -> Frames:
        with self.encoder.padding_aware(lengths):
            features = self.encoder.model.feature_extractor(samples).transpose(1, 2)
        return Frames(features, self.encoder.frame_lengths(lengths), masked)

    def _run(self, layers: nn.ModuleList, frames: Frames, first: int = 1) -> Iterator[tuple[int, Tensor]]:
        """Run layers on their input; give the number of each, counted from `first`, and its output."""
        hidden, mask = frames.values, self._layer_mask(frames)
        bias = self._position_bias(frames) if first > 1 else None
        for number, layer in enumerate(layers, start=first):
            if self.encoder.family.shared_position_bias:
                hidden, bias = layer(hidden, attention_mask=mask, position_bias=bias)
            else:
                hidden = layer(hidden, attention_mask=mask)
            yield number, hidden

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
        """The bias [B * heads, F, F] that the encoder's first layer would have handed up."""
        if not self.encoder.family.shared_position_bias:
            return None
        batch, size, _ = frames.values.shape
        bias: Tensor = self.encoder.model.encoder.layers[0].attention.compute_bias(size, size)
        return bias.unsqueeze(0).repeat(batch, 1, 1, 1).view(-1, size, size)
