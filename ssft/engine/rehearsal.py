"""A few real steps of a run, made for what they cost; nothing is written."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, NamedTuple, TypeVar

import psutil  # type: ignore[import-untyped]
import torch
from torch.utils.data import DataLoader, Dataset

from ssft.data import Collate, DurationBatchSampler, PairDataset, StepBatch
from ssft.data.pairs import Key
from ssft.data.rejects import count_reasons
from ssft.engine.cache import CachedPairs, encoded_seconds, needed_draws
from ssft.engine.costs import Cost, Costs, StepCost
from ssft.engine.device_augmentation import DeviceAugmentation
from ssft.engine.state import RunState
from ssft.engine.step import Discarded
from ssft.engine.trainer import CorrespondenceTrainer
from ssft.engine.workers import leave_signals_to_parent, reading
from ssft.errors import DataError
from ssft.types import Pair, Reject

T = TypeVar("T")


def rehearse(trainer: CorrespondenceTrainer, *, steps: int = 3) -> Costs:
    """Make a few steps, on batches from a run's beginning, and measure time and memory.

    The first step is for warming up, and so is the first batch that each worker reads. The second step is on the
    largest batch of the first epoch, for its memory; by then the optimizer has its state. Those that follow count.
    Reading and computing are measured one after the other, because what a run has read ahead at its beginning would
    hide which of them is slower.

    Args:
        trainer: alone, not one of several processes. Its weights have moved then, so it is of no more use.
        steps: how many are to count.

    Raises:
        DataError: nothing that was read can be used.
        RunError: a single pair does not fit into memory, or what is to be trained gets no gradient.
    """
    device = trainer.ranks.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    batches, arrival, reader_bytes = _read(trainer, steps)
    stage = _Stage(trainer)
    made = [step for number, batch in enumerate(batches) if (step := stage.perform(batch, number)) is not None]
    if not made:
        reasons = count_reasons(stage.rejects)
        raise DataError(f"None of the {len(stage.rejects):,} utterances that were read can be used ({reasons}).")
    judging = Cost()
    if (validation := trainer.validation) is not None:
        _, judging = _timed(lambda: validation.measure(trainer.model.encoder))
    return Costs(
        first=made[0],
        steps=tuple(made[2:] or made[-1:]),
        arrival=arrival,
        encoding=stage.encoding,
        judging=judging.wall,
        rejects=tuple(stage.rejects),
        discarded=tuple(stage.discarded),
        halvings=trainer.make_step.halvings,
        checkpoint_bytes=trainer.checkpoint(RunState()).nbytes,
        memory_bytes=peak_memory(),
        device_bytes=torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None,
        reader_bytes=reader_bytes,
        workers=trainer.workers,
        cores=len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1,
    )


def peak_memory() -> int:
    """Return the most memory that this process has held so far, in bytes."""
    if sys.platform == "linux":
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            return next(1024 * int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class _Batch(NamedTuple):
    """A batch that was read, what of, and what that cost."""

    content: Any
    cost: Cost
    keys: Sequence[Key] = ()


class _TimedPairs(Dataset[Any]):
    """`PairDataset` batch by batch, with what each costs where it is read."""

    def __init__(self, pairs: PairDataset, make: Callable[[list[Pair | Reject]], Any]) -> None:
        self.pairs = pairs
        self.make = make

    def __getitems__(self, keys: Sequence[Key]) -> _Batch:
        return _Batch(*_timed(lambda: self.make([self.pairs[key] for key in keys])))


def _read(trainer: CorrespondenceTrainer, steps: int) -> tuple[list[_Batch], float, int]:
    """Return the batches to make steps of, when the first was there, and the memory of those who read them."""
    train, pairs = trainer.train, trainer.pairs
    sampler = DurationBatchSampler(pairs.seconds, batch_seconds=train.batch_seconds, seed=train.seed)
    warming = max(trainer.workers, 2)
    keys = list(islice(sampler, warming + steps))
    largest = max(sampler.epoch_batches(0), key=lambda batch: len(batch) * float(pairs.seconds[batch].max()))
    keys[1] = [(0, int(index)) for index in largest]
    loader: DataLoader[Any] = DataLoader(
        _TimedPairs(pairs, list if train.cache_variants else Collate(train.accumulate)),
        batch_sampler=keys,
        collate_fn=_as_it_is,
        num_workers=trainer.workers,
        worker_init_fn=leave_signals_to_parent,
    )
    kept, arrival, began = [], 0.0, time.perf_counter()
    with reading(loader) as batches:
        for number, own in enumerate(keys):
            batch: _Batch = next(batches)
            arrival = arrival or time.perf_counter() - began
            if number < 2 or number >= warming:
                kept.append(batch._replace(keys=own))
        return kept, arrival, _children_memory()


class _Stage:
    """Where the steps are made: the trainer, and a cache if there is to be one."""

    def __init__(self, trainer: CorrespondenceTrainer) -> None:
        self.trainer = trainer
        self.rejects: list[Reject] = []
        self.discarded: list[str] = []
        self._cache: CachedPairs | None = None
        self._draws: set[Key] = set()
        self._encoded: list[tuple[Cost, float]] = []
        if trainer.train.cache_variants:
            pairs = trainer.pairs
            augment = DeviceAugmentation(pairs) if pairs.on_device else None
            self._cache = CachedPairs(pairs, trainer.model.encoder, keys=(), augment=augment)

    @property
    def encoding(self) -> Cost:
        """What the bottom costs for a second of audio; that of the first batch counts only if there is no other."""
        encoded = self._encoded[1:] if any(seconds for _, seconds in self._encoded[1:]) else self._encoded
        total = Cost()
        for cost, _ in encoded:
            total = total.plus(cost)
        return total.times(1 / sum(seconds for _, seconds in encoded)) if encoded else total

    def perform(self, batch: _Batch, number: int) -> StepCost | None:
        """Make a step of what was read; None if nothing of it can be used."""
        train = self.trainer.train
        if self._cache is not None:
            self._encode(self._cache, batch)
        content, fetching = _timed(lambda: self._content(batch))
        self.rejects += [reject for reject in content.rejects if reject not in self.rejects]
        if not content.micro_batches:
            return None
        watch = number == 1 and train.on_collapse != "ignore"
        # In the last step every layer learns, so that the optimizer has all of its state.
        made, computing = _timed(lambda: self.trainer.make_step(content.micro_batches, train.steps - 1, watch=watch))
        if isinstance(made, Discarded):
            self.discarded.append(f"{made.what}, on {', '.join(made.ids)}")
        return StepCost(sum(part.seconds for part in content.micro_batches), batch.cost, fetching.plus(computing))

    def _content(self, batch: _Batch) -> StepBatch:
        if self._cache is None:
            content: StepBatch = batch.content
            return content
        return Collate(self.trainer.train.accumulate)([self._cache[key] for key in batch.keys])

    def _encode(self, cache: CachedPairs, batch: _Batch) -> None:
        """Put what was read into the cache."""
        pairs = self.trainer.pairs
        before = encoded_seconds(pairs, self._draws)
        self._draws.update(needed_draws(pairs, batch.keys))
        draws = [(pairs.epoch_of_draw(epoch), index) for epoch, index in batch.keys]
        _, cost = _timed(lambda: cache.encode(draws, batch.content))
        self._encoded.append((cost, encoded_seconds(pairs, self._draws) - before))


def _timed(work: Callable[[], T]) -> tuple[T, Cost]:
    """Do something, to its end on a GPU too, and return what it cost."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()
    return result, Cost(time.perf_counter() - wall, time.process_time() - cpu)


def _as_it_is(batch: Any) -> Any:
    return batch


def _children_memory() -> int:
    """Bytes that the processes that this one has started hold for themselves."""
    total = 0
    for process in psutil.Process().children(recursive=True):
        try:
            total += process.memory_full_info().uss
        except psutil.Error:  # it has ended, or the system does not tell
            continue
    return total
