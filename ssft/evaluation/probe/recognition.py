"""`TrainedProbe`: a probe that recognises, by greedy decoding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ssft.data.sampler import batches_by_length
from ssft.evaluation.probe.examples import Examples
from ssft.evaluation.probe.model import ProbeModel
from ssft.evaluation.probe.vocabulary import BLANK, Vocabulary

Said = Mapping[str, Sequence[str]]
"""Symbols by utterance id."""


@dataclass(frozen=True, eq=False)
class Heard:
    """What a probe makes of an utterance, as far as greedy decoding needs it.

    Args:
        best: [F], the most likely number of each frame that is not the blank.
        lead: [F], by how much the logit of the blank is above that one's.
    """

    best: NDArray[np.int64]
    lead: NDArray[np.float32]

    def decode(self, vocabulary: Vocabulary, *, blank_penalty: float) -> list[str]:
        """Return the symbols, `blank_penalty` taken off every logit of the blank."""
        return vocabulary.decode(np.where(self.lead >= blank_penalty, BLANK, self.best))


@dataclass(frozen=True, eq=False)
class TrainedProbe:
    """A probe as it was when it was best on `dev`.

    Args:
        model: with the weights of then.
        vocabulary: what it can say.
        blank_penalties: with which each error rate was lowest, by its name.
        updates: how many it had had by then.
    """

    model: ProbeModel
    vocabulary: Vocabulary
    blank_penalties: Mapping[str, float]
    updates: int

    def recognise(self, heard: Mapping[str, Heard], rate: str) -> Said:
        """Return what is said in each utterance that `listen` heard, decoded for an error rate."""
        penalty = self.blank_penalties[rate]
        return {name: one.decode(self.vocabulary, blank_penalty=penalty) for name, one in heard.items()}


@torch.no_grad()
def listen(model: ProbeModel, examples: Examples, *, batch_seconds: float) -> dict[str, Heard]:
    """Return what a probe makes of each utterance.

    Raises:
        DataError: frames that are not finite.
    """
    model.eval()
    heard = {}
    for batch in batches_by_length([examples.seconds(name) for name in examples.ids], batch_seconds):
        ids = [examples.ids[index] for index in batch]
        stack, lengths = examples.stack(ids)
        logits = model(stack, lengths)
        if not bool(torch.isfinite(logits).all()):
            examples.refuse_not_finite(ids)
        top, best = logits[..., BLANK + 1 :].max(-1)
        lead = (logits[..., BLANK] - top).numpy()
        for row, (name, steps) in enumerate(zip(ids, model.steps(lengths).tolist(), strict=True)):
            heard[name] = Heard(best[row, :steps].numpy() + BLANK + 1, lead[row, :steps])
    return heard
