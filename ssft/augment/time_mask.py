"""Gaps: spans of a waveform that are silenced."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ssft.augment.base import BatchTransform, Parameters
from ssft.errors import RecipeError
from ssft.types import SAMPLE_RATE, Waves

_FADE_SECONDS = 0.005


class TimeMask(BatchTransform):
    """Silences a few short spans, as if the line had broken down.

    The number of spans n is uniform from 1 to `max_spans`. Each lasts U(0, min(max_span_seconds, max_share * T / n)),
    for a waveform of T seconds, and begins anywhere where it fits. Together they are at most `max_share` of the
    waveform: something is always left of it. Spans may overlap. [T] stays [T].

    A span fades to 0 and back within itself, over 5 ms each (over half the span, if it is shorter than 10), so that its
    edges do not click. In a `Compose` spans are drawn for the waveform that enters the pipeline, in seconds: after a
    change of speed they are as long as drawn, and what would lie beyond the end is left out.

    Args:
        max_spans: the largest number of spans.
        max_share: the largest share of the waveform that they silence together, at most 0.5.
        max_span_seconds: the longest span.
        sample_rate: of the waveform, in Hz.

    Source:
        SpecAugment (Park et al., Interspeech 2019) masks time steps of a spectrogram, with the same two limits.

    Relations:
        It leaves gaps in the sound, which the encoder hears as silence. `Views(mask=SpanMask(...))` tells the encoder
        which frames it has to guess, as in pre-training.

    Example:
        >>> interrupted = TimeMask(max_spans=3, max_share=0.2)(wave, rng)
    """

    def __init__(
        self,
        max_spans: int = 2,
        max_share: float = 0.1,
        max_span_seconds: float = 0.5,
        sample_rate: int = SAMPLE_RATE,
    ) -> None:
        if not 1 <= max_spans <= 100:
            raise RecipeError(f"TimeMask(max_spans={max_spans}): give a number of spans, 1 to 100.")
        if not 0 < max_share <= 0.5:
            raise RecipeError(
                f"TimeMask(max_share={max_share}): give a share of the waveform above 0 and at most 0.5, so that "
                "enough of it is left to be understood."
            )
        if not 0 < max_span_seconds < float("inf"):
            raise RecipeError(f"TimeMask(max_span_seconds={max_span_seconds}): give a length above 0 seconds.")
        if sample_rate < 8000:
            raise RecipeError(f"TimeMask(sample_rate={sample_rate}): give the waveforms' rate in Hz, 8000 or more.")
        self.max_spans = max_spans
        self.max_share = max_share
        self.max_span_seconds = max_span_seconds
        self.sample_rate = sample_rate

    def draw(self, rng: np.random.Generator, wave: np.ndarray) -> Parameters:
        seconds = len(wave) / self.sample_rate
        count = int(rng.integers(1, self.max_spans + 1))
        longest = min(self.max_span_seconds, self.max_share * seconds / count)
        spans = []
        for _ in range(count):
            span = float(rng.uniform(0, longest))
            spans.append({"start_seconds": float(rng.uniform(0, seconds - span)), "seconds": span})
        return {"spans": spans}

    def apply_batch(self, waves: Waves, parameters: Sequence[Parameters]) -> Waves:
        masked = waves.samples.masked_fill(~waves.mask, 0)
        places = torch.arange(masked.shape[1], device=masked.device)
        spans = [[self._samples(span) for span in drawn["spans"]] for drawn in parameters]
        most = max(len(row) for row in spans)
        edges = torch.tensor([row + [(0, 0)] * (most - len(row)) for row in spans], device=masked.device)
        fade = round(_FADE_SECONDS * self.sample_rate)
        for begin, end in edges.permute(1, 2, 0)[..., None]:
            inside = torch.minimum(places - begin, end - 1 - places) + 1  # 1 for the first and the last sample
            ramp = ((end - begin + 1) // 2).clamp(1, fade)
            masked = masked * (0.5 + 0.5 * torch.cos(torch.pi * (inside / ramp).clamp(0, 1)))
        return Waves(masked, waves.lengths)

    def _samples(self, span: Parameters) -> tuple[int, int]:
        begin = round(span["start_seconds"] * self.sample_rate)
        return begin, begin + round(span["seconds"] * self.sample_rate)
