"""The effective rank of a representation: how many directions its frames really use."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssft.errors import DataError
from ssft.ops.spread import effective_count, eigenvalues


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
) -> float:
    """Return exp(entropy) of the singular values' shares: between 1 (one direction) and D (all alike).

    `p_i = s_i / (sum(s) + 1e-7)` and the rank is `exp(-sum(p_i * log(p_i + 1e-7)))`. It cannot exceed the number of
    frames, so give clearly more than D of them. It tells checkpoints of one model and layer apart, not different models
    or layers. Zeros, and constant frames when centred, have rank 1.

    Args:
        frames: frames [N, D], several such arrays, or what a `GramAccumulator` collected.
        center: subtract the mean frame first. RankMe does not, and this is the default.

    Raises:
        DataError: no frames, shapes that do not fit, NaN or infinity.

    Source: Roy and Vetterli, EUSIPCO 2007; RankMe, Garrido et al., ICML 2023.

    Example:
        >>> round(effective_rank(np.eye(3)), 4), round(effective_rank(np.ones((5, 3))), 4)
        (3.0, 1.0)
    """
    if not isinstance(frames, GramAccumulator):
        gram = GramAccumulator()
        for part in [frames] if isinstance(frames, (np.ndarray, Tensor)) else frames:
            gram.update(part)
        frames = gram
    return float(effective_count(torch.from_numpy(frames.singular_values(center=center))))
