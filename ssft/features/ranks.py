"""Which of the utterances a process encodes, where several share the work."""

from __future__ import annotations

import heapq
import os
from collections.abc import Sequence

from ssft.errors import RecipeError
from ssft.types import Utterance


def rank_and_world_size() -> tuple[int, int]:
    """Return which process this is and of how many, by RANK and WORLD_SIZE, which torchrun and accelerate set.

    Nothing is connected: two processes that were started by hand share the work just as well.

    Raises:
        RecipeError: values that do not fit.
    """
    rank, world_size = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
    if not (rank.isdecimal() and world_size.isdecimal() and int(rank) < int(world_size)):
        raise RecipeError(
            f"RANK={rank} and WORLD_SIZE={world_size} do not fit. Start the processes with torchrun or `accelerate "
            "launch`, or unset both."
        )
    return int(rank), int(world_size)


def own_part(utterances: Sequence[Utterance], *, rank: int, world_size: int) -> list[Utterance]:
    """Return the utterances of one of `world_size` processes, in the order given.

    All get about the same number of seconds: from the longest to the shortest, each goes to whoever has least. Who gets
    what depends on ids and lengths alone.

    Example:
        >>> [u.id for u in own_part([a_3s, b_2s, c_2s], rank=1, world_size=2)]
        ['b_2s', 'c_2s']
    """
    ordered = sorted(range(len(utterances)), key=lambda index: (-utterances[index].seconds, utterances[index].id))
    loads = [(0.0, process) for process in range(world_size)]
    own = []
    for index in ordered:
        seconds, process = loads[0]
        heapq.heapreplace(loads, (seconds + utterances[index].seconds, process))
        if process == rank:
            own.append(index)
    return [utterances[index] for index in sorted(own)]
