"""`Examples`: utterances with the frames that a probe sees and the symbols that it shall say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from ssft.errors import DataError
from ssft.evaluation.corpus import LabelledCorpus
from ssft.evaluation.frames import CLEAN, FramesById, FrameStore

Stack = tuple[Tensor, Tensor]
"""A padded batch of several layers: frames [L, B, F, D], and how many are real [B]."""


@dataclass(frozen=True, eq=False)
class Examples:
    """Utterances that have both frames and a target, in the order of their ids.

    Args:
        layers: the numbers of the layers.
        frames: frames by utterance id, of each of the layers.
        targets: what is said, by utterance id.
        lengths: number of frames, by utterance id.
        frame_rate: frames per second.
        left_out: how many utterances are missing, by reason.
    """

    layers: Sequence[int]
    frames: Sequence[FramesById] = field(repr=False)
    targets: Mapping[str, Sequence[str]] = field(repr=False)
    lengths: Mapping[str, int] = field(repr=False)
    frame_rate: float
    left_out: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def ids(self) -> list[str]:
        """Of the utterances."""
        return list(self.targets)

    @property
    def dim(self) -> int:
        """Width of the frames of the first layer."""
        return int(self.frames[0][self.ids[0]].shape[1])

    def seconds(self, utterance: str) -> float:
        """Return how long an utterance is."""
        return self.lengths[utterance] / self.frame_rate

    def short_enough(self, frames_per_step: int, *, labels: str) -> Examples:
        """Return those whose labels there are enough frames for; the others are counted."""
        targets = {
            name: target
            for name, target in self.targets.items()
            if frames_needed(target) <= -(-self.lengths[name] // frames_per_step)
        }
        too_long = len(self.targets) - len(targets)
        more = {f"with more {labels} than frames": too_long} if too_long else {}
        return replace(self, targets=targets, left_out={**self.left_out, **more})

    def stack(self, ids: Sequence[str]) -> Stack:
        """Return the frames of some utterances, padded with zeros.

        Raises:
            DataError: the layers are not of one width, or an utterance does not have as many frames in each.
        """
        lengths = [self.lengths[name] for name in ids]
        widths = [by_id[ids[0]].shape[1] for by_id in self.frames]
        if len(set(widths)) > 1:
            said = ", ".join(f"layer {layer} has {width}" for layer, width in zip(self.layers, widths, strict=True))
            raise DataError(f"A weighted sum needs layers of one width, but {said} dimensions. Probe one layer.")
        stack = np.zeros((len(self.layers), len(ids), max(lengths), widths[0]), dtype=np.float32)
        for padded, layer, by_id in zip(stack, self.layers, self.frames, strict=True):
            for row, name, length in zip(padded, ids, lengths, strict=True):
                values = by_id[name]
                if values.shape != (length, widths[0]):
                    raise DataError(
                        f"{name} has frames of shape {values.shape} in layer {layer}, and of {(length, widths[0])} "
                        "elsewhere. Extract the frames again."
                    )
                row[:length] = values
        return torch.from_numpy(stack), torch.tensor(lengths)

    def refuse_not_finite(self, ids: Sequence[str]) -> None:
        """Look for NaN and infinity in the frames of some utterances.

        Raises:
            DataError: there are some, with where.
        """
        for layer, frames in zip(self.layers, self.frames, strict=True):
            for name in ids:
                if not np.isfinite(frames[name]).all():
                    raise DataError(f"{name} has NaN or infinite frames in layer {layer}: the encoder overflows there.")


def find_examples(
    corpus: LabelledCorpus,
    store: FrameStore,
    split: str,
    target_of: Callable[[LabelledCorpus, str], Sequence[str]],
    *,
    layers: Sequence[int],
    condition: str = CLEAN,
) -> Examples:
    """Return the examples of a split, and how many of its utterances are none.

    Raises:
        DataError: none is.
    """
    frames = [store.frames(split, layer=layer, condition=condition) for layer in layers]
    left_out: Counter[str] = Counter()
    targets, lengths = {}, {}
    for name in sorted(utterance.id for utterance in corpus.splits.get(split, ())):
        if any(name not in by_id for by_id in frames) or not (length := len(frames[0][name])):
            left_out["without frames"] += 1
        elif not (target := target_of(corpus, name)):
            left_out["without labels"] += 1
        else:
            targets[name], lengths[name] = target, length
    if not targets:
        raise DataError(
            f"{corpus.name}: no utterance of the split `{split}` has both frames and labels"
            f"{''.join(f'; {count} are {reason}' for reason, count in left_out.items())}."
        )
    return Examples(tuple(layers), frames, targets, lengths, store.frame_rate(layers[0]), dict(left_out))


def frames_needed(target: Sequence[str]) -> int:
    """Return how many frames it takes to say a target: one for each symbol, and a blank between two that are alike."""
    return len(target) + sum(symbol == following for symbol, following in pairwise(target))
