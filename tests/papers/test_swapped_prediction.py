"""SPIN's loss on fixed frames.

Chang et al., Interspeech 2023; formula and defaults as in the authors' code, vectominist/spin at 73edb7a: Sinkhorn of
each view's own frames, codes before frames, three times. The numbers come from a float64 loop over that formula in the
linear domain, without PyTorch and without `tests/oracles`.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import normalize

from ssft.losses.swapped_prediction import SwappedPrediction
from ssft.ops.sinkhorn import sinkhorn
from ssft.types import Frames


def rows(count, phase, dim=6):
    """Fixed rows of unit length: 1.5 + sin(1.7 i + 0.9 d d + phase), divided by its norm."""
    values = [[1.5 + math.sin(1.7 * i + 0.9 * d * d + phase) for d in range(dim)] for i in range(count)]
    return normalize(torch.tensor(values, dtype=torch.float64), dim=1)


FIRST, SECOND, CODEBOOK = rows(9, 0.0), rows(9, 0.4), rows(4, 2.0)


@pytest.mark.parametrize(
    ("settings", "value"),
    [
        ({}, 0.5538328857530074),
        ({"hard_target": True}, 0.5239965286006167),
        ({"prob_ratio": 0.5}, 0.5173661396733291),
        ({"epsilon": 0.05}, 0.7236595399753483),
        ({"temperature": 0.2}, 0.8257820015317676),
        ({"sinkhorn_iterations": 1}, 0.5510749598354389),
    ],
)
@pytest.mark.filterwarnings("ignore:SwappedPrediction")
def test_loss(settings, value):
    loss = SwappedPrediction(codebook_size=4, **settings)
    loss.materialize(6)
    loss.double()
    with torch.no_grad():
        loss.codebook.copy_(CODEBOOK)
    length = torch.tensor([9])
    assert loss(Frames(FIRST[None], length), Frames(SECOND[None], length)).loss.item() == pytest.approx(value, rel=1e-9)


def test_assignments():
    expected = [
        [0.006317415242628468, 5.515104313613461e-07, 0.3289997019476996, 0.6646823312992406],
        [0.9231253257710363, 6.8803232232101436e-09, 4.074332638314916e-06, 0.07687059301600221],
        [4.861831004267849e-06, 0.9998820256168797, 0.00011311191604668514, 6.360694743374207e-10],
    ]
    actual = sinkhorn(FIRST @ CODEBOOK.T / 0.02, iterations=3)[:3]
    torch.testing.assert_close(actual, torch.tensor(expected, dtype=torch.float64), atol=1e-12, rtol=1e-9)


def test_published_defaults():
    loss = SwappedPrediction()
    assert (loss.codebook_size, loss.epsilon, loss.temperature, loss.sinkhorn_iterations) == (256, 0.02, 0.1, 3)
    assert (loss.hard_target, loss.prob_ratio, loss.queue_frames) == (False, 1.0, 0)
