"""HuBERT's masked prediction on fixed frames.

Hsu et al., TASLP 2021; fairseq, fairseq/models/hubert/hubert.py and fairseq/criterions/hubert_criterion.py: cosine
with the label embeddings, temperature 0.1, weights 1 for masked and 0 for other frames. The numbers come from a
float64 loop over the formula.
"""

from __future__ import annotations

import math

import pytest
import torch

from ssft.losses.masked_prediction import MaskedPrediction
from ssft.types import Frames


def wave(frames, dim, phase):
    """Fixed frames without symmetry: sin(phase + 3 t + 7 d + t d / 2)."""
    return [[math.sin(phase + 3 * t + 7 * d + 0.5 * t * d) for d in range(dim)] for t in range(frames)]


def views():
    return (Frames(torch.tensor([wave(6, 3, phase)], dtype=torch.float64), torch.tensor([6])) for phase in (0.0, 0.4))


def loss_of(**settings):
    loss = MaskedPrediction(classes=4, **settings)
    loss.materialize(3)
    loss.double()
    with torch.no_grad():
        loss.embeddings.copy_(torch.tensor(wave(4, 3, 1.0), dtype=torch.float64))
    student, _ = views()
    masked = torch.tensor([[False, True, True, True, False, False]])
    labels = Frames(torch.tensor([[0, 1, 2, 3, 2, 1]]), torch.tensor([6]))
    return loss(Frames(student.values, student.lengths, masked), student, labels)


def test_published_settings():
    loss = MaskedPrediction()
    assert (loss.temperature, loss.masked_weight, loss.unmasked_weight) == (0.1, 1.0, 0.0)
    output = loss_of()
    assert output.loss.item() == pytest.approx(0.6177811978902481, rel=1e-9)
    assert output.weight == 3


def test_with_a_weight_for_frames_that_were_heard():
    output = loss_of(unmasked_weight=0.5)
    assert output.loss.item() == pytest.approx(0.7052748685733712, rel=1e-9)
    assert output.weight == 4.5
