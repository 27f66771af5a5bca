"""The contrastive inverse difference moment: how close together frames are that lie far apart in time."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from ssft.ops.eager_gradient import with_gradients

_ROWS = 256
"""Rows of the distance matrix that are worked on at a time: they stay in a processor's cache."""

_ROUNDING = 16.0
"""Equal frames get squared distances of up to 9 roundings of the largest square, measured for D of 16 to 1024."""


def contrastive_idm(x: Tensor, lengths: Tensor, *, sigma: int, margin: float) -> Tensor:
    """Penalise frames that are distant in time and close in space, and frames that are the reverse.

    With the Euclidean distance d_ij and w_ij = (i - j)^2 + 1, an item of n frames has the value

        1/n^2 * sum_ij ( w_ij * max(0, margin - d_ij) if |i - j| > sigma else d_ij / w_ij )

    Where d_ij = 0 the distance has no derivative; its gradient is taken as 0. The same goes for distances too small to
    be told from 0 after a matrix product: in float32, below 0.0014 of the largest distance from the mean frame. Padding
    is never read. float64 stays float64; anything else is computed in float32, whatever autocast says.

    Args:
        x: [B, F, D].
        lengths: [B] frames, 1 to F.
        sigma: frames up to this many apart attract each other, others repel. 0 attracts none.
        margin: distance from which frames no longer repel each other.

    Returns:
        [B]. Differentiable once.

    Raises:
        ValueError: a length out of range.

    Source:
        Haresh et al., "Learning by Aligning Videos in Time", CVPR 2021 (Contrastive-IDM).

    Example:
        >>> contrastive_idm(torch.zeros(1, 2, 4), torch.tensor([2]), sigma=0, margin=1.0)
        tensor([1.])
    """
    if lengths.min() < 1 or lengths.max() > x.shape[1]:
        raise ValueError(f"lengths must be 1 to {x.shape[1]}, got {lengths.tolist()}.")
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    compute = functools.partial(_values_and_gradient, x.detach(), lengths, sigma=sigma, margin=margin)
    with torch.autocast(x.device.type, enabled=False):
        return with_gradients(compute, x, name="the contrastive IDM")


def _values_and_gradient(
    x: Tensor, lengths: Tensor, wanted: tuple[bool, ...], *, sigma: int, margin: float
) -> tuple[Tensor, dict[int, Tensor]]:
    """Two matrix products an item, where autograd would keep several matrices and take two to three times as long."""
    gradient = torch.zeros_like(x) if wanted[0] else None
    values = x.new_zeros(len(x))
    for item, length in enumerate(lengths.tolist()):
        into = gradient[item, :length] if gradient is not None else None
        values[item] = _accumulate(x[item, :length], sigma, margin, into)
    return values, {} if gradient is None else {0: gradient}


def _accumulate(x: Tensor, sigma: int, margin: float, gradient: Tensor | None) -> Tensor:
    """Return the value of one sequence [n, D], and write its gradient into `gradient` [n, D] if there is one."""
    n = len(x)
    x = x - x.mean(0)  # changes no distance, and leaves fewer digits to cancel in them
    columns = x.flip(0)
    squares = x.square().sum(1)
    rounding = _ROUNDING * torch.finfo(x.dtype).eps * squares.max()
    # With columns from last to first, what depends on i - j alone is a sliding view of a vector, not a matrix.
    gap = torch.arange(1 - n, n, device=x.device, dtype=x.dtype)
    near = gap.abs() <= sigma
    weight = gap.square() + 1
    # Signed: near frames are weighted by their distance, others by what it lacks to the margin, which is negative.
    weight = torch.where(near, 1 / weight, -weight).unfold(0, n, 1)
    near = near.unfold(0, n, 1)
    value = x.new_zeros(())
    for start in range(0, n, _ROWS):
        rows = slice(start, start + _ROWS)
        distance = torch.addmm(squares.flip(0), x[rows], columns.T, alpha=-2).add_(squares[rows, None])
        same = distance <= rounding
        distance.masked_fill_(same, 0).sqrt_()
        excess = torch.where(near[rows], distance, (distance - margin).clamp_max_(0))
        value += (excess * weight[rows]).sum()
        if gradient is not None:
            # d value / d x_i = 2 * sum_j slope_ij * (x_i - x_j): a pair occurs twice in the sum.
            slope = (weight[rows] / distance).masked_fill_(same | (excess == 0), 0)
            torch.addmm(x[rows] * slope.sum(1, keepdim=True), slope, columns, alpha=-1, out=gradient[rows])
    if gradient is not None:
        gradient.mul_(2 / n**2)
    return value / n**2
