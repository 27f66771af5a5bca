"""Padded sequences: masks, and padding to a common size."""

from __future__ import annotations

import torch
from torch import Tensor


def lengths_to_mask(lengths: Tensor, size: int) -> Tensor:
    """Return a bool mask [B, size] that is True where position < length.

    Example:
        >>> lengths_to_mask(torch.tensor([1, 3]), 3).tolist()
        [[True, False, False], [True, True, True]]
    """
    return torch.arange(size, device=lengths.device)[None, :] < lengths[:, None]


def pad_to(values: Tensor, size: int) -> Tensor:
    """Append zeros to [B, T, ...] until it is [B, size, ...].

    Example:
        >>> pad_to(torch.ones(1, 1), 3).tolist()
        [[1.0, 0.0, 0.0]]
    """
    missing = size - values.shape[1]
    return values if missing == 0 else torch.cat([values, values.new_zeros(len(values), missing, *values.shape[2:])], 1)
