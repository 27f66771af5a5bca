"""Utterances that turn out to be unusable while a run goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ssft.data.rejects import count_reasons, merge_rejects, write_rejects
from ssft.errors import DataError
from ssft.types import Reject


class RejectLog:
    """rejects.tsv of a run: what was known to be unusable before it, and what is found while it trains.

    Args:
        path: the file, written at once.
        known: rejects of the corpus.
        keep: also what the file says already, as where a run is resumed.
    """

    def __init__(self, path: Path, known: Sequence[Reject], *, keep: bool = False) -> None:
        self.path = path
        self.rejects = merge_rejects(list(known), path) if keep else list(known)
        self._empty = 0
        write_rejects(self.rejects, path)

    def note(self, rejects: Sequence[Reject], say: Callable[[str], None]) -> None:
        """Add what is new, and say it."""
        known = {reject.id for reject in self.rejects}
        new = [reject for reject in rejects if reject.id not in known]
        if new:
            self.rejects += new
            write_rejects(self.rejects, self.path)
        for reject in new:
            say(f"rejected {reject.path}: {reject.reason}, {reject.detail}")

    def count_batch(self, *, is_empty: bool, batches_of_epoch: int, utterances: int) -> None:
        """Count batches in a row of which nothing was left.

        Raises:
            DataError: a whole epoch of them, which is the end.
        """
        self._empty = self._empty + 1 if is_empty else 0
        if self._empty >= batches_of_epoch:
            reasons = count_reasons(self.rejects)
            raise DataError(f"None of the {utterances:,} utterances can be used ({reasons}); see {self.path}.")
