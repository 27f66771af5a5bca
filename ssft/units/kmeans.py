"""Units by k-means: a bounded sample of frames from any amount of audio, and the centroids of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssft.errors import DataError
from ssft.randomness import derive_rng, derive_seed
from ssft.types import Utterance
from ssft.units.quantizer import Origin, Quantizer

_FRAMES_PER_CLUSTER = 256
_FEWEST_FRAMES = 200_000
_BATCH_FRAMES = 4096
_FRAMES_PER_BEGINNING = 20


def fit_kmeans(
    stream: Iterable[tuple[Utterance, Tensor]],
    *,
    clusters: int,
    mean_removed: bool = False,
    seed: int = 0,
    most_frames: int | None = None,
    passes: int | None = None,
    origin: Origin | None = None,
) -> tuple[Quantizer, int]:
    """Return a quantizer whose centroids are those of k-means, and how many frames it saw.

    The frames are a uniform sample of the stream's, so that memory is bounded whatever the stream's length. It depends
    on the seed and the utterances' ids, not on their order. k-means is scikit-learn's with mini-batches: k-means++, the
    best of three beginnings, then passes over the sample until it no longer improves.

    Args:
        stream: utterances and their frames [F, D], as `stream_features` yields them.
        clusters: K.
        mean_removed: subtract each utterance's mean frame, here and in encoding: units then tell less of the speaker.
        seed: of the sample and of k-means.
        most_frames: size of the sample; 256 per cluster and at least 200,000 if None.
        passes: make at most so many passes over the whole sample, from one beginning that is found on a part of it,
            instead of mini-batches: for a small sample both quicker and closer.
        origin: which frames these are, for the record.

    Raises:
        DataError: fewer frames than clusters, or NaN or infinity in a frame.

    Example:
        >>> stream = stream_features(PretrainedEncoder.load("tiny"), utterances, layer=4)
        >>> quantizer, frames = fit_kmeans(stream, clusters=100, mean_removed=True)
    """
    from sklearn.cluster import KMeans, MiniBatchKMeans, kmeans_plusplus

    most = most_frames or max(_FEWEST_FRAMES, _FRAMES_PER_CLUSTER * clusters)
    sample = _sample(stream, most=most, mean_removed=mean_removed, seed=seed)
    if len(sample) < clusters:
        raise DataError(
            f"{clusters:,} clusters need at least as many frames, but there are {len(sample):,}. Give more audio, or "
            "fewer clusters."
        )
    random_state = derive_seed(seed, "k-means") % 2**32
    if passes:
        # The sample is in random order.
        part = sample[: _FRAMES_PER_BEGINNING * clusters]
        beginning, _ = kmeans_plusplus(part, clusters, random_state=random_state)
        kmeans = KMeans(clusters, init=beginning, n_init=1, max_iter=passes, tol=1e-3)
    else:
        kmeans = MiniBatchKMeans(
            clusters,
            n_init=3,
            batch_size=max(_BATCH_FRAMES, 2 * clusters),
            max_no_improvement=100,
            random_state=random_state,
        )
    centroids = torch.from_numpy(np.ascontiguousarray(kmeans.fit(sample).cluster_centers_, dtype=np.float32))
    return Quantizer(centroids, mean_removed=mean_removed, origin=origin), len(sample)


def draw_utterances(utterances: Sequence[Utterance], *, hours: float, seed: int = 0) -> list[Utterance]:
    """Return utterances drawn at random until they make up `hours`; all of them if there is no more.

    Example:
        >>> len(draw_utterances(corpus.utterances, hours=10.0))
        3214
    """
    order = derive_rng(seed, "units").permutation(len(utterances))
    drawn = [utterances[index] for index in order]
    total = np.cumsum([utterance.seconds for utterance in drawn])
    return drawn[: int(np.searchsorted(total, hours * 3600)) + 1]


def _sample(
    stream: Iterable[tuple[Utterance, Tensor]], *, most: int, mean_removed: bool, seed: int
) -> NDArray[np.float32]:
    """Every frame draws a number; those with the `most` smallest numbers are the sample."""
    held: list[NDArray[np.float32]] = []
    numbers: list[NDArray[np.float64]] = []
    count = 0
    for utterance, frames in stream:
        if not bool(frames.isfinite().all()):
            raise DataError(f"The frames of '{utterance.id}' contain NaN or infinity; the encoder is broken.")
        held.append((frames - frames.mean(0) if mean_removed else frames).numpy())
        # Parts of one utterance have its id.
        numbers.append(derive_rng(seed, "frames", utterance.id, repr(utterance.start)).random(len(frames)))
        count += len(frames)
        if count > 1.5 * most:
            held, numbers = _smallest(held, numbers, most)
            count = most
    if not count:
        return np.zeros((0, 0), dtype=np.float32)
    return _smallest(held, numbers, most)[0][0]


def _smallest(
    held: list[NDArray[np.float32]], numbers: list[NDArray[np.float64]], most: int
) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float64]]]:
    """The frames with the `most` smallest numbers, and these numbers, in their order."""
    own = np.concatenate(numbers)
    kept = np.argsort(own)[:most]
    return [np.concatenate(held)[kept]], [own[kept]]
