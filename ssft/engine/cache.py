"""Pairs of what the frozen bottom says, computed once and kept in memory."""

from __future__ import annotations

import os
from collections.abc import Sequence

from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from ssft.data.pairs import Key, PairDataset
from ssft.encoders import SplitEncoder
from ssft.errors import RunError
from ssft.types import Frames, Pair, Reject, Waves

_BATCH_SECONDS = 60.0


class CachedPairs(Dataset[Pair | Reject]):
    """`PairDataset` with the bottom already applied: original and augmented are frames [F, D] instead of samples.

    The bottom is frozen, so what it says about a waveform never changes; with a fixed number of augmented variants per
    utterance it need be asked only once for each. Everything is encoded in batches that depend on the corpus alone, so a
    resumed run refills the cache with exactly the same numbers.

    Args:
        pairs: with `variants` of at least 1.
        encoder: whose bottom is used; the frames are kept on the CPU.
        workers: processes that decode and augment.

    Raises:
        RunError: the frames would not fit into memory.
    """

    def __init__(self, pairs: PairDataset, encoder: SplitEncoder, *, workers: int = 0) -> None:
        self.pairs = pairs
        self.encoder = encoder
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else None
        if memory and self.bytes > 0.7 * memory:
            raise RunError(
                f"train.cache_variants={pairs.variants} would keep {self.bytes / 2**30:.1f} GiB of frames in memory, of "
                f"{memory / 2**30:.1f} GiB. Use fewer variants, or 0 for no cache."
            )
        self._kept: dict[Key, Pair | Reject] = {}
        self._fill(workers)

    @property
    def bytes(self) -> int:
        """Memory that the cache takes, assuming that augmentation keeps the length."""
        frames = sum(self.pairs.seconds) * self.encoder.encoder.frame_rate
        return round(frames * self.encoder.encoder.width * 4 * (self.pairs.variants + 1))

    def __getitem__(self, key: Key) -> Pair | Reject:
        epoch, index = key
        kept = self._kept[self.pairs.epoch_of_draw(epoch), index]
        if isinstance(kept, Reject):
            return kept
        return Pair(kept.id, kept.original, kept.augmented, kept.seconds, self.pairs.swapped(key))

    def _fill(self, workers: int) -> None:
        batches = self._batches()
        # `list` hands the pairs of a batch over as they are, not padded into one tensor.
        loader = DataLoader(self.pairs, batch_sampler=batches, collate_fn=list, num_workers=workers)
        label = f"encoding {len(self.pairs)} utterances, {self.pairs.variants} variants"
        for keys, items in zip(batches, tqdm(loader, desc=label, unit="batch", disable=None, leave=False), strict=True):
            self._encode(keys, items)

    def _batches(self) -> list[list[Key]]:
        """Every (variant, utterance) once, by length, in batches of about a minute."""
        seconds = self.pairs.seconds
        batches: list[list[Key]] = []
        for variant in range(self.pairs.variants):
            batch: list[Key] = []
            for index in sorted(range(len(seconds)), key=lambda index: seconds[index]):
                if batch and (len(batch) + 1) * seconds[index] > _BATCH_SECONDS:
                    batches.append(batch)
                    batch = []
                batch.append((variant, index))
            batches.append(batch)
        return batches

    def _encode(self, keys: Sequence[Key], items: Sequence[Pair | Reject]) -> None:
        good = [(key, item) for key, item in zip(keys, items, strict=True) if isinstance(item, Pair)]
        self._kept.update((key, item) for key, item in zip(keys, items, strict=True) if isinstance(item, Reject))
        if not good:
            return
        # Whole utterances are the same original in every variant; crops are not.
        fresh = [key for key, _ in good if key[0] == 0 or self.pairs.is_cropped(key[1])]
        waves = [item.augmented for _, item in good] + [item.original for key, item in good if key in set(fresh)]
        frames = list(self._bottom(waves).items())
        originals = dict(zip(fresh, frames[len(good) :], strict=True))
        for (key, item), augmented in zip(good, frames, strict=False):
            original = originals[key].clone() if key in originals else self._first_original(key[1])
            self._kept[key] = Pair(item.id, original, augmented.clone(), item.seconds)

    def _first_original(self, index: int) -> Tensor:
        first = self._kept[0, index]
        if isinstance(first, Reject):
            raise RunError(f"{first.path} could be read once but not before ({first.reason}): is it being written to?")
        return first.original

    def _bottom(self, waves: Sequence[Tensor]) -> Frames:
        device = next(self.encoder.parameters()).device
        return self.encoder.bottom(Waves.stack(waves).to(device)).to("cpu")
