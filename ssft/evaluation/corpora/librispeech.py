"""LibriSpeech as it is unpacked: parts such as `train-clean-100`, each with speakers, chapters and transcripts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssft.errors import DataError
from ssft.evaluation.corpora.description import Description, tables_in
from ssft.evaluation.corpus import DEV, TEST, TRAIN

PARTS = {TRAIN: "train-clean-100", DEV: "dev-clean", TEST: "test-clean"}
"""What SUPERB trains, chooses and tests on."""

_NAME = "LibriSpeech"
_LEXICON = "librispeech-lexicon.txt"
_PART = re.compile(r"(train|dev|test)-(clean|other)(-\d+)?")
_NOTE = "All times of phones and words in LibriSpeech are machine-made (forced alignment)."


def librispeech_root(path: Path) -> Path | None:
    """Return the folder of the parts, which is `path` or `LibriSpeech` in it; None if there are no such parts."""
    return next((folder for folder in (path, path / _NAME) if _parts_in(folder)), None)


def describe_librispeech(root: Path, splits: Mapping[str, Any]) -> Description:
    """Describe LibriSpeech.

    Args:
        root: the folder of the parts. A lexicon that lies there, and tables of labels, are used.
        splits: names of parts by split; those of SUPERB if empty.

    Raises:
        DataError: there is no such part.
    """
    there = _parts_in(root)
    chosen = splits or {name: part for name, part in PARTS.items() if part in there or name == TEST}
    for name, part in chosen.items():
        if isinstance(part, str) and part not in there:
            raise DataError(
                f"{root} has no part '{part}' for {name}; it has {', '.join(there)}. Unpack it there, or say which "
                f"parts to use, as splits={{'test': '{there[0]}'}}."
            )
    tables = tables_in(root)
    return Description(
        name=_NAME,
        splits={name: {"audio": part} if isinstance(part, str) else part for name, part in chosen.items()},
        phones=tables.get("phones"),
        words=tables.get("words"),
        lexicon=_LEXICON if (root / _LEXICON).is_file() else None,
        notes=(_NOTE,),
    )


def _parts_in(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if _PART.fullmatch(path.name) and path.is_dir())
