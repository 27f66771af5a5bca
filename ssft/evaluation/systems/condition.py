"""`Condition`: what is done to audio before a system hears it, the same for all systems."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ssft.augment import Transform
from ssft.augment.noise import SYNTHETIC
from ssft.augment.recording_list import list_recordings
from ssft.augment.reverb import SIMULATED
from ssft.data.utterances import stamp_of
from ssft.errors import DataError, RecipeError, SsftError
from ssft.evaluation.frames import CLEAN
from ssft.randomness import derive_rng
from ssft.types import Utterance


@dataclass(frozen=True, eq=False)
class Condition:
    """An augmentation under a name. What is drawn depends on the seed, the name and the utterance's id, nothing else.

    Args:
        name: as in results, e.g. `pink noise 5 dB`.
        augmentation: what is done.
        seed: another one draws other noise.

    Raises:
        RecipeError: no name, that of clean audio, or an augmentation after which things are said at other times.

    Example:
        >>> condition = Condition("pink noise 5 dB", AddNoise("pink", snr_db=[5.0]))
        >>> noisy = condition(wave, utterance)
    """

    name: str
    augmentation: Transform
    seed: int = 0

    def __post_init__(self) -> None:
        if self.name in ("", CLEAN):
            raise RecipeError(f"A condition cannot be called '{self.name}'. Name it after what is done to the audio.")
        if self.augmentation.changes_length:
            raise RecipeError(
                f"{self.augmentation!r} changes lengths, and words would not be where their labels say. Take another."
            )

    def __call__(self, wave: np.ndarray, utterance: Utterance) -> np.ndarray:
        """Return what is heard of an utterance whose waveform is `wave` [T]: [T] too.

        Raises:
            DataError: the augmentation failed.
        """
        rng = derive_rng(self.seed, self.name, utterance.id)
        try:
            heard = self.augmentation.for_speaker(utterance.speaker)(wave, rng)
        except SsftError:
            raise
        except Exception as error:
            raise DataError(f"{self.name}: {self.augmentation!r} failed on {utterance.id}: {error!r}") from error
        if heard.shape != wave.shape:
            raise DataError(
                f"{self.name}: {self.augmentation!r} made {heard.shape} samples of the {wave.shape} of {utterance.id}, "
                "although it says that it keeps lengths. Let its changes_length say otherwise."
            )
        return heard

    def describe(self) -> dict[str, Any]:
        """Return plain values that say all of what is done, the recordings it is done with included."""
        facts: dict[str, Any] = {"name": self.name, "augmentation": repr(self.augmentation), "seed": self.seed}
        recordings = [repr(recording) for recording in _recordings(self.augmentation)]
        if recordings:
            facts["recordings"] = hashlib.sha256("\n".join(recordings).encode()).hexdigest()[:16]
        return facts


def _recordings(augmentation: Transform) -> Iterator[tuple[str, tuple[int, int] | None]]:
    """The recordings that an augmentation, or a part of it, draws from: by name, with size and time of change."""
    for part in getattr(augmentation, "parts", ()):
        yield from _recordings(part)
    source = getattr(augmentation, "source", SIMULATED)
    if source not in (*SYNTHETIC, SIMULATED) and (path := Path(source).expanduser()).exists():
        for recording in list_recordings(path, owner=repr(augmentation)):
            yield recording.name, stamp_of(recording.path)
