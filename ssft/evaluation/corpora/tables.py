"""Tables of labels: which column has them."""

from __future__ import annotations

from pathlib import Path

from ssft.errors import DataError

_PLACES = frozenset({"path", "start_s", "end_s"})
_USUAL = {"phones": "phone", "words": "word", "transcripts": "text", "pronunciations": "phones"}


def label_column(path: Path, kind: str) -> str:
    """Return the column of a table that holds the labels of a kind: the usual one, or else the only one.

    Args:
        path: a TSV whose first line is a header.
        kind: `phones`, `words`, `transcripts` or `pronunciations`.

    Raises:
        DataError: it cannot be read, or there are several columns that might be meant.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            header = file.readline().rstrip("\r\n").split("\t")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}.") from error
    columns = [name for name in header if name and name not in _PLACES]
    if _USUAL[kind] in columns:
        return _USUAL[kind]
    if len(columns) != 1:
        raise DataError(
            f"{path}: no column '{_USUAL[kind]}' for {kind}; found: {', '.join(header) or 'nothing'}. In a "
            f"description, name the column: {kind}: {{file: {path.name}, column: ...}}."
        )
    return columns[0]
