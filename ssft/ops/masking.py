"""Masks of padded sequences."""

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
