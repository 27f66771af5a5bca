"""What the layout of LibriSpeech says besides the audio: SPEAKER/CHAPTER/SPEAKER-CHAPTER-NNNN.flac, and transcripts."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

_FILE = re.compile(r"(?P<speaker>\d+)-(?P<chapter>\d+)-\d+\.\w+")
_CHAPTER = re.compile(r"(?:.*/)?(?P<speaker>\d+)/(?P<chapter>\d+)/")


class Chapter:
    """A folder that may be a chapter of LibriSpeech, or of a corpus that is laid out as it is.

    Args:
        folder: the folder.
        place: its path below the corpus, which ends in a slash.
        files: names of the files in it.

    Example:
        >>> chapter = Chapter(Path("dev-clean/84/121123"), "84/121123/", ["84-121123-0000.flac"])
        >>> chapter.speaker("84-121123-0000.flac"), chapter.speaker("another.flac")
        ('84', None)
    """

    def __init__(self, folder: Path, place: str, files: Iterable[str]) -> None:
        found = _CHAPTER.fullmatch(place)
        self._numbers = found.groups() if found else ()
        transcript = f"{'-'.join(self._numbers)}.trans.txt"
        self._texts = _read_transcript(folder / transcript) if found and transcript in files else {}

    def speaker(self, file: str) -> str | None:
        """Who speaks in a file of this folder; None if it is not named as LibriSpeech names files."""
        found = _FILE.fullmatch(file) if self._numbers else None
        return found["speaker"] if found and found.groups() == self._numbers else None

    def text(self, file: str) -> str | None:
        """What is said in a file of this folder, if there is a transcript."""
        return self._texts.get(file.rpartition(".")[0]) if self._texts else None


def _read_transcript(path: Path) -> dict[str, str]:
    """Texts by the names of files; none if it cannot be read, for training does not need them."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    rows = (line.strip().partition(" ") for line in lines)
    return {name: text.strip() for name, _, text in rows if text.strip()}
