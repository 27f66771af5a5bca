"""A pre-trained Hugging Face speech encoder that takes `Waves` and gives `Frames`, whatever the padding."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.utils.checkpoint
from torch import Tensor, nn

from ssft.encoders.families import family_of
from ssft.encoders.loading import load_pretrained, without_bars
from ssft.encoders.lora import base_weights
from ssft.encoders.padding import hiding_padding, replace_convolutions
from ssft.encoders.stem import make_stem
from ssft.encoders.top import Entry, Top, final_module_name
from ssft.errors import EncoderError
from ssft.types import SAMPLE_RATE, Frames, Waves


class PretrainedEncoder(nn.Module):
    """A Hugging Face encoder with its input normalisation, in eval mode, safe to run on padded batches.

    It runs in stages, stem, entry and layers, each of them the model's own modules. The whole is what transformers'
    forward computes for a single utterance, exactly.

    Args:
        model: a model of one of the `FAMILIES`. Norms and convolutions that see padding are replaced by ones that do
            not; parameter names stay.
        extractor: its feature extractor, which says whether waveforms are normalised.
        source: where it came from, for records and messages.

    Attributes:
        num_layers: transformer layers.
        width: D of its frames.

    Raises:
        EncoderError: the model's weights are in half precision.

    Example:
        >>> encoder = PretrainedEncoder.load("tiny")
        >>> encoder.hidden_states(Waves.stack([torch.randn(16000)]))[6].values.shape
        torch.Size([1, 49, 192])
    """

    _entry: Entry

    def __init__(self, model: Any, extractor: Any, *, source: str) -> None:
        super().__init__()
        self.family = family_of(model.config.model_type)
        _refuse_half_precision(model, source)
        replace_convolutions(model, self.family.padded_convolutions)
        self.model = model.eval()
        self.extractor = extractor
        self.source = source
        self.num_layers: int = model.config.num_hidden_layers
        self.width: int = model.config.hidden_size
        self.stem = make_stem(model, extractor, self.family)
        self.__dict__["_entry"] = Entry(model, self.family)  # past nn.Module: not a second owner of the parameters

    @staticmethod
    def load(source: str, *, revision: str | None = None) -> PretrainedEncoder:
        """Load a Hub id, a folder, or `tiny`, in float32.

        Raises:
            EncoderError: not found, not an encoder of a known family, or weights missing from the checkpoint.
        """
        model, extractor = load_pretrained(source, revision=revision)
        return PretrainedEncoder(model, extractor, source=source)

    @property
    def min_samples(self) -> int:
        """The fewest samples that give one frame, 400 for the usual stem."""
        return self.stem.min_samples + (self._entry.squeeze - 1) * round(SAMPLE_RATE / self.stem.frame_rate)

    @property
    def frame_rate(self) -> float:
        """Frames per second of the last hidden state, 50 for a hop of 320 samples."""
        return self.stem.frame_rate

    @property
    def layers(self) -> nn.ModuleList:
        """The transformer layers."""
        layers: nn.ModuleList = self.model.encoder.layers
        return layers

    def frame_lengths(self, lengths: Tensor) -> Tensor:
        """Samples [B] to frames [B] of the last hidden state."""
        frames = self.stem.frame_lengths(lengths)
        squeeze = self._entry.squeeze
        return frames // squeeze * squeeze

    def top(self, cut: int, *, with_entry: bool = False) -> Top:
        """What lies above layer `cut`, as modules; they are the encoder's own."""
        name = final_module_name(self.model, self.family)
        last: nn.Module | None = getattr(self.model.encoder, name) if name else None
        return Top(nn.ModuleList(self.layers[cut:]), last, self._entry if with_entry else None)

    def features(self, waves: Waves) -> Frames:
        """What the stem says of waveforms: [B, F, C].

        Raises:
            EncoderError: an item is too short for one frame.
        """
        return self.stem(self.prepare(waves))

    def prepare(self, waves: Waves) -> Waves:
        """Waveforms as the stem takes them, normalised where the checkpoint wants it.

        Raises:
            EncoderError: an item is too short for one frame.
        """
        shortest = int(waves.lengths.min())
        if shortest < self.min_samples:
            raise EncoderError(f"{shortest} samples are too few for one frame; the encoder needs {self.min_samples}.")
        return self.stem.prepare(waves)

    def enter(self, features: Frames) -> Frames:
        """The stem's features to the input of the first layer, [B, F, D]."""
        entered: Frames = self._entry(features)
        return entered

    def run(
        self, layers: nn.ModuleList, frames: Frames, *, first: int = 1, checkpoint: bool = False
    ) -> Iterator[tuple[int, Frames]]:
        """Run layers on their input [B, F, D]; give the number of each, counted from `first`, and its output.

        With `checkpoint`, nothing but the input of each is kept for the backward pass, which runs the layer again.
        """
        inputs = self._layer_inputs(frames, first)
        lengths, size = frames.lengths, frames.values.shape[1]

        def apply(layer: nn.Module, values: Tensor, inputs: dict[str, Any]) -> Any:
            with hiding_padding(layer, lengths, size):
                return layer(values, **inputs)

        for number, layer in enumerate(layers, start=first):
            if checkpoint:
                output = torch.utils.checkpoint.checkpoint(
                    apply, layer, frames.values, dict(inputs), use_reentrant=False
                )
            else:
                output = apply(layer, frames.values, inputs)
            values = output[0] if isinstance(output, tuple) else output
            if self.family.shared_position_bias:
                inputs["position_bias"] = output[1]
            frames = replace(frames, values=values)
            yield number, frames

    def through(self, layers: nn.ModuleList, frames: Frames) -> Frames:
        """The output of the last of `layers`, the first of which is the encoder's first."""
        for _, state in self.run(layers, frames):
            frames = state
        return frames

    def save(self, folder: Path) -> None:
        """Write config.json, model.safetensors and preprocessor_config.json, for `AutoModel.from_pretrained`."""
        with without_bars():
            self.model.save_pretrained(folder)
        self.extractor.save_pretrained(folder)

    def weights_hash(self) -> str:
        """SHA-256 over names and bytes of all weights but adapters, by which the encoder is known again."""
        digest = hashlib.sha256()
        for name, tensor in sorted(base_weights(self.model).items()):
            digest.update(name.encode())
            digest.update(tensor.cpu().contiguous().numpy().data)
        return digest.hexdigest()

    def forward(self, waves: Waves) -> Frames:
        """The last hidden state, [B, F, D]."""
        top = self.top(0)
        return top.finish(self.through(top.layers, self.enter(self.features(waves))))

    @torch.no_grad()
    def hidden_states(self, waves: Waves) -> list[Frames]:
        """Input of the first layer, then the output of every layer: `num_layers + 1` times [B, F, D].

        The last entry is the last hidden state, after what follows the last layer: the final norm of large models.
        """
        entered, top = self.enter(self.features(waves)), self.top(0)
        states = [entered, *(frames for _, frames in self.run(top.layers, entered))]
        return [*states[:-1], top.finish(states[-1])]

    def _layer_inputs(self, frames: Frames, first: int) -> dict[str, Any]:
        """What layers take beside their input."""
        family, model = self.family, self.model
        padding = None if bool(frames.mask.all()) else frames.mask
        inputs: dict[str, Any] = {}
        if family.mask == "padding":
            inputs["attention_mask"] = padding
        else:
            from transformers.masking_utils import create_bidirectional_mask

            inputs["attention_mask"] = create_bidirectional_mask(
                config=model.config, inputs_embeds=frames.values, attention_mask=padding
            )
        if family.convolution_mask:
            inputs["conv_attention_mask"] = padding
        if family.relative_positions:
            embed = model.encoder.embed_positions
            inputs["relative_position_embeddings"] = None if embed is None else embed(frames.values)
        if family.shared_position_bias:
            inputs["position_bias"] = None if first == 1 else self._position_bias(frames)
        return inputs

    def _position_bias(self, frames: Frames) -> Tensor:
        """The bias [B * heads, F, F] that the encoder's first layer would have handed up."""
        batch, size, _ = frames.values.shape
        bias: Tensor = self.model.encoder.layers[0].attention.compute_bias(size, size)
        return bias.unsqueeze(0).repeat(batch, 1, 1, 1).view(-1, size, size)


def _refuse_half_precision(model: Any, source: str) -> None:
    half = next((name for name, p in model.named_parameters() if p.dtype in (torch.float16, torch.bfloat16)), None)
    if half is not None:
        raise EncoderError(
            f"The weights of {source} are in half precision ({half}), in which small steps are lost and attention may "
            "overflow. Convert them with model.float(); train.precision='bf16' computes fast with weights in float32."
        )
