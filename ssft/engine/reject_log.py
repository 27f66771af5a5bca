"""Utterances that turn out to be unusable while a run goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ssft.data.rejects import as_line, count_reasons, read_rejects, too_many, write_rejects
from ssft.errors import DataError
from ssft.files import writing
from ssft.types import Reject


class RejectLog:
    """rejects.tsv of a run: what was known to be unusable before it, and what is found while it trains.

    With several processes each has one, all are told the same, and one of them writes.

    Args:
        path: the file, written at once; what is found later is added at its end.
        known: rejects of the corpus.
        utterances: how many the corpus has that seemed usable.
        limit: share of the recordings that may be unusable (`data.max_rejects`).
        keep: also what the file says already, as where a run is resumed.
        writes: whether this process is the one that writes.

    Raises:
        RunError: the file cannot be written.
    """

    def __init__(
        self,
        path: Path,
        known: Sequence[Reject],
        *,
        utterances: int,
        limit: float = 1.0,
        keep: bool = False,
        writes: bool = True,
    ) -> None:
        self.path = path
        self.utterances = utterances
        self.limit = limit
        self.writes = writes
        self.total = utterances + len(known)
        self.rejects = list(known)
        # As the file has it, so that an id with a tab in it is known again.
        self._seen = {_written_id(reject) for reject in known}
        self._empty = 0
        if keep:
            self._add(read_rejects(path))
        if writes:
            with writing(self.path):
                write_rejects(self.rejects, path)

    def note(self, rejects: Sequence[Reject], say: Callable[[str], None]) -> None:
        """Add what is new, and say it.

        Raises:
            RunError: the file cannot be written.
        """
        new = self._add(rejects)
        if new and self.writes:
            # In one piece, so that a kill leaves whole lines and at most one that is cut.
            with writing(self.path), self.path.open("a", encoding="utf-8", newline="") as file:
                file.write("".join(map(as_line, new)))
        for reject in new:
            say(f"rejected {reject.path}: {reject.reason}, {reject.detail}")

    def problem(self) -> DataError | None:
        """Return what is wrong once more is unusable than is accepted: a run saves its step, and raises this."""
        return too_many(self.rejects, total=self.total, limit=self.limit, where=self.path)

    def count_batch(self, *, is_empty: bool, batches_of_epoch: int) -> None:
        """Count batches in a row of which nothing was left.

        Raises:
            DataError: a whole epoch of them, which is the end.
        """
        self._empty = self._empty + 1 if is_empty else 0
        if self._empty >= batches_of_epoch:
            reasons = count_reasons(self.rejects)
            raise DataError(f"None of the {self.utterances:,} utterances can be used ({reasons}); see {self.path}.")

    def _add(self, rejects: Sequence[Reject]) -> list[Reject]:
        new = []
        for reject in rejects:
            if (written := _written_id(reject)) not in self._seen:
                self._seen.add(written)
                new.append(reject)
        self.rejects += new
        return new


def _written_id(reject: Reject) -> str:
    return as_line(reject).split("\t", 1)[0]
