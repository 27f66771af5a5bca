"""The data that flows through ssft, from a recording on disk to a loss."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from ssft.ops.masking import lengths_to_mask, pad_to

SAMPLE_RATE = 16_000
"""Hz. Every supported encoder works at this rate; audio is converted when it is read."""


@dataclass(frozen=True)
class Utterance:
    """A recording, or a segment of one, that can be trained on.

    `path` is absolute; `start` and `seconds` select the segment, in seconds of the file's own time.
    """

    id: str
    path: Path
    seconds: float
    start: float = 0.0
    speaker: str | None = None
    text: str | None = None


@dataclass(frozen=True)
class Reject:
    """An utterance that cannot be used, with a reason out of `ssft.data.audio.REASONS` and a sentence for people."""

    id: str
    path: Path
    reason: str
    detail: str


@dataclass(frozen=True)
class Pair:
    """Two versions of one utterance: waveforms [T], or what a frozen bottom says about them [F, D].

    `seconds` is how much original audio there is. `swapped` says that the student gets the original and the reference
    the augmented one, instead of the reverse. `targets` are labels of the original's frames, [F] int64. `lead` says how
    many frames of silence were put before the original, to be cut off again once it is encoded. `seed` is for whatever
    is drawn for this pair after it has left the data. `drawn` has the parameters of its augmentations, by side
    (`augmented`, `original`), and `fallbacks` says how many of these could not be applied as they should.

    Where augmentations run on the device, both waveforms are one tensor: the recording, before any of them.
    """

    id: str
    original: Tensor
    augmented: Tensor
    seconds: float
    swapped: bool = False
    targets: Tensor | None = None
    lead: int = 0
    seed: int = 0
    drawn: Mapping[str, Any] = field(default_factory=dict)
    fallbacks: int = 0


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


@dataclass(frozen=True)
class PairBatch:
    """A batch of pairs. Both sides are `Waves`, or both are the `Frames` a frozen bottom made of them earlier.

    `swapped` [B] bool, `targets` (labels [B, F] of the originals), `lead` [B], `seeds` and `drawn` are explained in
    `Pair`; `seconds` and `fallbacks` are sums over the pairs.
    """

    ids: tuple[str, ...]
    original: Waves | Frames
    augmented: Waves | Frames
    swapped: Tensor
    seconds: float
    targets: Frames | None
    lead: Tensor
    seeds: tuple[int, ...]
    drawn: tuple[Mapping[str, Any], ...]
    fallbacks: int

    @staticmethod
    def collate(pairs: Sequence[Pair]) -> PairBatch:
        """Pad and stack pairs whose sides are all waveforms [T] or all frames [F, D]."""
        stack = Waves.stack if pairs[0].original.ndim == 1 else Frames.stack
        labels = [pair.targets for pair in pairs if pair.targets is not None]
        original = stack([pair.original for pair in pairs])
        are_one = all(pair.augmented is pair.original for pair in pairs)
        return PairBatch(
            ids=tuple(pair.id for pair in pairs),
            original=original,
            augmented=original if are_one else stack([pair.augmented for pair in pairs]),
            swapped=torch.tensor([pair.swapped for pair in pairs]),
            seconds=sum(pair.seconds for pair in pairs),
            targets=Frames.stack(labels) if labels else None,
            lead=torch.tensor([pair.lead for pair in pairs]),
            seeds=tuple(pair.seed for pair in pairs),
            drawn=tuple(pair.drawn for pair in pairs),
            fallbacks=sum(pair.fallbacks for pair in pairs),
        )

    def __len__(self) -> int:
        return len(self.ids)

    def joined(self) -> Waves | Frames:
        """Originals then augmented, as one batch of 2B, so that the encoder runs once."""
        sides = (self.original, self.augmented)
        values = [side.samples if isinstance(side, Waves) else side.values for side in sides]
        size = max(value.shape[1] for value in values)
        joined = torch.cat([pad_to(value, size) for value in values])
        lengths = torch.cat([side.lengths for side in sides])
        return Waves(joined, lengths) if isinstance(self.original, Waves) else Frames(joined, lengths)

    def to(self, device: torch.device | str) -> PairBatch:
        original = self.original.to(device)
        return replace(
            self,
            original=original,
            augmented=original if self.augmented is self.original else self.augmented.to(device),
            swapped=self.swapped.to(device),
            targets=None if self.targets is None else self.targets.to(device),
            lead=self.lead.to(device),
        )


@dataclass(frozen=True)
class LossOutput:
    """What a loss returns: the mean to minimise (scalar), how many items it is a mean over, and numbers to log."""

    loss: Tensor
    weight: float
    logs: dict[str, float] = field(default_factory=dict)


@runtime_checkable
class Augmentation(Protocol):
    """Turns a waveform [T] float32 into another, using no randomness but `rng`."""

    @property
    def changes_length(self) -> bool: ...

    def __call__(self, wave: np.ndarray, rng: np.random.Generator) -> np.ndarray: ...


@runtime_checkable
class DrawnAugmentation(Augmentation, Protocol):
    """An augmentation that first draws parameters and then applies them; `ssft.augment.Transform` explains it."""

    @property
    def fallbacks(self) -> int: ...

    def draw(self, rng: np.random.Generator, wave: np.ndarray) -> dict[str, Any]: ...

    def apply(self, wave: np.ndarray, parameters: dict[str, Any]) -> np.ndarray: ...

    def for_speaker(self, speaker: str | None) -> DrawnAugmentation: ...


class Loss(Protocol):
    """Compares what the student and the reference say about a batch of pairs.

    A loss may also declare `needs_targets` (then it is called with labels of the frames as a third argument) and
    `needs_reference = False` (then the reference is not computed, and the student is passed in its place), and may have
    `after_step()`, which is called once the optimizer has moved the weights. `ssft.losses.FrameLoss` has them all.
    """

    needs_same_length: bool

    def __call__(self, student: Frames, reference: Frames) -> LossOutput: ...


@runtime_checkable
class Materializable(Protocol):
    """A head or a loss that can make its weights only once it knows the width of the frames it will be given.

    A head returns the width of the frames that it makes of them; a loss, which makes none, returns None.
    """

    def materialize(self, dim: int) -> int | None: ...


def _pad(items: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    lengths = torch.tensor([len(item) for item in items])
    return torch.nn.utils.rnn.pad_sequence(list(items), batch_first=True), lengths
