"""Barlow Twins on fixed frames.

Zbontar et al., ICML 2021: weight 0.005; facebookresearch/barlowtwins, main.py: standardised with the biased variance
and epsilon 1e-5. The numbers come from a float64 loop over the formula.
"""

from __future__ import annotations

import math

import pytest
import torch

from ssft.losses.barlow_twins import BarlowTwins
from ssft.types import Frames


def wave(frames, dim, phase):
    """Fixed frames without symmetry: sin(phase + 3 t + 7 d + t d / 2)."""
    return [[math.sin(phase + 3 * t + 7 * d + 0.5 * t * d) for d in range(dim)] for t in range(frames)]


def views():
    return (Frames(torch.tensor([wave(6, 3, phase)], dtype=torch.float64), torch.tensor([6])) for phase in (0.0, 0.4))


def test_published_settings():
    loss = BarlowTwins()
    assert loss.redundancy == 0.005
    output = loss(*views())
    assert output.loss.item() == pytest.approx(0.42058491381410057, rel=1e-9)
    assert output.logs["invariance"] == pytest.approx(0.41237532224831247, rel=1e-9)
    assert output.logs["redundancy"] == pytest.approx(1.641918313157622, rel=1e-9)
