"""Query by example: recordings that hold a word are found by one spoken example of it, in any layer."""

from ssft.evaluation.search.lists import across_speakers, make_search_task
from ssft.evaluation.search.matching import Matches, match
from ssft.evaluation.search.measures import average_precision, search_measures
from ssft.evaluation.search.task import QueryByExample

__all__ = [
    "Matches",
    "QueryByExample",
    "across_speakers",
    "average_precision",
    "make_search_task",
    "match",
    "search_measures",
]
