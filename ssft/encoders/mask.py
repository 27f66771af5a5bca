"""Which frames the student is not allowed to hear."""

from __future__ import annotations

import numpy as np

from ssft.errors import RecipeError


class SpanMask:
    """Hides spans of frames between the convolutions and the first layer, so that they must be guessed from context.

    Span beginnings are drawn without replacement, `probability * F / frames` of them in an utterance of F frames and at
    least one; spans overlap, so that with the published setting about half of the frames are hidden. Hidden frames are
    replaced by the encoder's own mask embedding. The reference hears everything.

    Args:
        probability: frames that spans would hide if none overlapped, as a share of all.
        frames: length of a span.

    Source:
        wav2vec 2.0 and HuBERT (Hsu et al., TASLP 2021): probability 0.8, spans of 10 frames.

    Example:
        >>> SpanMask(probability=0.5, frames=2).draw(4, np.random.default_rng(0)).sum()
        2
    """

    def __init__(self, probability: float = 0.8, frames: int = 10) -> None:
        if not 0 < probability <= 1:
            raise RecipeError(
                f"SpanMask(probability={probability}): give a share of the frames between 0 and 1; 0.8 is published."
            )
        if frames < 1:
            raise RecipeError(f"SpanMask(frames={frames}): a span has at least one frame; 10 is published.")
        self.probability = probability
        self.frames = frames

    def draw(self, length: int, rng: np.random.Generator) -> np.ndarray:
        """Return which frames of an utterance are hidden, [length] bool."""
        hidden = np.zeros(length, dtype=bool)
        last_start = max(0, length - self.frames)
        # The fraction of a span that is left over becomes one more span as often as it is large.
        count = int(self.probability * length / self.frames + rng.random())
        starts = rng.choice(last_start + 1, size=min(max(count, 1), last_start + 1), replace=False)
        for start in starts:
            hidden[start : start + self.frames] = True
        return hidden


MASKS = {"span_mask": SpanMask}
