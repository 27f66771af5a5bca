"""`QueryByExample`: are recordings that hold a word found by an example of it, spoken by somebody else?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from tqdm import tqdm

from ssft.errors import DataError
from ssft.evaluation.corpus import LabelledCorpus
from ssft.evaluation.frames import CLEAN, FrameStore
from ssft.evaluation.measure import Score
from ssft.evaluation.search.lists import across_speakers, make_search_task
from ssft.evaluation.search.matching import match
from ssft.evaluation.search.measures import search_measures
from ssft.evaluation.search_task import SearchTask


@dataclass(frozen=True)
class QueryByExample:
    """Search by spoken example, without training, as SUPERB does: `MTWV` and `MAP` of every layer, higher is better.

    What is searched comes with the corpus (QUESST 2014), or is made of its aligned words by `make_search_task`; then a
    query is cut out of an utterance, whose rest the encoder has heard. Queries and documents are of one condition.
    Where speakers are known, it is measured again `across` speakers: in documents of others than the query's.

    A corpus with searches named `dev` and `eval` gets both. What the layer with the best clean `MTWV dev` reaches on
    `eval`, which SUPERB reports, is also a score of no layer: two systems are compared whose best layers may differ.

    The term-weighted value is `1 - mean over queries of (P(miss) + beta * P(false alarm))`, where
    `beta = false_alarm_cost / miss_cost * (1 / prior - 1)`: 12.49 for the costs of QUESST 2014, the defaults. `MTWV` is
    that of the best threshold on the standardised scores. Among few documents a single false alarm is expensive: frames
    that find little have values about 0, where only `MAP` still tells them apart.

    Args:
        min_seconds: as in `make_search_task`.
        min_documents: likewise.
        max_queries: likewise.
        max_documents: likewise.
        min_frames: shorter queries find nothing.
        miss_cost: of a document that is not found.
        false_alarm_cost: of a document that is wrongly found.
        prior: how probable it is supposed to be that a document holds a term.
        seed: of the draws of queries and documents.

    Raises:
        ValueError: a setting out of range.

    Source: Yang et al., SUPERB, Interspeech 2021; Anguera et al., QUESST2014, ICASSP 2015; Fiscus et al., SIGIR 2007.

    Example:
        `ssft evaluate qbe MODEL --data DIR --qbe.max_queries 300`
    """

    name: ClassVar[str] = "qbe"
    needs_training: ClassVar[bool] = False
    trains_by_gradient: ClassVar[bool] = False

    min_seconds: float = 0.3
    min_documents: int = 2
    max_queries: int = 150
    max_documents: int = 1000
    min_frames: int = 5
    miss_cost: float = 100.0
    false_alarm_cost: float = 1.0
    prior: float = 0.0008
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.min_seconds < math.inf:
            raise ValueError(f"min_seconds={self.min_seconds}: give the length of the shortest query, such as 0.3.")
        if self.min_documents < 2 or self.max_documents < 2:
            raise ValueError("min_documents and max_documents must be at least 2: that of the query and another.")
        if self.max_queries < 1 or self.min_frames < 1:
            raise ValueError("max_queries and min_frames must be at least 1.")
        if not (0 < self.miss_cost < math.inf and 0 < self.false_alarm_cost < math.inf and 0 < self.prior < 1):
            raise ValueError("Costs must be positive and the prior between 0 and 1, such as 100, 1 and 0.0008.")

    @property
    def beta(self) -> float:
        """What a false alarm costs, in misses."""
        return self.false_alarm_cost / self.miss_cost * (1 / self.prior - 1)

    def obstacle(self, corpus: LabelledCorpus) -> str | None:
        try:
            self._searches(corpus)
        except DataError as error:
            return str(error)
        return None

    def scores(self, corpus: LabelledCorpus, store: FrameStore, *, seeds: int = 1) -> Iterator[Score]:
        found = []
        for search in self._searches(corpus):
            for score in self._search(search, corpus, store):
                found.append(score)
                yield score
        yield from _chosen_on_dev(found)

    def _searches(self, corpus: LabelledCorpus) -> Sequence[SearchTask]:
        if corpus.searches:
            return corpus.searches
        made = make_search_task(
            corpus,
            min_seconds=self.min_seconds,
            min_documents=self.min_documents,
            max_queries=self.max_queries,
            max_documents=self.max_documents,
            seed=self.seed,
        )
        return [made]

    def _search(self, search: SearchTask, corpus: LabelledCorpus, store: FrameStore) -> Iterator[Score]:
        label = f" {search.name}" if corpus.searches else ""
        across = across_speakers(search, corpus.speakers(search.document_split))
        places = [(layer, condition) for condition in store.conditions for layer in store.layers_in(condition)]
        for layer, condition in tqdm(places, desc=f"query by example{label}", delay=2.0, leave=False, disable=None):
            matches = match(
                search,
                queries=store.frames(search.query_split, layer=layer, condition=condition),
                documents=store.frames(search.document_split, layer=layer, condition=condition),
                frame_rate=store.frame_rate(layer),
                min_frames=self.min_frames,
            )
            own = search_measures(search, matches, beta=self.beta, label=label)
            if not own:
                raise DataError(
                    f"None of the {len(search.queries)} queries of the search '{search.name}' is answered by some "
                    f"documents and not by others. See which documents hold its terms."
                )
            own += search_measures(across, matches, beta=self.beta, label=f"{label} across")
            for measure in own:
                yield Score(self.name, layer, condition, (measure,))


def _chosen_on_dev(scores: Sequence[Score]) -> Iterator[Score]:
    """What the layer that is best on `dev` in clean audio scores on `eval`, in all conditions it is measured in."""
    on_dev = [score for score in scores if score.measure.name == "MTWV dev" and score.condition == CLEAN]
    if not on_dev:
        return
    best = max(on_dev, key=lambda score: score.value)
    for score in scores:
        if score.measure.name in ("MTWV eval", "MAP eval") and score.layer == best.layer:
            counts = {**score.measure.counts, "best layer on dev": best.layer or 0}
            measure = replace(score.measure, name=f"{score.measure.name}, best layer on dev", counts=counts)
            yield replace(score, layer=None, measures=(measure,))
