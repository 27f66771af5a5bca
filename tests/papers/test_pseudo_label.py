"""R-Spin's pseudo-label loss on fixed frames.

Chang and Glass, NAACL 2024: cross entropy of one linear classifier for both views against the same labels. Its
training code is not published. The numbers come from a float64 loop over the formula.
"""

from __future__ import annotations

import math

import pytest
import torch

from ssft.losses.pseudo_label import PseudoLabel
from ssft.types import Frames


def wave(frames, dim, phase):
    """Fixed frames without symmetry: sin(phase + 3 t + 7 d + t d / 2)."""
    return [[math.sin(phase + 3 * t + 7 * d + 0.5 * t * d) for d in range(dim)] for t in range(frames)]


def views():
    return (Frames(torch.tensor([wave(6, 3, phase)], dtype=torch.float64), torch.tensor([6])) for phase in (0.0, 0.4))


def made(**settings):
    loss = PseudoLabel(classes=4, **settings)
    loss.materialize(3)
    loss.double()
    with torch.no_grad():
        loss.classifier.weight.copy_(torch.tensor(wave(4, 3, 1.0), dtype=torch.float64))
        loss.classifier.bias.copy_(torch.tensor(wave(1, 4, 2.0)[0], dtype=torch.float64))
    return loss


LABELS = Frames(torch.tensor([[0, 1, 2, 3, 2, 1]]), torch.tensor([6]))


def test_cross_entropy_of_both_views():
    output = made()(*views(), LABELS)
    assert output.loss.item() == pytest.approx(1.030479056519921, rel=1e-9)
    assert output.logs["accuracy"] == pytest.approx(5 / 12)
    assert output.weight == 6


def test_with_smoothed_labels():
    assert made(label_smoothing=0.1)(*views(), LABELS).loss.item() == pytest.approx(1.1145013167933695, rel=1e-9)
