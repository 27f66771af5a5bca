"""Long recordings in windows that an encoder can take, and the audio of each."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from ssft.data import read_audio
from ssft.data.audio import AudioError, read_header
from ssft.encoders import PretrainedEncoder
from ssft.types import SAMPLE_RATE, Utterance


@dataclass(frozen=True)
class Grid:
    """The places at which an encoder's frames begin.

    Every `hop` samples begins a group of frames that does not depend on samples before it: one frame, or as many as
    layers squeeze into one (SEW). A group needs `needed` samples, which overlap those of the next.
    """

    hop: int
    needed: int

    @staticmethod
    def of(encoder: PretrainedEncoder) -> Grid:
        """Return the grid of an encoder."""
        frames = int(encoder.frame_lengths(torch.tensor([encoder.min_samples]))[0])
        return Grid(round(frames * SAMPLE_RATE / encoder.frame_rate), encoder.min_samples)

    def groups(self, samples: int) -> int:
        """How many groups begin in so many samples and are complete."""
        return (samples - self.needed) // self.hop + 1

    def plan(self, samples: int, *, window: int, overlap: int, rate: int = SAMPLE_RATE) -> list[tuple[int, int]]:
        """Return where windows begin and end, in samples, so that their groups of frames are those of the whole.

        There are as few as `window` allows, about equally long, and two neighbours share at least `overlap` samples.
        They begin on the grid, and where `rate`, the recording's own, has a sample too: so they are resampled to the
        very samples of the whole.

        Example:
            >>> Grid(hop=320, needed=400).plan(100_000, window=64_000, overlap=16_000)
            [(0, 58000), (41600, 100000)]
        """
        if samples <= window:
            return [(0, samples)]
        count = math.ceil((samples - overlap) / (window - overlap))
        step = (samples - overlap) / count
        grid = math.lcm(self.hop, SAMPLE_RATE // math.gcd(rate, SAMPLE_RATE))
        starts = sorted({int(number * step) // grid * grid for number in range(count)})
        ends = [min(start + overlap + self.needed, samples) for start in starts[1:]]
        return list(zip(starts, [*ends, samples], strict=True))


def read_windows(
    utterance: Utterance, grid: Grid, *, window_seconds: float, overlap_seconds: float
) -> Iterator[tuple[int, np.ndarray]]:
    """Read an utterance window by window; give the number of the group that each begins with, and its samples [T].

    A window without signal is all zeros.

    Raises:
        AudioError: the utterance cannot be read, is too short for a frame, or has no signal at all.
    """
    rate = read_header(utterance.path, member=utterance.member).sample_rate
    plan = grid.plan(
        round(round(utterance.seconds * rate) * SAMPLE_RATE / rate),
        window=round(window_seconds * SAMPLE_RATE),
        overlap=round(overlap_seconds * SAMPLE_RATE),
        rate=rate,
    )
    has_signal = False
    for start, end in plan:
        # A little more than needed, for a resampled part may come out a sample short, but not more than there is.
        seconds = min((end - start + grid.hop) / SAMPLE_RATE, utterance.seconds - start / SAMPLE_RATE)
        try:
            wave = read_audio(
                utterance.path, member=utterance.member, start=utterance.start + start / SAMPLE_RATE, seconds=seconds
            )
            has_signal = True
        except AudioError as error:
            if error.reason == "empty" and start:
                break  # the end of an MP3 that does not state its length
            if error.reason != "silent":
                raise
            wave = np.zeros(end - start, dtype=np.float32)
        if end != plan[-1][1]:
            wave = wave[: end - start]
        if len(wave) < grid.needed:
            if start:
                break
            raise too_short(utterance, len(wave), grid.needed)
        yield start // grid.hop, wave
    if not has_signal:
        raise AudioError("silent", utterance.path, member=utterance.member)


def too_short(utterance: Utterance, samples: int, needed: int) -> AudioError:
    """Return the error for a recording that does not make a frame."""
    return AudioError("too_short", utterance.path, f"{samples} samples; the encoder needs {needed}", utterance.member)
