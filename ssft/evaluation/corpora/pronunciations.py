"""What should be said, as phones without times: from a table, or from words and a lexicon."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from ssft.errors import DataError
from ssft.evaluation.corpora.names import Names
from ssft.evaluation.corpora.tables import label_column
from ssft.evaluation.items import read_table

Phones = tuple[str, ...]

_VARIANT = re.compile(r"\(\d+\)$")
_EDGES = re.compile(r"^\W+|\W+$")


def read_texts(path: Path, column: str | None, kind: str, names: Names, skipped: Counter[str]) -> dict[str, str]:
    """Read a table with a path and a text, and return the texts by utterance id.

    Args:
        path: a TSV.
        column: of the text; None for the usual one.
        kind: `transcripts` or `pronunciations`.
        names: the utterances.
        skipped: gets the number of rows left out, by reason.

    Raises:
        DataError: it cannot be read, or no row belongs to any utterance.
    """
    rows = read_table(path, ("path", column or label_column(path, kind)))
    ids = names.match((name for name, _ in rows), source=path)
    texts: dict[str, str] = {}
    for name, text in rows:
        if name not in ids:
            skipped[f"{kind} of utterances that are not there"] += 1
        elif not text.strip():
            skipped[f"{kind} without a text"] += 1
        elif ids[name] in texts:
            skipped[f"{kind} listed twice"] += 1
        else:
            texts[ids[name]] = text.strip()
    return texts


def phones_of(text: str) -> Phones:
    """Return the phones of e.g. `W IY0 | K AO0 L`, where a bar may stand between words."""
    return tuple(phone for phone in text.split() if phone != "|")


def read_lexicon(path: Path) -> dict[str, Phones]:
    """Return the first pronunciation of every word, by the word in upper case.

    Each line is a word and its phones, between blanks or tabs; a number in brackets after a word, as in `READ(2)`,
    marks one more pronunciation of it, and a line that begins with `;;;` says nothing.

    Raises:
        DataError: it cannot be read, or holds no word.
    """
    lexicon: dict[str, Phones] = {}
    try:
        with path.open(encoding="utf-8-sig") as file:
            for line in file:
                word, *phones = line.split() or [""]
                if phones and not word.startswith(";;;"):
                    lexicon.setdefault(_VARIANT.sub("", word).upper(), tuple(phones))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}.") from error
    if not lexicon:
        raise DataError(f"{path} holds no words. Each line of a lexicon is a word and its phones: CAT K AE T.")
    return lexicon


def look_up(transcripts: Mapping[str, str], path: Path, skipped: Counter[str]) -> dict[str, Phones]:
    """Return the phones of every transcript all of whose words are in the lexicon.

    Args:
        transcripts: by utterance id.
        path: the lexicon.
        skipped: gets the number of words that are not in it, and of utterances that hold one.

    Raises:
        DataError: the lexicon cannot be read, or there is no transcript all of whose words it has.
    """
    lexicon = read_lexicon(path)
    found: dict[str, Phones] = {}
    unknown: set[str] = set()
    for utterance, text in transcripts.items():
        # As it is written, or else without punctuation.
        words = [word if word in lexicon else _EDGES.sub("", word) for word in text.upper().split()]
        missing = {word for word in words if word and word not in lexicon}
        if any(words) and not missing:
            found[utterance] = tuple(phone for word in words if word for phone in lexicon[word])
        unknown |= missing
    if not found:
        said = f"It has no '{min(unknown)}'" if unknown else "There are no transcripts"
        raise DataError(f"{path} fits no utterance. {said}; it has e.g. '{next(iter(lexicon))}'.")
    if len(found) < len(transcripts):
        skipped["words that are not in the lexicon"] += len(unknown)
        skipped["utterances without a pronunciation, for such a word"] += len(transcripts) - len(found)
    return found
