"""How well documents are found: maximum term-weighted value and mean average precision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ssft.evaluation.measure import Measure, divide, ratio
from ssft.evaluation.search.matching import Matches
from ssft.evaluation.search_task import Query, SearchTask

Floats = NDArray[np.float64]

DECIMALS = 4
"""Scores that are equal to so many decimals are ties, as where SUPERB writes them down."""
THRESHOLDS_AT_ONCE = 2048


class Trials(NamedTuple):
    """The scores of a query: of documents that hold its term, and of those that do not."""

    query: Query
    hits: Floats
    others: Floats


def search_measures(search: SearchTask, matches: Matches, *, beta: float, label: str = "") -> list[Measure]:
    """Return the maximum term-weighted value and the mean average precision of a search.

    The score of a query and a document is minus their distance, standardised over the documents that this query is
    looked for in. Queries that no document answers, or all do, tell nothing, and are left out. Both measures are means
    over queries, and are resampled over the speakers of the queries if all are known, else over the queries.

    Args:
        search: what is searched for where; its queries may be some of those that were matched.
        matches: distances.
        beta: what a false alarm costs, in misses.
        label: what is added to the names, e.g. ` across`.

    Returns:
        `MTWV` and `MAP`; nothing if no query is left.
    """
    trials, unanswered, always = [], 0, 0
    for query in search.queries:
        if query.id not in matches.rows:
            continue
        searched = ~matches.among(query.excluded)
        hit = matches.among(search.relevant.get(query.term, ()))[searched]
        if not hit.any():
            unanswered += 1
        elif hit.all():
            always += 1
        else:
            scores = _standard_scores(-matches.distances[matches.rows[query.id]][searched].astype(np.float64))
            trials.append(Trials(query, scores[hit], scores[~hit]))
    if not trials:
        return []
    by_speaker = all(own.query.speaker for own in trials)
    groups = [(own.query.speaker or "") if by_speaker else own.query.id for own in trials]
    grouped_by = "speaker" if by_speaker else "query"
    counts = {
        "queries": len(trials),
        "terms": len({own.query.term for own in trials}),
        "documents": len(matches.columns),
        **matches.counts,
        **search.skipped,
        "queries that no document answers": unanswered,
        "queries that every document answers": always,
    }
    counts = {name: count for name, count in counts.items() if count}
    precisions = [average_precision(own.hits, own.others) for own in trials]
    return [
        _maximum_term_weighted_value(f"MTWV{label}", trials, groups, grouped_by, beta, counts),
        ratio(
            f"MAP{label}",
            precisions,
            np.ones(len(trials)),
            groups=groups,
            better="higher",
            grouped_by=grouped_by,
            percent=True,
            counts=counts,
        ),
    ]


def average_precision(hits: Floats, others: Floats) -> float:
    """Return the mean, over the documents that hold the term, of the precision down to each in the order of scores.

    Documents of equal score are taken as if in random order: it is the expectation over all their orders.

    Args:
        hits: scores of the documents that hold the term, at least one.
        others: scores of the others.

    Source: ties as in McSherry and Najork, ECIR 2008.

    Example:
        >>> average_precision(np.array([2.0, 0.0]), np.array([1.0]))
        0.8333333333333333
        >>> average_precision(np.array([1.0]), np.array([1.0]))
        0.75
    """
    _, block = np.unique(-np.concatenate([hits, others]), return_inverse=True)
    sizes = np.bincount(block)
    relevant = np.bincount(block[: len(hits)], minlength=len(sizes))
    of_rank = np.repeat(np.arange(len(sizes)), sizes)
    rank = np.arange(1, len(of_rank) + 1)
    size, own = sizes[of_rank], relevant[of_rank]
    before, found = (np.cumsum(sizes) - sizes)[of_rank], (np.cumsum(relevant) - relevant)[of_rank]
    # If the document at this rank is a hit, so are these of the others of its block that stand above it, on average.
    above = (rank - before - 1) * (own - 1) / np.maximum(size - 1, 1)
    return float((own / size * (found + above + 1) / rank).sum() / len(hits))


def _maximum_term_weighted_value(
    name: str, trials: Sequence[Trials], groups: Sequence[str], grouped_by: str, beta: float, counts: dict[str, int]
) -> Measure:
    """The best, over one threshold for all queries, of `1 - mean(P(miss) + beta * P(false alarm))`.

    Probabilities are shares: of misses among the documents that hold the term of a query, of false alarms among the
    others. A threshold between two scores of hits can only do worse than the higher of them, so only scores of hits are
    tried, and a threshold above all, for which the value is 0.
    """
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    thresholds = np.unique(np.concatenate([own.hits for own in trials]))
    values = np.zeros((len(names), len(thresholds)))
    for group, own in zip(index, trials, strict=True):
        values[group] += _share_from(own.hits, thresholds) - beta * _share_from(own.others, thresholds)
    sizes = np.bincount(index).astype(np.float64)

    def of(weights: Floats) -> Floats:
        best = np.zeros(len(weights))
        for start in range(0, len(thresholds), THRESHOLDS_AT_ONCE):
            np.maximum(best, (weights @ values[:, start : start + THRESHOLDS_AT_ONCE]).max(axis=1), out=best)
        return divide(best, weights @ sizes)

    return Measure(name, "higher", tuple(names.tolist()), of, grouped_by, percent=True, counts=counts)


def _share_from(scores: Floats, thresholds: Floats) -> Floats:
    """Which part of the scores is not below each threshold."""
    below = np.searchsorted(np.sort(scores), thresholds)
    return 1 - below / len(scores)


def _standard_scores(scores: Floats) -> Floats:
    centred = scores - scores.mean()
    return np.asarray(np.round(centred / max(float(scores.std()), 1e-9), DECIMALS))
