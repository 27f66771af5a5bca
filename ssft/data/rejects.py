"""Utterances that cannot be used: counted, written down, and too many of them refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ssft.types import Reject

_ONE_LINE = str.maketrans("\t\r\n", "   ")


def count_reasons(rejects: Sequence[Reject]) -> str:
    """Return e.g. `silent 3, corrupt 1`, most frequent first."""
    counts = Counter(reject.reason for reject in rejects)
    return ", ".join(f"{reason} {count}" for reason, count in counts.most_common())


def merge_rejects(rejects: Sequence[Reject], path: Path) -> list[Reject]:
    """Return `rejects` and those that an earlier process wrote to `path`, each utterance once."""
    merged = {reject.id: reject for reject in rejects}
    lines = path.read_text(encoding="utf-8").splitlines()[1:] if path.exists() else []
    for name, file, reason, detail in (line.split("\t") for line in lines if line.count("\t") == 3):
        merged.setdefault(name, Reject(name, Path(file), reason, detail))
    return list(merged.values())


def write_rejects(rejects: Sequence[Reject], path: Path) -> None:
    """Write rejects.tsv: id, path, reason, detail."""
    lines = ["id\tpath\treason\tdetail"]
    for reject in rejects:
        fields = (reject.id, str(reject.path), reject.reason, reject.detail)
        lines.append("\t".join(field.translate(_ONE_LINE) for field in fields))
    # A name that is not UTF-8 is written with its bytes as \xNN.
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", errors="backslashreplace")
