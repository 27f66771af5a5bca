"""Pairs as training hears them, with what was drawn and what can be measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np

from ssft.components import describe
from ssft.data import PairDataset
from ssft.randomness import derive_rng
from ssft.report.measures import Pitch, measured, pitch_of, semitones
from ssft.report.steps import Step, name_of, steps_of
from ssft.types import SAMPLE_RATE, DrawnAugmentation, Pair, Reject, Utterance

SIDES = ("original", "augmented")


@dataclass(frozen=True)
class HeardPair:
    """A pair of one epoch; `start` is where in the file its audio begins, in seconds.

    `lead_samples` of silence come before the original. `steps` and `pitch` are by side; an augmentation that does not
    say what it draws has no steps, only a name in `silent`.
    """

    utterance: Utterance
    pair: Pair
    start: float
    lead_samples: int
    steps: Mapping[str, Sequence[Step]]
    pitch: Mapping[str, Pitch]
    silent: Mapping[str, str]

    def wave(self, side: str) -> np.ndarray:
        samples: np.ndarray = getattr(self.pair, side).numpy()
        return samples

    @property
    def scale(self) -> float:
        """What both waveforms are multiplied by in files, where a sample beyond 1 has no place."""
        return 1.0 / max(1.0, *(float(np.abs(self.wave(side)).max()) for side in SIDES))

    def words(self, side: str) -> list[str]:
        """What was done to one of the two, a line for each step; none if nothing was."""
        unknown = [f"{self.silent[side]}, which does not say what it drew"] if side in self.silent else []
        return [*(step.words for step in self.steps.get(side, ())), *unknown]

    @property
    def titles(self) -> list[str]:
        """What is written above its picture: what was done to each of the two."""
        lines = [" · ".join(self.words("augmented")) or "augmented: the same as the original"]
        if self.words("original"):
            lines.append("original: " + " · ".join(self.words("original")))
        return lines

    def record(self) -> dict[str, Any]:
        """The pair as plain values, fit for JSON."""
        sides = {side: measured(self.wave(side), self.pitch[side]) for side in SIDES}
        change = semitones(*(self.pitch[side].median_hz for side in SIDES))
        return {
            "id": self.utterance.id,
            "path": str(self.utterance.path.absolute()),
            "speaker": self.utterance.speaker,
            "text": self.utterance.text,
            "crop": {"start_seconds": round(self.start, 4), "seconds": round(self.pair.seconds, 4)},
            **sides,
            "f0_change_semitones": None if change is None else round(change, 2),
            "drawn": describe(self.pair.drawn),
            "steps": {side: [step.record() for step in steps] for side, steps in self.steps.items()},
            "words": {side: self.words(side) for side in SIDES},
            "student_hears": "original" if self.pair.swapped else "augmented",
            "lead_seconds": self.lead_samples / SAMPLE_RATE,
            "fallbacks": self.pair.fallbacks,
            "scale_in_files": self.scale,
        }


def hear(pairs: PairDataset, *, epoch: int = 0) -> Iterator[HeardPair | Reject]:
    """Give the pairs of an epoch, beginning with utterances of different speakers, in an order that the seed decides.

    Where no speaker is known, the folder of a file stands for one.
    """
    for index in spread(pairs.utterances, seed=pairs.seed):
        pair = pairs[epoch, index]
        yield pair if isinstance(pair, Reject) else _heard(pairs, epoch, index, pair)


def spread(utterances: Sequence[Utterance], *, seed: int) -> list[int]:
    """Return the index of every utterance, one of each speaker, then a second one of each, and so on."""
    speakers: dict[str, list[int]] = {}
    for index, utterance in enumerate(utterances):
        speakers.setdefault(utterance.speaker or str(utterance.path.parent), []).append(index)
    rng = derive_rng(seed, "listen")
    shuffled = [rng.permutation(own).tolist() for own in speakers.values()]
    turns = zip_longest(*(shuffled[place] for place in rng.permutation(len(shuffled))))
    return [index for turn in turns for index in turn if index is not None]


def _heard(pairs: PairDataset, epoch: int, index: int, pair: Pair) -> HeardPair:
    utterance = pairs.utterances[index]
    clean, offset = pairs.recording((epoch, index))
    lead = pair.lead * pairs.frame_samples
    made = {"original": pair.original[lead:].numpy(), "augmented": pair.augmented.numpy()}
    steps, silent = {}, {}
    for side, augmentation in (("original", pairs.augment_original), ("augmented", pairs.augment)):
        if side in pair.drawn and isinstance(augmentation, DrawnAugmentation):
            own = augmentation.for_speaker(utterance.speaker)
            steps[side] = steps_of(own, pair.drawn[side], clean, made[side])
        elif augmentation is not None:
            silent[side] = name_of(augmentation)
    pitch = {side: pitch_of(getattr(pair, side).numpy()) for side in SIDES}
    return HeardPair(utterance, pair, utterance.start + offset, lead, steps, pitch, silent)
