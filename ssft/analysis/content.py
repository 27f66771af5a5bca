"""What frames tell of phones and of speakers, as far as simple classifiers find it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssft.errors import DataError
from ssft.evaluation.corpus import LabelledCorpus
from ssft.evaluation.frames import FramesById
from ssft.evaluation.speaker import SpeakerProbe, halve
from ssft.evaluation.unit_quality.labels import NO_PHONE, FrameLabels, label_frames
from ssft.randomness import derive_seed

_SHRINKAGE = 1e-3
"""Of the covariance within phones towards a sphere, so that features that hardly vary do no harm."""


@dataclass(frozen=True)
class SampledPhones:
    """The phones that sampled frames are in.

    Args:
        phones: number of the phone of each frame [N], `NO_PHONE` for pauses and where nothing is aligned.
        groups: number of its speaker, or of its utterance where speakers are unknown, [N].
        grouped_by: which of the two.
    """

    phones: NDArray[np.int64]
    groups: NDArray[np.int64]
    grouped_by: str


def sampled_phones(
    corpus: LabelledCorpus, frames: FramesById, places: dict[str, NDArray[np.int64]], *, frame_rate: float
) -> SampledPhones:
    """Return the phones of frames of `test` at the given places; see `FrameSample.places`.

    Raises:
        DataError: the corpus has no aligned phones of these utterances.

    Example:
        >>> phones = sampled_phones(corpus, store.frames(layer=6), sample.places, frame_rate=50.0)
    """
    lengths = {name: len(frames[name]) for name in places}
    labels = label_frames(corpus, lengths, frame_rate=frame_rate)
    if not labels.phones:
        raise DataError(f"{corpus.name} has no aligned phones (docs/corpora.md).")
    number = {name: index for index, name in enumerate(sorted(set(labels.groups.values())))}
    groups = [np.full(len(own), number.get(labels.groups.get(name, ""), -1)) for name, own in places.items()]
    return SampledPhones(phones_at(labels, places), np.concatenate(groups), labels.grouped_by)


def phones_at(labels: FrameLabels, places: Mapping[str, NDArray[np.int64]]) -> NDArray[np.int64]:
    """Return the number of the phone of each frame [N] at the given places, `NO_PHONE` where nothing is aligned."""
    found = [
        labels.phones[name][own] if name in labels.phones else np.full(len(own), NO_PHONE)
        for name, own in places.items()
    ]
    return np.concatenate(found)


def phone_accuracy(frames: NDArray[np.floating], labels: SampledPhones, *, seed: int = 0) -> float:
    """Return for how many frames of other speakers a linear discriminant names the right phone, a share of 1.

    It is trained on the frames of half of the speakers, and tested on those of the others; on halves of the utterances
    if speakers are unknown or there is one.

    Args:
        frames: [N, D].
        labels: of these.
        seed: of the halves.

    Raises:
        DataError: fewer than two speakers or utterances, or than two phones, NaN or infinity.

    Example:
        >>> phone_accuracy(sample.of(store.frames(layer=6)), phones)
        0.436
    """
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    known = labels.phones != NO_PHONE
    groups = sorted(set(labels.groups[known].tolist()), key=lambda group: derive_seed(seed, "half of phones", group))
    training = np.isin(labels.groups, groups[: len(groups) // 2]) & known
    testing = known & ~training
    if len(groups) < 2 or len(np.unique(labels.phones[training])) < 2:
        raise DataError(f"It takes two phones and two {labels.grouped_by}s, one to train on and one to test on.")
    if not np.isfinite(frames).all():
        raise DataError("Frames contain NaN or infinity.")
    classifier = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=_SHRINKAGE)
    classifier.fit(frames[training], labels.phones[training])
    return float((classifier.predict(frames[testing]) == labels.phones[testing]).mean())


def speaker_accuracy(corpus: LabelledCorpus, frames: FramesById, *, seed: int = 0) -> float:
    """Return for how many utterances a linear classifier of mean frames names the right speaker, a share of 1.

    It is the `speaker probe` of `ssft evaluate speaker`: trained on half of the utterances of each speaker.

    Raises:
        DataError: there are no two speakers with four utterances each, NaN or infinity.

    Example:
        >>> speaker_accuracy(corpus, store.frames(layer=6))
        0.712
    """
    speakers = {name: who for name, who in corpus.speakers().items() if len(frames.get(name, ()))}
    halves = halve(speakers, seed=seed)
    if len(set(halves.speakers.values())) < 2:
        raise DataError(f"{corpus.name} has no two known speakers with four utterances each.")
    return SpeakerProbe(frames, halves, seed=seed).accuracy(frames, name="speaker probe").value
