"""`LabelledCorpus`: audio with what is known of it, in the splits that tasks train, choose and test on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ssft.data.corpus import fingerprint
from ssft.errors import DataError
from ssft.evaluation.items import UNKNOWN_SPEAKERS, Item, Segment
from ssft.evaluation.search_task import SearchTask
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
        >>> len(corpus.splits["test"]), corpus.words["heldout/a-01.flac"][0].label
        (60, 'the')
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
