"""The best path through candidates, instant by instant: a loop on a CPU, a scan over a tree elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

_NONE = -1e9
"""The score of what cannot be chosen; finite, so that sums of it stay numbers."""


def best_path(
    scores: Tensor, octaves: Tensor, free: Tensor, *, jump_cost: float, change_cost: float, scan: bool | None = None
) -> Tensor:
    """Choose one of C candidates at each of N instants: those of the greatest sum of scores less costs of transitions.

    A candidate is a place on a line or, candidate 0, 'none'. To go from place to place costs `jump_cost` times their
    distance, to or from 'none' `change_cost`.

    Args:
        scores: [N, C] float64; -inf where there is no candidate. Some candidate of every instant has a finite score.
        octaves: [N, C] float64, finite; column 0 is ignored.
        free: [N] bool, instants to which every step costs nothing. Sequences that follow one another, each with its
            first instant free, do not touch.
        jump_cost: of a unit of distance.
        change_cost: at least 0.
        scan: whether to combine instants in a tree, whose depth is log2 N, and not one by one. None: where there is no
            CPU. Both find the same path, unless several are the best.

    Returns:
        [N] int64.

    Source:
        Viterbi's algorithm. It is a product of matrices in which sums are maxima and products are sums, and like every
        product it can be computed as a tree: Hillis and Steele, "Data parallel algorithms", 1986, and Blelloch, 1990.
    """
    if scan is None:
        scan = scores.device.type != "cpu"
    if scan:
        return _by_scan(scores, octaves, free, jump_cost, change_cost)
    values = (one.cpu().numpy() for one in (scores, octaves, free))
    return torch.from_numpy(_compiled_loop()(*values, jump_cost, change_cost)).to(scores.device)


def _by_scan(scores: Tensor, octaves: Tensor, free: Tensor, jump_cost: float, change_cost: float) -> Tensor:
    instants, candidates = scores.shape
    before, after = octaves[:-1, :, None], octaves[1:, None, :]
    costs = jump_cost * (after - before).abs()
    is_none = torch.arange(candidates, device=scores.device) == 0
    costs = torch.where(is_none[:, None] ^ is_none[None, :], change_cost, costs)
    costs[:, 0, 0] = 0
    costs = F.pad(costs, (0, 0, 0, 0, 1, 0)).masked_fill_(free[:, None, None], 0)
    # Entry (i, j) of step n: what is won by going from candidate i of instant n - 1 to j of instant n.
    steps = scores.clamp_min(_NONE)[:, None, :] - costs
    neutral = torch.where(torch.eye(candidates, dtype=torch.bool, device=scores.device), 0.0, _NONE)[None].to(steps)
    levels = [steps]
    while len(levels[-1]) > 1:
        level = levels[-1]
        if len(level) % 2:
            levels[-1] = level = torch.cat([level, neutral])
        level = (level[0::2, :, :, None] + level[1::2, None, :, :]).amax(dim=2)
        levels.append(level)
    # From the root to the leaves: the best that can be won before and after what a node stands for.
    earlier = later = torch.zeros_like(scores[:1])
    for level in levels[-2::-1]:
        left, right = level[0::2], level[1::2]
        earlier, later = earlier[: len(left)], later[: len(left)]  # without the neutral last, if there was one
        earlier_right = (earlier[:, :, None] + left).amax(dim=1)
        later_left = (right + later[:, None, :]).amax(dim=2)
        earlier = torch.stack([earlier, earlier_right], dim=1).flatten(0, 1)
        later = torch.stack([later_left, later], dim=1).flatten(0, 1)
    through = (earlier[:, :, None] + levels[0]).amax(dim=1) + later
    return through[:instants].argmax(dim=1)


@cache
def _compiled_loop() -> Callable[..., NDArray[np.int64]]:
    from numba import njit  # slow to import, and most augmentations do not need it

    compiled: Callable[..., NDArray[np.int64]] = njit(cache=True, nogil=True)(_loop)
    return compiled


def _loop(
    scores: NDArray[np.float64],
    octaves: NDArray[np.float64],
    free: NDArray[np.bool_],
    jump_cost: float,
    change_cost: float,
) -> NDArray[np.int64]:
    instants, candidates = scores.shape
    came_from = np.zeros((instants, candidates), dtype=np.int8)
    total = np.zeros(candidates)
    reached = np.zeros(candidates)
    for n in range(instants):
        for j in range(candidates):
            best, best_i = -np.inf, 0
            if scores[n, j] > -np.inf:
                for i in range(candidates):
                    cost = 0.0
                    if n > 0 and not free[n]:
                        if i > 0 and j > 0:
                            cost = jump_cost * abs(octaves[n, j] - octaves[n - 1, i])
                        elif i != j:
                            cost = change_cost
                    if total[i] - cost > best:
                        best, best_i = total[i] - cost, i
            reached[j] = best + scores[n, j]
            came_from[n, j] = best_i
        for j in range(candidates):
            total[j] = reached[j]
    path = np.zeros(instants, dtype=np.int64)
    if instants:
        path[-1] = total.argmax()
    for n in range(instants - 1, 0, -1):
        path[n - 1] = came_from[n, path[n]]
    return path
