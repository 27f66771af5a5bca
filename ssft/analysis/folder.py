"""The folder of an analysis: its figures as JSON, a page of Markdown, and pictures."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ssft.errors import DataError
from ssft.evaluation.corpus import LabelledCorpus
from ssft.evaluation.frames import FrameStore
from ssft.files import make_folder, write_atomically, writing

RECORD, PAGE = "analysis.json", "analysis.md"
VERSION = 1


def analysis_facts(
    command: str,
    corpus: LabelledCorpus | None,
    stores: Sequence[FrameStore],
    settings: Mapping[str, Any],
    *,
    subject: str,
    environment: Mapping[str, Any],
) -> dict[str, Any]:
    """Return what every record of an analysis begins with: what was looked at, how, and with which versions.

    Args:
        command: as it was typed.
        corpus: the audio, if there is any.
        stores: the systems; what is said of them includes the hash of their weights.
        settings: all that the figures depend on and that is not said elsewhere.
        subject: what the analysis is of, e.g. `layers of runs/score against tiny`.
        environment: `ssft.runs.environment()`.

    Example:
        >>> facts = analysis_facts(command, corpus, [store], {"seed": 0}, subject="rank of tiny", environment={})
        >>> facts["systems"]["tiny"]["weights"][:4]
        '9a3f'
    """
    return {
        "version": VERSION,
        "subject": subject,
        "command": command,
        "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "environment": dict(environment),
        "corpus": corpus and corpus.describe(),
        "systems": {store.name: store.describe() for store in stores},
        "settings": dict(settings),
    }


def save_analysis(
    out: Path, record: Mapping[str, Any], page: str, pictures: Mapping[str, bytes] | None = None
) -> dict[str, Any]:
    """Write `analysis.json`, `analysis.md` and `NAME.png` of each picture; return the record as it was written.

    JSON has no NaN and no infinity: None is written instead.

    Args:
        out: the folder; new, empty, or of an earlier analysis of the same subject.
        record: begins with `analysis_facts`.
        page: Markdown.
        pictures: PNGs by name.

    Raises:
        DataError: the folder holds something else.
        RunError: it cannot be written.

    Example:
        >>> save_analysis(Path("analysis"), {**facts, "layers": rows}, page, {"layers": png})["subject"]
        'layers of tiny'
    """
    refuse_foreign(out, record["subject"])
    written: dict[str, Any] = plain(record)
    with writing(out, "Choose another --out."):
        make_folder(out)
        for name, picture in (pictures or {}).items():
            write_atomically(out / f"{name}.png", picture)
        write_atomically(out / RECORD, json.dumps(written, indent=1) + "\n")
        write_atomically(out / PAGE, page)
    return written


def refuse_foreign(out: Path, subject: str) -> None:
    """Raise unless an analysis of `subject` may be written to a folder; asked before anything is computed.

    Raises:
        DataError: it holds something else.
    """
    if not (out / RECORD).exists():
        if out.is_file() or (out / PAGE).exists():
            raise DataError(f"{out} holds something else. Choose another --out.")
        return
    try:
        found = json.loads((out / RECORD).read_text(encoding="utf-8"))["subject"]
    except (OSError, ValueError, KeyError, TypeError):
        raise DataError(f"{out / RECORD} is no analysis of ssft. Choose another --out.") from None
    if found != subject:
        raise DataError(f"{out} holds another analysis: {found}. Choose another --out.")


def plain(value: Any) -> Any:
    """Return the same in types that JSON has: no NaN, no infinity, no arrays."""
    if isinstance(value, Mapping):
        return {str(key): plain(own) for key, own in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(own) for own in value]
    if hasattr(value, "tolist"):  # of numpy
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
