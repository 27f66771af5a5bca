"""`Batch`: utterances that are decoded together."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from ssft.data import read_audio
from ssft.data.audio import AudioError
from ssft.features.windows import too_short
from ssft.types import Reject, Utterance

Transform = Callable[[np.ndarray, Utterance], np.ndarray]
"""Changes a waveform [T] before it is encoded; called from another thread, for one waveform after the other."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Utterances with their waveforms [T] float32, and those that could not be read."""

    utterances: list[Utterance] = field(default_factory=list)
    waves: list[np.ndarray] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)

    @staticmethod
    def read(utterances: Iterable[Utterance], *, needed: int, transform: Transform | None = None) -> Batch:
        """Decode utterances whole, and transform each; with fewer than `needed` samples it cannot be encoded."""
        batch = Batch()
        for utterance in utterances:
            try:
                wave = read_audio(
                    utterance.path, member=utterance.member, start=utterance.start, seconds=utterance.seconds
                )
                wave = wave if transform is None else transform(wave, utterance).astype(np.float32)
                if len(wave) < needed:
                    raise too_short(utterance, len(wave), needed)
            except AudioError as error:
                batch.rejects.append(Reject(utterance.id, utterance.path, error.reason, error.detail))
                continue
            batch.utterances.append(utterance)
            batch.waves.append(wave)
        return batch
