"""`Targets`: what the layers of encoders are compared with, moment by moment: acoustics, phones, words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssft.analysis.content import phones_at
from ssft.analysis.sample import FrameSample
from ssft.analysis.similarity.enough import FEWEST_PER_DIMENSION
from ssft.evaluation.corpus import LabelledCorpus
from ssft.evaluation.frames import FramesById
from ssft.evaluation.items import PAUSES
from ssft.evaluation.unit_quality.labels import NO_PHONE, label_frames, segment_at_frames

LOG_MEL, MFCC, LAYER_0, PHONES, WORDS = "log-mel", "MFCC", "layer 0", "phones", "words"
FEWEST_OF_WORD = 10
"""Words that occur less often are left out."""


@dataclass(frozen=True, eq=False)
class Targets:
    """Values of one or several targets in the same moments, which are single frames or segments.

    Args:
        what: a moment is, in the plural.
        values: [N, d] by the target's name.
        fold: of each moment, [N].
        frames_of: takes these moments from the frames of a layer: [N, D].
    """

    what: str
    values: Mapping[str, NDArray[np.floating]]
    fold: NDArray[np.int64]
    frames_of: Callable[[FramesById], NDArray[np.floating]]

    def obstacle(self, width: int) -> str | None:
        """Return why layers of D features cannot be compared with these, or None."""
        outside = len(self.fold) - int(np.bincount(self.fold, minlength=1).max())
        most = max(width, *(values.shape[1] for values in self.values.values()))
        if outside >= (needed := FEWEST_PER_DIMENSION * most):
            return None
        return (
            f"{outside:,} {self.what} outside of the held-out fold are too few for {most} dimensions: similarity would "
            f"be chance. At least {needed:,} are needed. Give more audio, or a larger --frames if there is more."
        )


def acoustic_targets(sample: FrameSample, acoustics: Mapping[str, FramesById], folds: Mapping[str, int]) -> Targets:
    """Return acoustic frames as targets, in all moments of a sample.

    Args:
        sample: of frames.
        acoustics: frames by the target's name.
        folds: by utterance id.
    """
    fold = np.concatenate([np.full(len(places), folds[name]) for name, places in sample.places.items()])
    return Targets("frames", {name: sample.of(frames) for name, frames in acoustics.items()}, fold, sample.of)


def phone_targets(
    corpus: LabelledCorpus, sample: FrameSample, folds: Mapping[str, int], lengths: Mapping[str, int], *, rate: float
) -> Targets:
    """Return phones as one-hot targets [N, P], in the frames of a sample that lie in a phone.

    Args:
        corpus: of which `test` has aligned phones.
        sample: of its frames.
        folds: by utterance id.
        lengths: frames of each utterance, by id.
        rate: frames per second.
    """
    labels = label_frames(corpus, lengths, frame_rate=rate)
    numbers = phones_at(labels, sample.places)
    fold = np.concatenate([np.full(len(places), folds[name]) for name, places in sample.places.items()])
    kept = np.flatnonzero(numbers != NO_PHONE)
    values = {PHONES: _one_hot(numbers[kept])}
    return Targets("frames in phones", values, fold[kept], lambda frames: sample.of(frames)[kept])


def word_targets(
    corpus: LabelledCorpus, folds: Mapping[str, int], lengths: Mapping[str, int], *, rate: float
) -> Targets:
    """Return words as one-hot targets [N, W], one moment each, for which stands the mean of a word's frames.

    Args:
        corpus: of which `test` has aligned words.
        folds: by the ids of those utterances that are looked at.
        lengths: frames of each utterance, by id.
        rate: frames per second.
    """
    spans: list[tuple[str, NDArray[np.int64], str]] = []
    for name in sorted(folds):
        segments = corpus.words.get(name, ())
        if not segments:
            continue
        where = segment_at_frames(segments, frames=lengths[name], frame_rate=rate)
        for number, segment in enumerate(segments):
            places = np.flatnonzero(where == number)
            if len(places) and segment.label not in PAUSES:
                spans.append((name, places, segment.label))
    often = {word for word, count in Counter(word for *_, word in spans).items() if count >= FEWEST_OF_WORD}
    kept = [span for span in spans if span[2] in often]

    def means(frames: FramesById) -> NDArray[np.floating]:
        return np.stack([np.asarray(frames[name])[places].mean(axis=0) for name, places, _ in kept])

    _, numbers = np.unique([word for *_, word in kept], return_inverse=True)
    fold = np.array([folds[name] for name, *_ in kept], dtype=np.int64)
    return Targets("words", {WORDS: _one_hot(numbers)}, fold, means)


def known_lengths(frames: FramesById) -> dict[str, int]:
    """Return the number of frames of each utterance."""
    return {name: len(frames[name]) for name in frames}


def _one_hot(numbers: NDArray[np.int64]) -> NDArray[np.float32]:
    """Labels [N] as [N, L], where L is how many different ones there are."""
    known, own = np.unique(numbers, return_inverse=True)
    return np.eye(len(known), dtype=np.float32)[own]
