"""`Babble`: other people who talk in the background, all at once."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ssft.augment import Transform
from ssft.augment.base import Parameters
from ssft.data import read_audio
from ssft.data.audio import AudioError
from ssft.errors import DataError
from ssft.evaluation.items import UNKNOWN_SPEAKERS
from ssft.randomness import derive_seed
from ssft.types import Utterance

_VOICES = 64
"""How many utterances voices are drawn from; these are kept in memory."""

_LONGEST_SECONDS = 30.0


class _Voice(NamedTuple):
    utterance: str
    speaker: str | None
    wave: np.ndarray


class Babble(Transform):
    """Adds several utterances of others at a ratio of signal to noise; [T] stays [T].

    y = x + n * sqrt(P_x / (P_n * 10^(SNR / 10))), where n is the sum of the voices, equally loud, each repeated from a
    drawn place on. The speaker of the waveform is not among them, if it is known who speaks.

    Args:
        utterances: where voices come from; 64 of them are used.
        snr_db: the ratio.
        talkers: how many voices.

    Example:
        >>> condition = Condition("babble 5 dB", Babble(corpus.splits["train"], snr_db=5.0))
    """

    def __init__(self, utterances: Sequence[Utterance], *, snr_db: float, talkers: int = 6) -> None:
        self.utterances = sorted(utterances, key=lambda utterance: derive_seed("babble", utterance.id))
        self.snr_db = snr_db
        self.talkers = talkers
        self._speaker: str | None = None

    def for_speaker(self, speaker: str | None) -> Babble:
        own = copy.copy(self)
        own._speaker = None if speaker in UNKNOWN_SPEAKERS else speaker
        own.__dict__["_voices"] = self._voices  # read once, for all speakers
        return own

    def draw(self, rng: np.random.Generator, wave: np.ndarray) -> Parameters:
        others = [n for n, voice in enumerate(self._voices) if not self._speaker or voice.speaker != self._speaker]
        if len(others) < self.talkers:
            raise DataError(
                f"Babble needs {self.talkers} other voices, and the corpus has {len(others)}. Use another noise."
            )
        drawn = rng.choice(others, self.talkers, replace=False)
        return {
            "voices": [[int(number), int(rng.integers(len(self._voices[number].wave)))] for number in drawn],
            "snr_db": self.snr_db,
        }

    def apply(self, wave: np.ndarray, parameters: Parameters) -> np.ndarray:
        noise = np.zeros(len(wave))
        for number, first in parameters["voices"]:
            noise += np.resize(np.roll(self._voices[number].wave, -first), len(wave))
        gain = math.sqrt(_power(wave) / _power(noise)) * 10 ** (-parameters["snr_db"] / 20)
        return np.asarray(wave + gain * noise, dtype=np.float32)

    def __repr__(self) -> str:
        names = derive_seed(*(voice.utterance for voice in self._voices))
        return f"Babble(voices={names:x}, snr_db={self.snr_db!r}, talkers={self.talkers!r})"

    @cached_property
    def _voices(self) -> list[_Voice]:
        voices: list[_Voice] = []
        for utterance in self.utterances:
            try:
                wave = read_audio(
                    utterance.path,
                    member=utterance.member,
                    start=utterance.start,
                    seconds=min(utterance.seconds, _LONGEST_SECONDS),
                )
            except AudioError:
                continue
            voices.append(_Voice(utterance.id, utterance.speaker, wave / math.sqrt(_power(wave))))
            if len(voices) == _VOICES:
                break
        return voices


def _power(wave: np.ndarray) -> float:
    return float(np.mean(np.square(wave, dtype=np.float64)))
