"""Utterances, and the two versions of each that training compares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ssft.ops.masking import pad_to
from ssft.types.batches import Frames, Waves


@dataclass(frozen=True)
class Utterance:
    """A recording, or a segment of one, that can be trained on.

    `path` is absolute; `start` and `seconds` select the segment, in seconds of the file's own time. `member` says which
    recording of the file it is, where the file holds several (`ssft.data.sources`). `stamp` is size in bytes and time
    of change in nanoseconds of the file when it was looked at; None if it was not.
    """

    id: str
    path: Path
    seconds: float
    start: float = 0.0
    speaker: str | None = None
    text: str | None = None
    member: str = ""
    stamp: tuple[int, int] | None = None


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
class PairBatch:
    """A batch of pairs. Both sides are `Waves`, or both are the `Frames` a frozen bottom made of them earlier.

    `swapped` [B] bool, `targets` (labels [B, F] of the originals), `lead` [B] and what there is once for every pair are
    explained in `Pair`.
    """

    ids: tuple[str, ...]
    original: Waves | Frames
    augmented: Waves | Frames
    swapped: Tensor
    targets: Frames | None
    lead: Tensor
    seeds: tuple[int, ...]
    drawn: tuple[Mapping[str, Any], ...]
    seconds_of_each: tuple[float, ...]
    fallbacks_of_each: tuple[int, ...]

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
            targets=Frames.stack(labels) if labels else None,
            lead=torch.tensor([pair.lead for pair in pairs]),
            seeds=tuple(pair.seed for pair in pairs),
            drawn=tuple(pair.drawn for pair in pairs),
            seconds_of_each=tuple(pair.seconds for pair in pairs),
            fallbacks_of_each=tuple(pair.fallbacks for pair in pairs),
        )

    @property
    def seconds(self) -> float:
        """How much original audio there is."""
        return sum(self.seconds_of_each)

    @property
    def fallbacks(self) -> int:
        """How many augmentations could not be applied as they should."""
        return sum(self.fallbacks_of_each)

    def halves(self) -> list[PairBatch]:
        """The batch as two of about equally many pairs, each without padding that it does not need; one stays one."""
        middle = (len(self) + 1) // 2
        return [self._part(0, middle), self._part(middle, len(self))] if len(self) > 1 else [self]

    def _part(self, first: int, last: int) -> PairBatch:
        rows, device = slice(first, last), self.swapped.device
        index = torch.arange(first, last, device=device)
        original, augmented = (
            side.select(range(first, last)) if isinstance(side, Waves) else side.select(index)
            for side in (self.original, self.augmented)
        )
        return PairBatch(
            ids=self.ids[rows],
            original=original,
            augmented=original if self.augmented is self.original else augmented,
            swapped=self.swapped[rows],
            targets=None if self.targets is None else self.targets.select(index),
            lead=self.lead[rows],
            seeds=self.seeds[rows],
            drawn=self.drawn[rows],
            seconds_of_each=self.seconds_of_each[rows],
            fallbacks_of_each=self.fallbacks_of_each[rows],
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
