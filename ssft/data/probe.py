"""Looking at the files of a corpus before training: which of them can be used, and why the others cannot."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ssft.data.audio import FEWEST_SAMPLES, AudioError, read_audio, read_header
from ssft.data.entry import Entry
from ssft.data.progress import with_progress
from ssft.data.utterances import NO_STAMP, Utterances, stamp_of
from ssft.types import SAMPLE_RATE, Reject, Utterance

S = TypeVar("S")
T = TypeVar("T")

SHORTEST = 2 * FEWEST_SAMPLES / SAMPLE_RATE
"""Seconds. Twice what an encoder needs for one frame, so that a speed-up leaves enough."""

ROUNDING_SECONDS = 0.1
"""A manifest rounds lengths; a tenth of a second too much is rounding, more is another file."""

_VERIFY_HOURS = 5.0
_READ_HEADERS = 100_000
_WINDOW_SECONDS = 60.0
# Reading headers is waiting for a disk, or for another machine's; decoding is work.
_HEADER_THREADS = 16
_CHUNK = 32


def scan(listed: Utterances, *, min_seconds: float, verify: str) -> tuple[Utterances, list[Reject]]:
    """Look at what a corpus lists, and return what can be used, in the same order, and what cannot.

    Args:
        listed: the corpus; lengths that are not stated are NaN.
        min_seconds: shorter recordings are rejected.
        verify: `audio` decodes everything; `header` reads the headers; `manifest` only where no length is stated;
            `auto` reads the headers of up to 100,000 recordings, of more as `manifest`, and decodes up to five hours.
    """
    trusts = verify == "manifest" or (verify == "auto" and len(listed) > _READ_HEADERS)
    stated = ~np.isnan(listed.seconds) & trusts
    table, rejects = _look_at(listed, ~stated, min_seconds=min_seconds, decode=verify == "audio")
    if verify == "auto" and not stated.any() and table.hours <= _VERIFY_HOURS:
        table, more = _look_at(table, np.ones(len(table), bool), min_seconds=min_seconds, decode=True)
        rejects += more
    return table, rejects


def probe(entries: Iterable[Entry | Utterance], *, min_seconds: float, verify: str) -> Iterator[Utterance | Reject]:
    """Look at every file, several at a time, and give what becomes of each entry, in the same order.

    Args:
        entries: what a corpus lists.
        min_seconds: shorter recordings are rejected.
        verify: `header` or `audio`, which decodes everything.
    """
    if verify == "audio":
        look, threads, chunk = _decode, min(8, os.cpu_count() or 1), 1
    else:
        look, threads, chunk = _measure, _HEADER_THREADS, _CHUNK
    return _in_order(lambda entry: look(entry, min_seconds), entries, threads=threads, chunk=chunk)


def _look_at(
    listed: Utterances, chosen: NDArray[np.bool_], *, min_seconds: float, decode: bool
) -> tuple[Utterances, list[Reject]]:
    """Look at the files of the chosen rows; of the others believe what is stated."""
    seconds, stamps, rejects = listed.seconds.copy(), listed.stamps.copy(), dict[int, Reject]()
    for place in np.flatnonzero(~chosen & (seconds < min_seconds)).tolist():
        error = _too_short(listed[place], float(seconds[place]), min_seconds)
        rejects[place] = Reject(listed.ids[place], error.path, error.reason, error.detail)
    places = np.flatnonzero(chosen)
    found = probe((listed[place] for place in places), min_seconds=min_seconds, verify="audio" if decode else "header")
    shown = with_progress(found, "decoding audio" if decode else "reading headers", total=len(places))
    for place, item in zip(places.tolist(), shown, strict=True):
        if isinstance(item, Reject):
            rejects[place] = item
        else:
            seconds[place], stamps[place] = item.seconds, item.stamp or NO_STAMP
    table = listed.with_lengths(seconds, stamps)
    if not rejects:
        return table, []
    usable = np.ones(len(listed), dtype=bool)
    usable[list(rejects)] = False
    return table[usable], [rejects[place] for place in sorted(rejects)]


def _in_order(function: Callable[[S], T], items: Iterable[S], *, threads: int, chunk: int) -> Iterator[T]:
    """Give the results in the order of the items, which are taken only as far ahead as keeps all threads busy."""
    items = iter(items)
    pending: deque[Future[list[T]]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        while part := list(islice(items, chunk)):
            pending.append(pool.submit(lambda part: [function(item) for item in part], part))
            if len(pending) > 2 * threads:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _measure(entry: Entry | Utterance, min_seconds: float) -> Utterance | Reject:
    """Read the header, and hold what is stated against it."""
    try:
        stamp = stamp_of(entry.path)  # first: what changes later is noticed later
        header = read_header(entry.path, member=entry.member)
        left = header.seconds - entry.start
        seconds = left if entry.seconds is None or math.isnan(entry.seconds) else entry.seconds
        if left <= 0 or seconds > left + ROUNDING_SECONDS:
            detail = f"{entry.start:g} s + {seconds:g} s of {header.seconds:.3f} s"
            raise AudioError("outside", entry.path, detail)
        seconds = min(seconds, left)
        if seconds < min_seconds:
            raise _too_short(entry, seconds, min_seconds)
    except AudioError as error:
        return Reject(entry.id, entry.path, error.reason, error.detail)
    return Utterance(entry.id, entry.path, seconds, entry.start, entry.speaker, entry.text, entry.member, stamp=stamp)


def _decode(entry: Entry | Utterance, min_seconds: float) -> Utterance | Reject:
    """Decode the whole utterance, a minute at a time. A silent minute is no defect; nothing but silence is."""
    utterance = _measure(entry, min_seconds)
    if isinstance(utterance, Reject):
        return utterance
    start, end, signal = utterance.start, utterance.start + utterance.seconds, False
    try:
        while start < end:
            try:
                seconds = min(_WINDOW_SECONDS, end - start)
                read_audio(utterance.path, member=utterance.member, start=start, seconds=seconds)
                signal = True
            except AudioError as error:
                # The last window may be less than a sample long, or behind the end of an MP3 of unknown length.
                if error.reason != "silent" and not (error.reason == "empty" and start > utterance.start):
                    raise
            start += _WINDOW_SECONDS
        if not signal:
            raise AudioError("silent", utterance.path)
    except AudioError as error:
        return Reject(utterance.id, utterance.path, error.reason, error.detail)
    return utterance


def _too_short(entry: Entry | Utterance, seconds: float, min_seconds: float) -> AudioError:
    return AudioError("too_short", entry.path, f"{seconds:.3f} s, min_seconds is {min_seconds:g}")
