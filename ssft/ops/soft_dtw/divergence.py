"""Soft-DTW and its divergence between two batches of frame sequences."""

from __future__ import annotations

import functools
import math
import warnings
from typing import Protocol

import torch
from torch import Tensor

from ssft.ops.masking import lengths_to_mask
from ssft.ops.soft_dtw import scan
from ssft.ops.soft_dtw.numeric_range import in_range


def soft_dtw(x: Tensor, y: Tensor, lengths_x: Tensor, lengths_y: Tensor, *, gamma: float) -> Tensor:
    """Soft minimum, over all monotonic alignments, of the summed squared Euclidean distances of aligned frames.

    Padding is never read. float64 stays float64; anything else gives float32, whatever autocast says. Gradients have
    the type of the frames.

    Args:
        x: [B, N, D].
        y: [B, M, D].
        lengths_x: [B] frames, 1 to N.
        lengths_y: [B] frames, 1 to M.
        gamma: smoothing, positive; towards 0 this is classical DTW.

    Returns:
        [B]. May be negative. Differentiable once, in both sequences.

    Raises:
        ValueError: gamma not positive, shapes that do not fit, a length out of range, or frames that are not finite.

    Source:
        Cuturi and Blondel, "Soft-DTW", ICML 2017, algorithms 1 and 2.
    """
    return _evaluate(x, y, lengths_x, lengths_y, gamma=gamma, divergence=False)


def soft_dtw_divergence(x: Tensor, y: Tensor, lengths_x: Tensor, lengths_y: Tensor, *, gamma: float) -> Tensor:
    """s(x, y) - (s(x, x) + s(y, y)) / 2, which is 0 for equal sequences; shapes and errors as in `soft_dtw`.

    Unlike soft-DTW itself it is not smallest for blurred sequences. It is not promised to be positive.

    Source:
        Blondel, Mensch and Vert, "Differentiable divergences between time series", AISTATS 2021, equation 9.

    Example:
        >>> x, n = torch.randn(1, 5, 8), torch.tensor([5])
        >>> soft_dtw_divergence(x, x, n, n, gamma=0.1)
        tensor([0.])
    """
    return _evaluate(x, y, lengths_x, lengths_y, gamma=gamma, divergence=True)


class _Backend(Protocol):
    """Computes, of frames that have been checked, and without reading their padding."""

    def __call__(
        self, x: Tensor, y: Tensor, lengths_x: Tensor, lengths_y: Tensor, *, gamma: float, divergence: bool
    ) -> Tensor: ...


def _evaluate(x: Tensor, y: Tensor, lengths_x: Tensor, lengths_y: Tensor, *, gamma: float, divergence: bool) -> Tensor:
    largest = _checked_norm(x, y, lengths_x, lengths_y, gamma=gamma)
    dtype = torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)
    working_type, evaluate = dtype, scan.evaluate
    if dtype == torch.float32:
        if in_range(largest**2, frames=x.shape[1] + y.shape[1], gamma=gamma):
            evaluate = _float32_backend(x.device.type)
        else:
            working_type = torch.float64
    with torch.autocast(x.device.type, enabled=False):
        x, y = x.to(working_type), y.to(working_type)
        return evaluate(x, y, lengths_x, lengths_y, gamma=gamma, divergence=divergence).to(dtype)


def _checked_norm(x: Tensor, y: Tensor, lengths_x: Tensor, lengths_y: Tensor, *, gamma: float) -> float:
    """Refuse what would give a number without a meaning, and return the Euclidean length of the longest frame."""
    if not gamma > 0:
        raise ValueError(f"gamma must be positive, got {gamma}.")
    if x.ndim != 3 or y.ndim != 3 or len(x) != len(y) or x.shape[2] != y.shape[2] or not len(x):
        raise ValueError(f"frames must be [B, N, D] and [B, M, D], got {list(x.shape)} and {list(y.shape)}.")
    longest = 0.0
    for name, values, lengths in (("x", x.detach(), lengths_x), ("y", y.detach(), lengths_y)):
        if len(lengths) != len(values) or lengths.min() < 1 or lengths.max() > values.shape[1]:
            raise ValueError(f"lengths of {name} must be 1 to {values.shape[1]}, got {lengths.tolist()}.")
        mask = lengths_to_mask(lengths, values.shape[1])
        norms = torch.linalg.vector_norm(values, dim=2, dtype=torch.promote_types(values.dtype, torch.float32))
        norm = float(norms.masked_fill(~mask, 0).max())
        if not (math.isfinite(norm) or torch.isfinite(values[mask]).all()):  # the norm of finite values may overflow
            raise ValueError(f"{name} has frames that are NaN or infinite.")
        longest = max(longest, norm)
    return longest


@functools.cache
def _float32_backend(device_type: str) -> _Backend:
    """Choose once per kind of device, so that what there is to say is said once."""
    if device_type == "cpu":
        from ssft.ops.soft_dtw import cpu

        return cpu.evaluate
    if device_type == "cuda":
        from ssft.ops.soft_dtw import triton

        if triton.available():
            return triton.evaluate
        reason = "Triton is missing or cannot compile"
    else:
        reason = "there is no kernel for it"
    warnings.warn(f"Soft-DTW on {device_type} is a plain PyTorch loop, and slow: {reason}.", stacklevel=2)
    return scan.evaluate
