"""A pre-trained Hugging Face speech encoder that takes `Waves` and gives `Frames`, whatever the padding."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ssft.encoders.families import family_of
from ssft.encoders.loading import load_pretrained, without_bars
from ssft.encoders.padding import MaskedGroupNorm
from ssft.errors import EncoderError
from ssft.ops.masking import lengths_to_mask
from ssft.types import SAMPLE_RATE, Frames, Waves


class PretrainedEncoder(nn.Module):
    """A Hugging Face encoder with its input normalisation, in eval mode, safe to run on padded batches.

    Args:
        model: a `HubertModel`, `WavLMModel` or `Wav2Vec2Model`. Its first group norm, if it has one, is replaced by one
            that does not see padding; parameter names stay.
        extractor: its feature extractor, which says whether waveforms are normalised.
        source: where it came from, for records and messages.

    Attributes:
        num_layers: transformer layers.
        width: D of its frames.

    Example:
        >>> encoder = PretrainedEncoder.load("tiny")
        >>> encoder.hidden_states(Waves.stack([torch.randn(16000)]))[6].values.shape
        torch.Size([1, 49, 192])
    """

    def __init__(self, model: Any, extractor: Any, *, source: str) -> None:
        super().__init__()
        self.family = family_of(model.config.model_type)
        self.model = model.eval()
        self.extractor = extractor
        self.source = source
        self.num_layers: int = model.config.num_hidden_layers
        self.width: int = model.config.hidden_size
        self._norm = _replace_group_norm(model)

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
        samples = 1
        for kernel, stride in zip(
            reversed(self.model.config.conv_kernel), reversed(self.model.config.conv_stride), strict=True
        ):
            samples = (samples - 1) * stride + kernel
        return samples

    @property
    def frame_rate(self) -> float:
        """Frames per second, 50 for a hop of 320 samples."""
        hop: int = math.prod(self.model.config.conv_stride)
        return SAMPLE_RATE / hop

    def frame_lengths(self, lengths: Tensor) -> Tensor:
        """Samples [B] to frames [B]."""
        frames: Tensor = self.model._get_feat_extract_output_lengths(lengths).long()
        return frames

    def prepare(self, waves: Waves) -> tuple[Tensor, Tensor | None]:
        """What the model is called with: normalised samples [B, T], and the mask [B, T], None where nothing is padded.

        Raises:
            EncoderError: an item is too short for one frame.
        """
        shortest = int(waves.lengths.min())
        if shortest < self.min_samples:
            raise EncoderError(f"{shortest} samples are too few for one frame; the encoder needs {self.min_samples}.")
        samples = waves.samples[:, : int(waves.lengths.max())]
        mask = lengths_to_mask(waves.lengths, samples.shape[1])
        if self.extractor.do_normalize:
            samples = _normalize(samples, mask, waves.lengths)
        return samples, None if bool(mask.all()) else mask.long()

    @contextmanager
    def padding_aware(self, lengths: Tensor) -> Iterator[None]:
        """Within this context the model's group norm, if it has one, ignores what is behind `lengths` [B] samples."""
        if self._norm is None or int(lengths.min()) == int(lengths.max()):
            yield
            return
        config = self.model.config
        self._norm.lengths = (lengths - config.conv_kernel[0]) // config.conv_stride[0] + 1
        try:
            yield
        finally:
            self._norm.lengths = None

    def save(self, folder: Path) -> None:
        """Write config.json, model.safetensors and preprocessor_config.json, for `AutoModel.from_pretrained`."""
        with without_bars():
            self.model.save_pretrained(folder)
        self.extractor.save_pretrained(folder)

    def weights_hash(self) -> str:
        """SHA-256 over names and bytes of all weights, by which the encoder is known again."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.cpu().contiguous().numpy().data)
        return digest.hexdigest()

    def call(self, waves: Waves, **options: Any) -> Any:
        """Run the model on a batch, as transformers would but for the padding."""
        samples, mask = self.prepare(waves)
        with self.padding_aware(waves.lengths):
            return self.model(samples, attention_mask=mask, **options)

    def forward(self, waves: Waves) -> Frames:
        """The last hidden state, [B, F, D]."""
        return Frames(self.call(waves).last_hidden_state, self.frame_lengths(waves.lengths))

    @torch.no_grad()
    def hidden_states(self, waves: Waves) -> list[Frames]:
        """Input of the first layer, then the output of every layer: `num_layers + 1` times [B, F, D].

        The last entry is the last hidden state, after the final norm that large models have.
        """
        output = self.call(waves, output_hidden_states=True)
        lengths = self.frame_lengths(waves.lengths)
        return [Frames(values, lengths) for values in (*output.hidden_states[:-1], output.last_hidden_state)]


def _replace_group_norm(model: Any) -> MaskedGroupNorm | None:
    first = model.feature_extractor.conv_layers[0]
    norm = getattr(first, "layer_norm", None)
    if not isinstance(norm, nn.GroupNorm):
        return None
    masked = norm if isinstance(norm, MaskedGroupNorm) else MaskedGroupNorm.replacing(norm)
    first.layer_norm = masked
    return masked


def _normalize(samples: Tensor, mask: Tensor, lengths: Tensor) -> Tensor:
    """Zero mean and unit variance over the real samples of each item, as `Wav2Vec2FeatureExtractor` does it."""
    count = lengths[:, None]
    mean = (samples * mask).sum(1, keepdim=True) / count
    centred = (samples - mean) * mask
    return centred / torch.sqrt(centred.square().sum(1, keepdim=True) / count + 1e-7)
