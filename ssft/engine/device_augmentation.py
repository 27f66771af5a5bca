"""Augmentation of whole batches, between their way to the device and the encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ssft.augment import Transform
from ssft.data import PairDataset
from ssft.data.audio import FEWEST_SAMPLES
from ssft.errors import DataError, RunError
from ssft.ops.masking import pad_to
from ssft.types import PairBatch, Waves


class DeviceAugmentation:
    """Makes of recordings, and of what a `PairDataset` drew for them, the two waveforms of every pair.

    They are what its workers would have made, to the tolerance that every augmentation states.

    Args:
        pairs: with `on_device`.

    Raises:
        DataError: an augmentation made a waveform that cannot be trained on.

    Example:
        >>> batch = DeviceAugmentation(pairs)(PairBatch.collate([pairs[0, 3], pairs[0, 8]]).to("cuda"))
    """

    def __init__(self, pairs: PairDataset) -> None:
        self.augmented = _batched(pairs.augment)
        self.original = _batched(pairs.augment_original)
        self.frame_samples = pairs.frame_samples

    @torch.no_grad()
    def __call__(self, batch: PairBatch) -> PairBatch:
        clean = batch.original
        if not isinstance(clean, Waves):
            raise RunError("Augmentation needs waveforms, but the batch has the frames that an encoder made of them.")
        return replace(
            batch,
            original=_delay(self._version(self.original, "original", clean, batch), batch.lead * self.frame_samples),
            augmented=self._version(self.augmented, "augmented", clean, batch),
        )

    def _version(self, augment: Transform | None, side: str, clean: Waves, batch: PairBatch) -> Waves:
        if augment is None:
            return clean
        parameters: Sequence[dict[str, Any]] = [drawn[side] for drawn in batch.drawn]
        # bfloat16 is for encoders: a waveform has 16 bits and more.
        with torch.autocast(clean.samples.device.type, enabled=False):
            waves = augment.apply_batch(clean, parameters)
        finite = torch.isfinite(waves.samples).all(dim=1)
        for name, length, is_finite in zip(batch.ids, waves.lengths.tolist(), finite.tolist(), strict=True):
            if not is_finite or length < FEWEST_SAMPLES:
                what = f"{length} samples, fewer than {FEWEST_SAMPLES}," if is_finite else "NaN or infinite samples"
                raise DataError(f"{augment!r} made {what} of '{name}'.")
        return waves


def _batched(augment: Any) -> Transform | None:
    if augment is not None and not (isinstance(augment, Transform) and augment.runs_on_device):
        raise RunError(f"{augment!r} has no form for batches on the device. Augment in the workers.")
    return augment


def _delay(waves: Waves, samples: Tensor) -> Waves:
    """Put silence, `samples` [B] of it, before each waveform."""
    if not bool(samples.any()):
        return waves
    lengths = waves.lengths + samples
    places = torch.arange(int(lengths.max()), device=samples.device) - samples[:, None]
    padded = pad_to(waves.samples, max(waves.samples.shape[1], places.shape[1]))
    return Waves(padded.gather(1, places.clamp_min(0)).where(places >= 0, 0.0), lengths)
