"""An encoder in two parts: a frozen bottom, run once without gradients, and a top with everything that is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from ssft.encoders.pretrained import PretrainedEncoder
from ssft.encoders.selection import layer_numbers, parameter_names
from ssft.encoders.top import Top, final_module_name
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
        self.train()

    def own_top(self) -> Top:
        """Everything above the cut and the stem; its modules are the encoder's own."""
        return self.encoder.top(max(self.cut, 0), with_entry=self.cut < 0)

    def train(self, mode: bool = True) -> SplitEncoder:
        """Set the mode of what is trained; everything else stays in eval mode, unless its dropout is to live."""
        super().train(False)
        self.training = mode
        if self.frozen_dropout:
            self.encoder.model.train(mode)
        if (stem := getattr(self.encoder.model, "feature_extractor", None)) is not None:
            stem.train(mode and self.cut == NOTHING)  # in training mode it makes autograd record it
        for number in self.trainable_layers:
            self._layer(number).train(mode)
        for part in self.encoder.model.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.eval()  # statistics of a batch are those of its padding too
        return self

    @torch.no_grad()
    def bottom(self, waves: Waves, masked: Tensor | None = None) -> Frames:
        """Waveforms to the input of the top, [B, F, D].

        Args:
            waves: a batch of B.
            masked: frames to hide from the layers, [B, F] bool.
        """
        if self.cut == NOTHING:  # a waveform is a sequence of frames of one number each
            prepared = self.encoder.prepare(waves)
            return Frames(prepared.samples[..., None], prepared.lengths, masked)
        frames = replace(self.encoder.features(waves), masked=masked)
        if self.cut == STEM:
            return frames
        return self.encoder.through(self.encoder.layers[: self.cut], self.encoder.enter(frames))

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
            prepared = Waves(frames.values[..., 0], frames.lengths)
            frames = replace(self.encoder.stem(prepared), masked=frames.masked)
        if top.entry is not None:
            frames = top.entry(frames)
        last = self.encoder.num_layers
        run = self.encoder.run(top.layers, frames, first=max(self.cut, 0) + 1)
        states = {number: state for number, state in run if number in layers or number == last}
        states[last] = top.finish(states[last])
        return [states[layer] for layer in layers]

    def forward(self, waves: Waves) -> Frames:
        """The whole encoder: waveforms to the last hidden state [B, F, D]."""
        return self.top(self.bottom(waves))

    def _layer(self, number: int) -> nn.Module:
        return self.encoder.layers[number - 1]

    def _lowest_cut(self, names: Sequence[str]) -> int:
        """How far down gradients have to reach."""
        cuts = [self.trainable_layers[0] - 1]
        for name in names:
            parts = name.split(".")
            if parts[0] == "feature_extractor":
                cuts.append(NOTHING)
            elif parts[:2] == ["encoder", "layers"]:
                cuts.append(int(parts[2]))
            elif parts[:2] != ["encoder", final_module_name(self.encoder.model, self.encoder.family)]:
                cuts.append(STEM)
        return min(cuts)
