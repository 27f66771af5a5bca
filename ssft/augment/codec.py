"""Codecs: what a transmission or a compressed file leaves of a voice."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import soundfile
import soxr
import torch

from ssft.augment.base import Parameters, Transform
from ssft.errors import DataError, RecipeError, closest
from ssft.ops.band_pass import band_pass
from ssft.ops.convolution import convolve
from ssft.types import SAMPLE_RATE


class Format(NamedTuple):
    """What libsndfile codes a format with, and at which rate.

    `kbps` are the bit rates that libsndfile's compression levels 0 and 1 stand for, with all others in between, and
    `steps` those that exist, if not all do. `band_hz` is what the network before the codec lets pass.
    """

    container: str
    subtype: str
    sample_rate: int = 16_000
    kbps: tuple[float, float] | None = None
    steps: tuple[float, ...] | None = None
    band_hz: tuple[float, float] | None = None


_MP3_STEPS = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)

FORMATS = {
    "gsm": Format("WAV", "GSM610", sample_rate=8_000, band_hz=(300.0, 3400.0)),
    "mp3": Format("MP3", "MPEG_LAYER_III", kbps=(160.0, 8.0), steps=_MP3_STEPS),
    "opus": Format("OGG", "OPUS", kbps=(256.0, 6.0)),
    "telephone": Format("WAV", "ULAW", sample_rate=8_000, band_hz=(300.0, 3400.0)),
    "vorbis": Format("OGG", "VORBIS", kbps=(85.0, 30.0)),
}
"""Vorbis has no bit rates but qualities, of which these are the averages that were measured on speech."""

_HEADROOM = 0.5
_SHORTEST_SECONDS = 0.1
_FILTER_SECONDS = 0.016

# Samples, of encoder and decoder together. It is cut off when decoding, unless the first frame was too small to say so.
_MP3_DELAY = 1105

_BLOCK = 1 << 16


class Codec(Transform):
    """Codes a waveform in one of several formats, each drawn equally often, and decodes it again.

    | format | what is done | rate | kbit/s |
    |---|---|---|---|
    | `telephone` | 300 to 3400 Hz, G.711 mu-law | 8 kHz | 64 |
    | `gsm` | 300 to 3400 Hz, GSM 06.10 full rate | 8 kHz | 13 |
    | `mp3` | MPEG-2 layer III at a constant rate | 16 kHz | 8, 16, ... 64, 80, ... 160 |
    | `opus` | Opus at a variable rate | 16 kHz | 6 to 256 |
    | `vorbis` | Vorbis at a quality that makes about so much of speech | 16 kHz | 30 to 85 |

    The bit rate is uniform in octaves between `min_kbps` and `max_kbps`; what a format does not have becomes the
    nearest that it has. [T] stays [T], and every format's delay is taken back: to the sample, or to one sample below 10
    kbit/s.

    A waveform with a peak above 0.5 is turned down before and up after, so that no codec clips; MP3 comes back 0.5 dB
    softer. Silence stays silence. The result is a function of waveform and parameters, but other versions of libsndfile
    or other processors may round otherwise.

    Args:
        formats: some of `telephone`, `gsm`, `mp3`, `opus` and `vorbis`.
        min_kbps: the lowest bit rate, in kbit/s.
        max_kbps: the highest.
        sample_rate: of the waveform, in Hz.

    Source:
        ITU-T G.711; ETSI GSM 06.10; libsndfile's own encoders and decoders (LAME, mpg123, libopus, libvorbis).

    Requirements:
        libsndfile 1.1 or newer for MP3, which the wheels of soundfile bring along; `check` tries all formats.

    Relations:
        `Bandwidth` takes high frequencies away and adds nothing; it runs on a GPU as well.

    Example:
        >>> from_a_call_centre = Codec(formats=("telephone", "gsm"))(wave, rng)
    """

    def __init__(
        self,
        formats: Sequence[str] = ("telephone", "mp3", "opus"),
        min_kbps: float = 12.0,
        max_kbps: float = 64.0,
        sample_rate: int = SAMPLE_RATE,
    ) -> None:
        formats = (formats,) if isinstance(formats, str) else tuple(formats)
        if not formats:
            raise RecipeError(f"Codec(formats={formats}): give at least one of {', '.join(FORMATS)}.")
        for name in formats:
            if name not in FORMATS:
                raise RecipeError(f"Codec(formats={formats}): there is no '{name}'. {closest(str(name), FORMATS)}")
        if not 6 <= min_kbps <= max_kbps <= 256:
            raise RecipeError(
                f"Codec(min_kbps={min_kbps}, max_kbps={max_kbps}): give the lower one first, both between 6 and "
                "256 kbit/s."
            )
        if sample_rate < 8000:
            raise RecipeError(f"Codec(sample_rate={sample_rate}): give the waveforms' rate in Hz, 8000 or more.")
        self.formats = formats
        self.min_kbps = min_kbps
        self.max_kbps = max_kbps
        self.sample_rate = sample_rate

    def check(self) -> None:
        """Try every format.

        Raises:
            RecipeError: the libsndfile that is installed cannot code and decode one of them.
        """
        missing = [name for name in self.formats if not _is_there(name)]
        if missing:
            there = ", ".join(name for name in FORMATS if _is_there(name))
            raise RecipeError(
                f"Codec(formats={self.formats}): libsndfile {soundfile.__libsndfile_version__} cannot code "
                f"{', '.join(missing)}, but {there}. Take those, or pip install --upgrade soundfile."
            )

    def draw(self, rng: np.random.Generator, wave: np.ndarray) -> Parameters:
        name = self.formats[int(rng.integers(len(self.formats)))]
        kbps = math.exp(rng.uniform(math.log(self.min_kbps), math.log(self.max_kbps)))
        form = FORMATS[name]
        if form.kbps is None:
            return {"format": name}
        if form.steps is not None:
            return {"format": name, "kbps": min(form.steps, key=lambda step: abs(step - kbps))}
        return {"format": name, "kbps": min(max(kbps, min(form.kbps)), max(form.kbps))}

    def apply(self, wave: np.ndarray, parameters: Parameters) -> np.ndarray:
        peak = float(np.abs(wave).max(initial=0))
        if peak == 0:
            return wave
        name, scale = parameters["format"], np.float32(max(peak / _HEADROOM, 1))
        form = FORMATS[name]
        samples = _fitted(wave.astype(np.float32) / scale, max(len(wave), round(_SHORTEST_SECONDS * self.sample_rate)))
        if form.band_hz is not None:
            samples = self._passed(samples, form.band_hz)
        coded = self._resampled(samples, self.sample_rate, form.sample_rate)
        try:
            coded = _coded(coded, form, parameters.get("kbps"))
        except (soundfile.SoundFileError, ValueError) as error:
            raise DataError(
                f"Codec: {name} failed ({error}). `Codec.check` says which formats this libsndfile has."
            ) from error
        return _fitted(self._resampled(coded, form.sample_rate, self.sample_rate), len(wave)) * scale

    def _passed(self, samples: np.ndarray, band_hz: tuple[float, float]) -> np.ndarray:
        half = round(_FILTER_SECONDS * self.sample_rate)
        low, high = torch.tensor(band_hz, dtype=torch.float64)[:, None]
        taps = band_pass(low, high, half=half, sample_rate=self.sample_rate).float()
        passed: np.ndarray = convolve(torch.from_numpy(samples)[None], taps, first=half)[0].numpy()
        return passed

    def _resampled(self, samples: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
        if rate == new_rate:
            return samples
        resampled: np.ndarray = soxr.resample(samples, rate, new_rate)
        return resampled


def _coded(samples: np.ndarray, form: Format, kbps: float | None) -> np.ndarray:
    """Code and decode samples [T] float32 at the format's own rate."""
    how: dict[str, Any] = {}
    if form.kbps is not None and kbps is not None:
        first, last = form.kbps
        how["compression_level"] = (first - kbps) / (first - last)
        if form.container == "MP3":
            # Level 1 is refused, but LAME takes the rate nearest to what it is told.
            how = {"compression_level": min(how["compression_level"], 0.99), "bitrate_mode": "CONSTANT"}
    file = io.BytesIO()
    with soundfile.SoundFile(
        file, "w", form.sample_rate, 1, subtype=form.subtype, format=form.container, **how
    ) as sound:
        for start in range(0, len(samples), _BLOCK):  # libvorbis puts what it gets at once on the stack
            sound.write(samples[start : start + _BLOCK])
    file.seek(0)
    decoded: np.ndarray = soundfile.read(file, dtype="float32")[0]
    if form.container == "MP3" and len(decoded) > len(samples):
        decoded = decoded[_MP3_DELAY:]
    return _fitted(decoded, len(samples))


def _fitted(samples: np.ndarray, length: int) -> np.ndarray:
    """Cut samples to a length, or follow them with silence."""
    return samples[:length] if len(samples) >= length else np.pad(samples, (0, length - len(samples)))


def _is_there(name: str) -> bool:
    form = FORMATS[name]
    try:
        _coded(np.zeros(form.sample_rate // 10, np.float32), form, None if form.kbps is None else 64.0)
    except (soundfile.SoundFileError, ValueError):
        return False
    return True
