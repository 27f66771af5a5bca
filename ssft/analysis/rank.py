"""The effective rank of a representation: how many directions its frames really use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssft.analysis.sample import FrameSample
from ssft.errors import DataError, RecipeError
from ssft.evaluation.frames import FramesById
from ssft.ops.spread import EPSILON, effective_count, eigenvalues

RANKME_FRAMES = 25_600
"""What RankMe was introduced with."""

_CHUNK = 4096
_ROUNDING = 1e-20
"""Of the squared length of frames: what differs by less is the same but for float64."""


class GramAccumulator:
    """Collects frames into their mean [D] and scatter matrix [D, D] (float64), in one pass and O(D^2) memory.

    The scatter is taken around the running mean (Chan, Golub and LeVeque, 1983), so that a mean much larger than the
    spread costs no precision. Uncentred frames have the Gram matrix `scatter + count * outer(mean, mean)`.

    Raises:
        DataError: frames that are not [N, D] with the D of the first ones, or that contain NaN or infinity.

    Example:
        >>> gram = GramAccumulator()
        >>> for frames in (np.eye(4)[:2], np.eye(4)[2:]):
        ...     gram.update(frames)
        >>> gram.count, round(effective_rank(gram), 4)
        (4, 4.0)
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean: NDArray[np.float64] = np.zeros(0)
        self.scatter: NDArray[np.float64] = np.zeros((0, 0))

    def update(self, frames: NDArray[np.floating] | Tensor) -> None:
        """Add frames [N, D]; N may be 0."""
        if isinstance(frames, Tensor):
            frames = frames.detach().to("cpu", torch.float64).numpy()
        if frames.ndim != 2 or (self.count and frames.shape[1] != len(self.mean)):
            raise DataError(f"Frames must be [N, {len(self.mean) if self.count else 'D'}], got {list(frames.shape)}.")
        if not np.isfinite(frames).all():
            raise DataError("Frames contain NaN or infinity, so they have no rank.")
        if not len(frames):
            return
        if not self.count:
            self.mean, self.scatter = np.zeros(frames.shape[1]), np.zeros((frames.shape[1],) * 2)
        values = frames.astype(np.float64)
        mean = values.mean(axis=0)
        values -= mean
        shift, total = mean - self.mean, self.count + len(values)
        self.scatter += values.T @ values + np.outer(shift, shift) * (self.count * len(values) / total)
        self.mean = self.mean + shift * (len(values) / total)
        self.count = total

    def singular_values(self, *, center: bool = False) -> NDArray[np.float64]:
        """Return the D singular values of all frames [count, D], largest first; centred ones if asked.

        They are roots of eigenvalues, so what lies below about 1e-7 of the largest is rounding, and returned as 0.

        Raises:
            DataError: there were no frames.
        """
        if not self.count:
            raise DataError("There are no frames to take the rank of.")
        gram = self.scatter if center else self.scatter + self.count * np.outer(self.mean, self.mean)
        values: NDArray[np.float64] = eigenvalues(torch.from_numpy(gram)).sqrt().numpy()
        return values


def effective_rank(
    frames: GramAccumulator | NDArray[np.floating] | Tensor | Sequence[NDArray[np.floating] | Tensor],
    *,
    center: bool = False,
    epsilon: float = EPSILON,
) -> float:
    """Return exp(entropy) of the singular values' shares: between 1 (one direction) and D (all alike).

    `p_i = s_i / (sum(s) + epsilon)` and the rank is `exp(-sum(p_i * log(p_i + epsilon)))`. It cannot exceed the number
    of frames, so give clearly more than D of them. It tells checkpoints of one model and layer apart, not different
    models or layers. Zeros, and constant frames when centred, have rank 1.

    Args:
        frames: frames [N, D], several such arrays, or what a `GramAccumulator` collected.
        center: subtract the mean frame first. RankMe does not, and this is the default.
        epsilon: keeps the logarithm finite; RankMe's is 1e-7.

    Raises:
        DataError: no frames, shapes that do not fit, NaN or infinity.
        RecipeError: an epsilon that is not positive.

    Source: Roy and Vetterli, EUSIPCO 2007; RankMe, Garrido et al., ICML 2023.

    Example:
        >>> round(effective_rank(np.eye(3)), 4), round(effective_rank(np.ones((5, 3))), 4)
        (3.0, 1.0)
    """
    if not epsilon > 0:
        raise RecipeError(f"epsilon={epsilon} must be positive, or log(0) would be needed. RankMe's is 1e-7.")
    if not isinstance(frames, GramAccumulator):
        gram = GramAccumulator()
        for part in [frames] if isinstance(frames, (np.ndarray, Tensor)) else frames:
            gram.update(part)
        frames = gram
    return float(effective_count(torch.from_numpy(frames.singular_values(center=center)), epsilon=epsilon))


@dataclass(frozen=True)
class Ranks:
    """Effective ranks of one layer on one corpus; all are between 1 and `dimensions`.

    Args:
        global_rank: of all frames (GER).
        rankme: of some frames, 25,600 unless there are fewer, drawn at random (RankMe).
        rankme_t: of one vector for each utterance, the sum of its frames: long utterances weigh more (RankMe-t).
        rankme_mean: of one vector for each utterance, the mean of its frames.
        variance_between_utterances: the share of the frames' variance that lies between the means of utterances: what
            stays the same throughout one, such as voice, channel and topic; None if no frame differs.
        dimensions: D.
        frames: how many there are.
        utterances: the same.
    """

    global_rank: float
    rankme: float
    rankme_t: float
    rankme_mean: float
    variance_between_utterances: float | None
    dimensions: int
    frames: int
    utterances: int


def saturation(*, utterances: int, dimensions: int) -> str | None:
    """Say that there are too few utterances for ranks of utterances, if so.

    Example:
        >>> saturation(utterances=2_000, dimensions=768) is None
        True
    """
    if utterances >= 2 * dimensions:
        return None
    few = "fewer than" if utterances < dimensions else "less than twice"
    return (
        f"{utterances:,} utterances are {few} the {dimensions:,} dimensions. RankMe-t and RankMe (mean) cannot exceed "
        "either number; compare them only between systems on these very utterances."
    )


def measure_ranks(
    frames: FramesById,
    *,
    center: bool = False,
    epsilon: float = EPSILON,
    rankme_frames: int = RANKME_FRAMES,
    seed: int = 0,
) -> Ranks:
    """Return the effective ranks of a layer, in one pass over its frames; memory does not grow with their number.

    Args:
        frames: [F, D] by utterance id.
        center: subtract means first. Neither RankMe nor RankMe-t does.
        epsilon: as `effective_rank` takes it.
        rankme_frames: about how many frames RankMe is of.
        seed: of the draw of these.

    Raises:
        DataError: no frames, NaN or infinity.
        RecipeError: an epsilon that is not positive, or no frames asked for.

    Source: RankMe, Garrido et al., ICML 2023; RankMe-t and GER, Whetten et al., Interspeech 2025.

    Example:
        >>> ranks = measure_ranks(store.frames(layer=6))
        >>> round(ranks.global_rank, 1), ranks.dimensions
        (93.7, 192)
    """
    sample = FrameSample([frames], most_frames=rankme_frames, seed=seed)
    every, drawn, sums, means = (GramAccumulator() for _ in range(4))
    within = 0.0
    for names in _chunks(frames):
        own = [np.asarray(frames[name]) for name in names]
        every.update(np.concatenate(own))
        drawn.update(
            np.concatenate([values[sample.places.get(name, [])] for name, values in zip(names, own, strict=True)])
        )
        sums.update(np.stack([values.sum(axis=0, dtype=np.float64) for values in own]))
        average = [values.mean(axis=0, dtype=np.float64) for values in own]
        means.update(np.stack(average))
        within += sum(float(np.square(values - mean).sum()) for values, mean in zip(own, average, strict=True))
    total = float(np.trace(every.scatter))
    varies = total > _ROUNDING * every.count * float(every.mean @ every.mean)
    rank = partial(effective_rank, center=center, epsilon=epsilon)
    return Ranks(
        global_rank=rank(every),
        rankme=rank(drawn),
        rankme_t=rank(sums),
        rankme_mean=rank(means),
        variance_between_utterances=max(0.0, 1 - within / total) if varies else None,
        dimensions=len(every.mean),
        frames=every.count,
        utterances=sums.count,
    )


def _chunks(frames: FramesById) -> Iterator[list[str]]:
    """Ids of utterances, so many at a time that they have some thousand frames."""
    names: list[str] = []
    count = 0
    for name in sorted(frames):
        if length := len(frames[name]):
            names.append(name)
            count += length
        if count >= _CHUNK:
            yield names
            names, count = [], 0
    if names:
        yield names
