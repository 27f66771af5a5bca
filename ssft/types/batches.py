"""Padded batches of waveforms and of frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ssft.ops.masking import lengths_to_mask, pad_to

SAMPLE_RATE = 16_000
"""Hz. Every supported encoder works at this rate; audio is converted when it is read."""


@dataclass(frozen=True)
class Waves:
    """A padded batch of waveforms at `SAMPLE_RATE`: samples [B, T] float32, lengths [B] in samples."""

    samples: Tensor
    lengths: Tensor

    @staticmethod
    def stack(items: Sequence[Tensor]) -> Waves:
        """Pad waveforms [T] of different lengths with zeros into one batch."""
        return Waves(*_pad(items))

    @property
    def seconds(self) -> float:
        """Audio without padding, in seconds."""
        return float(self.lengths.sum()) / SAMPLE_RATE

    def items(self) -> Iterator[Tensor]:
        """Each waveform without its padding, [T_i]."""
        for samples, length in zip(self.samples, self.lengths.tolist(), strict=True):
            yield samples[:length]

    @property
    def mask(self) -> Tensor:
        """[B, T] bool, True where a sample is real and not padding."""
        return lengths_to_mask(self.lengths, self.samples.shape[1])

    def select(self, rows: Sequence[int]) -> Waves:
        """The waveforms at `rows`, cut to the longest of them."""
        index = torch.tensor(rows, device=self.samples.device)
        lengths = self.lengths[index]
        return Waves(self.samples[index, : int(lengths.max())], lengths)

    def replaced(self, rows: Sequence[int], others: Waves) -> Waves:
        """The batch with other waveforms, shorter or longer ones too, at `rows`."""
        index = torch.tensor(rows, device=self.samples.device)
        lengths = self.lengths.clone()
        lengths[index] = others.lengths
        size = max(int(lengths.max()), 1)
        samples = pad_to(self.samples, max(size, self.samples.shape[1]))[:, :size].clone()
        samples[index] = pad_to(others.samples, max(size, others.samples.shape[1]))[:, :size]
        return Waves(samples, lengths).zeroed()

    def zeroed(self) -> Waves:
        """The batch with 0 behind every waveform, whatever was there."""
        return Waves(self.samples.masked_fill(~self.mask, 0), self.lengths)

    def to(self, device: torch.device | str) -> Waves:
        return Waves(self.samples.to(device, non_blocking=True), self.lengths.to(device, non_blocking=True))


@dataclass(frozen=True)
class Frames:
    """A padded batch of frame sequences: values [B, F, D], lengths [B] in frames.

    Labels of frames are `Frames` too, with values [B, F] int64. `masked` [B, F] bool, where it is there, is True for
    frames that the encoder could not hear and had to guess.
    """

    values: Tensor
    lengths: Tensor
    masked: Tensor | None = None

    @staticmethod
    def stack(items: Sequence[Tensor]) -> Frames:
        """Pad sequences [F, D] of different lengths with zeros into one batch."""
        return Frames(*_pad(items))

    @property
    def mask(self) -> Tensor:
        """[B, F] bool, True where a frame is real and not padding."""
        return lengths_to_mask(self.lengths, self.values.shape[1])

    def valid(self) -> Tensor:
        """All real frames of the batch, one after the other: [sum of lengths, D]."""
        return self.values[self.mask]

    def select(self, rows: Tensor) -> Frames:
        """The batch items at `rows` [N], cut to the longest of them."""
        lengths = self.lengths[rows]
        size = int(lengths.max())
        return Frames(self.values[rows, :size], lengths, None if self.masked is None else self.masked[rows, :size])

    def after(self, lead: Tensor) -> Frames:
        """Each item without its first `lead` [B] frames."""
        if not bool(lead.any()):
            return self
        lengths = self.lengths - lead
        size = int(lengths.max())
        places = torch.arange(size, device=lead.device)[None, :] + lead[:, None]
        places = places.clamp_max(self.values.shape[1] - 1)
        rows = torch.arange(len(lead), device=lead.device)[:, None]
        return Frames(self.values[rows, places], lengths, None if self.masked is None else self.masked[rows, places])

    def items(self) -> Iterator[Tensor]:
        """Each item without its padding, [F_i, D]."""
        for values, length in zip(self.values, self.lengths.tolist(), strict=True):
            yield values[:length]

    def to(self, device: torch.device | str) -> Frames:
        masked = None if self.masked is None else self.masked.to(device, non_blocking=True)
        return Frames(self.values.to(device, non_blocking=True), self.lengths.to(device, non_blocking=True), masked)


def _pad(items: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    lengths = torch.tensor([len(item) for item in items])
    return torch.nn.utils.rnn.pad_sequence(list(items), batch_first=True), lengths
