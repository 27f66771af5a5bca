"""The order of batches: a function of (lengths, budget, seed, epoch), shared by all ranks and resumed in O(1)."""

from __future__ import annotations

import hashlib
from itertools import islice

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ssft.data import DurationBatchSampler, Position
from ssft.data.sampler import _fill_in_order

lengths = st.lists(st.floats(0.05, 40.0), min_size=1, max_size=120)
budgets = st.floats(0.5, 60.0)
seeds = st.integers(0, 2**40)
few = settings(max_examples=40, deadline=None)


def epoch_of(sampler, epoch):
    return [batch.tolist() for batch in sampler.epoch_batches(epoch)]


def take(sampler, count):
    return list(islice(sampler, count))


@few
@example([1.0, 1.0, 6.0, 7.0, 7.0, 24.0], 14.0, 0, 0)  # one that is longer than the budget
@given(lengths, budgets, seeds, st.integers(0, 1000))
def test_every_utterance_once_an_epoch_and_within_the_budget(seconds, budget, seed, epoch):
    sampler = DurationBatchSampler(seconds, batch_seconds=budget, seed=seed)
    batches = epoch_of(sampler, epoch)
    assert sorted(index for batch in batches for index in batch) == list(range(len(seconds)))
    for batch in batches:
        assert batch
        assert len(batch) == 1 or sum(seconds[index] for index in batch) <= budget * (1 + 1e-9)


@few
@given(lengths, budgets, seeds)
def test_iteration_walks_through_the_epochs(seconds, budget, seed):
    sampler = DurationBatchSampler(seconds, batch_seconds=budget, seed=seed)
    expected = [[(epoch, index) for index in batch] for epoch in range(3) for batch in epoch_of(sampler, epoch)]
    assert take(sampler, len(expected)) == expected


@few
@given(lengths, budgets, seeds, st.integers(2, 6))
def test_ranks_share_the_batches_of_one_process(seconds, budget, seed, world):
    make = lambda rank, size: DurationBatchSampler(  # noqa: E731
        seconds, batch_seconds=budget, seed=seed, rank=rank, world_size=size
    )
    alone = make(0, 1)
    count = len(alone.epoch_batches(0)) + 3  # into the next epoch
    ranks = [take(make(rank, world), count) for rank in range(world)]
    for step, batch in enumerate(take(alone, count)):
        parts = [rank[step] for rank in ranks]
        together = [key for part in parts for key in part]
        assert sorted(together) == sorted(batch)
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
        # Taken in turns, so that the batch can be put together again in its order.
        assert [part[turn] for turn in range(len(parts[0])) for part in parts if turn < len(part)] == batch


@few
@given(lengths, budgets, seeds, st.integers(0, 60), st.integers(1, 3))
def test_starting_anywhere_is_the_tail_of_the_straight_run(seconds, budget, seed, done, world):
    make = lambda start: DurationBatchSampler(  # noqa: E731
        seconds, batch_seconds=budget, seed=seed, start=start, rank=world - 1, world_size=world
    )
    straight = make(Position(0, 0))
    position = Position(0, 0)
    for _ in range(done):
        position = straight.after(position)
    assert take(make(position), 12) == take(straight, done + 12)[done:]


def test_resuming_late_orders_one_epoch_only():
    sampler = DurationBatchSampler([1.0] * 100, batch_seconds=10, start=Position(5_000, 3))
    ordered = []
    order = sampler._epoch_batches

    def counted(epoch):
        ordered.append(epoch)
        return order(epoch)

    sampler.epoch_batches = counted
    assert take(sampler, 1)[0][0][0] == 5_000
    assert set(ordered) == {5_000}


@few
@given(st.lists(st.floats(0.05, 40.0), min_size=30, max_size=60, unique=True), seeds, st.integers(0, 100))
def test_the_order_depends_on_seed_and_epoch_and_nothing_else(seconds, seed, epoch):
    make = lambda seed: DurationBatchSampler(seconds, batch_seconds=45.0, seed=seed)  # noqa: E731
    fresh, used = make(seed), make(seed)
    np.random.seed(seed % 1000)
    take(used, 17)
    assert epoch_of(fresh, epoch) == epoch_of(used, epoch)
    assert epoch_of(fresh, epoch) != epoch_of(fresh, epoch + 1)
    assert epoch_of(fresh, epoch) != epoch_of(make(seed + 1), epoch)


def test_similar_lengths_share_a_batch_and_batches_come_in_any_order():
    rng = np.random.default_rng(0)
    seconds = np.clip(rng.lognormal(1.2, 0.7, 4_000), 0.3, 16.0)
    sampler = DurationBatchSampler(seconds, batch_seconds=100.0)
    padded, means = 0.0, []
    for batch in sampler.epoch_batches(0):
        padded += len(batch) * seconds[batch].max()
        means.append(seconds[batch].mean())
    assert padded / seconds.sum() < 1.06
    shuffled = [seconds[rng.permutation(4_000)[:25]] for _ in range(100)]
    assert np.mean([len(batch) * batch.max() / batch.sum() for batch in shuffled]) > 2  # what it would be otherwise
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.25


def test_batches_are_full():
    seconds = np.random.default_rng(1).uniform(1, 4, 2_000)
    sizes = [seconds[batch].sum() for batch in DurationBatchSampler(seconds, batch_seconds=50).epoch_batches(0)]
    assert np.median(sizes) > 46
    assert np.mean(np.array(sizes) < 40) < 0.05


def test_an_utterance_longer_than_the_budget_has_its_own_batch():
    sampler = DurationBatchSampler([100.0, 1.0, 1.0, 200.0], batch_seconds=10)
    assert sorted(map(sorted, epoch_of(sampler, 0))) == [[0], [1, 2], [3]]


@pytest.mark.parametrize("batch", [0, 1])
def test_after_the_last_batch_comes_the_next_epoch(batch):
    sampler = DurationBatchSampler([1.0, 1.0], batch_seconds=1.0)
    following = {0: Position(4, 1), 1: Position(5, 0)}
    assert sampler.after(Position(4, batch)) == following[batch]


@pytest.mark.parametrize(("batch", "epoch"), [(0, 2), (3, 2), (4, 3), (10**9, 3)])
def test_a_position_behind_the_last_batch_is_the_next_epoch(batch, epoch):
    """As where a run goes on with larger batches, of which there are fewer."""
    sampler = DurationBatchSampler([1.0] * 40, batch_seconds=10.0, start=Position(2, batch))
    first = take(sampler, 1)[0]
    expected = DurationBatchSampler([1.0] * 40, batch_seconds=10.0, start=Position(epoch, batch if epoch == 2 else 0))
    assert first == take(expected, 1)[0]
    assert sampler.after(sampler.start) == expected.after(expected.start)
    assert {key[0] for key in first} == {epoch}


def fill_in_order(heard, budget):
    """Where batches end, looked for from one utterance to the next."""
    ends, before = [], 0.0
    for place, total in enumerate(heard):
        first = ends[-1] if ends else 0
        if place > first and total > before + budget:
            ends.append(place)
            before = heard[place - 1]
    return [*ends, len(heard)]


@few
@given(lengths, budgets)
def test_batches_end_where_a_plain_loop_says(seconds, budget):
    heard = np.cumsum(seconds).tolist()
    assert _fill_in_order(heard, budget) == fill_in_order(heard, budget)


def test_the_order_of_batches_is_what_it_always_was():
    """A run that goes on under another version must not meet its utterances in another order."""
    seconds = np.random.default_rng(0).integers(50, 1500, 20_000) / 100
    digests = []
    for budget, seed, epoch in ((100.0, 0, 0), (30.0, 5, 7), (12.0, 1, 1)):
        batches = DurationBatchSampler(seconds, batch_seconds=budget, seed=seed).epoch_batches(epoch)
        text = "\n".join(" ".join(map(str, batch.tolist())) for batch in batches)
        digests.append(hashlib.sha256(text.encode()).hexdigest()[:12])
    assert digests == ["5a75fef44d38", "9398d9993526", "d9bec5d08797"]


@few
@given(st.lists(st.floats(0.5, 4.0), min_size=30, max_size=300), seeds)
def test_no_batch_is_a_small_remainder(seconds, seed):
    """A loss that wants many frames at once, as SPIN's does, would learn little from it."""
    sampler = DurationBatchSampler(seconds, batch_seconds=40.0, seed=seed)
    totals = [sum(seconds[index] for index in batch) for batch in epoch_of(sampler, 0)]
    assert min(totals) >= min(0.5 * 40.0, sum(seconds) / 2) - 4.0
