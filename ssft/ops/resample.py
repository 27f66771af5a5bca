"""Resampling of band-limited signals, block by block in the frequency domain."""

from __future__ import annotations

from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor

_LARGEST_DENOMINATOR = 1000
_RINGING = 144  # samples at the lower of both rates until the filter has died down to -120 dB
_BLOCK = 4096
_BLOCKS_AT_ONCE = 4096  # what bounds memory, not speed


def nearest_ratio(factor: float) -> Fraction:
    """The nearest fraction with a denominator of up to 1000.

    Example:
        >>> nearest_ratio(1.1)
        Fraction(11, 10)
    """
    return Fraction(factor).limit_denominator(_LARGEST_DENOMINATOR)


def resampled_length(length: int, *, ratio: Fraction) -> int:
    """How many samples `resample` makes of so many: round(length / ratio), halves up.

    Example:
        >>> resampled_length(16000, ratio=Fraction(11, 10))
        14545
    """
    p, q = ratio.numerator, ratio.denominator
    return (2 * length * q + p) // (2 * p)


def resample(signals: Tensor, *, ratio: Fraction) -> Tensor:
    """Read signals [B, T] at every `ratio`-th sample, band-limited in between: frequencies times `ratio`, [B, T'].

    The pass band ends at 0.91 of the lower Nyquist frequency, the transition at 1, with the slope of soxr's quality HQ:
    results agree with `soxr.resample(signal, ratio.numerator, ratio.denominator)` to -70 dB on speech and -60 dB on
    white noise, mostly better, and lengths exactly; but an abrupt beginning loses up to 4 % of its first two samples
    in soxr. A result depends on nothing else in the batch but for rounding.

    Args:
        signals: zero behind their ends.
        ratio: in lowest terms p / q; the transforms have multiples of p and of q points.

    Source:
        Overlap and save, where the inverse transform of a block has q points for every p of the forward one.

    Example:
        >>> resample(torch.ones(1, 1100), ratio=Fraction(11, 10)).shape
        torch.Size([1, 1000])
    """
    p, q = ratio.numerator, ratio.denominator
    size = resampled_length(signals.shape[1], ratio=ratio)
    lead = -(-_RINGING // min(p, q))  # parts, each of p samples in and q samples out
    parts = _fast(2 * lead + -(-_BLOCK // p))
    step = parts - 2 * lead
    blocks = max(-(-size // (step * q)), 1)
    padded = F.pad(signals, (lead * p, max((blocks * step + lead) * p - signals.shape[1], 0)))
    taper = _taper(min(p, q) * parts // 2 + 1, signals) * (q / p)

    segments = padded.unfold(1, parts * p, step * p)
    resampled = signals.new_empty(len(signals), blocks, step * q)
    at_once = max(_BLOCKS_AT_ONCE // len(signals), 1)
    for begin in range(0, blocks, at_once):
        some = slice(begin, min(begin + at_once, blocks))
        spectra = torch.fft.rfft(segments[:, some])[..., : len(taper)] * taper
        resampled[:, some] = torch.fft.irfft(spectra, parts * q)[..., lead * q : -lead * q]
    return resampled.flatten(1)[:, :size]


def _taper(bins: int, like: Tensor) -> Tensor:
    """The filter's response at so many frequencies up to the lower Nyquist frequency: soxr's, to 0.001."""
    frequency = torch.linspace(0, 1, bins, dtype=torch.float64, device=like.device)
    distance = (frequency - 0.95684) / 0.0165
    response: Tensor = 0.5 * torch.erfc(distance * (1 + 0.0185 * distance.square()))
    return response.to(like.dtype)


def _fast(size: int) -> int:
    """The next size, this one or a larger, without a prime factor above 5."""
    while True:
        rest = size
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return size
        size += 1
