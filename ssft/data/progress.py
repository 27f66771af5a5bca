"""How far a long look at a corpus has come: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")

_BAR_AFTER_SECONDS = 1.0
_LINE_EVERY_SECONDS = 10.0


def with_progress(items: Iterable[T], what: str, *, total: int | None = None) -> Iterator[T]:
    """Give the items, and show on standard error how many there have been; nothing if it takes a second.

    Args:
        items: what is counted.
        what: is done to them, such as `reading headers`.
        total: how many there will be, if that is known.
    """
    if sys.stderr.isatty():
        return iter(tqdm(items, total=total, desc=what, unit="", delay=_BAR_AFTER_SECONDS, leave=False))
    return _with_lines(items, what, total)


def _with_lines(items: Iterable[T], what: str, total: int | None) -> Iterator[T]:
    begin = said = time.monotonic()
    for count, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - said >= _LINE_EVERY_SECONDS:
            said = now
            of = ""
            if total:
                left = (now - begin) / count * (total - count)
                time_left = f"{left:.0f} s" if left < 90 else f"{left / 60:.0f} min"
                of = f" of {total:,} ({100 * count / total:.0f} %), {time_left} left"
            print(f"{what}: {count:,}{of}", file=sys.stderr, flush=True)
