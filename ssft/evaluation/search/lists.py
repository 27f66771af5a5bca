"""What to search for: queries and documents made from aligned words, for corpora that come without."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import replace

from ssft.errors import DataError
from ssft.evaluation.corpus import TEST, LabelledCorpus
from ssft.evaluation.items import PAUSES
from ssft.evaluation.search_task import Query, SearchTask
from ssft.randomness import derive_seed


def make_search_task(
    corpus: LabelledCorpus,
    *,
    min_seconds: float = 0.3,
    min_documents: int = 2,
    max_queries: int = 150,
    max_documents: int = 1000,
    seed: int = 0,
) -> SearchTask:
    """Make queries of words that are said in several utterances of the split `test`, which are the documents.

    A query is cut out of its utterance, in which it is then not looked for. One query is drawn of every term, then a
    second one, of another speaker where there is one, and so on: terms and speakers are spread as far as they go.

    Args:
        corpus: with aligned words.
        min_seconds: shorter words are no queries; documents hold a term however short it is there.
        min_documents: how many documents at least hold a term, that of the query included.
        max_queries: how many are drawn.
        max_documents: how many of the utterances with aligned words are drawn. Queries are cut out of these alone.
        seed: of both draws, which depend on nothing else but ids, never on their order.

    Raises:
        DataError: no utterance has aligned words, or no word can be a query.

    Example:
        >>> search = make_search_task(open_corpus("demo"))
        >>> search.queries[0].term in search.relevant, len(search.documents)
        (True, 180)
    """
    known = [utterance.id for utterance in corpus.splits[TEST] if corpus.words.get(utterance.id)]
    if not known:
        raise DataError(f"{corpus.name} has no aligned words to search for. Give a table of words, such as words.tsv.")
    drawn = set(sorted(known, key=lambda name: derive_seed(seed, "document", name))[:max_documents])
    documents = [name for name in known if name in drawn]
    words = [word for name in documents for word in corpus.words[name] if word.label not in PAUSES]
    relevant: dict[str, set[str]] = defaultdict(set)
    for word in words:
        relevant[word.label].add(word.utterance)

    # A hair of tolerance, because 0.8 - 0.5 < 0.3 in binary.
    long_enough = [word for word in words if word.end - word.start >= min_seconds - 1e-6]
    shared = [word for word in long_enough if len(relevant[word.label]) >= min_documents]
    speakers = corpus.speakers()
    candidates = {}
    for word in shared:
        name = f"{word.utterance} {word.start:.3f} {word.label}"
        own = frozenset([word.utterance])
        speaker = speakers.get(word.utterance)
        candidates[name] = Query(name, word.label, word.utterance, word.start, word.end, speaker, own)
    queries = _spread(candidates.values(), seed)[:max_queries]
    if not queries:
        raise DataError(
            f"{corpus.name} has no word of at least {min_seconds:g} s that {min_documents} of its {len(documents)} "
            "documents hold. Lower min_seconds or min_documents."
        )
    return SearchTask(
        name="words",
        queries=sorted(queries, key=lambda query: query.id),
        documents=documents,
        relevant={query.term: frozenset(relevant[query.term]) for query in queries},
        skipped={
            "utterances without aligned words": len(corpus.splits[TEST]) - len(known),
            "documents that were not drawn": len(known) - len(documents),
            f"words shorter than {min_seconds:g} s": len(words) - len(long_enough),
            f"words in fewer than {min_documents} documents": len(long_enough) - len(shared),
            "words that were not drawn": len(shared) - len(queries),
        },
    )


def across_speakers(search: SearchTask, speakers: Mapping[str, str]) -> SearchTask:
    """Look for each query only in documents of other speakers, which is what speaker-invariant frames are for.

    Args:
        search: what is searched for where.
        speakers: by document; those of unknown speakers, who may be anybody, are not searched.

    Returns:
        The same search, without the queries of unknown speakers.
    """
    by_speaker: dict[str | None, set[str]] = defaultdict(set)
    for document in search.documents:
        by_speaker[speakers.get(document)].add(document)
    known = [query for query in search.queries if query.speaker]
    return replace(
        search,
        queries=[
            replace(query, excluded=query.excluded | by_speaker[query.speaker] | by_speaker[None]) for query in known
        ],
        skipped={
            **search.skipped,
            "queries of unknown speakers": len(search.queries) - len(known),
            "documents of unknown speakers": len(by_speaker[None]),
        },
    )


def _spread(queries: Iterable[Query], seed: int) -> list[Query]:
    """In an order of chance, but every term before any a second time, and every speaker of a term likewise."""
    shuffled = sorted(queries, key=lambda query: derive_seed(seed, "query", query.id))
    by_speaker = _in_turns(shuffled, lambda query: (query.term, query.speaker))
    return _in_turns(by_speaker, lambda query: query.term)


def _in_turns(queries: Iterable[Query], key: Callable[[Query], Hashable]) -> list[Query]:
    """The first of each key, then the second of each, and so on; otherwise in the order in which they are given."""
    seen: Counter[Hashable] = Counter()
    turns: dict[int, list[Query]] = defaultdict(list)
    for query in queries:
        turns[seen[key(query)]].append(query)
        seen[key(query)] += 1
    return [query for turn in sorted(turns) for query in turns[turn]]
