"""LASER's objective on fixed frames, with the settings of Trikaldarshi/LASER at 3293a19 (Interspeech 2024).

The numbers come from `tests/oracles`: loops in float64 written from the formula, run once on the frames below. They are
not outputs of the authors' code.
"""

from __future__ import annotations

import pytest
import torch

from ssft.losses.laser import Laser
from ssft.losses.temporal_contrast import TemporalContrast
from ssft.types import Frames


def frames(count, phase):
    """[1, count, 4] of unit length: cosines of four frequencies, the first one raised."""
    time, k = torch.arange(count, dtype=torch.float64)[:, None], torch.arange(4, dtype=torch.float64)
    values = torch.cos(0.3 * (k + 1) * time + phase * k) + (k == 0)
    return Frames(torch.nn.functional.normalize(values, dim=-1)[None], torch.tensor([count]))


@pytest.mark.parametrize(
    ("settings", "value"),
    [({"margin": 1.1, "alpha": 0.4}, 3.5659251003812997), ({"margin": 1.0, "alpha": 0.15}, 2.7603173127731844)],
    ids=["HuBERT", "WavLM"],
)
def test_published_settings(settings, value):
    output = Laser(gamma=0.1, sigma=0, **settings)(frames(12, 0.5), frames(9, 0.9))
    assert output.loss.item() == pytest.approx(value, rel=1e-9)
    assert output.logs["alignment"] == pytest.approx(2.5411331839159828, rel=1e-9)


def test_defaults_are_the_published_settings_for_hubert():
    output = Laser()(frames(12, 0.5), frames(9, 0.9))
    assert output.loss.item() == pytest.approx(3.5659251003812997, rel=1e-9)
    assert output.logs["repulsion"] == pytest.approx(0.7722413225596427 + 1.7897384686036495, rel=1e-9)


def test_a_window_of_two_frames_attracts():
    x = frames(12, 0.5)
    assert TemporalContrast(sigma=2)(x, x).loss.item() == pytest.approx(2 * 0.6208199623834009, rel=1e-9)


@pytest.mark.parametrize(("count", "value"), [(50, 459.228), (150, 4125.909333), (300, 16500.913), (600, 66000.914833)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_collapsed_frames_cost_what_grows_with_the_square_of_the_length(count, value, dtype):
    """margin * ((T^2 - 1) / 6 + 1 - 1 / T) each, for equal frames of unit length."""
    one = Frames(torch.full((1, count, 16), 0.25, dtype=dtype), torch.tensor([count]))
    assert TemporalContrast(sigma=0, margin=1.1)(one, one).loss.item() == pytest.approx(2 * value, rel=1e-6)
