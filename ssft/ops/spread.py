"""How many directions frames spread over."""

from __future__ import annotations

import torch
from torch import Tensor

EPSILON = 1e-7
"""RankMe's constant, which keeps the logarithm finite."""


def effective_rank(frames: Tensor) -> float:
    """Return how many directions finite frames [N, D] use: exp(entropy) of the shares of their singular values.

    Source: Roy and Vetterli, EUSIPCO 2007; RankMe, Garrido et al., ICML 2023.

    Example:
        >>> round(effective_rank(torch.eye(3)), 4), round(effective_rank(torch.ones(5, 3)), 4)
        (3.0, 1.0)
    """
    return float(effective_count(spectrum(frames.detach().double()).sqrt()))


def effective_count(sizes: Tensor, *, epsilon: float = EPSILON) -> Tensor:
    """Return how many of the sizes [K], none negative, share the total: exp(entropy), from 1 (one has all) to K.

    `p_i = s_i / (sum(s) + epsilon)`, and the count is `exp(-sum(p_i * log(p_i + epsilon)))`.
    """
    shares = sizes / (sizes.sum() + epsilon)
    return torch.exp(-torch.sum(shares * torch.log(shares + epsilon)))


def spectrum(frames: Tensor) -> Tensor:
    """Return the squared singular values of frames [N, D], largest first, of the smaller Gram matrix and on the CPU."""
    is_wide = frames.shape[0] < frames.shape[1]
    gram = frames @ frames.T if is_wide else frames.T @ frames
    return eigenvalues(gram.cpu())  # where a matrix of this size is faster than on a GPU


def eigenvalues(gram: Tensor) -> Tensor:
    """Return the eigenvalues [K] of a Gram matrix [K, K], largest first; those that are mere rounding are 0."""
    values = torch.linalg.eigvalsh(gram).flip(0)
    rounding = len(values) * torch.finfo(values.dtype).eps * values[0].clamp_min(0)
    return torch.where(values > rounding, values, 0.0)
