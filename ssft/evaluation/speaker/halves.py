"""Which utterances a speaker probe is trained on, and which it is tested on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ssft.randomness import derive_seed

FEWEST_UTTERANCES = 4
"""Of a speaker, to be in a probe: two to train on and two to test on."""


@dataclass(frozen=True)
class Halves:
    """Utterance ids to train and to test on, and the speakers by utterance id. All speakers are in both."""

    train: tuple[str, ...]
    test: tuple[str, ...]
    speakers: Mapping[str, str]


def halve(speakers: Mapping[str, str], *, seed: int = 0) -> Halves:
    """Put half of the utterances of each speaker into either half, an odd one into `test`.

    Which one an utterance is in depends on the seed and the ids of the speaker's utterances, and on nothing else.
    Speakers with fewer than `FEWEST_UTTERANCES` are in neither.

    Args:
        speakers: by utterance id.
        seed: another one, another split.

    Example:
        >>> halve({f"{name}-{number}": name for name in ("kim", "lee") for number in range(4)}).train
        ('kim-0', 'kim-3', 'lee-1', 'lee-2')
    """
    utterances: dict[str, list[str]] = {}
    for utterance, speaker in speakers.items():
        utterances.setdefault(speaker, []).append(utterance)
    train, test = [], []
    for own in utterances.values():
        if len(own) >= FEWEST_UTTERANCES:
            drawn = sorted(own, key=lambda name: (derive_seed(seed, "speaker probe", name), name))
            train += drawn[: len(own) // 2]
            test += drawn[len(own) // 2 :]
    used = {utterance: speakers[utterance] for utterance in (*train, *test)}
    return Halves(tuple(sorted(train)), tuple(sorted(test)), used)
