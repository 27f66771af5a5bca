"""Making a section of a report, or saying why there is none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ssft.errors import SsftError
from ssft.report.document import Block, Section


def section(key: str, title: str, make: Callable[[], tuple[Sequence[Block], Any]]) -> Section:
    """Return the section that `make` gives the blocks and the record of; an error of ours becomes the reason.

    Example:
        >>> section("audio", "Audio", lambda: ([Text("2 h")], {"hours": 2.0})).record
        {'hours': 2.0}
    """
    try:
        blocks, record = make()
    except SsftError as error:
        return Section(key, title, record={"missing": str(error)}, missing=str(error))
    return Section(key, title, blocks, record)
