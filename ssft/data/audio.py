"""Reading audio: any rate, any channel count, any format libsndfile knows, always to 16 kHz mono float32."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from ssft.data.containers import as_streamed_wav, audio_chunk, states_length
from ssft.data.sources import Member, open_bytes
from ssft.errors import DataError
from ssft.types import SAMPLE_RATE

EXTENSIONS = frozenset(
    {".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".aiff", ".aif", ".aifc", ".au", ".w64", ".caf", ".sph"}
)
"""What is taken for audio when a folder is scanned."""

FOREIGN_EXTENSIONS = frozenset({".m4a", ".aac", ".wma", ".amr", ".mp4", ".webm", ".3gp", ".mkv", ".mov"})
"""Audio that libsndfile cannot read: reported, so that nobody wonders where those files went."""

REASONS = {
    "missing": "there is no such file",
    "unsupported": "the format cannot be decoded; convert it to wav or flac",
    "empty": "the file holds no samples",
    "corrupt": "the file cannot be decoded",
    "truncated": "the file ends before the length that its header states",
    "not_finite": "samples are NaN, infinite or far beyond full scale",
    "silent": "there is no signal",
    "too_short": "shorter than min_seconds",
    "outside": "the segment lies outside the file",
    "bad_row": "the manifest row cannot be read",
    "no_labels": "data.targets has no labels for it",
    "changed": "the file has changed since it was scanned",
}
"""The closed set of reasons in rejects.tsv."""

SILENCE_PEAK = 1e-4
"""Full scale is 1. A recording whose largest excursion from its mean stays below (-80 dBFS) carries no speech."""

LOUDEST_PEAK = 1e6
"""Beyond every way of writing samples, 24-bit numbers as floats included, and on the way to an overflow."""

FEWEST_SAMPLES = 400
"""What a wav2vec 2.0 stem needs for one frame, at `SAMPLE_RATE`."""

_MOST_FRAMES = 1 << 48  # at 48 kHz, 186 years

# Samples. An MP3 frame borrows bits from up to nine frames before it: what follows a seek is noise for 50 ms.
_MP3_LEAD = 10 * 1152


class AudioError(DataError):
    """A recording cannot be used; `reason` is one of `REASONS`, `detail` a sentence for people.

    `member` says which recording of the file it is, where the file holds several.
    """

    def __init__(self, reason: str, path: Path, detail: str = "", member: str = "") -> None:
        super().__init__(reason, path, detail, member)
        self.reason = reason
        self.path = path
        self.detail = detail or REASONS[reason]
        self.member = member

    def __str__(self) -> str:
        where = f"{self.path}, {self.member}" if self.member else str(self.path)
        return f"{where}: {self.reason}, {self.detail}"


@dataclass(frozen=True)
class Header:
    """What a file says about itself, without decoding it."""

    seconds: float
    sample_rate: int
    channels: int


def read_header(path: Path, *, member: str = "") -> Header:
    """Return length, rate and channels of a recording.

    Args:
        path: any format libsndfile reads, or a file that holds many recordings.
        member: which of those (`ssft.data.sources`).

    Raises:
        AudioError: missing, unsupported, empty, corrupt or truncated.
    """
    with _opened(path, member) as file:
        if file.frames == 0:
            raise AudioError("empty", path, member=member)
        header = Header(file.frames / file.samplerate, file.samplerate, file.channels)
    with open_bytes(path, member) as data:
        chunk = audio_chunk(data)
    if chunk is not None and chunk.is_cut:
        raise AudioError("truncated", path, f"{chunk.available} of {chunk.stated} bytes of audio are there", member)
    return header


def read_audio(path: Path, *, member: str = "", start: float = 0.0, seconds: float | None = None) -> np.ndarray:
    """Decode a recording, or the part of it that begins at `start`, to a waveform [T] float32 at 16 kHz mono.

    Only the part asked for is decoded, so a crop of a three-hour recording costs what the crop costs.

    Args:
        path: any format libsndfile reads, or a file that holds many recordings.
        member: which of those (`ssft.data.sources`).
        start: in seconds.
        seconds: length of the part; to the end if None.

    Raises:
        AudioError: missing, unsupported, empty, corrupt, truncated, outside, not_finite or silent.

    Example:
        >>> read_audio(Path("a.flac"), start=1.0, seconds=2.0).shape
        (32000,)
    """
    with _opened(path, member) as file:
        rate, first = file.samplerate, round(start * file.samplerate)
        left = file.frames - first
        if left < 0:
            raise AudioError("outside", path, f"begins at {start:g} s of {file.frames / rate:.3f} s", member)
        wanted = left if seconds is None else min(round(seconds * rate), left)
        lead = _lead(file, first)
        if lead < first:
            file.seek(first - lead)
        samples = file.read(lead + wanted, dtype="float32", always_2d=True)[lead:]
        guessed = len(samples) < wanted and file.format == "MP3" and not _states_length(path, member)
    if len(samples) < wanted and not guessed:
        raise AudioError("truncated", path, f"{len(samples)} of {wanted} samples could be decoded", member)
    if len(samples) == 0:
        raise AudioError("empty", path, member=member)
    if not (peak := np.abs(samples).max()) <= LOUDEST_PEAK:
        raise AudioError("not_finite", path, f"the peak is {peak:g}, full scale is 1", member)
    wave = _to_mono(samples)
    # Before resampling, which rings at the edges of a constant.
    if np.abs(wave - wave.mean()).max() < SILENCE_PEAK:
        raise AudioError("silent", path, member=member)
    if rate != SAMPLE_RATE:
        wave = soxr.resample(wave, rate, SAMPLE_RATE)
    if len(wave) == 0:
        raise AudioError("empty", path, member=member)
    return wave


@contextmanager
def _opened(path: Path, member: str) -> Iterator[soundfile.SoundFile]:
    """Open a recording for decoding; what libsndfile has against it, now or later, becomes an `AudioError`."""
    _check_bytes(path, member)
    try:
        with ExitStack() as stack:
            # By its name if it has one: that takes half the time. As bytes, because a name that is not UTF-8 is a name
            # too; Windows has no such names and wants text.
            name = str(path) if os.name == "nt" else os.fsencode(path)
            source = stack.enter_context(open_bytes(path, member)) if member else name
            file = stack.enter_context(soundfile.SoundFile(source))
            if file.frames == 0 and (streamed := as_streamed_wav(stack.enter_context(open_bytes(path, member)))):
                file = stack.enter_context(soundfile.SoundFile(streamed))
            if file.frames > _MOST_FRAMES:
                # Nor can libsndfile find its end.
                detail = f"a {file.format} that was written into a pipe and does not state its length; write it again"
                raise AudioError("unsupported", path, detail, member)
            yield file
    except (soundfile.SoundFileError, OSError) as error:
        # "File does not exist" is what libsndfile says of an MP3 that is none.
        said = "" if "does not exist" in str(error) else getattr(error, "error_string", str(error))
        raise AudioError("corrupt", path, said, member) from None


def _check_bytes(path: Path, member: str) -> None:
    """Raise unless there are bytes, all of them, in a format that might be decoded."""
    if not os.path.isfile(path):
        raise AudioError("missing", path, member=member)
    file_size = path.stat().st_size
    place = Member.parse(member) if member else Member(path.name, 0, file_size)
    if place.size == 0:
        raise AudioError("empty", path, member=member)
    if (there := max(0, file_size - place.offset)) < place.size:
        raise AudioError("truncated", path, f"{there} of {place.size} bytes are in the file", member)
    if Path(place.name).suffix.lower() in FOREIGN_EXTENSIONS:
        raise AudioError("unsupported", path, member=member)


def _states_length(path: Path, member: str) -> bool:
    with open_bytes(path, member) as data:
        return states_length(data)


def _lead(file: soundfile.SoundFile, first: int) -> int:
    """How many samples before `first` have to be decoded with it; in one go, as `SoundFile.read` ends with a seek."""
    if not file.seekable():
        return first
    return min(first, _MP3_LEAD) if file.format == "MP3" else 0


def _to_mono(samples: np.ndarray) -> np.ndarray:
    """Mean of the channels [T, C]; the loudest channel where the mean cancels them (a channel wired upside down)."""
    mono: np.ndarray = samples.mean(axis=1)
    power = (samples**2).mean(axis=0)
    if samples.shape[1] > 1 and (mono**2).mean() < 1e-4 * power.max():
        mono = samples[:, int(power.argmax())]
    return np.ascontiguousarray(mono)
