"""Which utterances make a batch: budgets of seconds, in an order that depends only on (seed, epoch)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from ssft.data.pairs import Key
from ssft.randomness import derive_rng

_POOL_BATCHES = 50
_HALVINGS = 8


class Position(NamedTuple):
    """How far the data has been read: the next batch is number `batch` of `epoch`."""

    epoch: int
    batch: int


class DurationBatchSampler(Sampler[list[Key]]):
    """Endless batches of at most `batch_seconds` of audio, each epoch every utterance once.

    Utterances of similar length share a batch: the epoch's shuffled order is cut into pools of about 50 batches, each
    pool is sorted by length and cut into batches of about equally many seconds, and the batches are shuffled. An
    utterance longer than the budget has a batch of its own.

    Batches belong to the epoch, not to a process: rank r of W takes utterances r, r+W, ... of every batch, so W
    processes see exactly the batches that one would, and all see equally many. Of a batch with fewer than W utterances
    some ranks have none, which is an empty list.

    Args:
        seconds: length of each utterance.
        batch_seconds: audio per batch, over all ranks.
        seed: the run's seed.
        start: where to begin; resuming computes one epoch's order and decodes nothing.
        rank: this process.
        world_size: how many processes there are.
    """

    def __init__(
        self,
        seconds: Sequence[float] | NDArray[np.float64],
        *,
        batch_seconds: float,
        seed: int = 0,
        start: Position = Position(0, 0),  # noqa: B008 (immutable)
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.seconds = np.asarray(seconds, dtype=np.float64)
        self.batch_seconds = batch_seconds
        self.seed = seed
        self.start = start
        self.rank = rank
        self.world_size = world_size
        self.epoch_batches = lru_cache(maxsize=2)(self._epoch_batches)

    def __iter__(self) -> Iterator[list[Key]]:
        position = self.start
        while True:
            epoch, number = self._existing(position)
            batch = self.epoch_batches(epoch)[number]
            yield [(epoch, int(index)) for index in batch[self.rank :: self.world_size]]
            position = self.after(position)

    def after(self, position: Position) -> Position:
        """Where the reading stands once the batch at `position` has been used."""
        epoch, number = self._existing(position)
        return self._existing(Position(epoch, number + 1))

    def _existing(self, position: Position) -> Position:
        """The position itself; behind an epoch's last batch, where a changed recipe may have put it, the next epoch."""
        is_there = position.batch < len(self.epoch_batches(position.epoch))
        return position if is_there else Position(position.epoch + 1, 0)

    def _epoch_batches(self, epoch: int) -> list[np.ndarray]:
        rng = derive_rng(self.seed, epoch, "batches")
        order = rng.permutation(len(self.seconds))
        heard = np.cumsum(self.seconds[order])
        # Equal pools, so that none is a remainder too small to make a batch of.
        pools = max(round(heard[-1] / (self.batch_seconds * _POOL_BATCHES)), 1)
        batches = []
        for pool in np.split(order, np.searchsorted(heard, heard[-1] * np.arange(1, pools) / pools)):
            if len(pool):  # an utterance longer than a pool leaves the next one empty
                batches.extend(self._fill(pool[np.argsort(self.seconds[pool], kind="stable")]))
        rng.shuffle(batches)
        return batches

    def _fill(self, utterances: np.ndarray) -> list[np.ndarray]:
        """Cut utterances, shortest first, into as few batches as the budget allows, of about equally many seconds."""
        heard = np.cumsum(self.seconds[utterances]).tolist()
        ends = _fill_in_order(heard, self.batch_seconds)
        # The smallest budget that needs no more batches leaves no remainder, or a large one.
        high = self.batch_seconds
        low = min(heard[-1] / len(ends), high)  # an utterance longer than the budget may have raised the mean above it
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            tried = _fill_in_order(heard, middle)
            if len(tried) == len(ends):
                high, ends = middle, tried
            else:
                low = middle
        return np.split(utterances, ends[:-1])


def _fill_in_order(heard: list[float], budget: float) -> list[int]:
    """Return where batches end that take what fits their budget and at least one, given cumulated seconds [N]."""
    # A list and `bisect`, because the search is short and often: numpy's takes ten times as long to begin.
    ends, end, before = [], 0, 0.0
    while end < len(heard):
        end = max(bisect_right(heard, before + budget, lo=end), end + 1)
        ends.append(end)
        before = heard[end - 1]
    return ends


def batches_by_length(seconds: Sequence[float], batch_seconds: float) -> list[list[int]]:
    """Cut indices, shortest first, into batches of at most `batch_seconds`, padding included.

    For passes in which nothing is learned, so that order does not matter and little padding does.

    Example:
        >>> batches_by_length([3.0, 1.0, 2.0], batch_seconds=4.0)
        [[1, 2], [0]]
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(seconds)), key=lambda index: seconds[index]):
        if not batches or (len(batches[-1]) + 1) * seconds[index] > batch_seconds:
            batches.append([])
        batches[-1].append(index)
    return batches
