"""VICReg on fixed frames.

Bardes, Ponce and LeCun, ICLR 2022; facebookresearch/vicreg, main_vicreg.py: weights 25, 25, 1; mean squared error;
hinge at 1 with epsilon 1e-4, averaged over both sides; squared off-diagonal covariances over D, summed over both
sides. The numbers come from a float64 loop over the formula.
"""

from __future__ import annotations

import math

import pytest
import torch

from ssft.losses.vicreg import VICReg
from ssft.types import Frames


def wave(frames, dim, phase):
    """Fixed frames without symmetry: sin(phase + 3 t + 7 d + t d / 2)."""
    return [[math.sin(phase + 3 * t + 7 * d + 0.5 * t * d) for d in range(dim)] for t in range(frames)]


def views():
    return (Frames(torch.tensor([wave(6, 3, phase)], dtype=torch.float64), torch.tensor([6])) for phase in (0.0, 0.4))


def test_published_settings():
    loss = VICReg()
    assert (loss.invariance, loss.variance, loss.covariance) == (25.0, 25.0, 1.0)
    output = loss(*views())
    assert output.loss.item() == pytest.approx(10.516655415325495, rel=1e-9)
    assert output.logs["invariance"] == pytest.approx(0.09039676158219057, rel=1e-9)
    assert output.logs["variance"] == pytest.approx(0.3250044195918176, rel=1e-9)
    assert output.logs["covariance"] == pytest.approx(0.13162588597529254, rel=1e-9)
