"""The equal-length objective of nr-ssft on fixed frames, with the settings of Trikaldarshi/nr-ssft at 0091547.

The numbers come from `tests/oracles`: loops in float64 written from the formula, run once on the frames below. They are
not outputs of the authors' code.
"""

from __future__ import annotations

import pytest
import torch

from ssft.losses.frame_regression import FrameRegression
from ssft.losses.temporal_contrast import TemporalContrast
from ssft.types import Frames


def frames(phase):
    """[1, 12, 4] of unit length: cosines of four frequencies, the first one raised."""
    time, k = torch.arange(12, dtype=torch.float64)[:, None], torch.arange(4, dtype=torch.float64)
    values = torch.cos(0.3 * (k + 1) * time + phase * k) + (k == 0)
    return Frames(torch.nn.functional.normalize(values, dim=-1)[None], torch.tensor([12]))


def test_squared_differences_are_summed_over_frames_and_dimensions():
    output = FrameRegression(reduction="sum")(frames(0.5), frames(0.9))
    assert output.loss.item() == pytest.approx(5.8426828010307625, rel=1e-9)
    assert output.weight == 1


@pytest.mark.parametrize(
    ("alpha", "margin", "value"),
    [(0.4, 1.1, 6.691103976630418), (0.15, 1.0, 6.0060477203886835)],
    ids=["HuBERT", "WavLM"],
)
def test_published_settings(alpha, margin, value):
    x, y = frames(0.5), frames(0.9)
    total = FrameRegression(reduction="sum")(x, y).loss + alpha * TemporalContrast(margin=margin)(x, y).loss
    assert total.item() == pytest.approx(value, rel=1e-9)
