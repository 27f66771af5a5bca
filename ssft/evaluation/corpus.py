"""`LabelledCorpus`: audio with what is known of it, in the splits that tasks train, choose and test on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ssft.data.corpus import fingerprint
from ssft.errors import DataError, RecipeError
from ssft.evaluation.items import UNKNOWN_SPEAKERS, Item, Segment
from ssft.evaluation.search_task import SearchTask
from ssft.randomness import derive_seed
from ssft.types import Utterance

TRAIN, DEV, TEST = "train", "dev", "test"
"""Probes are trained on `train`, chosen on `dev`; everything is measured on `test`. No speaker is in two of them."""


@dataclass(frozen=True, eq=False)
class LabelledCorpus:
    """Audio with whatever labels there are. A task says what it needs; what is not there is an empty mapping.

    Args:
        name: for results, e.g. `speechocean762_train`.
        splits: utterances by the name of the split; there is always a `test`. Further ones hold what only a search
            task uses.
        phones: aligned phones, pauses included, by utterance id, in the order of time.
        words: aligned words, the same.
        transcripts: what is said, by utterance id, as letters and blanks.
        pronunciations: phones without times, by utterance id.
        items: ABX items from files, by what they are called, e.g. `dev-clean`.
        searches: query-by-example tasks that come with the corpus, e.g. `dev` and `eval` of QUESST 2014.
        notes: what must be said beside every figure, e.g. that times are machine-made.
        skipped: how many labels or recordings were left out, by reason.

    Example:
        >>> corpus = open_corpus("demo")
        >>> len(corpus.splits["test"]), corpus.words["heldout/f1/000.opus"][0].label
        (180, 'the')
    """

    name: str
    splits: Mapping[str, Sequence[Utterance]]
    phones: Mapping[str, Sequence[Segment]] = field(default_factory=dict)
    words: Mapping[str, Sequence[Segment]] = field(default_factory=dict)
    transcripts: Mapping[str, str] = field(default_factory=dict)
    pronunciations: Mapping[str, Sequence[str]] = field(default_factory=dict)
    items: Mapping[str, Sequence[Item]] = field(default_factory=dict)
    searches: Sequence[SearchTask] = ()
    notes: Sequence[str] = ()
    skipped: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.splits.get(TEST):
            raise DataError(f"{self.name} has no utterances to test on. Name a split for `test` in its description.")

    @property
    def fingerprint(self) -> str:
        """Hash of the ids and lengths of all utterances."""
        return fingerprint([utterance for split in sorted(self.splits) for utterance in self.splits[split]])

    def summary(self) -> str:
        """One line for people: what is in each split, and how much was left out."""
        parts = [
            f"{name} {len(own):,} utterances, {sum(utterance.seconds for utterance in own) / 3600:.2f} h"
            for name, own in self.splits.items()
        ]
        left_out = sum(self.skipped.values())
        return f"{self.name}: {'; '.join(parts)}" + (
            f"; {left_out:,} labels or recordings left out" if left_out else ""
        )

    def describe(self) -> dict[str, Any]:
        """Return plain values for results: which audio it is, how much, and what must be said of it."""
        return {
            "name": self.name,
            "fingerprint": self.fingerprint,
            "splits": {
                name: {"utterances": len(own), "hours": round(sum(u.seconds for u in own) / 3600, 3)}
                for name, own in self.splits.items()
            },
            "speakers": len(set(self.speakers().values())),
            "notes": list(self.notes),
            "skipped": dict(self.skipped),
        }

    def speakers(self, split: str = TEST) -> dict[str, str]:
        """Speakers of a split by utterance id; utterances of unknown speakers are not in it."""
        return {
            utterance.id: utterance.speaker
            for utterance in self.splits.get(split, ())
            if utterance.speaker and utterance.speaker not in UNKNOWN_SPEAKERS
        }

    def segments(self, kind: str, split: str = TEST) -> list[Segment]:
        """Aligned `phones` or `words` of all utterances of a split."""
        labels: Mapping[str, Sequence[Segment]] = getattr(self, kind)
        return [segment for utterance in self.splits.get(split, ()) for segment in labels.get(utterance.id, ())]

    def limited(self, *, train_hours: float) -> LabelledCorpus:
        """Return the same corpus with only a random part of `train`, of about this length; a note says so.

        Which utterances are in it follows from their ids, so that a longer part holds a shorter one.

        Raises:
            RecipeError: the length is not positive.
        """
        if not train_hours > 0:
            raise RecipeError(f"train_hours={train_hours} must be positive: so much of train is used at most.")
        train = list(self.splits.get(TRAIN, ()))
        kept: set[str] = set()
        seconds = 0.0
        for utterance in sorted(train, key=lambda utterance: derive_seed("train hours", utterance.id)):
            if seconds >= 3600 * train_hours:
                break
            kept.add(utterance.id)
            seconds += utterance.seconds
        if len(kept) == len(train):
            return self
        note = f"Training uses {seconds / 3600:.2f} h of train: {len(kept):,} of {len(train):,} utterances."
        part = [utterance for utterance in train if utterance.id in kept]
        return replace(self, splits={**self.splits, TRAIN: part}, notes=(*self.notes, note))
