"""`Extractor`: which hidden states of an encoder are taken, and how."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ssft.data import batches_by_length
from ssft.data.audio import AudioError
from ssft.encoders import PretrainedEncoder
from ssft.errors import EncoderError, RecipeError, closest
from ssft.features.batch import Batch, Transform
from ssft.features.read_ahead import read_ahead
from ssft.features.windows import Grid, read_windows
from ssft.types import SAMPLE_RATE, Reject, Utterance, Waves

States = dict[int, Tensor]
"""Frames [F, D] float32 on the CPU, by layer."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, eq=False)
class Part:
    """Frames of an utterance, in the order of time: all of them, or of a long one those of a window.

    `seconds` is how much audio they stand for; `is_last` says that the utterance is complete.
    """

    utterance: Utterance
    states: States
    seconds: float
    is_last: bool


class Extractor:
    """Takes hidden states of an encoder, a batch at a time, and of long recordings a window at a time.

    Utterances of up to `window_seconds` are encoded whole. Of longer ones neighbouring windows share at least
    `overlap_seconds`, and each gives its frames up to the middle of what they share: there are exactly as many frames
    as if the whole had been encoded, each in its own place, but a frame is heard in the context of its window, at
    least half of the overlap to both sides. Norms over time (the group norm in the stem of base models, the
    normalisation of the input of large ones, that of w2v-BERT's filter banks) have the statistics of the window. Only
    the window is read from disk, so that memory does not depend on how long a recording is.

    What is taken does not depend on what shares the batch, beyond rounding. Layers above those that are asked for are
    not run. While a batch is encoded, a thread decodes the next.

    Args:
        encoder: any pre-trained or adapted encoder.
        layers: 0 is the input of the first transformer layer, k the output of layer k; the last is the last hidden
            state, which in large models has been through one more norm. None is the last alone.
        batch_seconds: audio per batch, padding included.
        window_seconds: what is encoded at once of one recording. Attention grows with the square of it: WavLM-base
            takes about 190 MB for its position bias at 40 s, and 430 MB at 60 s.
        overlap_seconds: what neighbouring windows share.
        dtype: `bfloat16` computes under autocast; frames are float32 either way.

    Raises:
        EncoderError: no such layer.
        RecipeError: settings that do not fit.

    Example:
        >>> extractor = Extractor(PretrainedEncoder.load("tiny"), layers=[3, 6])
        >>> for part in extractor.parts(utterances):
        ...     print(part.utterance.id, part.states[6].shape)
    """

    def __init__(
        self,
        encoder: PretrainedEncoder,
        *,
        layers: Sequence[int] | None = None,
        batch_seconds: float = 60.0,
        window_seconds: float = 40.0,
        overlap_seconds: float = 4.0,
        dtype: Literal["float32", "bfloat16"] = "float32",
    ) -> None:
        self.encoder = encoder
        self.layers = (encoder.num_layers,) if layers is None else tuple(layers)
        self.batch_seconds = batch_seconds
        self.window_seconds = window_seconds
        self.overlap_seconds = overlap_seconds
        self.dtype = dtype
        self._check()
        self._grid = Grid.of(encoder)

    @property
    def width(self) -> int:
        """D of the frames."""
        return self.encoder.width

    def identity(self) -> dict[str, Any]:
        """Which encoder it is, and the hash of its weights."""
        return {"model": self.encoder.source, "weights": self.encoder.weights_hash()}

    def settings(self) -> dict[str, Any]:
        """What the frames depend on beside the encoder's weights."""
        return {
            "layers": list(self.layers),
            "window_seconds": self.window_seconds,
            "overlap_seconds": self.overlap_seconds,
            "dtype": self.dtype,
        }

    def frame_rate(self, layer: int) -> float:
        """Frames per second of a layer: 50 for most; layers of SEW but the last have half of it."""
        return self.encoder.frame_rate if layer == self.encoder.num_layers else SAMPLE_RATE / self._grid.hop

    def parts(
        self, utterances: Sequence[Utterance], *, transform: Transform | None = None, progress: str | None = None
    ) -> Iterator[Part | Reject]:
        """Give the frames of utterances, shorter ones first, the parts of one after each other.

        An utterance that cannot be read gives a `Reject`, in the middle too: then what it gave before is void.

        Args:
            utterances: what to encode.
            transform: changes each waveform, e.g. adds noise. As it may need all of it, nothing is cut into windows.
            progress: label of a progress bar, shown on a terminal if it takes more than two seconds.
        """
        ordered = sorted(utterances, key=lambda utterance: utterance.seconds)
        is_long = [transform is None and utterance.seconds > self.window_seconds for utterance in ordered]
        short = [utterance for utterance, long in zip(ordered, is_long, strict=True) if not long]
        batches = batches_by_length([utterance.seconds for utterance in short], self.batch_seconds)
        total = round(sum(utterance.seconds for utterance in utterances))
        reading = read_ahead(
            Batch.read((short[index] for index in indices), needed=self._grid.needed, transform=transform)
            for indices in batches
        )
        with (
            tqdm(
                total=total, desc=progress, unit="s", delay=2.0, leave=False, disable=None if progress else True
            ) as bar,
            closing(reading),
        ):
            for batch in reading:
                for part in self._together(batch):
                    yield part
                    bar.update(part.seconds if isinstance(part, Part) else 0.0)
            for utterance in ordered[len(short) :]:
                for part in self._in_windows(utterance):
                    yield part
                    bar.update(part.seconds if isinstance(part, Part) else 0.0)

    def _together(self, batch: Batch) -> Iterator[Part | Reject]:
        yield from batch.rejects
        if batch.waves:
            for utterance, states in zip(batch.utterances, self._encode(batch.waves), strict=True):
                yield Part(utterance, states, utterance.seconds, is_last=True)

    def _in_windows(self, utterance: Utterance) -> Iterator[Part | Reject]:
        try:
            begin, held = 0, None
            for window in self._windows(utterance):
                if held is not None:
                    cut = (window.first + held.end) // 2
                    yield Part(utterance, *held.between(begin, cut), is_last=False)
                    begin = cut
                held = window
            if held is not None:
                yield Part(utterance, *held.between(begin, held.end), is_last=True)
        except AudioError as error:
            yield Reject(utterance.id, utterance.path, error.reason, error.detail)

    def _windows(self, utterance: Utterance) -> Iterator[_Window]:
        windows = read_windows(
            utterance, self._grid, window_seconds=self.window_seconds, overlap_seconds=self.overlap_seconds
        )
        together = max(1, int(self.batch_seconds / self.window_seconds))
        with closing(read_ahead(iter(lambda: list(islice(windows, together)), []))) as batches:
            for batch in batches:
                waves = [wave for _, wave in batch]
                for (first, wave), states in zip(batch, self._encode(waves), strict=True):
                    yield _Window(self._grid, first, self._grid.groups(len(wave)), states)

    @torch.no_grad()
    def _encode(self, waves: Sequence[np.ndarray]) -> list[States]:
        """Waveforms [T] to the frames of each."""
        encoder, last = self.encoder, self.encoder.num_layers
        device = next(encoder.parameters()).device
        stacked = Waves.stack([torch.from_numpy(wave) for wave in waves]).to(device)
        with torch.autocast(device.type, DTYPES[self.dtype], enabled=self.dtype != "float32"):
            entered = encoder.enter(encoder.features(stacked))
            kept = {0: entered} if 0 in self.layers else {}
            run = encoder.run(encoder.layers[: max(self.layers)], entered)
            kept |= {number: frames for number, frames in run if number in self.layers}
            if last in kept:
                kept[last] = encoder.top(last).finish(kept[last])
        items = {layer: [item.float().cpu() for item in kept[layer].items()] for layer in self.layers}
        for own in items.values():
            if not all(bool(item.isfinite().all()) for item in own):
                raise EncoderError(f"Frames of {encoder.source} contain NaN or infinity: its weights are broken.")
        return [{layer: own[row] for layer, own in items.items()} for row in range(len(waves))]

    def _check(self) -> None:
        last = self.encoder.num_layers
        for layer in self.layers:
            if not 0 <= layer <= last:
                raise EncoderError(f"layer={layer}: {self.encoder.source} has layers 0 to {last}.")
        if not self.layers or len(set(self.layers)) < len(self.layers):
            raise RecipeError(f"Extractor(layers={self.layers}): name at least one layer, and each once.")
        if not self.batch_seconds > 0:
            raise RecipeError(f"Extractor(batch_seconds={self.batch_seconds}): give some audio; 60 is the default.")
        if not (0 <= self.overlap_seconds <= self.window_seconds / 2 and self.window_seconds >= 0.2):
            raise RecipeError(
                f"Extractor(window_seconds={self.window_seconds}, overlap_seconds={self.overlap_seconds}): give a "
                "window of at least 0.2 s, and an overlap of at most half of it."
            )
        if self.dtype not in DTYPES:
            raise RecipeError(f"Extractor(dtype='{self.dtype}') is not known. {closest(self.dtype, DTYPES)}")


@dataclass(frozen=True, eq=False)
class _Window:
    """The frames of a window: `groups` of the grid, of which the first is number `first` of the recording's."""

    grid: Grid
    first: int
    groups: int
    states: States

    @property
    def end(self) -> int:
        return self.first + self.groups

    def between(self, begin: int, end: int) -> tuple[States, float]:
        """The frames of the recording's groups from `begin` to `end`, and how many seconds that is."""
        rows = {}
        for layer, values in self.states.items():
            rate = len(values) // self.groups
            rows[layer] = values[(begin - self.first) * rate : (end - self.first) * rate]
        return rows, (end - begin) * self.grid.hop / SAMPLE_RATE
