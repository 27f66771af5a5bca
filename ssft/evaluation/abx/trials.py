"""Which items an ABX task compares: groups of what one speaker says, and the groups that A, B and X come from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ssft.evaluation.items import Item
from ssft.randomness import derive_rng


class Group(NamedTuple):
    """What one speaker says of one label in one context."""

    context: tuple[str, ...]
    speaker: str
    label: str
    items: list[int]
    """By index."""


class Comparison(NamedTuple):
    """One speaker's groups in one context, by index, from `first` to before `end`: A is one of them, B each other one.

    `pairs` says which group of it is A, and in which group X is.
    """

    first: int
    end: int
    pairs: list[tuple[int, int]]


def make_groups(items: Iterable[Item], max_group: int, seed: int) -> list[Group]:
    """Sorted by context, then speaker, then label; the items of each in their own order."""
    found: dict[tuple[tuple[str, ...], str, str], list[int]] = defaultdict(list)
    for index, item in enumerate(items):
        found[item.context, item.speaker, item.label].append(index)
    groups = []
    for (context, speaker, label), own in sorted(found.items()):
        if len(own) > max_group:
            drawn = derive_rng(seed, "abx group", label, speaker, *context).permutation(len(own))[:max_group]
            own = [own[index] for index in sorted(drawn.tolist())]
        groups.append(Group(context, speaker, label, own))
    return groups


def make_comparisons(groups: Sequence[Group], speaker: str, max_x_speakers: int | None, seed: int) -> list[Comparison]:
    """Every A and X of one context whose speaker of A says another label too. A single item cannot be both A and X."""
    own_groups, same_label = defaultdict(list), defaultdict(list)
    for index, group in enumerate(groups):
        own_groups[group.context, group.speaker].append(index)
        same_label[group.context, group.label].append(index)
    comparisons = []
    for (context, name), own in own_groups.items():
        pairs = []
        for a in own if len(own) > 1 else ():
            label = groups[a].label
            if speaker == "within":
                xs = [a] if len(groups[a].items) > 1 else []
            else:
                xs = [x for x in same_label[context, label] if x != a]
                if max_x_speakers is not None and len(xs) > max_x_speakers:
                    rng = derive_rng(seed, "abx speakers of x", label, name, *context)
                    xs = [xs[i] for i in rng.permutation(len(xs))[:max_x_speakers].tolist()]
            pairs += [(a, x) for x in xs]
        if pairs:
            comparisons.append(Comparison(own[0], own[-1] + 1, pairs))
    return comparisons
