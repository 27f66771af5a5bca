"""From an utterance to a pair: decode, crop, augment, all as a function of (seed, epoch, utterance id)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from ssft.data.audio import FEWEST_SAMPLES, AudioError, read_audio
from ssft.data.probe import ROUNDING_SECONDS
from ssft.data.targets import Targets
from ssft.data.utterances import Utterances, stamp_of
from ssft.errors import DataError
from ssft.randomness import derive_rng, derive_seed
from ssft.types import SAMPLE_RATE, Augmentation, DrawnAugmentation, Pair, Reject, Utterance

Key = tuple[int, int]
"""(epoch, index of the utterance)."""

_CROPS = 10
"""Places to try in a long recording before it counts as silent."""


@dataclass(frozen=True)
class _Version:
    """One of the two waveforms of a pair, what was drawn for it, and how many augmentations fell back to another."""

    wave: np.ndarray
    drawn: dict[str, Any] | None = None
    fallbacks: int = 0


class PairDataset(Dataset[Pair | Reject]):
    """Utterances as pairs, drawn afresh in every epoch and equal whichever process draws them.

    Args:
        utterances: what to draw from.
        augment: makes the augmented version; None leaves it equal to the original.
        augment_original: changes the original too, by draws of its own; the augmented one is made of clean audio.
        targets: labels of the originals' frames.
        pad_jitter: least and largest share of its length by which an original is delayed with silence.
        seed: the run's seed.
        max_seconds: longer utterances are cropped, at a place drawn per epoch.
        swap: probability that the student gets the original instead of the augmented version.
        variants: draw as if the epoch were `epoch % variants`; 0 makes every epoch different.
        frame_samples: samples from one of the encoder's frames to the next; delays are whole frames.
        on_device: only draw for the augmentations; the engine applies them, and the delays, to whole batches.

    Example:
        >>> pairs = PairDataset(corpus.utterances, augment=SpeedPerturb(factors=(0.9, 1.1)))
        >>> pairs[0, 3].augmented  # epoch 0, utterance 3: a waveform [T] at 16 kHz
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        *,
        augment: Augmentation | None = None,
        augment_original: Augmentation | None = None,
        targets: Targets | None = None,
        pad_jitter: Sequence[float] = (),
        seed: int = 0,
        max_seconds: float = 16.0,
        swap: float = 0.0,
        variants: int = 0,
        frame_samples: int = 320,
        on_device: bool = False,
    ) -> None:
        self.utterances = Utterances.of(utterances)
        self.augment = augment
        self.augment_original = augment_original
        self.targets = targets
        self.pad_jitter = tuple(pad_jitter)
        self.seed = seed
        self.max_seconds = max_seconds
        self.swap = swap
        self.variants = variants
        self.frame_samples = frame_samples
        self.on_device = on_device

    def __len__(self) -> int:
        return len(self.utterances)

    @property
    def seconds(self) -> NDArray[np.float64]:
        """Length of each utterance after cropping, which is what a batch budget counts, [N]."""
        return np.minimum(self.utterances.seconds, self.max_seconds)

    def original_varies(self, index: int) -> bool:
        """Whether the original is another one in every epoch: a part, augmented, or delayed."""
        cropped = self.utterances.seconds[index] > self.max_seconds
        return bool(cropped) or self.augment_original is not None or bool(self.pad_jitter)

    def epoch_of_draw(self, epoch: int) -> int:
        """The epoch that the random draws use: `epoch` itself, or its variant."""
        return epoch % self.variants if self.variants else epoch

    def swapped(self, key: Key) -> bool:
        """Whether the two roles are exchanged for this pair. Never frozen by `variants`: exchanging costs nothing."""
        epoch, index = key
        return bool(derive_rng(self.seed, epoch, self.utterances.ids[index], "swap").random() < self.swap)

    def drawn_seed(self, key: Key) -> int:
        """The seed for what is drawn for this pair after the data. Never frozen by `variants`, as `swapped`."""
        epoch, index = key
        return derive_seed(self.seed, epoch, self.utterances.ids[index], "views")

    def __getitem__(self, key: Key) -> Pair | Reject:
        epoch, index = key
        utterance = self.utterances[index]
        draw = (self.seed, self.epoch_of_draw(epoch), utterance.id)
        try:
            clean, offset = self.recording(key)
        except AudioError as error:
            return Reject(utterance.id, utterance.path, error.reason, error.detail)
        seconds = len(clean) / SAMPLE_RATE
        labels = None
        if self.targets is not None:
            part = self.targets.crop(utterance.id, start_seconds=offset, seconds=seconds)
            labels = torch.from_numpy(part.astype(np.int64))
        versions = {
            "original": self._version(self.augment_original, clean, utterance, (*draw, "augment original")),
            "augmented": self._version(self.augment, clean, utterance, (*draw, "augment")),
        }
        original = torch.from_numpy(versions["original"].wave)
        augmented = original if self.on_device else torch.from_numpy(versions["augmented"].wave)
        lead = self._lead(len(clean), derive_rng(*draw, "lead"))
        if lead and not self.on_device:
            original = torch.nn.functional.pad(original, (lead * self.frame_samples, 0))
        return Pair(
            id=utterance.id,
            original=original,
            augmented=augmented,
            seconds=seconds,
            swapped=self.swapped(key),
            targets=labels,
            lead=lead,
            seed=self.drawn_seed(key),
            drawn={side: version.drawn for side, version in versions.items() if version.drawn is not None},
            fallbacks=sum(version.fallbacks for version in versions.values()),
        )

    def recording(self, key: Key) -> tuple[np.ndarray, float]:
        """Return what both waveforms of a pair are made of, and where in the utterance it begins, in seconds.

        Raises:
            AudioError: it cannot be used.
        """
        epoch, index = key
        utterance = self.utterances[index]
        stamp = stamp_of(utterance.path) if utterance.stamp else None
        if stamp is not None and stamp != utterance.stamp:
            raise AudioError("changed", utterance.path, member=utterance.member)
        return self._crop(utterance, derive_rng(self.seed, self.epoch_of_draw(epoch), utterance.id, "crop"))

    def _crop(self, utterance: Utterance, rng: np.random.Generator, tries: int = _CROPS) -> tuple[np.ndarray, float]:
        """Return the part of an utterance that is used, and where in the utterance it begins, in seconds."""
        seconds = min(utterance.seconds, self.max_seconds)
        offset = rng.uniform(0.0, utterance.seconds - seconds)
        try:
            wave = read_audio(utterance.path, member=utterance.member, start=utterance.start + offset, seconds=seconds)
        except AudioError as error:
            # A pause in a long recording is no defect: draw another place.
            if error.reason in ("silent", "empty") and seconds < utterance.seconds and tries > 1:
                return self._crop(utterance, rng, tries - 1)
            raise
        if len(wave) < FEWEST_SAMPLES:
            raise AudioError("too_short", utterance.path, f"{len(wave)} samples at {SAMPLE_RATE} Hz")
        # What a header said may be a guess, as in MP3; what a manifest said and nobody has checked must be true.
        if utterance.stamp is None and (heard := len(wave) / SAMPLE_RATE) < seconds - ROUNDING_SECONDS:
            detail = f"{heard:.3f} s of {seconds:.3f} s from {utterance.start + offset:.3f} s on are there"
            raise AudioError("outside", utterance.path, detail, utterance.member)
        return wave, offset

    def _lead(self, samples: int, rng: np.random.Generator) -> int:
        """Draw by how many frames the original is delayed."""
        if not self.pad_jitter:
            return 0
        least, largest = self.pad_jitter
        return round(float(rng.uniform(least, largest)) * samples / self.frame_samples)

    def _version(
        self, augment: Augmentation | None, clean: np.ndarray, utterance: Utterance, key: Sequence[int | str]
    ) -> _Version:
        """Return one of the two waveforms; where it is made on the device, it is `clean` until then."""
        if augment is None:
            return _Version(clean if self.on_device else clean.copy())
        where = f"'{utterance.id}' ({utterance.path})"
        rng = derive_rng(*key)
        parameters, fallbacks = None, 0
        try:
            if isinstance(augment, DrawnAugmentation):
                augment = augment.for_speaker(utterance.speaker)
                parameters = augment.draw(rng, clean)
                if self.on_device:
                    return _Version(clean, parameters)
                before = augment.fallbacks
                wave = augment.apply(clean, parameters)
                fallbacks = augment.fallbacks - before
            else:
                wave = augment(clean.copy(), rng)
            wave = np.array(wave, dtype=np.float32, order="C")  # a copy: what changes nothing returns `clean` itself
        except Exception as error:
            raise DataError(f"{augment!r} failed on {where}: {error!r}") from error
        if wave.ndim != 1 or len(wave) < FEWEST_SAMPLES:
            raise DataError(
                f"{augment!r} made an array of shape {wave.shape} of {where}; "
                f"expected a waveform [T] of at least {FEWEST_SAMPLES} samples."
            )
        if not np.isfinite(wave).all():
            raise DataError(f"{augment!r} made NaN or infinite samples of {where}.")
        return _Version(wave, parameters, fallbacks)
