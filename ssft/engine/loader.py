"""From pairs to the steps of this process."""

from __future__ import annotations

from itertools import chain, islice
from typing import Any

from torch.utils.data import DataLoader

from ssft.data import Collate, DurationBatchSampler, PairDataset, Position
from ssft.encoders import SplitEncoder
from ssft.engine.cache import CachedPairs
from ssft.engine.device_augmentation import DeviceAugmentation
from ssft.engine.ranks import Ranks
from ssft.engine.settings import Train
from ssft.engine.workers import leave_signals_to_parent


def make_loader(
    pairs: PairDataset, encoder: SplitEncoder, train: Train, ranks: Ranks, *, workers: int, position: Position
) -> tuple[DataLoader[Any], DurationBatchSampler]:
    """Return a loader of what this process contributes to every step from `position` on, and its sampler.

    With `train.cache_variants` the frozen bottom first encodes all that the run will ask for.
    """
    sampler = DurationBatchSampler(
        pairs.seconds,
        batch_seconds=train.batch_seconds,
        seed=train.seed,
        rank=ranks.rank,
        world_size=ranks.world_size,
    )
    dataset: PairDataset | CachedPairs = pairs
    if train.cache_variants > 0:
        keys = chain.from_iterable(islice(sampler, train.steps))
        augment = DeviceAugmentation(pairs) if pairs.on_device else None
        dataset = CachedPairs(pairs, encoder, keys=keys, workers=workers, augment=augment)
        workers = 0  # the cache lives in this process
    sampler.start = position
    loader: DataLoader[Any] = DataLoader(
        dataset,
        batch_sampler=sampler,
        collate_fn=Collate(train.accumulate),
        num_workers=workers,
        worker_init_fn=leave_signals_to_parent,
    )
    return loader, sampler
