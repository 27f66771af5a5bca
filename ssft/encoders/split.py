"""An encoder in two parts: a frozen bottom, run once without gradients, and a top with everything that is trained."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from ssft.encoders.lora import Lora, copy_sharing_base
from ssft.encoders.pretrained import PretrainedEncoder
from ssft.encoders.reset import reset_layer
from ssft.encoders.selection import layer_numbers, parameter_names
from ssft.encoders.top import Top, final_module_name
from ssft.errors import RecipeError
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
        adapter: what is trained in the layers in place of their own weights.
        reset_layers: how many layers from the top begin with random weights.
        checkpoint_layers: keep of the top's layers only their inputs for the backward pass, and compute them again.
        compile_bottom: compile the bottom's layers with `torch.compile` when they are first run.

    Attributes:
        trainable_layers: numbers of the trained layers, ascending.
        cut: how many layers belong to the bottom, or `STEM` or `NOTHING`.

    Raises:
        RecipeError: the encoder has no such layers or parameters, the adapter does not fit them, layers to be reset are
            not trained, or nothing lies in the bottom to be compiled.
    """

    _before_reset: Top | None

    def __init__(
        self,
        encoder: PretrainedEncoder,
        trainable_layers: int | Sequence[int],
        *,
        train_also: Sequence[str] = (),
        frozen_dropout: bool = False,
        adapter: Lora | None = None,
        reset_layers: int = 0,
        checkpoint_layers: bool = False,
        compile_bottom: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.trainable_layers = layer_numbers(trainable_layers, encoder.num_layers, encoder.source)
        self.frozen_dropout = frozen_dropout
        self.checkpoint_layers = checkpoint_layers
        names = parameter_names(encoder.model, train_also, encoder.source)
        trained_also = [encoder.model.get_parameter(name) for name in names]  # adapters rename what they go around
        encoder.requires_grad_(False)
        self.cut = self._lowest_cut(names)
        self.__dict__["_before_reset"] = self._reset(reset_layers)
        if adapter is not None:
            adapter.inject(encoder.model, self.trainable_layers, encoder.source, trained=names)
        else:
            for number in self.trainable_layers:
                self._layer(number).requires_grad_(True)
        for parameter in trained_also:
            parameter.requires_grad_(True)
        if compile_bottom:
            self._compile_bottom()
        self.train()

    def base_top(self) -> Top:
        """The top as it was before training: a copy, or what was kept before layers were reset."""
        if self._before_reset is not None:
            return copy.deepcopy(self._before_reset)
        return copy_sharing_base(self.own_top()).requires_grad_(False)

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
        first, checkpoint = max(self.cut, 0) + 1, self.checkpoint_layers and torch.is_grad_enabled()
        run = self.encoder.run(top.layers, frames, first=first, checkpoint=checkpoint)
        states = {number: state for number, state in run if number in layers or number == last}
        states[last] = top.finish(states[last])
        return [states[layer] for layer in layers]

    def forward(self, waves: Waves) -> Frames:
        """The whole encoder: waveforms to the last hidden state [B, F, D]."""
        return self.top(self.bottom(waves))

    def _layer(self, number: int) -> nn.Module:
        return self.encoder.layers[number - 1]

    def _reset(self, count: int) -> Top | None:
        """Give `count` layers from the top random weights; return what the top was before."""
        if count == 0:
            return None
        numbers = layer_numbers(count, self.encoder.num_layers, self.encoder.source, setting="encoder.reset_layers")
        if not set(numbers) <= set(self.trainable_layers):
            raise RecipeError(
                f"encoder.reset_layers={count} would leave random layers that are never trained; "
                f"encoder.trainable_layers is {list(self.trainable_layers)}. Train them too, or reset fewer."
            )
        before = copy.deepcopy(self.own_top())
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            for number in numbers:
                reset_layer(self._layer(number), std=self.encoder.model.config.initializer_range)
        return before

    def _compile_bottom(self) -> None:
        if self.cut <= 0:
            raise RecipeError("encoder.compile_bottom: all layers are trained, so the bottom has none. Leave it out.")
        for layer in self.encoder.layers[: self.cut]:
            layer.compile(dynamic=True)

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
