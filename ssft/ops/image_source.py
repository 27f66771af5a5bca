"""Reflections in shoebox rooms by the image-source method."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

SPEED_OF_SOUND = 343.0
"""Metres per second, at 20 degrees."""

_HALF_TAPS = 32


class Reflections(NamedTuple):
    """What arrives at the microphones of several rooms, each row once for each reflection, [N].

    `rooms` are their indices; `seconds` and `gains` are relative to the direct sound: how much later, and how loud.
    """

    rooms: Tensor
    seconds: Tensor
    gains: Tensor


def reflections(sizes: Tensor, sources: Tensor, microphones: Tensor, walls: Tensor, *, seconds: float) -> Reflections:
    """Find all reflections that arrive up to `seconds` after the direct sound, in R rooms.

    Between two walls at 0 and L a source at s has images at k L + s for even k and k L + L - s for odd k, seen after
    |k| reflections. In a room every combination of such images along the three axes is one. At a distance r and after
    n = |k_x| + |k_y| + |k_z| reflections its gain is walls^n * r_0 / r, where r_0 is the distance of the source itself.

    Args:
        sizes: of the rooms [R, 3], in metres, float64.
        sources: their places [R, 3], from the same corner.
        microphones: their places [R, 3].
        walls: how much of the sound pressure a wall reflects [R], 0 to 1, the same for all walls and frequencies.
        seconds: how much longer a path may take than the direct one.

    Source:
        Allen and Berkley, "Image method for efficiently simulating small-room acoustics", JASA 65(4), 1979.

    Example:
        >>> size, place = torch.tensor([[4.0, 5.0, 3.0]]), torch.tensor([[1.0, 2.0, 1.0]])
        >>> found = reflections(size, place, place + 1, torch.tensor([0.8]), seconds=0.01)
        >>> round(float(found.gains.max()), 3)
        0.604
    """
    direct = torch.linalg.vector_norm(sources - microphones, dim=1)
    reach = direct + SPEED_OF_SOUND * seconds
    orders = (reach[:, None] / sizes).amax(0).ceil().long() + 1
    squares, bounces = [], []
    for axis, order in enumerate(orders.tolist()):
        k = torch.arange(-order, order + 1, device=sizes.device)
        size, source = sizes[:, axis, None], sources[:, axis, None]
        places = k * size + torch.where(k % 2 == 0, source, size - source)
        squares.append((places - microphones[:, axis, None]) ** 2)
        bounces.append(k.abs())
    x, y, z = squares
    distances = (x[:, :, None, None] + y[:, None, :, None] + z[:, None, None, :]).sqrt()
    counts = bounces[0][:, None, None] + bounces[1][:, None] + bounces[2]
    found = ((distances <= reach[:, None, None, None]) & (counts > 0)).nonzero()
    rooms = found[:, 0]
    distance, count = distances[tuple(found.T)], counts[tuple(found[:, 1:].T)]
    gains = walls[rooms] ** count * direct[rooms] / distance
    return Reflections(rooms, (distance - direct[rooms]) / SPEED_OF_SOUND, gains)


def render(found: Reflections, *, rooms: int, lead: int, samples: int, sample_rate: int) -> Tensor:
    """Return the impulse responses [rooms, lead + samples] float64 of reflections; the direct sound is at `lead`.

    Each is a sinc under a Hann window of 64 samples, so that it arrives between samples where it should.

    Source:
        Peterson, "Simulating the response of multiple microphones to a single acoustic source in a reverberant room",
        JASA 80(5), 1986.
    """
    places = found.seconds * sample_rate + lead
    whole = places.floor()
    offsets = torch.arange(1 - _HALF_TAPS, _HALF_TAPS + 1, device=places.device)
    apart = offsets - (places - whole)[:, None]
    taps = torch.sinc(apart) * (0.5 + 0.5 * torch.cos(torch.pi / _HALF_TAPS * apart))
    # Taps beyond either end fall into margins, which are cut off.
    width = lead + samples + 2 * _HALF_TAPS
    targets = whole.long()[:, None] + offsets + (_HALF_TAPS - 1)
    inside = targets < width
    flat = torch.where(inside, targets + found.rooms[:, None] * width, 0)
    responses = places.new_zeros(rooms * width)
    responses.index_add_(0, flat.flatten(), torch.where(inside, taps * found.gains[:, None], 0).flatten())
    return responses.view(rooms, width)[:, _HALF_TAPS - 1 : _HALF_TAPS - 1 + lead + samples]
