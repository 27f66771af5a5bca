"""What probes learn to say: the phones or the letters of every utterance."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from string import ascii_uppercase

from ssft.evaluation.corpus import LabelledCorpus
from ssft.evaluation.items import PAUSES

WORD_SEPARATOR = "|"
ENGLISH_LETTERS = tuple(sorted({*ascii_uppercase, "'", WORD_SEPARATOR}))
"""What English is spelt with, SUPERB's 28 symbols."""


def phones_of(corpus: LabelledCorpus, utterance: str, *, stress: bool) -> list[str]:
    """Return the phones of an utterance: its pronunciation if the corpus has any, else its aligned phones, no pauses.

    Args:
        corpus: where they are known; one that has pronunciations is not asked for aligned phones.
        utterance: its id.
        stress: keep the digits at the end of phones, as in `AH0`.
    """
    if corpus.pronunciations:
        phones: Sequence[str] = corpus.pronunciations.get(utterance, ())
    else:
        phones = [phone.label for phone in corpus.phones.get(utterance, ())]
    spoken = [phone for phone in phones if phone not in PAUSES]
    return spoken if stress else [phone.rstrip("0123456789") or phone for phone in spoken]


def letters_of(corpus: LabelledCorpus, utterance: str) -> list[str]:
    """Return the letters of an utterance in capitals, with `|` between words, without punctuation but the apostrophe.

    Example:
        >>> "".join(letters_of(corpus_of("Well-known, isn\u2019t it?"), "a.wav"))
        "WELL|KNOWN|ISN'T|IT"
    """
    text = unicodedata.normalize("NFKC", corpus.transcripts.get(utterance, "")).upper().replace("\u2019", "'")
    # Unicode's categories: letters, their marks, and numbers make words; what only shapes them (Cf) says nothing.
    kinds = ((character, unicodedata.category(character)) for character in text)
    kept = (c if c == "'" or kind[0] in "LMN" else " " for c, kind in kinds if kind != "Cf")
    return list(WORD_SEPARATOR.join("".join(kept).split()))


def spelt(letters: Sequence[str]) -> list[str]:
    """Return letters without `|` at either end or twice in a row."""
    return list(WORD_SEPARATOR.join(words_in(letters)))


def words_in(letters: Sequence[str]) -> list[str]:
    """Return the words that letters with `|` between them spell."""
    return [word for word in "".join(letters).split(WORD_SEPARATOR) if word]
