"""`JointMoments`: means and covariances of several representations of the same frames, in one pass."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ssft.errors import DataError

Key = TypeVar("Key", bound=Hashable)
Floats = NDArray[np.float64]

_ROWS = 1024
"""Frames that are held in float64 at a time."""

_CONSTANT = 1e-12
"""A feature whose standard deviation is less than this share of its mean only differs by rounding."""


@dataclass(frozen=True)
class Axes:
    """The principal axes of a representation whose features all have variance 1, from its correlation matrix.

    Args:
        scale: standard deviations [D] of the features; 0 where one is constant.
        variances: along each axis [D], largest first; they sum to the number of features that vary.
        directions: the axes as columns [D, D].
    """

    scale: Floats
    variances: Floats
    directions: Floats


class JointMoments(Generic[Key]):
    """Means and covariances of the same frames in several representations: one pass, float64.

    What is kept is a block [D_x, D_y] for each pair that is asked for and each representation with itself: 13 layers of
    768 with 13 others are 195 blocks, or 0.9 GB, whatever the number of frames. Scatter is taken around the running
    mean (Chan, Golub and LeVeque, 1983), so that a mean much larger than the spread costs no precision.

    Args:
        pairs: of keys, in either order; None keeps all pairs of the representations that come.

    Attributes:
        count: N, the frames so far.

    Raises:
        DataError: frames that are not [n, D] with one n and always the same D, a representation that is missing, NaN or
            infinity.

    Example:
        >>> moments = JointMoments()
        >>> for chunk in sample.chunks({("A", 6): before, ("B", 6): after}):
        ...     moments.update(chunk)
        >>> moments.covariance(("A", 6), ("B", 6)).shape
        (768, 768)
    """

    def __init__(self, pairs: Collection[tuple[Key, Key]] | None = None) -> None:
        self.count = 0
        self._pairs = None if pairs is None else _with_own(pairs)
        self._means: dict[Key, Floats] = {}
        self._scatter: dict[tuple[Key, Key], Floats] = {}
        self._axes: dict[Key, Axes] = {}

    def update(self, frames: Mapping[Key, NDArray[Any]]) -> None:
        """Add the same n moments of every representation: frames [n, D] by key; n may be 0."""
        if self._pairs is None:
            self._pairs = _with_own([(x, y) for x in frames for y in frames])
        if not self._scatter:
            self._begin(frames)
        own = {key: self._checked(key, frames) for key in self._means}
        lengths = {len(values) for values in own.values()}
        if len(lengths) > 1:
            raise DataError(f"The representations have different numbers of frames: {sorted(lengths)}.")
        for begin in range(0, max(lengths, default=0), _ROWS):
            self._add({key: values[begin : begin + _ROWS].astype(np.float64) for key, values in own.items()})
        self._axes.clear()

    def merge(self, other: JointMoments[Key]) -> None:
        """Add the frames that another collected, of the same representations and pairs.

        Raises:
            DataError: it collected others.
        """
        if not other.count:
            return
        if not self._scatter:
            self._pairs = _with_own(list(other._scatter))
            self._begin({key: mean[None] for key, mean in other._means.items()})
        if self._scatter.keys() != other._scatter.keys():
            raise DataError("Moments can only be added to those of the same representations and pairs.")
        shifts = {key: other._means[key] - mean for key, mean in self._means.items()}
        total = self.count + other.count
        for (x, y), scatter in self._scatter.items():
            apart = np.outer(shifts[x], shifts[y]) * (self.count * other.count / total)
            scatter += other._scatter[x, y] + apart
        for key, shift in shifts.items():
            self._means[key] = self._means[key] + shift * (other.count / total)
        self.count = total
        self._axes.clear()

    def mean(self, key: Key) -> Floats:
        """Return the mean frame [D]; raises DataError if there were no frames, or none of that key."""
        self._refuse_unknown(key)
        return self._means[key]

    def covariance(self, x: Key, y: Key) -> Floats:
        """Return the covariances [D_x, D_y] of the features of two representations, divided by N.

        Raises:
            DataError: there were no frames, or the pair was not asked for.
        """
        self._refuse_unknown(x, y)
        if (x, y) in self._scatter:
            return self._scatter[x, y] / self.count
        if (y, x) in self._scatter:
            return self._scatter[y, x].T / self.count
        raise DataError(f"The moments of {x} with {y} were not collected. Name them among the pairs.")

    def deviations(self, key: Key) -> Floats:
        """Return the standard deviations [D] of the features; 0 for one that is constant but for rounding."""
        self._refuse_unknown(key)
        deviations = np.sqrt(np.diagonal(self._scatter[key, key]) / self.count)
        return np.where(deviations > _CONSTANT * np.abs(self._means[key]), deviations, 0.0)

    def correlation(self, x: Key, y: Key) -> Floats:
        """Return Pearson's r [D_x, D_y] of the features of two representations; 0 for constant ones.

        Raises:
            DataError: there were no frames, or the pair was not asked for.
        """
        found: Floats = self.covariance(x, y)
        found *= _inverse(self.deviations(x))[:, None]
        found *= _inverse(self.deviations(y))
        return found

    def axes(self, key: Key) -> Axes:
        """Return the principal axes of the standardised features, which are kept until more frames come.

        Raises:
            DataError: there were no frames, or all features are constant.
        """
        if key not in self._axes:
            scale = self.deviations(key)
            if not scale.any():
                raise DataError(f"All features of {key} are constant, so there is nothing to compare.")
            variances, directions = np.linalg.eigh(self.correlation(key, key))
            self._axes[key] = Axes(scale, np.maximum(variances[::-1], 0.0), directions[:, ::-1])
        return self._axes[key]

    def _begin(self, frames: Mapping[Key, NDArray[Any]]) -> None:
        pairs = self._pairs or {}
        if missing := [key for pair in pairs for key in pair if key not in frames]:
            raise DataError(f"Frames of {missing[0]} are missing: give those of every representation at once.")
        if flat := [key for pair in pairs for key in pair if np.ndim(frames[key]) != 2]:
            raise DataError(f"Frames of {flat[0]} must be [n, D], got {list(np.shape(frames[flat[0]]))}.")
        self._means = {x: np.zeros(frames[x].shape[-1]) for x, y in pairs if x == y}
        self._scatter = {(x, y): np.zeros((len(self._means[x]), len(self._means[y]))) for x, y in pairs}

    def _checked(self, key: Key, frames: Mapping[Key, NDArray[Any]]) -> NDArray[Any]:
        if key not in frames:
            raise DataError(f"Frames of {key} are missing: give those of every representation at once.")
        values = np.asarray(frames[key])
        if values.ndim != 2 or values.shape[1] != len(self._means[key]):
            raise DataError(f"Frames of {key} must be [n, {len(self._means[key])}], got {list(values.shape)}.")
        if not np.isfinite(values).all():
            raise DataError(
                f"Frames of {key} contain NaN or infinity: the encoder's weights, or the frames, are broken."
            )
        return values

    def _add(self, frames: dict[Key, Floats]) -> None:
        """Add some frames, which are changed; the shift of the mean is one more row of them."""
        added = len(next(iter(frames.values())))
        total = self.count + added
        centred = {}
        for key, values in frames.items():
            mean = values.mean(axis=0)
            shift = mean - self._means[key]
            values -= mean
            centred[key] = np.vstack([values, shift * np.sqrt(self.count * added / total)])
            self._means[key] = self._means[key] + shift * (added / total)
        for (x, y), scatter in self._scatter.items():
            scatter += centred[x].T @ centred[y]
        self.count = total

    def _refuse_unknown(self, *keys: Key) -> None:
        if not self.count:
            raise DataError("There are no frames to take moments of.")
        for key in keys:
            if key not in self._means:
                raise DataError(f"The moments of {key} were not collected. Name it among the pairs.")


def _with_own(pairs: Collection[tuple[Key, Key]]) -> dict[tuple[Key, Key], None]:
    """Each pair in one order, and each key with itself, in the order in which they come."""
    kept: dict[tuple[Key, Key], None] = {}
    for x, y in pairs:
        kept.setdefault((x, x))
        kept.setdefault((y, y))
        if (y, x) not in kept:
            kept.setdefault((x, y))
    return kept


def _inverse(scale: Floats) -> Floats:
    """1 / scale, and 0 where it is 0."""
    return np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0)
