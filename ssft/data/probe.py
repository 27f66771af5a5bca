"""Looking at the files of a corpus before training: which of them can be used, and why the others cannot."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tqdm import tqdm

from ssft.data.audio import FEWEST_SAMPLES, AudioError, read_audio, read_header
from ssft.data.entry import Entry
from ssft.types import SAMPLE_RATE, Reject, Utterance

SHORTEST = 2 * FEWEST_SAMPLES / SAMPLE_RATE
"""Seconds. Twice what an encoder needs for one frame, so that a speed-up leaves enough."""

_VERIFY_HOURS = 5.0
_WINDOW_SECONDS = 60.0
# A manifest rounds lengths; a tenth of a second too much is rounding, more is another file.
_ROUNDING_SECONDS = 0.1


def probe(entries: Sequence[Entry], *, min_seconds: float, verify: str) -> list[Utterance | Reject]:
    """Look at every file, in parallel, and return what became of each entry, in the same order.

    Args:
        entries: what a folder or manifest lists.
        min_seconds: shorter recordings are rejected.
        verify: `audio` decodes everything, `header` nothing, `auto` everything if it is at most five hours.
    """
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        headers = pool.map(lambda entry: _look(entry, min_seconds), entries)
        found = list(_with_bar(headers, len(entries), "headers"))
        hours = sum(item.seconds for item in found if isinstance(item, Utterance)) / 3600
        if verify == "audio" or (verify == "auto" and hours <= _VERIFY_HOURS):
            checked = pool.map(lambda item: _verify(item) if isinstance(item, Utterance) else item, found)
            found = list(_with_bar(checked, len(found), "audio"))
    return found


def _with_bar(results: Iterable[Any], count: int, what: str) -> Iterator[Any]:
    # Shown after two seconds and only on a terminal.
    yield from tqdm(results, total=count, desc=f"checking {what}", unit="file", delay=2.0, disable=None, leave=False)


def _look(entry: Entry, min_seconds: float) -> Utterance | Reject:
    try:
        header = read_header(entry.path)
        left = header.seconds - entry.start
        seconds = left if entry.seconds is None else entry.seconds
        if left <= 0 or seconds > left + _ROUNDING_SECONDS:
            detail = f"{entry.start:g} s + {seconds:g} s of {header.seconds:.3f} s"
            raise AudioError("outside", entry.path, detail)
        seconds = min(seconds, left)
        if seconds < min_seconds:
            raise AudioError("too_short", entry.path, f"{seconds:.3f} s, min_seconds is {min_seconds:g}")
    except AudioError as error:
        return Reject(entry.id, entry.path, error.reason, error.detail)
    return Utterance(entry.id, entry.path, seconds, entry.start, entry.speaker, entry.text)


def _verify(utterance: Utterance) -> Utterance | Reject:
    """Decode the whole utterance, a minute at a time. A silent minute is no defect; nothing but silence is."""
    start, end, signal = utterance.start, utterance.start + utterance.seconds, False
    try:
        while start < end:
            try:
                read_audio(utterance.path, start=start, seconds=min(_WINDOW_SECONDS, end - start))
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
