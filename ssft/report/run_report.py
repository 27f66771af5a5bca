"""`RunReport`: the report of a run on disk: a page to look at and listen to, Markdown, and JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ssft.analysis.folder import plain
from ssft.errors import RunError
from ssft.files import make_folder, write_atomically, writing
from ssft.report.document import Document, Section
from ssft.report.markdown import to_markdown
from ssft.report.run_page import to_html

PAGE, MARKDOWN, RECORD = "report.html", "report.md", "report.json"

_KIND = "ssft report"
_VERSION = 1


class RunReport:
    """Writes report.html, report.md and report.json, and never over those of something else.

    Args:
        folder: new, or of an earlier report.
        facts: what belongs on record beside the sections: the command, when, the run.

    Raises:
        RunError: the folder holds something else.

    Example:
        >>> report = RunReport(Path("runs/mine/report"), facts={"run": "runs/mine"})
        >>> report.save("mine", "**Better**: ...", sections)["bytes"]
        1204332
    """

    def __init__(self, folder: Path, *, facts: Mapping[str, Any]) -> None:
        self.folder = folder
        self.facts = dict(facts)
        self._refuse_foreign()

    def save(
        self, title: str, verdict: str, sections: Sequence[Section], *, notes: Sequence[str] = ()
    ) -> dict[str, Any]:
        """Write the report, and return what report.json holds; `bytes` is the size of the page.

        Raises:
            RunError: it cannot be written.
        """
        document = Document(title, verdict, notes, sections)
        # A name that is not UTF-8 is written with its bytes as \xNN.
        page, text = (made.encode("utf-8", "backslashreplace") for made in (to_html(document), to_markdown(document)))
        record = {
            "kind": _KIND,
            "version": _VERSION,
            **self.facts,
            "verdict": verdict,
            "notes": list(notes),
            "missing": {part.key: part.missing for part in sections if part.missing is not None},
            "bytes": len(page),
            "sections": {part.key: part.record for part in sections},
        }
        found: dict[str, Any] = plain(record)
        with writing(self.folder, "Choose another --out."):
            make_folder(self.folder)
            write_atomically(self.folder / RECORD, json.dumps(found, indent=1) + "\n")
            write_atomically(self.folder / PAGE, page)
            write_atomically(self.folder / MARKDOWN, text)
        return found

    def _refuse_foreign(self) -> None:
        path = self.folder / RECORD
        try:
            if path.exists():
                if json.loads(path.read_text(encoding="utf-8"))["kind"] == _KIND:
                    return
            elif not self.folder.is_file() and not any((self.folder / name).exists() for name in (PAGE, MARKDOWN)):
                return
        except (OSError, ValueError, KeyError, TypeError):
            pass
        raise RunError(f"{self.folder} holds something that `ssft report` did not write. Choose another --out.")
