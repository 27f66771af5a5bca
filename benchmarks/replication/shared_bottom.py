"""Frames of encoders that differ in their top layers only: what they have in common is run once for all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from ssft.data import batches_by_length
from ssft.encoders import PretrainedEncoder
from ssft.evaluation.corpus import LabelledCorpus
from ssft.evaluation.frames import CLEAN, FrameStore
from ssft.evaluation.systems import CachedFrames, Condition
from ssft.features import Part, Transform
from ssft.types import Frames, Reject, Utterance

BATCH_SECONDS = 60.0


class SharedBottom:
    """A `FrameSource` of the last layer: reads the frames of layer `cut` of the base, and runs the layers above it.

    Args:
        encoder: adapted from the base, with the same layers up to `cut`.
        base: has frames of layer `cut`, in every condition.
        corpus: the audio.
        cut: the last layer that was not trained.
    """

    def __init__(self, encoder: PretrainedEncoder, base: FrameStore, corpus: LabelledCorpus, *, cut: int) -> None:
        self.encoder = encoder
        self.base = base
        self.cut = cut
        self.layers = (encoder.num_layers,)
        self.width = encoder.width
        self.split_of = {utterance.id: split for split, own in corpus.splits.items() for utterance in own}

    def frame_rate(self, layer: int) -> float:
        return self.encoder.frame_rate

    def identity(self) -> dict[str, Any]:
        return {"model": self.encoder.source, "weights": self.encoder.weights_hash()}

    def settings(self) -> dict[str, Any]:
        return {"layers": list(self.layers), "cut": self.cut}

    @torch.no_grad()
    def parts(
        self, utterances: Sequence[Utterance], *, transform: Transform | None = None, progress: str | None = None
    ) -> Iterator[Part | Reject]:
        condition = transform.name if isinstance(transform, Condition) else CLEAN
        for batch in batches_by_length([utterance.seconds for utterance in utterances], BATCH_SECONDS):
            own = [utterances[index] for index in batch]
            below = [
                torch.from_numpy(
                    self.base.frames(self.split_of[one.id], layer=self.cut, condition=condition)[one.id].copy()
                )
                for one in own
            ]
            frames = Frames.stack(below)
            for _, above in self.encoder.run(self.encoder.layers[self.cut :], frames, first=self.cut + 1):
                frames = above
            last = self.encoder.top(self.encoder.num_layers).finish(frames)
            for utterance, values in zip(own, last.items(), strict=True):
                yield Part(utterance, {self.layers[0]: values}, utterance.seconds, is_last=True)


def adapted(
    model: Path,
    base: FrameStore,
    corpus: LabelledCorpus,
    *,
    cut: int,
    cache: Path,
    conditions: Sequence[Condition],
) -> FrameStore:
    """Return the last layer of an adapted encoder as a system."""
    source = SharedBottom(PretrainedEncoder.load(str(model)), base, corpus, cut=cut)
    return CachedFrames(
        lambda layers: source, source.layers, corpus, name=str(model), cache=cache, conditions=conditions
    )
