"""SCORE's objective on fixed frames, with the settings of Trikaldarshi/SCORE_Finetuning at 123a756 (ICASSP 2024).

Squared Euclidean distances, gamma 0.1, the divergence of Blondel, Mensch and Vert (AISTATS 2021, equation 9), divided
by the sum of the two lengths. The numbers come from `tests/oracles`: loops in float64 written from the formula, run
once on the frames below. They are not outputs of the authors' code.
"""

from __future__ import annotations

import pytest
import torch

from ssft.losses import SoftDTW
from ssft.ops.soft_dtw import soft_dtw
from ssft.types import Frames

VALUE = 0.12100634209123727
GRADIENT = [-0.008173120430021993, -0.0037086293785011486, 0.007809378526885738, 0.0034751910689625413]
TERMS = {
    0.1: (2.39589917216775, -0.16997060055891358, -0.12049742293755254),
    1.0: (-6.2842506575313255, -10.822175560245284, -8.097989398416765),
}


def frames(count, phase, dtype=torch.float64):
    """[1, count, 4] of unit length: cosines of four frequencies, the first one raised."""
    time, k = torch.arange(count, dtype=torch.float64)[:, None], torch.arange(4, dtype=torch.float64)
    values = torch.cos(0.3 * (k + 1) * time + phase * k) + (k == 0)
    return Frames(torch.nn.functional.normalize(values, dim=-1)[None].to(dtype), torch.tensor([count]))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-6)])
def test_published_settings(dtype, tolerance):
    student, reference = frames(12, 0.5, dtype), frames(9, 0.9, dtype)
    student.values.requires_grad_()
    loss = SoftDTW(gamma=0.1, divergence=True, normalize="total_length")(student, reference).loss
    assert loss.item() == pytest.approx(VALUE, rel=tolerance)
    loss.backward()
    assert student.values.grad[0, 5].tolist() == pytest.approx(GRADIENT, rel=10 * tolerance)


def test_defaults_are_the_published_settings():
    assert SoftDTW()(frames(12, 0.5), frames(9, 0.9)).loss.item() == pytest.approx(VALUE, rel=1e-9)


@pytest.mark.parametrize("gamma", list(TERMS))
def test_terms(gamma):
    x, y = frames(12, 0.5), frames(9, 0.9)
    for (one, other), expected in zip(((x, y), (x, x), (y, y)), TERMS[gamma], strict=True):
        value = soft_dtw(one.values, other.values, one.lengths, other.lengths, gamma=gamma)
        assert value.item() == pytest.approx(expected, rel=1e-9)
