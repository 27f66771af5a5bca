"""Nearest neighbours: which stretches of speech lie next to each other, by what is said or by who says it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssft.data import read_audio
from ssft.errors import DataError
from ssft.evaluation.corpus import TEST, LabelledCorpus
from ssft.evaluation.frames import CLEAN, FramesById
from ssft.evaluation.items import PAUSES, Item, frame_span
from ssft.evaluation.measure import Measure, Score, ratio
from ssft.randomness import derive_seed
from ssft.types import SAMPLE_RATE

MIN_WORD_SECONDS = 0.2
"""Shorter words are left out, as in the word ABX task: most function words are reduced to a few frames."""
STRETCH_SECONDS = 0.5
"""What is compared where no words are known."""

_PAUSE = 1e-3
"""A stretch 30 dB below the loudest of its utterance is a pause."""
_ROWS = 512
_TASK = "neighbours"

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Stretch:
    """A part of an utterance, in seconds; `label` is the word, empty if it is not known; `speaker` may be empty too."""

    utterance: str
    start: float
    end: float
    label: str
    speaker: str

    def draw(self, seed: int, purpose: str) -> int:
        """Return a number by which it is drawn, or not, whatever others there are."""
        return derive_seed(seed, _TASK, purpose, self.utterance, round(1000 * self.start))


def word_stretches(corpus: LabelledCorpus) -> list[Stretch]:
    """Return every aligned word of the test split that is long enough."""
    speakers = corpus.speakers()
    return [
        Stretch(word.utterance, word.start, word.end, word.label, speakers.get(word.utterance, ""))
        for word in corpus.segments("words")
        if word.label not in PAUSES and word.end - word.start >= MIN_WORD_SECONDS - 1e-6
    ]


def loud_stretches(corpus: LabelledCorpus, readable: FramesById) -> list[Stretch]:
    """Return stretches of `STRETCH_SECONDS`, one after another, of the test split that are no pauses.

    Args:
        corpus: the audio, which is read.
        readable: frames by utterance id; utterances that are not in it are left out.
    """
    speakers = corpus.speakers()
    found = []
    for utterance in corpus.splits[TEST]:
        if utterance.id not in readable:
            continue
        wave = read_audio(utterance.path, member=utterance.member, start=utterance.start, seconds=utterance.seconds)
        length = round(STRETCH_SECONDS * SAMPLE_RATE)
        parts = wave[: len(wave) // length * length].reshape(-1, length)
        power = np.mean(np.square(parts, dtype=np.float64), axis=1)
        found += [
            Stretch(
                utterance.id,
                number * STRETCH_SECONDS,
                (number + 1) * STRETCH_SECONDS,
                "",
                speakers.get(utterance.id, ""),
            )
            for number in np.flatnonzero(power > _PAUSE * power.max(initial=0.0)).tolist()
        ]
    return found


def whole_utterances(corpus: LabelledCorpus) -> list[Stretch]:
    """Return the utterances of the test split as stretches without a word."""
    speakers = corpus.speakers()
    return [Stretch(own.id, 0.0, own.seconds, "", speakers.get(own.id, "")) for own in corpus.splits[TEST]]


def drawn(stretches: Sequence[Stretch], *, most: int, seed: int = 0) -> list[Stretch]:
    """Return at most so many of them, in the order of time; which ones follows from the seed and each by itself."""
    chosen = sorted(stretches, key=lambda one: one.draw(seed, "searched"))[:most]
    return sorted(chosen, key=lambda one: (one.utterance, one.start))


class NeighbourSearch:
    """For each stretch, the others of other utterances by the cosine of their mean frames, in one layer of one system.

    A mean forgets the order of sounds, so words that share their sounds lie near each other too.

    Args:
        stretches: what is searched for, and among what; those without a frame are left out.
        frames: [F, D] by utterance id.
        frame_rate: frames per second.
        most: how many neighbours are kept of each.

    Attributes:
        stretches: N of them.
        nearest: [N, most], the nearest first; -1 where there are not as many.
        cosines: [N, most].

    Raises:
        DataError: the stretches are of fewer than two utterances.

    Example:
        >>> search = NeighbourSearch(word_stretches(corpus), store.frames(layer=6), 50.0)
        >>> search.stretches[search.nearest[0, 0]].label
        'teacher'
    """

    def __init__(self, stretches: Sequence[Stretch], frames: FramesById, frame_rate: float, *, most: int = 3) -> None:
        means = {one: mean for one in stretches if (mean := _mean(one, frames, frame_rate)) is not None}
        self.stretches = list(means)
        self._places = {one: place for place, one in enumerate(self.stretches)}
        names = [one.utterance for one in self.stretches]
        if len(set(names)) < 2:
            raise DataError("Neighbours are looked for in other utterances, and fewer than two can be compared.")
        vectors = np.stack(list(means.values()))
        utterances = np.unique(np.asarray(names), return_inverse=True)[1]
        self.nearest, self.cosines = _nearest(vectors, utterances, most)

    def of(self, stretch: Stretch) -> list[tuple[Stretch, float]]:
        """Return the neighbours of a stretch with their cosines, the nearest first."""
        place = self._places[stretch]
        found = zip(self.nearest[place].tolist(), self.cosines[place].tolist(), strict=True)
        return [(self.stretches[near], cosine) for near, cosine in found if near >= 0]

    def share(self, name: str, attribute: str) -> Measure | None:
        """Return how often the nearest has the same `label` or `speaker`; None if that is known of too few.

        A stretch counts if another utterance holds one with the same. Drawn again are speakers, or utterances if
        speakers are not known. The speaker has no better: what is near for another reason may be lost with it.
        """
        others = self._others_with(attribute)
        findable = np.flatnonzero(others).tolist()
        if not findable:
            return None
        values = [getattr(one, attribute) for one in self.stretches]
        has_speakers = all(self.stretches[place].speaker for place in findable)
        groups = "speaker" if has_speakers else "utterance"
        return ratio(
            name,
            [float(values[place] == values[self.nearest[place, 0]]) for place in findable],
            np.ones(len(findable)),
            groups=[getattr(self.stretches[place], groups) for place in findable],
            better="higher" if attribute == "label" else "neither",
            grouped_by=groups,
            percent=True,
            counts={"queries": len(findable)},
        )

    def chance(self, attribute: str) -> float:
        """Return what `share` would be if the nearest were any stretch of another utterance."""
        others = self._others_with(attribute)
        own = Counter(one.utterance for one in self.stretches)
        candidates = np.array([len(self.stretches) - own[one.utterance] for one in self.stretches])
        return float(np.mean((others / candidates)[others > 0]))

    def _others_with(self, attribute: str) -> Integers:
        """How many stretches of other utterances have the same label or speaker, [N]; 0 where it is not known."""
        values = [(one.utterance, getattr(one, attribute)) for one in self.stretches]
        here, everywhere = Counter(values), Counter(value for _, value in values)
        return np.array([everywhere[own[1]] - here[own] if own[1] else 0 for own in values], dtype=np.int64)


def with_frames(stretches: Sequence[Stretch], frames: FramesById, frame_rate: float) -> list[Stretch]:
    """Return the stretches that a search finds frames of."""
    return [one for one in stretches if _mean(one, frames, frame_rate) is not None]


def score(measure: Measure, layer: int) -> Score:
    """Return the measure as a score of a layer, so that two systems can be compared by their bootstrap."""
    return Score(_TASK, layer, CLEAN, (measure,))


def _mean(stretch: Stretch, frames: FramesById, frame_rate: float) -> Floats | None:
    """The mean frame [D] of a stretch, scaled to length 1; None if it has no frame, or none with a direction."""
    if stretch.utterance not in frames:
        return None
    own = frames[stretch.utterance]
    item = Item(stretch.utterance, stretch.start, stretch.end, stretch.label, (), stretch.speaker)
    span = frame_span(item, frame_rate, len(own))
    if not span:
        return None
    mean = np.asarray(own[span.start : span.stop], dtype=np.float64).mean(axis=0)
    length = np.linalg.norm(mean)
    return (mean / length).astype(np.float32) if np.isfinite(length) and length > 0 else None


def _nearest(vectors: Floats, utterances: Integers, most: int) -> tuple[Integers, Floats]:
    """Places and cosines [N, most] of the nearest unit vectors [N, D] of other utterances."""
    most_there = min(most, len(vectors) - 1)
    places = np.full((len(vectors), most), -1, dtype=np.int64)
    cosines = np.full((len(vectors), most), np.nan, dtype=np.float32)
    for begin in range(0, len(vectors), _ROWS):
        rows = slice(begin, begin + _ROWS)
        likeness = vectors[rows] @ vectors.T
        likeness[utterances[rows, None] == utterances[None]] = -np.inf
        order = np.argsort(-likeness, axis=1, kind="stable")[:, :most_there]
        found = np.take_along_axis(likeness, order, axis=1)
        places[rows, :most_there] = np.where(np.isfinite(found), order, -1)
        cosines[rows, :most_there] = np.where(np.isfinite(found), found, np.nan)
    return places, cosines
