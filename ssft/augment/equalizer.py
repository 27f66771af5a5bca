"""The colour of a sound: some frequency bands louder, others softer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike

from ssft.augment.base import Parameters, Transform
from ssft.errors import RecipeError
from ssft.ops.biquads import fast_size, impulse_responses, ringing_samples
from ssft.ops.convolution import convolve
from ssft.types import SAMPLE_RATE, Waves

_LONGEST_RINGING = 30.0
"""Seconds; a batch is padded by what its filters ring."""


class ParametricEqualizer(Transform):
    """Raises or lowers every band of the spectrum by a gain of its own, as another microphone or room would.

    A cascade of second-order filters: a low shelf, peaks, and a high shelf, with centres spaced evenly in octaves. Each
    band draws its gain from U(-max_gain_db, max_gain_db) and its quality from Q = min_q * (max_q / min_q)^u, u from
    U(0, 1). [T] stays [T].

    A result with a peak above 1 (above the waveform's own, if that is higher) is turned down as a whole. The authors
    clip it instead; but clipping adds harmonics, which are no trait of a voice, and encoders hardly hear a level.

    A single waveform is filtered recursively, in float64; gains of 0 dB give it back as it is. A batch is convolved
    with the impulse responses of the same filters, in float32: the root mean square of the difference is below 1e-6 of
    the input's or the result's, whichever is louder (5e-6 for gains of more than 24 dB).

    Args:
        max_gain_db: the largest gain or loss at a band's centre, in dB.
        min_q: the widest band: centre over bandwidth.
        max_q: the narrowest.
        bands: how many, the two shelves included.
        min_hz: the lowest centre, that of the low shelf.
        max_hz: the highest centre, that of the high shelf.
        sample_rate: of the waveform, in Hz.

    Source:
        NANSY (Choi et al., NeurIPS 2021) and SPIN (Chang et al., Interspeech 2023): 10 bands from 60 to 7600 Hz, Q from
        2 to 5, 12 dB. Filters: Bristow-Johnson, "Cookbook formulae for audio equalizer biquad filter coefficients".

    Relations:
        `SpeakerPerturb` ends with one.

    Example:
        >>> coloured = ParametricEqualizer(max_gain_db=6.0)(wave, rng)
    """

    def __init__(
        self,
        max_gain_db: float = 12.0,
        min_q: float = 2.0,
        max_q: float = 5.0,
        bands: int = 10,
        min_hz: float = 60.0,
        max_hz: float = 7600.0,
        sample_rate: int = SAMPLE_RATE,
    ) -> None:
        name = "ParametricEqualizer"
        if not 0 <= max_gain_db <= 40:
            raise RecipeError(f"{name}(max_gain_db={max_gain_db}): give 0 to 40 dB; 12 is the published value.")
        if not 0 < min_q <= max_q < float("inf"):
            raise RecipeError(f"{name}(min_q={min_q}, max_q={max_q}): give 0 < min_q <= max_q; published are 2 and 5.")
        if bands < 2:
            raise RecipeError(f"{name}(bands={bands}): two shelves are the fewest bands; 10 is the published value.")
        if not 0 < min_hz < max_hz < sample_rate / 2:
            raise RecipeError(
                f"{name}(min_hz={min_hz}, max_hz={max_hz}, sample_rate={sample_rate}): give 0 < min_hz < max_hz, and "
                "max_hz below half the sample rate; published are 60 and 7600 at 16000."
            )
        self.max_gain_db = max_gain_db
        self.min_q = min_q
        self.max_q = max_q
        self.bands = bands
        self.min_hz = min_hz
        self.max_hz = max_hz
        self.sample_rate = sample_rate
        corners = [[gain, quality] for gain in (-max_gain_db, max_gain_db) for quality in (min_q, max_q)]
        gains, qualities = np.repeat(np.array(corners).T[:, :, None], bands, axis=2)
        seconds = ringing_samples(torch.from_numpy(self.sections(gains, qualities))) / sample_rate
        if seconds > _LONGEST_RINGING:
            raise RecipeError(
                f"{name}(max_gain_db={max_gain_db}, min_q={min_q}, max_q={max_q}, min_hz={min_hz}): a band would ring "
                f"for {seconds:.0f} s. Give less gain, Q nearer to 1, or a higher min_hz, for at most "
                f"{_LONGEST_RINGING:.0f} s."
            )

    def draw(self, rng: np.random.Generator, wave: np.ndarray) -> Parameters:
        gains = rng.uniform(-self.max_gain_db, self.max_gain_db, self.bands)
        qualities = self.min_q * (self.max_q / self.min_q) ** rng.uniform(0, 1, self.bands)
        return {"gains_db": gains.tolist(), "q": qualities.tolist()}

    def apply(self, wave: np.ndarray, parameters: Parameters) -> np.ndarray:
        from scipy.signal import sosfilt  # type: ignore[import-untyped]  # takes a second to import

        sections = self.sections(parameters["gains_db"], parameters["q"])
        filtered = sosfilt(sections, wave.astype(np.float64))
        highest = max(1.0, float(np.abs(wave).max(initial=0)))
        peak = float(np.abs(filtered).max(initial=0))
        return np.asarray(filtered * min(1.0, highest / peak) if peak else filtered, dtype=np.float32)

    def apply_batch(self, waves: Waves, parameters: Sequence[Parameters]) -> Waves:
        gains_db, q = ([drawn[key] for drawn in parameters] for key in ("gains_db", "q"))
        sections = torch.from_numpy(self.sections(gains_db, q))
        size = fast_size(int(ringing_samples(sections)))
        clean = waves.samples.masked_fill(~waves.mask, 0)
        responses = impulse_responses(sections.to(clean.device), size).to(clean.dtype)
        filtered = convolve(clean, responses).masked_fill(~waves.mask, 0)
        highest, peak = (x.abs().amax(dim=1, keepdim=True) for x in (clean, filtered))
        return Waves(filtered * (highest.clamp_min(1) / peak).clamp_max(1), waves.lengths)

    def sections(self, gains_db: ArrayLike, q: ArrayLike) -> np.ndarray:
        """The filters [..., bands, 6] for gains in dB and qualities of the bands: b0, b1, b2, a0 = 1, a1, a2."""
        angles = 2 * np.pi * np.geomspace(self.min_hz, self.max_hz, self.bands) / self.sample_rate
        cosines, amplitudes = np.cos(angles), 10 ** (np.asarray(gains_db) / 40)
        alphas = np.sin(angles) / (2 * np.asarray(q))
        sections = np.stack(_peak(amplitudes, cosines, alphas), axis=-1)
        for band, shelf in ((0, _low_shelf), (-1, _high_shelf)):
            sections[..., band, :] = np.stack(shelf(amplitudes[..., band], cosines[band], alphas[..., band]), axis=-1)
        normalized: np.ndarray = sections / sections[..., 3:4]
        return normalized


def _peak(amplitude: np.ndarray, cosine: np.ndarray, alpha: np.ndarray) -> list[np.ndarray]:
    up, down, middle = alpha * amplitude, alpha / amplitude, np.broadcast_to(-2 * cosine, alpha.shape)
    return [1 + up, middle, 1 - up, 1 + down, middle, 1 - down]


def _low_shelf(amplitude: np.ndarray, cosine: np.ndarray, alpha: np.ndarray) -> list[np.ndarray]:
    plus, minus, edge = amplitude + 1, amplitude - 1, 2 * np.sqrt(amplitude) * alpha
    return [
        amplitude * (plus - minus * cosine + edge),
        amplitude * (minus - plus * cosine) * 2,
        amplitude * (plus - minus * cosine - edge),
        plus + minus * cosine + edge,
        -2 * (minus + plus * cosine),
        plus + minus * cosine - edge,
    ]


def _high_shelf(amplitude: np.ndarray, cosine: np.ndarray, alpha: np.ndarray) -> list[np.ndarray]:
    # A low shelf seen from the other end of the spectrum: z becomes -z.
    b0, b1, b2, a0, a1, a2 = _low_shelf(amplitude, -cosine, alpha)
    return [b0, -b1, b2, a0, -a1, a2]
