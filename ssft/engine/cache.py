"""Pairs of what the frozen bottom says, computed once and kept in memory."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from ssft.data import PairDataset, batches_by_length
from ssft.data.pairs import Key
from ssft.encoders import SplitEncoder
from ssft.engine.device_augmentation import DeviceAugmentation
from ssft.engine.workers import leave_signals_to_parent, reading
from ssft.errors import RunError
from ssft.types import Pair, PairBatch, Reject, Waves

_BATCH_SECONDS = 60.0


class CachedPairs(Dataset[Pair | Reject]):
    """`PairDataset` with the bottom already applied: original and augmented are frames [F, D] instead of samples.

    The bottom is frozen, so what it says about a waveform never changes; with a fixed number of augmented variants per
    utterance it need be asked only once for each. Everything is encoded in batches that depend on the keys alone, so a
    resumed run refills the cache with exactly the same numbers.

    Args:
        pairs: with `variants` of at least 1.
        encoder: whose bottom is used; the frames are kept on the CPU.
        keys: what the run will ask for, in all its epochs; anything else is encoded when it is asked for.
        workers: processes that decode and augment.
        augment: makes the two waveforms, where that was left to the device.

    Raises:
        RunError: the frames would not fit into memory.
    """

    def __init__(
        self,
        pairs: PairDataset,
        encoder: SplitEncoder,
        *,
        keys: Iterable[Key],
        workers: int = 0,
        augment: DeviceAugmentation | None = None,
    ) -> None:
        self.pairs = pairs
        self.encoder = encoder
        self.augment = augment
        self._kept: dict[Key, Pair | Reject] = {}
        self._originals: dict[int, Tensor] = {}
        if needed := needed_draws(pairs, keys):
            refuse_large_cache(pairs, encoder, needed)
            self._fill(needed, workers)

    def __getitem__(self, key: Key) -> Pair | Reject:
        epoch, index = key
        place = (self.pairs.epoch_of_draw(epoch), index)
        if place not in self._kept:
            self.encode([place], [self.pairs[place]])
        kept = self._kept[place]
        if isinstance(kept, Reject):
            return kept
        return replace(kept, swapped=self.pairs.swapped(key), seed=self.pairs.drawn_seed(key))

    def _fill(self, keys: Sequence[Key], workers: int) -> None:
        seconds = self.pairs.seconds
        by_length = batches_by_length([seconds[index] for _, index in keys], _BATCH_SECONDS)
        batches = [[keys[place] for place in batch] for batch in by_length]
        # `list` hands the pairs of a batch over as they are, not padded into one tensor.
        loader: DataLoader[Any] = DataLoader(
            self.pairs,
            batch_sampler=batches,
            collate_fn=list,
            num_workers=workers,
            worker_init_fn=leave_signals_to_parent,
        )
        label = f"encoding {len({index for _, index in keys}):,} utterances, {len(keys):,} pairs"
        if not sys.stderr.isatty():
            print(label, file=sys.stderr, flush=True)
        bar = tqdm(batches, desc=label, unit="batch", disable=None, leave=False)
        with reading(loader) as pairs:
            for own in bar:
                self.encode(own, next(pairs))

    def encode(self, keys: Sequence[Key], items: Sequence[Pair | Reject]) -> None:
        """Keep what the bottom says of draws that have been read."""
        pairs = {key: item for key, item in zip(keys, items, strict=True) if isinstance(item, Pair)}
        self._kept.update((key, item) for key, item in zip(keys, items, strict=True) if isinstance(item, Reject))
        if not pairs:
            return
        if self.augment is not None:
            batch = self.augment(PairBatch.collate(list(pairs.values())).to(next(self.encoder.parameters()).device))
            sides = zip(batch.original.items(), batch.augmented.items(), strict=True)
            pairs = {
                key: replace(pair, original=original, augmented=augmented)
                for (key, pair), (original, augmented) in zip(pairs.items(), sides, strict=True)
            }
        fresh: dict[Key | int, Tensor] = {}
        for key, pair in pairs.items():
            place = _place_of_original(self.pairs, key)
            if place not in self._originals:
                fresh[place] = pair.original
        frames = self._bottom([*(pair.augmented for pair in pairs.values()), *fresh.values()])
        originals = dict(zip(fresh, frames[len(pairs) :], strict=True))
        self._originals.update((place, values) for place, values in originals.items() if isinstance(place, int))
        for (key, pair), augmented in zip(pairs.items(), frames, strict=False):
            place = _place_of_original(self.pairs, key)
            original = originals[place] if place in originals else self._originals[key[1]]
            self._kept[key] = replace(pair, original=original, augmented=augmented)

    def _bottom(self, waves: Sequence[Tensor]) -> list[Tensor]:
        device = next(self.encoder.parameters()).device
        frames = self.encoder.bottom(Waves.stack(waves).to(device)).to("cpu")
        return [item.clone() for item in frames.items()]  # without the padding of the batch


def needed_draws(pairs: PairDataset, keys: Iterable[Key]) -> list[Key]:
    """Return what must be in the cache for a run that asks for `keys`: (variant, utterance), in order."""
    return sorted({(pairs.epoch_of_draw(epoch), index) for epoch, index in keys})


def encoded_seconds(pairs: PairDataset, draws: Iterable[Key]) -> float:
    """Return how much audio the bottom hears for these; an original that is the same in several counts once."""
    draws, seconds = list(draws), pairs.seconds
    originals = {_place_of_original(pairs, draw): seconds[draw[1]] for draw in draws}
    return float(sum(originals.values()) + sum(seconds[index] for _, index in draws))


def cache_bytes(pairs: PairDataset, encoder: SplitEncoder, draws: Iterable[Key]) -> int:
    """Return how much memory the frames take."""
    base = encoder.encoder
    return round(encoded_seconds(pairs, draws) * base.frame_rate * base.width * 4)


def refuse_large_cache(pairs: PairDataset, encoder: SplitEncoder, draws: Iterable[Key]) -> None:
    """Raise unless the frames leave some memory for the rest.

    Raises:
        RunError: they do not.
    """
    needed = cache_bytes(pairs, encoder, draws)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else None
    if memory and needed > 0.7 * memory:
        raise RunError(
            f"train.cache_variants={pairs.variants} would keep {needed / 2**30:.1f} GiB of frames in memory, "
            f"of {memory / 2**30:.1f} GiB. Use fewer variants, or 0 for no cache."
        )


def _place_of_original(pairs: PairDataset, draw: Key) -> Key | int:
    """A whole utterance is the same original in every variant; a crop or a noisy one is not."""
    return draw if pairs.original_varies(draw[1]) else draw[1]
