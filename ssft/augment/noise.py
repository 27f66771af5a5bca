"""Background noise, so much softer or louder than the speech as is asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeGuard

import numpy as np

from ssft.augment.base import Parameters, Transform
from ssft.augment.recordings import Recordings
from ssft.errors import RecipeError
from ssft.randomness import derive_rng
from ssft.types import SAMPLE_RATE

SYNTHETIC = ("white", "pink")
"""The sources that need no recordings."""

_SILENCE_RMS = 2.0**-15
"""The last bit of 16: what is softer is the rounding of a silent recording and, turned up, the sound of no place."""

_TRIES = 10


class AddNoise(Transform):
    """Adds noise at a drawn ratio of signal to noise.

    y = x + n * sqrt(P_x / (P_n * 10^(SNR / 10))), the powers P taken over the whole waveform, pauses included.
    [T] stays [T]. The sum is not clipped: samples are floats, and encoders hardly hear a level.

    Every recording of a folder is drawn equally often, and of it a part that begins anywhere; noise shorter than the
    waveform is repeated. A silent part is drawn again, up to ten times, after which nothing is added. Nothing is added
    to silence either: no ratio to it is defined.

    Args:
        source: a folder of noise recordings (wav, flac, ogg, opus or mp3, in subfolders too, of which the first channel
            is used), or `white` or `pink` for Gaussian noise. A folder of such a name is written `./white`.
        snr_db: ratios in dB, each drawn equally often; at 0 the noise is as loud as the speech, below 0 louder.
        min_snr_db: together with `max_snr_db` it replaces `snr_db`: any ratio in between is drawn, uniformly.
        max_snr_db: the highest ratio then.
        probability: of adding noise at all.
        sample_rate: of the waveform, in Hz; recordings are resampled to it.

    Source:
        nr-ssft adds DEMAND noise at 20, 10 or 5 dB. R-Spin (Chang and Glass, NAACL 2024) adds MUSAN and CHiME-4 noise,
        uniform between -10 and 10 dB, to both waveforms.

    Requirements:
        The folder is read when noise is first needed; `check` looks at it before.

    Example:
        >>> noisy = AddNoise("data/noise", min_snr_db=-10.0, max_snr_db=10.0)(wave, rng)
    """

    def __init__(
        self,
        source: str,
        snr_db: Sequence[float] = (20.0, 10.0, 5.0),
        min_snr_db: float | None = None,
        max_snr_db: float | None = None,
        probability: float = 1.0,
        sample_rate: int = SAMPLE_RATE,
    ) -> None:
        snr_db = tuple(snr_db)
        if not str(source):
            raise RecipeError(f"AddNoise(source={source!r}): give a folder of noise recordings, or 'white' or 'pink'.")
        if not snr_db or not all(_is_ratio(ratio) for ratio in snr_db):
            raise RecipeError(f"AddNoise(snr_db={snr_db}): give at least one ratio, each between -60 and 100 dB.")
        if (min_snr_db is not None or max_snr_db is not None) and not (
            _is_ratio(min_snr_db) and _is_ratio(max_snr_db) and min_snr_db <= max_snr_db
        ):
            raise RecipeError(
                f"AddNoise(min_snr_db={min_snr_db}, max_snr_db={max_snr_db}): give both, the lower one first, between "
                "-60 and 100 dB; R-Spin draws from -10 to 10."
            )
        if not 0 <= probability <= 1:
            raise RecipeError(f"AddNoise(probability={probability}): give a probability between 0 and 1.")
        if sample_rate < 8000:
            raise RecipeError(f"AddNoise(sample_rate={sample_rate}): give the waveforms' rate in Hz, 8000 or more.")
        self.source = str(source)
        self.snr_db = snr_db
        self.min_snr_db = min_snr_db
        self.max_snr_db = max_snr_db
        self.probability = probability
        self.sample_rate = sample_rate
        self._recordings = Recordings(
            self.source, sample_rate=sample_rate, owner=f"AddNoise(source='{source}'), which may also be white or pink"
        )

    def check(self) -> None:
        """Look for the noise before a run depends on it.

        Raises:
            RecipeError: the folder is missing or has no audio, or a recording cannot be read.
        """
        if self.source not in SYNTHETIC:
            self._recordings.check()

    def draw(self, rng: np.random.Generator, wave: np.ndarray) -> Parameters:
        if rng.random() >= self.probability:
            return {}
        if self.min_snr_db is not None and self.max_snr_db is not None:
            snr_db = float(rng.uniform(self.min_snr_db, self.max_snr_db))
        else:
            snr_db = float(rng.choice(self.snr_db))
        if self.source in SYNTHETIC:
            return {"snr_db": snr_db, "seed": int(rng.integers(1 << 53))}
        names = self._recordings.names()
        for _ in range(_TRIES):
            name = names[int(rng.integers(len(names)))]
            seconds = self._recordings.seconds(name)
            room = seconds - len(wave) / self.sample_rate
            start = float(rng.uniform(0, room if room > 0 else seconds))  # what is repeated may begin anywhere
            if _SILENCE_RMS**2 <= _power(self._recordings.part(name, start, len(wave))) < math.inf:
                return {"snr_db": snr_db, "recording": name, "start_seconds": start}
        return {}

    def apply(self, wave: np.ndarray, parameters: Parameters) -> np.ndarray:
        signal_power = _power(wave)
        if not parameters or signal_power == 0:
            return wave
        if "seed" in parameters:
            noise = _synthetic(self.source, parameters["seed"], len(wave))
        else:
            noise = self._recordings.part(parameters["recording"], parameters["start_seconds"], len(wave))
        noise_power = _power(noise)
        if noise_power == 0:
            return wave
        gain = math.sqrt(signal_power / noise_power) * 10 ** (-parameters["snr_db"] / 20)
        return np.asarray(wave + gain * noise.astype(np.float64), dtype=np.float32)


def _is_ratio(snr_db: float | None) -> TypeGuard[float]:
    return snr_db is not None and -60 <= snr_db <= 100


def _power(samples: np.ndarray) -> float:
    return float(np.mean(np.square(samples, dtype=np.float64)))


def _synthetic(colour: str, seed: int, samples: int) -> np.ndarray:
    """Gaussian noise [T] whose power is the same at every frequency (white) or falls by 3 dB an octave (pink)."""
    white = derive_rng("noise", seed).standard_normal(samples)
    if colour == "white":
        return white
    spectrum = np.fft.rfft(white)
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
    spectrum[0] = 0
    return np.fft.irfft(spectrum, samples)
