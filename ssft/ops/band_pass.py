"""Filters that keep a band of frequencies and delay nothing."""

from __future__ import annotations

import torch
from torch import Tensor


def band_pass(low_hz: Tensor, high_hz: Tensor, *, half: int, sample_rate: int) -> Tensor:
    """Return symmetric filters [B, 2 * half + 1] that keep what lies between `low_hz` and `high_hz`, both [B] float64.

    h(t) = (2 f_high sinc(2 f_high t) - 2 f_low sinc(2 f_low t)) w(t) / sample_rate at t = n / sample_rate for n from
    -half to half, with the Blackman window w: 6 dB down at each edge, and 74 dB from 1.4 * sample_rate / half Hz beyond
    it. A low edge of 0 leaves a low-pass.

    Example:
        >>> low_pass = band_pass(torch.zeros(1).double(), torch.tensor([3400.0]).double(), half=256, sample_rate=16_000)
        >>> round(float(low_pass.sum()), 3)
        1.0
    """
    places = torch.arange(-half, half + 1, dtype=torch.float64, device=low_hz.device)
    window = 0.42 + 0.5 * torch.cos(torch.pi * places / half) + 0.08 * torch.cos(2 * torch.pi * places / half)
    low, high = ((2 * edge / sample_rate)[:, None] for edge in (low_hz, high_hz))
    return (high * torch.sinc(high * places) - low * torch.sinc(low * places)) * window
