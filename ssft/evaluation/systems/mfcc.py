"""`MfccFrames` and `LogMelFrames`: what there was before encoders learnt anything, as systems."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ssft.evaluation.corpus import LabelledCorpus
from ssft.evaluation.systems.cached import CachedFrames
from ssft.evaluation.systems.condition import Condition
from ssft.features import Batch, Part, Transform, read_ahead
from ssft.types import SAMPLE_RATE, Reject, Utterance

_HOP = 160
_WINDOW = 400
_FRAME = 2 * _HOP
_BANDS = 40
_MEL = {"n_fft": _WINDOW, "hop_length": _HOP, "n_mels": _BANDS, "center": True}


class Acoustics(ABC):
    """A `FrameSource` of the single layer 0 that computes frames from the spectrum.

    Windows of 25 ms every 10 ms, of which every second is kept: frame i is centred at (i + 0.5) * 20 ms, and there are
    as many as the usual encoder makes.
    """

    layers = (0,)
    width: ClassVar[int]
    name: ClassVar[str]

    @abstractmethod
    def values(self, wave: Tensor) -> Tensor:
        """What is kept every second of: [D, T // 160 + 1] of a waveform [T]."""

    def frame_rate(self, layer: int) -> float:
        return SAMPLE_RATE / _FRAME

    def identity(self) -> dict[str, Any]:
        return {"model": self.name, "weights": self.name}

    def settings(self) -> dict[str, Any]:
        return {"layers": list(self.layers), "coefficients": self.width, "window": _WINDOW, "hop": _HOP}

    def frames(self, wave: np.ndarray) -> Tensor:
        """Frames [F, D] of a waveform [T] of at least 400 samples."""
        # The window of frame j is centred at sample 160 j: odd ones are at the centres of 20 ms.
        count = (len(wave) - _WINDOW) // _FRAME + 1
        return self.values(torch.from_numpy(wave)).T[1::2][:count].contiguous()

    def parts(
        self, utterances: Sequence[Utterance], *, transform: Transform | None = None, progress: str | None = None
    ) -> Iterator[Part | Reject]:
        """Give the frames of utterances, or why there are none, in their order."""
        reading = read_ahead(Batch.read([one], needed=_WINDOW, transform=transform) for one in utterances)
        bar = tqdm(reading, desc=progress, total=len(utterances), delay=2.0, leave=False, disable=not progress or None)
        with closing(reading):
            for batch in bar:
                yield from batch.rejects
                for utterance, wave in zip(batch.utterances, batch.waves, strict=True):
                    yield Part(utterance, {0: self.frames(wave)}, utterance.seconds, is_last=True)


class Mfcc(Acoustics):
    """Mel-frequency cepstral coefficients at 50 Hz: 13, their slopes and the slopes of these, [F, 39].

    They are made of 40 mel bands, down to 80 dB below the loudest, with slopes over five frames of 10 ms. Means are not
    removed.

    Example:
        >>> Mfcc().frames(np.zeros(16000, np.float32)).shape
        torch.Size([49, 39])
    """

    width = 39
    name = "mfcc"

    def __init__(self) -> None:
        from torchaudio.transforms import MFCC  # type: ignore[import-untyped]  # takes a while to import

        self._cepstrum = MFCC(SAMPLE_RATE, n_mfcc=self.width // 3, melkwargs=_MEL)

    def values(self, wave: Tensor) -> Tensor:
        from torchaudio.functional import compute_deltas  # type: ignore[import-untyped]

        cepstrum = self._cepstrum(wave)
        slopes = compute_deltas(cepstrum)
        return torch.cat([cepstrum, slopes, compute_deltas(slopes)])


class LogMel(Acoustics):
    """The level of 40 mel bands in dB at 50 Hz, down to 80 dB below the loudest: [F, 40].

    Example:
        >>> LogMel().frames(np.zeros(16000, np.float32)).shape
        torch.Size([49, 40])
    """

    width = _BANDS
    name = "log-mel"

    def __init__(self) -> None:
        from torchaudio.transforms import AmplitudeToDB, MelSpectrogram

        self._power = MelSpectrogram(SAMPLE_RATE, **_MEL)
        self._level = AmplitudeToDB("power", top_db=80.0)

    def values(self, wave: Tensor) -> Tensor:
        level: Tensor = self._level(self._power(wave))
        return level


class MfccFrames(CachedFrames):
    """`Mfcc` as a system of the single layer 0.

    Args:
        corpus: the audio.
        cache: a folder for frames, which several systems may share.
        name: as in results.
        conditions: in which audio is heard, beside clean.

    Example:
        >>> MfccFrames(corpus, cache=Path("frames")).frames("test", layer=0)["a.wav"].shape
        (104, 39)
    """

    def __init__(
        self, corpus: LabelledCorpus, *, cache: Path, name: str = "MFCC", conditions: Sequence[Condition] = ()
    ) -> None:
        source = Mfcc()
        super().__init__(lambda layers: source, source.layers, corpus, name=name, cache=cache, conditions=conditions)


class LogMelFrames(CachedFrames):
    """`LogMel` as a system of the single layer 0; see `MfccFrames`."""

    def __init__(
        self, corpus: LabelledCorpus, *, cache: Path, name: str = "log-mel", conditions: Sequence[Condition] = ()
    ) -> None:
        source = LogMel()
        super().__init__(lambda layers: source, source.layers, corpus, name=name, cache=cache, conditions=conditions)
