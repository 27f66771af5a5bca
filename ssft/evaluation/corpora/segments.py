"""Aligned phones and words: what is wrong with any of them, and the rest in the order of time."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from ssft.evaluation.corpora.names import Names
from ssft.evaluation.corpora.tables import label_column
from ssft.evaluation.items import PAUSES, Segment, read_table, times

OVERHANG_SECONDS = 0.04
"""Times are rounded, and audio is cut: a label may end so much later than its recording. It is two frames."""

_NO_WORDS = PAUSES | {"<eps>", "<unk>", "<UNK>"}


def read_segments(path: Path, column: str | None, kind: str, names: Names, skipped: Counter[str]) -> Iterator[Segment]:
    """Read a table of aligned `phones` or `words`, and give the rows of utterances that are there, by their ids.

    Args:
        path: a TSV with the columns path, start_s, end_s and the one of the label.
        column: of the label; None for the usual one.
        kind: `phones` or `words`.
        names: the utterances.
        skipped: gets the number of the other rows.

    Raises:
        DataError: it cannot be read, or no row belongs to any utterance.
    """
    rows = read_table(path, ("path", "start_s", "end_s", column or label_column(path, kind)))
    ids = names.match((row[0] for row in rows), source=path)
    for number, (name, start, end, label) in enumerate(rows, start=2):
        if name not in ids:
            skipped[f"{kind} of utterances that are not there"] += 1
            continue
        yield Segment(ids[name], *times(start, end, where=f"{path}, line {number}"), label.strip())


def in_order(
    segments: Iterable[Segment], kind: str, seconds: Mapping[str, float], skipped: Counter[str]
) -> dict[str, list[Segment]]:
    """Return the segments of every utterance, sorted by time, without those that cannot be right.

    Args:
        segments: in any order.
        kind: `phones` or `words`. Pauses are phones, but they are no words.
        seconds: how long each utterance is.
        skipped: gets the number of those left out, by reason.
    """
    found: dict[str, list[Segment]] = defaultdict(list)
    for segment in segments:
        if problem := problem_of(segment.start, segment.end, segment.label, seconds[segment.utterance]):
            skipped[f"{kind} {problem}"] += 1
        elif kind == "words" and segment.label in _NO_WORDS:
            skipped["words that are pauses, or that the aligner did not know"] += 1
        else:
            found[segment.utterance].append(segment)
    for utterance, own in found.items():
        different = sorted(set(own))
        if len(different) < len(own):
            skipped[f"{kind} listed twice"] += len(own) - len(different)
        found[utterance] = different
    return dict(found)


def problem_of(start: float, end: float, label: str, seconds: float) -> str | None:
    """Say what is wrong with a stretch of an utterance that is `seconds` long, so that it follows on a noun."""
    if not label:
        return "without a label"
    if not 0 <= start < end:  # also if one is no number
        return "that end before they begin"
    return "past the end of the audio" if end > seconds + OVERHANG_SECONDS else None
