"""The phase vocoder: signals played faster or slower at the same pitch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_FRAMES_AT_ONCE = 128  # what fits a processor's cache
_FRAMES_AT_ONCE_ON_DEVICE = 1 << 16  # of 257 bins, about 1 GB in all


def phase_vocoder(
    spectra: Tensor, positions: Tensor, *, locked: bool = False, phases: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Read short-time spectra [B, N, K] at positions [M], in frames; return [B, M, K] and the phases that follow.

    The magnitude at position s lies between those of the frames floor(s) and floor(s) + 1. From one output frame to the
    next, phases turn as they do between these two. Only where frames are skipped or repeated does the output's phase
    gain a lead on that of frame floor(s). The lead is a product of complex numbers of magnitude 1: no angle is taken
    and none grows, so a long signal is treated as precisely as a short one. The phase of 0 is 0.

    Args:
        spectra: at the hop at which the output is to be overlapped and added, too.
        positions: float64, increasing, from 0 to below N - 1.
        locked: a bin's lead is the mean, weighted by magnitude, over itself and both neighbours, so that the bins of a
            harmonic stay together. Otherwise they drift apart: speech loses 3 dB or more and sounds as in a room.
        phases: unit complex numbers [B, K] of the first output frame; by default those of `spectra[:, 0]`. Those
            returned go on with the spectra that follow.

    Source:
        Flanagan and Golden, "Phase vocoder", Bell System Technical Journal 45, 1966. Laroche and Dolson, "Improved
        phase vocoder time-scale modification of audio", IEEE Transactions on Speech and Audio Processing 7, 1999, lock
        phases to those of the nearest spectral peak.
    """
    frames = positions.long()
    units, magnitudes = _split(spectra)
    here, after = units.index_select(1, frames), units.index_select(1, frames + 1)
    first = units[:, 0] if phases is None else phases
    leads = (torch.cat([first[:, None], after[:, :-1]], dim=1) * here.conj()).cumprod(dim=1)
    following, _ = _split(after[:, -1] * leads[:, -1])

    share = (positions - frames).to(magnitudes.dtype)[:, None]
    read = torch.lerp(magnitudes.index_select(1, frames), magnitudes.index_select(1, frames + 1), share)
    if locked:
        sides = F.pad(leads * read, (1, 1))
        leads, _ = _split(sides[..., :-2] + sides[..., 1:-1] + sides[..., 2:])
    return here * leads * read, following


def stretch(signals: Tensor, *, rate: float, frame: int = 512, locked: bool = False) -> Tensor:
    """Play signals [B, T] `rate` times as fast, at the same pitch: [B, round(T / rate)].

    Frames overlap by three quarters, under a Hann window in analysis and in synthesis. Before its beginning a signal
    is its mirror image. Frames are treated some at a time, which bounds the memory and does not show in the result.

    Args:
        signals: zero behind their ends.
        rate: above 0.
        frame: samples, a multiple of 4.
        locked: as for `phase_vocoder`.

    Example:
        >>> stretch(torch.ones(1, 1000), rate=1.25).shape
        torch.Size([1, 800])
    """
    half, hop = frame // 2, frame // 4
    size = round(signals.shape[1] / rate)
    count = (size + half - 1) // hop + 1
    window = torch.hann_window(frame, dtype=signals.dtype, device=signals.device)
    positions = torch.arange(count, dtype=torch.float64, device=signals.device) * rate

    needed = (int((count - 1) * rate) + 1) * hop + half
    padded = F.pad(signals, (half, max(needed, half + 1) - signals.shape[1]))
    padded[:, :half] = padded[:, half + 1 : frame + 1].flip(1)
    frames = padded.unfold(1, frame, hop)

    added = signals.new_zeros(len(signals), count + 3, hop)
    at_once = max((_FRAMES_AT_ONCE_ON_DEVICE if signals.is_cuda else _FRAMES_AT_ONCE) // len(signals), 16)
    phases = None
    for begin in range(0, count, at_once):
        end = min(begin + at_once, count)
        first, last = int(begin * rate), int((end - 1) * rate) + 1
        spectra = torch.fft.rfft(frames[:, first : last + 1] * window)
        spectra, phases = phase_vocoder(spectra, positions[begin:end] - first, locked=locked, phases=phases)
        grains = (torch.fft.irfft(spectra, frame) * window).unflatten(2, (4, hop))
        for quarter in range(4):
            added[:, begin + quarter : end + quarter] += grains[:, :, quarter]
    stretched = added.flatten(1)[:, half : half + size].div_(1.5)  # the squared windows add up to 1.5 ...
    missing = window[-hop:][:size].square()  # ... but for that of the frame before the first
    stretched[:, :hop] *= 1.5 / (1.5 - missing)
    return stretched


def _split(values: Tensor) -> tuple[Tensor, Tensor]:
    """Complex values as unit complex numbers, 1 for 0, and magnitudes."""
    power = values.real.square() + values.imag.square()
    units = torch.where(power >= torch.finfo(power.dtype).tiny, values * power.rsqrt(), 1)
    return units, power.sqrt()
