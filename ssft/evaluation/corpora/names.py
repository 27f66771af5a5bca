"""`Names`: which utterance a table means, whether it gives the id, a path, or only the name of the file."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from ssft.data.audio import EXTENSIONS
from ssft.errors import DataError


class Names:
    """The utterances of a corpus, found by what tables call them.

    A name means the utterance that has it as its id. Otherwise it means the one whose id, without the suffix of an
    audio file, ends with it, or with which it ends, by whole parts of a path.

    Example:
        >>> names = Names(["84/121123/84-121123-0000.flac"])
        >>> names.match(["84-121123-0000", "another"], source=Path("dev-clean.item"))
        {'84-121123-0000': '84/121123/84-121123-0000.flac'}
    """

    def __init__(self, ids: Iterable[str]) -> None:
        self._ids = set(ids)
        self._whole: dict[str, list[str]] = defaultdict(list)
        self._by_end: dict[str, list[str]] = defaultdict(list)
        for name in sorted(self._ids):
            bare = _bare(name)
            self._whole[bare].append(name)
            for end in _ends(bare):
                self._by_end[end].append(name)

    def match(self, names: Iterable[str], *, source: Path) -> dict[str, str]:
        """Return the utterance id of every name; names of utterances that are not there are left out.

        Args:
            names: as a table gives them, any number of times.
            source: the table, for messages.

        Raises:
            DataError: none of the names fits, one fits several utterances, or two fit the same.
        """
        given = dict.fromkeys(names)
        found: dict[str, str] = {}
        owners: dict[str, str] = {}
        for name in given:
            candidates = self._candidates(name)
            if len(candidates) > 1:
                raise DataError(
                    f"{source}: '{name}' may be {candidates[0]} or {candidates[1]}. Give the path instead of the name."
                )
            for utterance in candidates:
                if (other := owners.setdefault(utterance, name)) != name:
                    raise DataError(f"{source}: '{other}' and '{name}' both may be {utterance}. Give the whole path.")
                found[name] = utterance
        if not given:
            raise DataError(f"{source} holds nothing. Leave it out, or give what belongs to this audio.")
        if not found:
            raise DataError(
                f"{source} belongs to other audio: none of its {len(given):,} names fits any of the {len(self._ids):,} "
                f"utterances. It has e.g. '{next(iter(given))}', the corpus e.g. '{min(self._ids)}'."
            )
        return found

    def _candidates(self, name: str) -> list[str]:
        if name in self._ids:
            return [name]
        bare = _bare(name)
        if found := self._whole.get(bare) or self._by_end.get(bare):
            return found
        return next((self._whole[end] for end in _ends(bare) if end in self._whole), [])


def _bare(name: str) -> str:
    """The name without the suffix of an audio file."""
    stem, suffix = os.path.splitext(name.replace("\\", "/").removeprefix("./"))
    return stem if suffix.lower() in EXTENSIONS else stem + suffix


def _ends(path: str) -> Iterator[str]:
    """The path, and what is left of it without its first folder, its first two, and so on."""
    while path:
        yield path
        path = path.partition("/")[2]
