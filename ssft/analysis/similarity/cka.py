"""Centred kernel alignment: whether two representations find the same frames alike."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssft.analysis.moments import Floats, JointMoments, Key
from ssft.analysis.similarity.enough import FEWEST_PER_DIMENSION, refuse_few_frames
from ssft.errors import DataError, RecipeError


def linear_cka(
    moments: JointMoments[Key], x: Key, y: Key, *, fewest_per_dimension: int = FEWEST_PER_DIMENSION
) -> float:
    """Return `||C_xy||_F^2 / (||C_xx||_F ||C_yy||_F)` of centred features: 0 to 1, whatever the rotation and scale.

    Constant features add nothing. Features of large variance weigh most.

    Args:
        moments: of both representations.
        x: one of them.
        y: the other.
        fewest_per_dimension: refuse fewer frames than so many times the larger D.

    Raises:
        DataError: too few frames, or all features of one are constant.

    Source: Kornblith et al., ICML 2019, section 3.

    Example:
        >>> round(linear_cka(moments, ("A", 6), ("A", 6)), 6)
        1.0
    """
    refuse_few_frames(moments, x, y, fewest_per_dimension=fewest_per_dimension)
    for key in (x, y):
        if not moments.deviations(key).any():
            raise DataError(f"All features of {key} are constant, so there is nothing to compare.")
    own = np.linalg.norm(moments.covariance(x, x)) * np.linalg.norm(moments.covariance(y, y))
    return float(np.linalg.norm(moments.covariance(x, y)) ** 2 / own)


def rbf_kernel(frames: NDArray[Any], *, width: float = 0.5) -> Floats:
    """Return the centred kernel `exp(-d^2 / (2 s^2))` [N, N] of frames [N, D], where s is `width` times the median d.

    It takes 8 N^2 bytes: 32 MB for 2,000 frames.

    Raises:
        DataError: frames that are not [N, D] with at least 3 of them, NaN or infinity, or more than half of the
            distances are 0.
        RecipeError: a width that is not above 0.

    Example:
        >>> rbf_kernel(np.random.default_rng(0).normal(size=(100, 8))).shape
        (100, 100)
    """
    from scipy.spatial.distance import pdist, squareform

    if not width > 0:
        raise RecipeError(f"width={width}: give a share of the median distance, such as 0.5.")
    values = np.asarray(frames, dtype=np.float64)
    if values.ndim != 2 or len(values) < 3:
        raise DataError(f"Frames must be [N, D] with at least 3 of them, got {list(values.shape)}.")
    if not np.isfinite(values).all():
        raise DataError("Frames contain NaN or infinity: the encoder's weights, or the frames, are broken.")
    distances = pdist(values)
    median = np.median(distances)
    if not median > 0:
        raise DataError("At least half of the frames are the same, so that their distances give no width of a kernel.")
    kernel: Floats = squareform(np.exp(-0.5 * (distances / (width * median)) ** 2))
    np.fill_diagonal(kernel, 1.0)
    means = kernel.mean(axis=0)
    kernel += means.mean() - means - means[:, None]
    return kernel


def kernel_cka(x: Floats, y: Floats) -> float:
    """Return the cosine of two centred kernels [N, N] of the same N frames: 0 to 1.

    Example:
        >>> kernel_cka(rbf_kernel(before), rbf_kernel(after))
        0.83
    """
    return float(np.vdot(x, y) / (np.linalg.norm(x) * np.linalg.norm(y)))
