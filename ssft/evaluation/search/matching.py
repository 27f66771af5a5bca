"""How far each query is from each document, by the frames of one layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssft.errors import DataError
from ssft.evaluation.frames import FramesById
from ssft.evaluation.items import Item, frame_span
from ssft.evaluation.search_task import Query, SearchTask
from ssft.ops.subsequence_dtw import subsequence_dtw

Frames = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Matches:
    """Distances of queries and documents.

    Args:
        rows: which row a query has, by its id.
        columns: which column a document has, by its id.
        distances: [Q, S].
        counts: what was left out, and why.
    """

    rows: Mapping[str, int]
    columns: Mapping[str, int]
    distances: NDArray[np.float32]
    counts: Mapping[str, int]

    def among(self, documents: Iterable[str]) -> NDArray[np.bool_]:
        """Return [S] which columns are one of these documents."""
        chosen = np.zeros(len(self.columns), dtype=bool)
        chosen[[self.columns[name] for name in documents if name in self.columns]] = True
        return chosen


def match(
    search: SearchTask,
    *,
    queries: FramesById,
    documents: FramesById,
    frame_rate: float,
    min_frames: int = 5,
) -> Matches:
    """Compare every query with every document by `subsequence_dtw`, excluded documents too.

    A query shorter than `min_frames` has distance 0 from every document: it finds nothing, and costs what that costs.
    Queries and documents without frames are left out, and counted.

    Args:
        search: what is searched for where.
        queries: frames [F, D] of the utterances that queries are in.
        documents: frames [F, D] of the documents.
        frame_rate: frames per second.
        min_frames: as SUPERB's 5.

    Raises:
        DataError: no query or no document has frames, or they are not finite and [F, D] with one D.
    """
    given = {name: documents.get(name) for name in search.documents}
    found = {name: frames for name, frames in given.items() if frames is not None and len(frames)}
    asked: dict[str, Frames] = {}
    for query in search.queries:
        whole = queries.get(query.utterance)
        if whole is not None and len(part := _cut(query, whole, frame_rate)):
            asked[query.id] = part
    if not asked or not found:
        raise DataError(
            f"{len(asked)} of the {len(search.queries)} queries of the search '{search.name}', and {len(found)} of its "
            f"{len(search.documents)} documents, have frames: there is nothing to compare."
        )
    _check([*found.items(), *asked.items()])
    distances = subsequence_dtw(list(asked.values()), list(found.values()))
    short = [len(frames) < min_frames for frames in asked.values()]
    distances[short] = 0.0
    longest = max(map(len, found.values()))
    return Matches(
        rows={name: row for row, name in enumerate(asked)},
        columns={name: column for column, name in enumerate(found)},
        distances=distances,
        counts={
            "queries without frames": len(search.queries) - len(asked),
            "documents without frames": len(search.documents) - len(found),
            f"queries shorter than {min_frames} frames": sum(short),
            "queries longer than every document": sum(len(frames) > longest for frames in asked.values()),
        },
    )


def _cut(query: Query, frames: Frames, frame_rate: float) -> Frames:
    """The frames of a query, by the rule of `frame_span`; none if it reaches past the end of its utterance."""
    if query.start is None and query.end is None:
        return frames
    end = len(frames) / frame_rate if query.end is None else query.end
    item = Item(query.utterance, query.start or 0.0, end, query.term, (), query.speaker or "")
    span = frame_span(item, frame_rate, len(frames))
    return frames[span.start : span.stop]


def _check(named: Sequence[tuple[str, Frames]]) -> None:
    dim = named[0][1].shape[-1]
    for name, own in named:
        if own.ndim != 2 or own.shape[1] != dim:
            raise DataError(f"Frames must be [F, {dim}], but those of {name} are {list(own.shape)}.")
        if not np.isfinite(own).all():
            raise DataError(f"Frames of {name} contain NaN or infinity.")
