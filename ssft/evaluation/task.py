"""`Task`: one way to measure what frames tell apart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Protocol

from ssft.evaluation.corpus import LabelledCorpus
from ssft.evaluation.frames import FrameStore
from ssft.evaluation.measure import Score


class Task(Protocol):
    """A dataclass whose fields are its settings, so that `ssft evaluate abx --abx.max_group 5` can change them.

    Attributes:
        name: as in `ssft evaluate NAME`, and in results.
        needs_training: it trains something on the split `train`, or fits something there if there is such a split.
        trains_by_gradient: it draws PyTorch's random numbers, so no two of its kind may be measured at the same time.
    """

    name: ClassVar[str]
    needs_training: ClassVar[bool]
    trains_by_gradient: ClassVar[bool]

    def obstacle(self, corpus: LabelledCorpus) -> str | None:
        """Return why the corpus cannot be used for this, and what it lacks, or None. Looks at no audio."""
        ...

    def scores(self, corpus: LabelledCorpus, store: FrameStore, *, seeds: int = 1) -> Iterator[Score]:
        """Measure every layer, in every condition of the store, one after another.

        What is trained or fitted is so on clean audio, once for each of `seeds`, and tested in all conditions.

        Raises:
            DataError: there turns out to be nothing to measure.
        """
        ...
