"""What an encoder makes of a waveform before its first layer: convolutions, or a log-mel spectrogram."""

from __future__ import annotations

import math
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ssft.encoders.families import Family
from ssft.encoders.padding import MaskedGroupNorm
from ssft.ops.masking import lengths_to_mask
from ssft.types import SAMPLE_RATE, Frames, Waves


class Stem(Protocol):
    """From waveforms to features, for batches as for single utterances.

    Attributes:
        min_samples: the fewest samples that give one frame.
        frame_rate: frames per second.
    """

    min_samples: int
    frame_rate: float

    def frame_lengths(self, lengths: Tensor) -> Tensor:
        """Samples [B] to frames [B]."""

    def prepare(self, waves: Waves) -> Waves:
        """Normalise waveforms as the checkpoint wants them."""

    def __call__(self, waves: Waves) -> Frames:
        """Prepared waveforms to features [B, F, C]."""


def make_stem(model: Any, extractor: Any, family: Family) -> Stem:
    """Return the stem of a Hugging Face model, whose modules it shares."""
    return LogMelStem(extractor) if family.input == "log_mel" else ConvolutionalStem(model, extractor)


class ConvolutionalStem:
    """Seven or so strided convolutions; the first group norm of base models is replaced by one that sees no padding."""

    def __init__(self, model: Any, extractor: Any) -> None:
        config = model.config
        self.convolutions: nn.Module = model.feature_extractor
        self.normalize: bool = extractor.do_normalize
        self.frame_rate = SAMPLE_RATE / math.prod(config.conv_stride)
        self._steps = list(zip(config.conv_kernel, config.conv_stride, strict=True))
        self._norm = _replace_group_norm(model)
        self.min_samples = 1
        for kernel, stride in reversed(self._steps):
            self.min_samples = (self.min_samples - 1) * stride + kernel

    def frame_lengths(self, lengths: Tensor) -> Tensor:
        for kernel, stride in self._steps:
            lengths = (lengths - kernel) // stride + 1
        return lengths

    def prepare(self, waves: Waves) -> Waves:
        samples = waves.samples[:, : int(waves.lengths.max())]
        return Waves(_normalize(samples, waves.lengths) if self.normalize else samples, waves.lengths)

    def __call__(self, waves: Waves) -> Frames:
        if self._norm is not None and int(waves.lengths.min()) < waves.samples.shape[1]:
            kernel, stride = self._steps[0]
            self._norm.lengths = (waves.lengths - kernel) // stride + 1
        try:
            features: Tensor = self.convolutions(waves.samples).transpose(1, 2)
        finally:
            if self._norm is not None:
                self._norm.lengths = None
        return Frames(features, self.frame_lengths(waves.lengths))


class LogMelStem:
    """Kaldi's log-mel filter banks, 80 every 10 ms, normalised per utterance and joined in pairs (w2v-BERT).

    The same as `SeamlessM4TFeatureExtractor` to rounding, but in torch, so that a GPU need not wait for it. A last odd
    frame of 10 ms is left out.
    """

    frame_rate = 50.0
    min_samples = 560

    def __init__(self, extractor: Any) -> None:
        self.bins: int = extractor.num_mel_bins
        self.joined: int = extractor.stride

    def frame_lengths(self, lengths: Tensor) -> Tensor:
        return ((lengths - 400) // 160 + 1) // self.joined

    def prepare(self, waves: Waves) -> Waves:
        return Waves(waves.samples[:, : int(waves.lengths.max())], waves.lengths)

    def __call__(self, waves: Waves) -> Frames:
        return Frames.stack([self._features(wave) for wave in waves.items()]).to(waves.samples.device)

    def _features(self, wave: Tensor) -> Tensor:
        """A waveform [T] to features [F, C]."""
        from torchaudio.compliance.kaldi import fbank  # type: ignore[import-untyped]

        with torch.autocast(wave.device.type, enabled=False):
            # Kaldi counts in 16-bit steps.
            mel: Tensor = fbank(wave[None] * 2**15, num_mel_bins=self.bins, sample_frequency=SAMPLE_RATE, dither=0.0)
            mel = (mel - mel.mean(0)) / torch.sqrt(mel.var(0) + 1e-7)
        frames = len(mel) // self.joined
        return mel[: frames * self.joined].reshape(frames, -1)


def _replace_group_norm(model: Any) -> MaskedGroupNorm | None:
    first = model.feature_extractor.conv_layers[0]
    norm = getattr(first, "layer_norm", None)
    if not isinstance(norm, nn.GroupNorm):
        return None
    masked = norm if isinstance(norm, MaskedGroupNorm) else MaskedGroupNorm.replacing(norm)
    first.layer_norm = masked
    return masked


def _normalize(samples: Tensor, lengths: Tensor) -> Tensor:
    """Zero mean and unit variance over the real samples of each item, as `Wav2Vec2FeatureExtractor` does it."""
    mask, count = lengths_to_mask(lengths, samples.shape[1]), lengths[:, None]
    mean = (samples * mask).sum(1, keepdim=True) / count
    centred = (samples - mean) * mask
    return centred / torch.sqrt(centred.square().sum(1, keepdim=True) / count + 1e-7)
