"""Soft-DTW as a scan over anti-diagonals, in PyTorch: any device, float32 or float64."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ssft.ops.masking import lengths_to_mask, pad_to

_NEGLIGIBLE = -50.0  # exp(-50) vanishes beside 1 in float64 too, and this keeps denormal numbers, which are slow, away


def evaluate(x: Tensor, y: Tensor, lengths_x: Tensor, lengths_y: Tensor, *, gamma: float, divergence: bool) -> Tensor:
    """Soft-DTW s(x, y) per item, or s(x, y) - (s(x, x) + s(y, y)) / 2, differentiable once in x and y.

    Args:
        x: [B, N, D], finite up to its lengths, as the caller checks.
        y: [B, M, D], likewise.
        lengths_x: [B] frames, 1 to N; what is behind them is not read.
        lengths_y: [B] frames, 1 to M.
        gamma: smoothing, positive.
        divergence: whether the terms of each sequence with itself are subtracted.

    Returns:
        [B], of the type of the frames.
    """
    x, y = _blanked(x, lengths_x), _blanked(y, lengths_y)
    if not divergence:
        value: Tensor = SoftDTWScan.apply(_squared_distances(x, y), lengths_x, lengths_y, gamma)
        return value
    size = max(x.shape[1], y.shape[1])
    x, y = pad_to(x, size), pad_to(y, size)
    # The three terms are one batch: the scan's cost is its number of steps, not the width of a step.
    first, second = torch.cat((x, x, y)), torch.cat((y, x, y))
    lengths_1 = torch.cat((lengths_x, lengths_x, lengths_y))
    lengths_2 = torch.cat((lengths_y, lengths_x, lengths_y))
    values: Tensor = SoftDTWScan.apply(_squared_distances(first, second), lengths_1, lengths_2, gamma)
    batch = len(lengths_x)
    return values[:batch] - (values[batch : 2 * batch] + values[2 * batch :]) / 2


class SoftDTWScan(torch.autograd.Function):
    """R_ij = C_ij + softmin_gamma(R_{i-1,j-1}, R_{i-1,j}, R_{i,j-1}); the value of an item is R at its own last cell.

    All cells of an anti-diagonal i + j = d depend only on the two before it, so each is one vector operation over the
    batch. With L = -R / gamma the recursion is a log-sum-exp. What is kept for the backward pass is, per cell, how much
    of that sum came from above and from the left (the rest came from the diagonal); the gradient, the expected
    alignment matrix, then flows back along the same three ways without a transcendental.
    """

    @staticmethod
    def forward(ctx: Any, cost: Tensor, lengths_x: Tensor, lengths_y: Tensor, gamma: float) -> Tensor:
        batch, size_x, size_y = cost.shape
        score = _skew(cost) / -gamma
        diagonals = len(score)
        above_share, left_share, totals = (torch.empty_like(score) for _ in range(3))
        unreachable = -torch.finfo(cost.dtype).max / 8  # what is added to it stays finite
        edge = cost.new_full((batch, 1), unreachable)
        # Index 0 is the border row above the matrix; R_00 = 0 starts every path.
        before = cost.new_full((batch, size_x + 1), unreachable)
        before_that = before.clone()
        before_that[:, 0] = 0.0
        for d in range(diagonals):
            diagonal, above, left = before_that[:, :size_x], before[:, :size_x], before[:, 1:]
            largest = torch.maximum(torch.maximum(diagonal, above), left)
            weights = [(way - largest).clamp_min_(_NEGLIGIBLE).exp_() for way in (diagonal, above, left)]
            total = weights[0] + weights[1] + weights[2]
            torch.div(weights[1], total, out=above_share[d])
            torch.div(weights[2], total, out=left_share[d])
            here = total.log_().add_(largest).add_(score[d])
            here[:, : max(0, d - size_y + 1)] = unreachable
            here[:, d + 1 :] = unreachable
            totals[d] = here
            before_that, before = before, torch.cat((edge, here), dim=1)
        items = torch.arange(batch, device=cost.device)
        ctx.save_for_backward(above_share, left_share, lengths_x, lengths_y)
        ctx.size_y = size_y
        return -gamma * totals[lengths_x + lengths_y - 2, items, lengths_x - 1]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        if torch.is_grad_enabled():
            # Autograd would go on through the costs alone, and return a second derivative that is wrong.
            raise RuntimeError("soft-DTW has a first derivative only; do not use create_graph=True.")
        above_share, left_share, lengths_x, lengths_y = ctx.saved_tensors
        diagonals, batch, _ = above_share.shape
        expected = torch.zeros_like(above_share)
        items = torch.arange(batch, device=expected.device)
        expected[lengths_x + lengths_y - 2, items, lengths_x - 1] = 1.0
        for d in range(diagonals - 1, 0, -1):
            here = expected[d]
            from_above, from_left = here * above_share[d], here * left_share[d]
            expected[d - 1] += from_left
            expected[d - 1, :, :-1] += from_above[:, 1:]
            if d > 1:
                expected[d - 2, :, :-1] += (here - from_above - from_left)[:, 1:]
        return _unskew(expected, ctx.size_y) * grad[:, None, None], None, None, None


def _blanked(frames: Tensor, lengths: Tensor) -> Tensor:
    return torch.where(lengths_to_mask(lengths, frames.shape[1])[..., None], frames, 0)


def _squared_distances(x: Tensor, y: Tensor) -> Tensor:
    squares_x, squares_y = x.square().sum(-1), y.square().sum(-1)
    distances: Tensor = squares_x[:, :, None] + squares_y[:, None, :] - 2 * x @ y.mT
    return distances.clamp_min(0)


def _skew(cost: Tensor) -> Tensor:
    """[B, N, M] to [N + M - 1, B, N]: entry (d, b, i) is cost[b, i, d - i]; elsewhere whatever is there is ignored."""
    batch, size_x, size_y = cost.shape
    wide = torch.nn.functional.pad(cost, (0, size_x)).reshape(batch, -1)
    shifted = wide[:, : size_x * (size_x + size_y - 1)].reshape(batch, size_x, size_x + size_y - 1)
    return shifted.permute(2, 0, 1).contiguous()


def _unskew(skewed: Tensor, size_y: int) -> Tensor:
    _, batch, size_x = skewed.shape
    rows = skewed.permute(1, 2, 0).reshape(batch, -1)
    return torch.nn.functional.pad(rows, (0, size_x)).reshape(batch, size_x, size_x + size_y)[:, :, :size_y]
