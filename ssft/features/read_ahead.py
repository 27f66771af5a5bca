"""`read_ahead`: what comes next is made while what there is is used."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def read_ahead(items: Iterator[T], *, count: int = 1) -> Generator[T, None, None]:
    """Give the items in their order, and let a thread make the next `count` of them meanwhile.

    An error in making an item is raised when its turn comes. Whoever stops early waits for the item that is being
    made, and no thread is left.

    Args:
        items: used by that thread alone.
        count: how many items may lie ready; memory is taken for these, and for the one that is in use.

    Example:
        >>> list(read_ahead(iter("abc")))
        ['a', 'b', 'c']
    """
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as thread:
        ready = deque(thread.submit(_next, items) for _ in range(count))
        try:
            while item := ready.popleft().result():
                ready.append(thread.submit(_next, items))
                yield item.pop()
        finally:
            for later in ready:
                later.cancel()


def _next(items: Iterator[T]) -> list[T]:
    """The next item in a list of its own; an empty list if there is none."""
    return list(islice(items, 1))
