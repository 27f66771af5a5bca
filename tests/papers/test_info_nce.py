"""The contrastive loss of ContentVec on fixed frames.

Qian et al., ICML 2022; auspicious3000/contentvec, d746688, contentvec/models/hubert/contentvec.py: cosine,
temperature 0.1, negatives from the same utterance, both directions. With six frames every other frame is a negative.
The numbers come from a float64 loop over the formula.
"""

from __future__ import annotations

import math

import pytest
import torch

from ssft.losses.info_nce import FrameInfoNCE
from ssft.types import Frames


def wave(frames, dim, phase):
    """Fixed frames without symmetry: sin(phase + 3 t + 7 d + t d / 2)."""
    return [[math.sin(phase + 3 * t + 7 * d + 0.5 * t * d) for d in range(dim)] for t in range(frames)]


def views():
    return (Frames(torch.tensor([wave(6, 3, phase)], dtype=torch.float64), torch.tensor([6])) for phase in (0.0, 0.4))


def test_published_settings():
    loss = FrameInfoNCE()
    assert (loss.temperature, loss.negatives) == (0.1, 100)
    assert loss(*views()).loss.item() == pytest.approx(0.13846035373601825, rel=1e-9)


def test_two_negatives():
    assert FrameInfoNCE(negatives=2)(*views()).loss.item() == pytest.approx(0.13814056050060597, rel=1e-9)
