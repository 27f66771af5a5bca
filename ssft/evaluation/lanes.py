"""Tasks side by side: on two cores, probes are trained while everything else is measured."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import chain
from threading import Event, Lock

import torch

from ssft.errors import DataError
from ssft.evaluation.corpus import LabelledCorpus
from ssft.evaluation.frames import FrameStore
from ssft.evaluation.measure import Score
from ssft.evaluation.task import Task

Note = Callable[[Task, Sequence[Score], float], None]
"""Is told of a task that is done: its scores, and the seconds it took."""


def measure(
    corpus: LabelledCorpus, store: FrameStore, tasks: Sequence[Task], *, seeds: int, note: Note
) -> dict[str, DataError]:
    """Measure tasks: this thread those that train by gradient, a second one the others; who is done first, helps.

    Most of the time a task keeps one core busy, and two threads of one task gain little. So both lanes use a single
    thread each where there are two to use. PyTorch's random numbers are used by what trains by gradient, and by it
    alone, so figures do not depend on the lanes. What both need, the frames of `test`, is made before.

    Args:
        corpus: what to measure on.
        store: where frames come from; two threads may ask it at once.
        tasks: what to measure.
        seeds: how often whatever is trained or fitted is.
        note: is told of each task that is done, of one at a time.

    Returns:
        Why a task could not be measured, by its name.
    """
    stop, lock = Event(), Lock()
    failed: dict[str, DataError] = {}

    def run(lane: Iterable[Task]) -> None:
        for task in lane:
            began, scores = time.monotonic(), []
            try:
                for score in task.scores(corpus, store, seeds=seeds):
                    scores.append(score)
                    if stop.is_set():
                        return
            except DataError as error:
                failed[task.name] = error
                continue
            with lock:
                note(task, scores, time.monotonic() - began)

    trained, others = ([task for task in tasks if task.trains_by_gradient is kind] for kind in (True, False))
    if not (trained and others) or torch.get_num_threads() < 2:
        run(tasks)
        return failed
    for condition in store.conditions:
        store.frames(layer=store.layers_in(condition)[-1], condition=condition)
    waiting = deque(others)

    def waiting_ones() -> Iterator[Task]:
        with suppress(IndexError):  # the other lane took the last
            while True:
                yield waiting.popleft()

    with _one_thread_each(), ThreadPoolExecutor(1, thread_name_prefix="second lane") as second:
        lane = second.submit(run, waiting_ones())
        try:
            run(chain(trained, waiting_ones()))
            lane.result()
        finally:
            stop.set()
    return {task.name: failed[task.name] for task in tasks if task.name in failed}


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Let PyTorch and BLAS use one thread in every lane."""
    from threadpoolctl import threadpool_limits

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # of this thread, and what new ones begin with
    try:
        with threadpool_limits(limits=1):
            yield
    finally:
        torch.set_num_threads(threads)
