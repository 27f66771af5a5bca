"""Which audio can be read here: a second of sound in every format, written and read as training reads it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from ssft.doctor.finding import AGAIN, Finding, first_line, pip_install

FORMATS: dict[str, tuple[str, str]] = {
    "wav": ("WAV", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "aiff": ("AIFF", "PCM_16"),
    "au": ("AU", "PCM_16"),
    "w64": ("W64", "PCM_16"),
    "caf": ("CAF", "PCM_16"),
    "sph": ("NIST", "PCM_16"),
}
"""By extension, what libsndfile calls the container and the coding."""

_RATE = 48_000
_TONE_HZ = 440.0
_AMPLITUDE = 0.5


def look() -> Iterator[Finding]:
    """Try every format."""
    try:
        import soundfile

        from ssft.data.audio import FOREIGN_EXTENSIONS
    except Exception as error:
        value = f"nothing can be read, as a package cannot be imported: {first_line(error)}"
        yield Finding("all formats", value, "problem", AGAIN)
        return
    library = soundfile.__libsndfile_version__
    with tempfile.TemporaryDirectory() as folder:
        for extension in FORMATS:
            facts = {"libsndfile": library}
            problem = trouble(extension, Path(folder))
            if problem is None:
                yield Finding(extension, "read", facts=facts)
            else:
                value = f"{problem} (libsndfile {library})"
                yield Finding(extension, value, "problem", pip_install("soundfile", options="--upgrade"), facts)
    foreign = ", ".join(sorted(extension[1:] for extension in FOREIGN_EXTENSIONS))
    yield Finding("not read", foreign, "note", "ffmpeg -i recording.m4a recording.flac")


def trouble(extension: str, folder: Path) -> str | None:
    """Return what goes wrong with a second of a tone in this format; None if nothing does."""
    import numpy as np
    import soundfile

    from ssft.data.audio import read_audio
    from ssft.types import SAMPLE_RATE

    container, coding = FORMATS[extension]
    path = folder / f"tone.{extension}"
    tone = _AMPLITUDE * np.sin(2 * np.pi * _TONE_HZ * np.arange(_RATE) / _RATE)
    try:
        soundfile.write(path, tone, _RATE, format=container, subtype=coding)
        wave = read_audio(path)
    except Exception as error:  # libsndfile without this format, or another fault of its build
        return first_line(error)
    middle = wave[len(wave) // 4 : -len(wave) // 4]
    found = np.abs(np.fft.rfft(middle * np.hanning(len(middle)))).argmax() * SAMPLE_RATE / len(middle)
    level = np.sqrt(2 * np.mean(middle**2))
    if abs(len(wave) / SAMPLE_RATE - 1) > 0.1:
        return f"a second of sound is read as {len(wave) / SAMPLE_RATE:.2f} s"
    if abs(found - _TONE_HZ) > 5 or abs(level - _AMPLITUDE) > 0.1 * _AMPLITUDE:
        return f"a tone of {_TONE_HZ:g} Hz and amplitude {_AMPLITUDE:g} is read as {found:.0f} Hz, {level:.2f}"
    return None
