"""More samples of the same signals."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

REACH = 24
"""How many samples to each side a new one is made of."""

_BLOCK = 64
_KAISER_BETA = 6.0  # what is above the band is 60 dB down, from 8 % above it on


class Oversampler:
    """Makes `factor` samples of each sample of signals, keeping to each its own band.

    Args:
        factor: at least 1.
        band: for each signal [B] the highest frequency to keep, above 0, as a part of half the sample rate.

    Source:
        A sinc in a Kaiser window: Kaiser, "Nonrecursive digital filter design using the I0-sinh window function", 1974.
    """

    def __init__(self, factor: int, band: Tensor) -> None:
        self.factor = factor
        device, half = band.device, REACH * factor
        time = torch.arange(-half, half + 1, dtype=torch.float64, device=device) / factor
        window = torch.kaiser_window(2 * half + 1, False, _KAISER_BETA, dtype=torch.float64, device=device)
        # The last entry is for what is out of reach.
        responses = F.pad(band.double()[:, None] * torch.sinc(band.double()[:, None] * time) * window, (0, 1))
        made = torch.arange(_BLOCK * factor, device=device) + half
        given = torch.arange(_BLOCK + 2 * REACH, device=device) * factor
        distance = made[None, :] - given[:, None]
        index = torch.where(distance.abs() <= half, distance + half, 2 * half + 1)
        self.matrices = responses.float()[:, index]

    def __call__(self, signals: Tensor) -> Tensor:
        """Return signals [B, T] float32 as [B, (T - 2 `REACH`) * factor].

        The first and last `REACH` samples are there for their neighbours only. Result `factor` * t is at the time of
        sample `REACH` + t, and is that sample if the band is 1.
        """
        length = signals.shape[1] - 2 * REACH
        blocks = -(-length // _BLOCK)
        padded = F.pad(signals, (0, blocks * _BLOCK - length))
        # All that a block of the result is made of, times a matrix: one product for each signal.
        pieces = padded.unfold(1, _BLOCK + 2 * REACH, _BLOCK)
        made: Tensor = (pieces @ self.matrices).flatten(1)
        return made[:, : length * self.factor]
