"""Which items an ABX task compares: groups of what one speaker says, and the groups that A and X come from."""

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
    items: list[Item]


class Trial(NamedTuple):
    """Groups of one context by index: A, X, and all of A's speaker, from `first` to before `end`; B is each but A."""

    a: int
    x: int
    first: int
    end: int


def make_groups(items: Iterable[Item], max_group: int, seed: int) -> list[Group]:
    """Sorted by context, then speaker, then label; the items of each in their own order."""
    found: dict[tuple[tuple[str, ...], str, str], list[Item]] = defaultdict(list)
    for item in items:
        found[item.context, item.speaker, item.label].append(item)
    groups = []
    for (context, speaker, label), own in sorted(found.items()):
        if len(own) > max_group:
            drawn = derive_rng(seed, "abx group", label, speaker, *context).permutation(len(own))[:max_group]
            own = [own[index] for index in sorted(drawn.tolist())]
        groups.append(Group(context, speaker, label, own))
    return groups


def make_trials(groups: Sequence[Group], speaker: str, max_x_speakers: int | None, seed: int) -> list[Trial]:
    """Every A and X of a context whose speaker of A says another label too. A single item cannot be both A and X."""
    by_speaker, by_label = defaultdict(list), defaultdict(list)
    for index, group in enumerate(groups):
        by_speaker[group.speaker].append(index)
        by_label[group.label].append(index)
    trials = []
    for a, (context, name, label, items) in enumerate(groups):
        if speaker == "within":
            xs = [a] if len(items) > 1 else []
        else:
            xs = [x for x in by_label[label] if x != a]
            if max_x_speakers is not None and len(xs) > max_x_speakers:
                rng = derive_rng(seed, "abx speakers of x", label, name, *context)
                xs = [xs[i] for i in rng.permutation(len(xs))[:max_x_speakers].tolist()]
        run = by_speaker[name]
        if len(run) > 1:
            trials += [Trial(a, x, run[0], run[-1] + 1) for x in xs]
    return trials
