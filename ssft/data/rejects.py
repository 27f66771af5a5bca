"""Utterances that cannot be used: counted, written down, and too many of them refused."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from ssft.data.audio import REASONS
from ssft.errors import DataError
from ssft.files import write_atomically
from ssft.types import Reject

_COLUMNS = ("id", "path", "reason", "detail")
_ONE_LINE = str.maketrans("\t\r\n", "   ")


def count_reasons(rejects: Sequence[Reject]) -> str:
    """Return e.g. `silent 3, corrupt 1`, most frequent first."""
    counts = Counter(reject.reason for reject in rejects)
    return ", ".join(f"{reason} {count}" for reason, count in counts.most_common())


def too_many(rejects: Sequence[Reject], *, total: int, limit: float, where: Path | str) -> DataError | None:
    """Return an error with a table of reasons if more of a corpus is unusable than is accepted.

    What is only shorter than `data.min_seconds` does not count: that length is a choice.

    Args:
        rejects: what cannot be used.
        total: how many recordings the corpus lists, these included.
        limit: the share that is accepted, from 0 to 1.
        where: the file that has the whole list, or what shows it.
    """
    unusable = [reject for reject in rejects if reject.reason != "too_short"]
    share = len(unusable) / max(total, 1)
    if share <= limit:
        return None
    accepting = math.ceil(share * 20) / 20
    short = len(rejects) - len(unusable)
    note = f"Besides, {short:,} are shorter than data.min_seconds, which does not count. " if short else ""
    return DataError(
        f"{len(unusable):,} of {total:,} recordings ({_percent(share)}) cannot be used; data.max_rejects accepts "
        f"{_percent(limit)}.\n\n{_table(unusable, total)}\n\n{note}The whole list: {where}\n"
        f"Mend them, or accept them with --data.max_rejects {accepting:g}."
    )


def refuse_too_many(rejects: Sequence[Reject], *, total: int, limit: float, where: Path) -> None:
    """Raise what `too_many` returns.

    Raises:
        DataError: more is unusable than is accepted.
    """
    if (problem := too_many(rejects, total=total, limit=limit, where=where)) is not None:
        raise problem


def write_rejects(rejects: Iterable[Reject], path: Path) -> None:
    """Write rejects.tsv in one step: a header, then id, path, reason and detail of each."""
    write_atomically(path, "\t".join(_COLUMNS) + "\n" + "".join(map(as_line, rejects)))


def read_rejects(path: Path) -> list[Reject]:
    """Return what `write_rejects` and lines added since have written; nothing of a line that was cut by a kill."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", errors="replace", newline="") as file:  # a letter may be cut too
        rows = [line[:-1].split("\t") for line in file if line.endswith("\n")]
    return [Reject(row[0], Path(row[1]), row[2], row[3]) for row in rows[1:] if len(row) == len(_COLUMNS)]


def as_line(reject: Reject) -> str:
    """Return the line of rejects.tsv, in which fields hold neither tabs nor breaks."""
    fields = (reject.id, str(reject.path), reject.reason, reject.detail)
    line = "\t".join(field.translate(_ONE_LINE) for field in fields) + "\n"
    # A name that is not UTF-8 is written with its bytes as \xNN.
    return line.encode("utf-8", "backslashreplace").decode("utf-8")


def _table(rejects: Sequence[Reject], total: int) -> str:
    """A row for each reason, most frequent first, and below it one of the files."""
    counts = Counter(reject.reason for reject in rejects)
    examples = {reject.reason: reject.path for reject in reversed(rejects)}
    lines = [f"  {'reason':<12}{'count':>9}{'share':>9}   what it means, and one of them"]
    for reason, count in counts.most_common():
        lines.append(f"  {reason:<12}{count:>9,}{_percent(count / total):>9}   {REASONS.get(reason, '')}")
        lines.append(f"{'':35}{examples[reason]}")
    return "\n".join(lines)


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
