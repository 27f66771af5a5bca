"""`ResultsFolder`: results on disk, as JSON and as Markdown, saved after each task."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ssft.errors import DataError
from ssft.evaluation.bootstrap import Bootstrap
from ssft.evaluation.corpus import LabelledCorpus
from ssft.evaluation.page import to_markdown
from ssft.evaluation.results import Record, results
from ssft.evaluation.suite import SystemScores
from ssft.files import make_folder, write_atomically, writing

RESULTS, PAGE = "results.json", "results.md"


class ResultsFolder:
    """Writes results.json and results.md, and never over those of something else.

    Args:
        path: the folder; new, empty, or of an earlier evaluation of the same systems and tasks on the same corpus.
        corpus: what is measured on.
        base: the system that others are compared with.
        bootstrap: what makes the intervals.
        facts: what else belongs on record; of these `subject` says what is measured.

    Raises:
        DataError: the folder holds something else.

    Example:
        >>> folder = ResultsFolder(Path("evaluation"), corpus, base="tiny", facts={"subject": "abx of runs/score"})
        >>> record = folder.save(evaluate(corpus, stores, tasks), complete=True)
    """

    def __init__(
        self,
        path: Path,
        corpus: LabelledCorpus,
        *,
        base: str | None = None,
        bootstrap: Bootstrap | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = path
        self.corpus = corpus
        self.base = base
        self.bootstrap = bootstrap or Bootstrap()
        self.facts = dict(facts or {})
        self._refuse_foreign()

    def save(self, systems: Sequence[SystemScores], *, complete: bool) -> Record:
        """Write down what is known so far, and return it; `complete` says that nothing is still to come.

        Raises:
            RunError: it cannot be written.
        """
        record = results(
            self.corpus,
            systems,
            base=self.base,
            bootstrap=self.bootstrap,
            facts={**self.facts, "complete": complete},
        )
        with writing(self.path, "Choose another --out."):
            make_folder(self.path)
            write_atomically(self.path / RESULTS, json.dumps(record, indent=1) + "\n")
            write_atomically(self.path / PAGE, to_markdown(record))
        return record

    def _refuse_foreign(self) -> None:
        if not (self.path / RESULTS).exists():
            if self.path.is_file() or (self.path / PAGE).exists():
                raise DataError(f"{self.path} holds something else. Choose another --out.")
            return
        try:
            there = json.loads((self.path / RESULTS).read_text(encoding="utf-8"))
            found = there["subject"], there["corpus"]["fingerprint"]
        except (OSError, ValueError, KeyError, TypeError):
            raise DataError(f"{self.path / RESULTS} is no evaluation of ssft. Choose another --out.") from None
        if found != (self.facts.get("subject"), self.corpus.fingerprint):
            raise DataError(
                f"{self.path} holds other results: {found[0]} on {there['corpus'].get('name')}. Choose another --out."
            )
