"""Cascades of second-order filters, as impulse responses to convolve with.

Sections [..., S, 6] hold b0, b1, b2, a0, a1, a2 of each filter of a cascade, as in scipy's `sosfilt`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def ringing_samples(sections: Tensor, *, decay: float = 1e-8) -> float:
    """How many samples it takes the slowest of some filters to die down to `decay`; infinite if one never does.

    Example:
        >>> ringing_samples(torch.tensor([[[1.0, 0, 0, 1, -0.5, 0]]]), decay=2.0**-10)
        10.0
    """
    _, _, _, a0, a1, a2 = sections.to(torch.complex128).unbind(-1)
    middle, spread = -a1 / (2 * a0), ((a1 / (2 * a0)).square() - a2 / a0).sqrt()
    radius = float(torch.stack([middle + spread, middle - spread]).abs().max())
    if radius == 0:
        return 1.0
    return float(math.ceil(math.log(decay) / math.log(radius))) if radius < 1 else math.inf


def impulse_responses(sections: Tensor, size: int) -> Tensor:
    """Return the first `size` samples of the impulse responses of cascades: [B, S, 6] float64 to [B, size] float64.

    The frequency response is exact, B(e^-iw) / A(e^-iw) of every filter at every bin. What rings longer than `size`
    comes in again at the beginning; `ringing_samples` says how much is needed.
    """
    angles = torch.arange(size // 2 + 1, dtype=torch.float64, device=sections.device) * (-2 * math.pi / size)
    z = torch.polar(torch.ones_like(angles), angles)
    response = torch.ones_like(z)
    for section in sections.unbind(1):
        b0, b1, b2, a0, a1, a2 = section.unsqueeze(-1).unbind(1)
        response = response * ((b0 + z * (b1 + z * b2)) / (a0 + z * (a1 + z * a2)))
    impulses: Tensor = torch.fft.irfft(response, n=size)
    return impulses


def fast_size(size: int) -> int:
    """The next size, this one or a larger, whose Fourier transform is quick: no prime factor above 5."""
    from scipy.fft import next_fast_len  # type: ignore[import-untyped]  # takes a while to import

    return int(next_fast_len(size, real=True))
