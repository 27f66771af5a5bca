"""Threads for work that releases Python's lock: as many as PyTorch uses, and never more than that together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def thread_map(tasks: int) -> Iterator[Callable[..., Iterator[Any]]]:
    """Give a `map` that shares out work among as many threads as PyTorch uses.

    PyTorch itself uses one in each of them, and in this one, until the end of the block.

    Args:
        tasks: how many there are to share out; with fewer than two everything is done in this thread.

    Example:
        >>> with thread_map(3) as mapped:
        ...     list(mapped(abs, [-1, -2, -3]))
        [1, 2, 3]
    """
    threads = torch.get_num_threads()
    if min(threads, tasks) < 2:
        yield map
        return
    torch.set_num_threads(1)  # of this thread, and what new ones begin with
    try:
        with ThreadPoolExecutor(min(threads, tasks)) as pool:
            yield pool.map
    finally:
        torch.set_num_threads(threads)
