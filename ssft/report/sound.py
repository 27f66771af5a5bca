"""`Sound`: a waveform small enough to be a part of a page."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
import soundfile

from ssft.types import SAMPLE_RATE

_EDGE_SAMPLES = SAMPLE_RATE // 200
"""5 ms: a sound that is cut out of speech would begin and end with a click."""

# Every browser plays MP3, and it takes a third of FLAC; a libsndfile without an MP3 encoder has FLAC.
_FORMATS = {"MP3": "audio/mpeg", "FLAC": "audio/flac"}


@dataclass(frozen=True)
class Sound:
    """An encoded sound; `seconds` is how long it is."""

    data: bytes
    kind: str
    seconds: float

    @staticmethod
    def of(wave: np.ndarray, *, cut_out: bool = False) -> Sound:
        """Encode a waveform [T] at 16 kHz; what is beyond full scale is turned down. `cut_out` softens both ends.

        Example:
            >>> Sound.of(np.zeros(16_000, np.float32)).seconds
            1.0
        """
        samples = np.asarray(wave, dtype=np.float32)
        if cut_out:
            edge = np.linspace(0, 1, min(_EDGE_SAMPLES, len(samples) // 2), dtype=np.float32)
            envelope = np.ones(len(samples), dtype=np.float32)
            envelope[: len(edge)], envelope[len(samples) - len(edge) :] = edge, edge[::-1]
            samples = samples * envelope
        samples = samples / max(1.0, float(np.abs(samples).max(initial=0.0)))
        form = next(name for name in _FORMATS if name in soundfile.available_formats())
        buffer = io.BytesIO()
        soundfile.write(buffer, samples, SAMPLE_RATE, format=form)
        return Sound(buffer.getvalue(), _FORMATS[form], len(samples) / SAMPLE_RATE)

    @property
    def uri(self) -> str:
        """The sound as a data URI."""
        return data_uri(self.kind, self.data)


def data_uri(kind: str, data: bytes) -> str:
    """Return a file as a part of a page, by its MIME type.

    Example:
        >>> data_uri("image/png", b"abc")
        'data:image/png;base64,YWJj'
    """
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
