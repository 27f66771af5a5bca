"""`SearchTask`: spoken queries, recordings that are searched, and which of them hold what is asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ssft.errors import DataError


@dataclass(frozen=True)
class Query:
    """A spoken example of a term: an utterance, or a part of it from `start` to `end`, in seconds.

    `excluded` are documents in which it is not looked for, such as the one that it was cut from.
    """

    id: str
    term: str
    utterance: str
    start: float | None = None
    end: float | None = None
    speaker: str | None = None
    excluded: frozenset[str] = frozenset()


@dataclass(frozen=True)
class SearchTask:
    """What is searched for where.

    Args:
        name: e.g. `dev`, `eval` or `words`.
        queries: in a fixed order.
        documents: ids of the utterances that are searched, in a fixed order.
        relevant: ids of the documents that hold a term, by term.
        query_split: the split of the corpus whose utterances the queries are in.
        document_split: the one of the documents.
        skipped: how many queries or documents were left out when it was made, by reason.

    Raises:
        DataError: two queries or two documents of one id.
    """

    name: str
    queries: Sequence[Query]
    documents: Sequence[str]
    relevant: Mapping[str, frozenset[str]] = field(repr=False)
    query_split: str = "test"
    document_split: str = "test"
    skipped: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for what, ids in (("queries", [query.id for query in self.queries]), ("documents", self.documents)):
            for name, count in Counter(ids).most_common(1):
                if count > 1:
                    raise DataError(f"{count} {what} of the search '{self.name}' are called {name}. List each once.")
