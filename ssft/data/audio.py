"""Reading audio: any rate, any channel count, any format libsndfile knows, always to 16 kHz mono float32."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from ssft.types import SAMPLE_RATE

EXTENSIONS = frozenset({".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".aiff", ".aif", ".au", ".w64", ".caf"})
"""What is taken for audio when a folder is scanned."""

FOREIGN_EXTENSIONS = frozenset({".m4a", ".aac", ".wma", ".amr", ".mp4", ".webm"})
"""Audio that libsndfile cannot read: reported, so that nobody wonders where those files went."""

REASONS = {
    "missing": "the file does not exist",
    "unsupported": "the format cannot be decoded; convert it to wav or flac",
    "empty": "the file holds no samples",
    "corrupt": "the file cannot be decoded",
    "truncated": "the file ends before the length that its header states",
    "not_finite": "samples are NaN or infinite",
    "silent": "there is no signal",
    "too_short": "shorter than min_seconds",
    "outside": "the segment lies outside the file",
    "bad_row": "the manifest row cannot be read",
}
"""The closed set of reasons in rejects.tsv."""

SILENCE_PEAK = 1e-4
"""Full scale is 1. A recording whose largest excursion from its mean stays below (-80 dBFS) carries no speech."""


class AudioError(Exception):
    """A recording cannot be used; `reason` is one of `REASONS`."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(detail or REASONS[reason])
        self.reason = reason


@dataclass(frozen=True)
class Header:
    """What a file says about itself, without decoding it."""

    seconds: float
    sample_rate: int
    channels: int


def read_header(path: Path) -> Header:
    """Return length, rate and channels of a file.

    Raises:
        AudioError: missing, unsupported, empty, corrupt or truncated.
    """
    if not path.is_file():
        raise AudioError("missing")
    if path.stat().st_size == 0:
        raise AudioError("empty")
    if path.suffix.lower() in FOREIGN_EXTENSIONS:
        raise AudioError("unsupported")
    try:
        info = soundfile.info(str(path))
    except soundfile.LibsndfileError as error:
        raise AudioError("corrupt", str(error.error_string)) from None
    if info.frames == 0:
        raise AudioError("empty")
    _refuse_cut_wav(path)
    return Header(info.frames / info.samplerate, info.samplerate, info.channels)


def read_audio(path: Path, *, start: float = 0.0, seconds: float | None = None) -> np.ndarray:
    """Decode a file, or the part of it that begins at `start`, to a waveform [T] float32 at 16 kHz mono.

    Only the part asked for is decoded, so a crop of a three-hour recording costs what the crop costs.

    Args:
        path: any format libsndfile reads.
        start: in seconds.
        seconds: length of the part; to the end if None.

    Raises:
        AudioError: missing, empty, corrupt, truncated, not_finite or silent.

    Example:
        >>> read_audio(Path("a.flac"), start=1.0, seconds=2.0).shape
        (32000,)
    """
    try:
        with soundfile.SoundFile(str(path)) as file:
            rate = file.samplerate
            first = round(start * rate)
            wanted = file.frames - first if seconds is None else min(round(seconds * rate), file.frames - first)
            if first:
                file.seek(first)
            samples = file.read(wanted, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise AudioError("corrupt" if path.is_file() else "missing", str(error.error_string)) from None
    if len(samples) == 0:
        raise AudioError("empty")
    if len(samples) < wanted:
        raise AudioError("truncated", f"{len(samples)} of {wanted} samples could be decoded")
    if not np.isfinite(samples).all():
        raise AudioError("not_finite")
    wave = _to_mono(samples)
    if rate != SAMPLE_RATE:
        wave = soxr.resample(wave, rate, SAMPLE_RATE)
    if np.abs(wave - wave.mean()).max(initial=0.0) < SILENCE_PEAK:
        raise AudioError("silent")
    return wave


def _to_mono(samples: np.ndarray) -> np.ndarray:
    """Mean of the channels [T, C]; the loudest channel where the mean cancels them (a channel wired upside down)."""
    mono: np.ndarray = samples.mean(axis=1)
    power = (samples**2).mean(axis=0)
    if samples.shape[1] > 1 and (mono**2).mean() < 1e-4 * power.max():
        mono = samples[:, int(power.argmax())]
    return np.ascontiguousarray(mono)


def _refuse_cut_wav(path: Path) -> None:
    """Raise if a RIFF file ends before its data chunk does: libsndfile reads such a file without a word.

    A size of zero or near 2^31 or 2^32 is what streaming encoders write when they do not know the length yet.
    """
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] != b"RIFF" or head[8:] != b"WAVE":
            return
        while len(chunk := file.read(8)) == 8:
            name, size = struct.unpack("<4sI", chunk)
            if name == b"data":
                available = path.stat().st_size - file.tell()
                if available < size < 0x7FFF_0000:
                    raise AudioError("truncated", f"{available} of {size} bytes of audio are there")
                return
            file.seek(size + size % 2, 1)
