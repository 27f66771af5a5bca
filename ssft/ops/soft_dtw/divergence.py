"""Soft-DTW and its divergence between two batches of frame sequences."""

from __future__ import annotations

import torch
from torch import Tensor

from ssft.ops.masking import lengths_to_mask, pad_to
from ssft.ops.soft_dtw.scan import SoftDTWScan


def soft_dtw(x: Tensor, y: Tensor, lengths_x: Tensor, lengths_y: Tensor, *, gamma: float) -> Tensor:
    """Soft minimum, over all monotonic alignments, of the summed squared Euclidean distances of aligned frames.

    Padding is never read. float64 stays float64; anything else is computed in float32, whatever autocast says.

    Args:
        x: [B, N, D].
        y: [B, M, D].
        lengths_x: [B] frames, 1 to N.
        lengths_y: [B] frames, 1 to M.
        gamma: smoothing, positive; towards 0 this is classical DTW.

    Returns:
        [B]. May be negative. Differentiable once, in both sequences.

    Raises:
        ValueError: gamma not positive, a length out of range, or frames that are not finite.

    Source:
        Cuturi and Blondel, "Soft-DTW", ICML 2017, algorithms 1 and 2.
    """
    x, y = _checked(x, y, lengths_x, lengths_y, gamma)
    with torch.autocast(x.device.type, enabled=False):
        value: Tensor = SoftDTWScan.apply(_squared_distances(x, y), lengths_x, lengths_y, gamma)
    return value


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
    x, y = _checked(x, y, lengths_x, lengths_y, gamma)
    batch, size = len(x), max(x.shape[1], y.shape[1])
    x, y = pad_to(x, size), pad_to(y, size)
    # The three terms are one batch: the scan's cost is its number of steps, not the width of a step.
    first, second = torch.cat((x, x, y)), torch.cat((y, x, y))
    lengths_1 = torch.cat((lengths_x, lengths_x, lengths_y))
    lengths_2 = torch.cat((lengths_y, lengths_x, lengths_y))
    with torch.autocast(x.device.type, enabled=False):
        values: Tensor = SoftDTWScan.apply(_squared_distances(first, second), lengths_1, lengths_2, gamma)
    return values[:batch] - (values[batch : 2 * batch] + values[2 * batch :]) / 2


def _checked(x: Tensor, y: Tensor, lengths_x: Tensor, lengths_y: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
    """Refuse what would give a number without a meaning, convert to the working type, and blank the padding."""
    if gamma <= 0:
        raise ValueError(f"gamma must be positive, got {gamma}.")
    checked = []
    for name, values, lengths in (("x", x, lengths_x), ("y", y, lengths_y)):
        if lengths.min() < 1 or lengths.max() > values.shape[1]:
            raise ValueError(f"lengths of {name} must be 1 to {values.shape[1]}, got {lengths.tolist()}.")
        mask = lengths_to_mask(lengths, values.shape[1])
        clean = torch.where(mask[..., None], values, 0).to(torch.promote_types(values.dtype, torch.float32))
        if not torch.isfinite(clean).all():
            raise ValueError(f"{name} has frames that are NaN or infinite.")
        checked.append(clean)
    return checked[0], checked[1]


def _squared_distances(x: Tensor, y: Tensor) -> Tensor:
    squares_x, squares_y = x.square().sum(-1), y.square().sum(-1)
    distances: Tensor = squares_x[:, :, None] + squares_y[:, None, :] - 2 * x @ y.mT
    return distances.clamp_min(0)
