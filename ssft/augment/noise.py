"""Background noise, so much softer or louder than the speech as is asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeGuard

import numpy as np
import torch
import torch.nn.functional as F

from ssft.augment.base import Parameters, Transform
from ssft.augment.recordings import Recordings
from ssft.errors import RecipeError
from ssft.randomness import derive_rng
from ssft.types import SAMPLE_RATE, Waves

SYNTHETIC = ("white", "pink")
"""The sources that need no recordings."""

_SILENCE_RMS = 2.0**-15
"""The last bit of 16: what is softer is the rounding of a silent recording and, turned up, the sound of no place."""

_TRIES = 10

_MOST_THREADS = 8

_BLOCK = 128


class AddNoise(Transform):
    """Adds noise at a drawn ratio of signal to noise.

    y = x + n * sqrt(P_x / (P_n * 10^(SNR / 10))), the powers P taken over the whole waveform, pauses included.
    [T] stays [T]. The sum is not clipped: samples are floats, and encoders hardly hear a level.

    Every recording is drawn equally often, and of it a part that begins anywhere; noise shorter than the waveform is
    repeated, its end faded into its beginning over 10 ms. A silent part is drawn again, up to ten times, after which
    nothing is added. Nothing is added to silence either: no ratio to it is defined.

    The ratio is exact to 1e-4 dB up to 60 dB; above, noise comes near to the rounding of the sum to float32. A batch
    agrees with single waveforms to 1e-6 (root mean square of the difference, relative). Its noise is read or made on
    the CPU, by as many threads as torch may use there, and moved to the device as one tensor.

    Args:
        source: a folder of noise recordings (anything libsndfile reads, in subfolders too; the first channel is used);
            or a list of them, a .tsv or .csv with a column `path` and, for segments of long recordings, `start`
            and `seconds`, or a .txt with a path in every line; or `white` or `pink` for Gaussian noise. A folder of
            such a name is written `./white`.
        snr_db: ratios in dB, each drawn equally often; at 0 the noise is as loud as the speech, below 0 louder.
        min_snr_db: together with `max_snr_db` it replaces `snr_db`: any ratio in between is drawn, uniformly.
        max_snr_db: the highest ratio then.
        probability: of adding noise at all.
        sample_rate: of the waveform, in Hz; recordings are resampled to it.

    Source:
        nr-ssft adds DEMAND noise at 20, 10 or 5 dB. R-Spin (Chang and Glass, NAACL 2024) adds MUSAN and CHiME-4 noise,
        uniform between -10 and 10 dB, to both waveforms.

    Requirements:
        The folder or list is read when noise is first needed; `check` looks at it, and at every file's header, before.

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
            raise RecipeError(
                f"AddNoise(source={source!r}): give a folder or list of noise recordings, or 'white' or 'pink'."
            )
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
            RecipeError: there is no such folder or list, nothing is in it, or a recording cannot be read.
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
        noise = self._noise(parameters, len(wave))
        noise_power = _power(noise)
        if not 0 < noise_power < math.inf:
            return wave
        gain = math.sqrt(signal_power / noise_power) * 10 ** (-parameters["snr_db"] / 20)
        return np.asarray(wave + gain * noise.astype(np.float64), dtype=np.float32)

    def apply_batch(self, waves: Waves, parameters: Sequence[Parameters]) -> Waves:
        clean = waves.samples.masked_fill(~waves.mask, 0)
        if not any(parameters):
            return Waves(clean, waves.lengths)
        noise = self._noises(parameters, waves.lengths.tolist(), clean).to(clean.device, non_blocking=True)
        snr_db = [drawn.get("snr_db", math.inf) for drawn in parameters]
        ratios = clean.new_tensor([10 ** (-ratio / 20) for ratio in snr_db], dtype=torch.float64)
        signal_norm, noise_norm = _norms(clean), _norms(noise)
        gains = torch.where((noise_norm > 0) & noise_norm.isfinite(), ratios * signal_norm / noise_norm, 0)[:, None]
        noisy = torch.addcmul(clean, gains.float(), noise)
        return Waves(torch.where(gains > 0, noisy, clean), waves.lengths)

    def _noises(self, parameters: Sequence[Parameters], lengths: Sequence[int], like: torch.Tensor) -> torch.Tensor:
        """The noise of every waveform of a batch, [B, T] on the CPU, 0 where there is none."""
        noises = torch.zeros(like.shape, dtype=torch.float32, pin_memory=like.is_cuda)
        samples, rows = noises.numpy(), [row for row, drawn in enumerate(parameters) if drawn]

        def fill(row: int) -> None:
            samples[row, : lengths[row]] = self._noise(parameters[row], lengths[row])

        with ThreadPoolExecutor(min(torch.get_num_threads(), _MOST_THREADS)) as threads:
            list(threads.map(fill, rows))
        return noises

    def _noise(self, parameters: Parameters, samples: int) -> np.ndarray:
        if "seed" in parameters:
            return _synthetic(self.source, parameters["seed"], samples)
        return self._recordings.part(parameters["recording"], parameters["start_seconds"], samples)


def _is_ratio(snr_db: float | None) -> TypeGuard[float]:
    return snr_db is not None and -60 <= snr_db <= 100


def _power(samples: np.ndarray) -> float:
    return float(np.mean(np.square(samples, dtype=np.float64)))


def _norms(samples: torch.Tensor) -> torch.Tensor:
    """Roots of the sums of squares, [B, T] to [B] float64: of blocks in float32, which is quick and good to 1e-7."""
    blocks = F.pad(samples, (0, -samples.shape[1] % _BLOCK)).reshape(len(samples), -1, _BLOCK)
    norms: torch.Tensor = torch.linalg.vector_norm(blocks, dim=2).double().square().sum(dim=1).sqrt()
    return norms


def _synthetic(colour: str, seed: int, samples: int) -> np.ndarray:
    """Gaussian noise [T] float32, of equal power at all frequencies (white) or 3 dB less in every octave (pink)."""
    rng = derive_rng("noise", seed)
    if colour == "white":
        return rng.standard_normal(samples).astype(np.float32)
    from scipy import fft  # type: ignore[import-untyped]  # takes a while to import, and lets other threads run

    size = fft.next_fast_len(samples, real=True)
    spectrum = fft.rfft(rng.standard_normal(size))
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
    spectrum[0] = 0
    pink: np.ndarray = fft.irfft(spectrum, size)[:samples]
    return pink.astype(np.float32)
