"""What a corpus lists, before its audio has been looked at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Entry:
    """One line of a corpus; `seconds=None` means to the end of the recording.

    `member` says which recording of the file it is, where the file holds several (`ssft.data.sources`).
    """

    id: str
    path: Path
    start: float = 0.0
    seconds: float | None = None
    speaker: str | None = None
    text: str | None = None
    member: str = ""
