"""Simulated rooms: drawn by size, places and reverberation time, heard as impulse responses."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ssft.augment.base import Parameters
from ssft.ops.image_source import SPEED_OF_SOUND, Reflections, reflections, render
from ssft.randomness import derive_rng

WALL_DISTANCE_METERS = 0.3
"""How far the source and the microphone are from every wall at least."""

EARLY_SECONDS = 0.05
"""How long after the direct sound reflections are simulated one by one."""

_JOINT_SECONDS = 0.01
_HIGH_PASS_HZ = 50.0


def draw_room(
    rng: np.random.Generator,
    *,
    rt60_seconds: tuple[float, float],
    distance_meters: tuple[float, float],
    min_room_meters: Sequence[float],
    max_room_meters: Sequence[float],
) -> Parameters:
    """Draw a room, how long it reverberates, and where in it somebody speaks and a microphone hears.

    Each edge of the room and the reverberation time are uniform within their ranges. The direction from the microphone
    to the source is that of a uniform place in the room seen from another; their distance is uniform from the smallest
    to what the room allows in that direction, or to the largest; and both are put anywhere where they fit so.
    """
    size = rng.uniform(min_room_meters, max_room_meters)
    space = size - 2 * WALL_DISTANCE_METERS
    while True:
        direction = rng.uniform(-space, space)
        direction /= np.linalg.norm(direction)
        farthest = min(distance_meters[1], float((space / np.abs(direction)).min()))
        if farthest >= distance_meters[0]:
            break
    apart = rng.uniform(distance_meters[0], farthest) * direction
    microphone = WALL_DISTANCE_METERS + np.maximum(-apart, 0) + rng.uniform(0, 1, 3) * (space - np.abs(apart))
    return {
        "room_meters": size.tolist(),
        "source_meters": (microphone + apart).tolist(),
        "microphone_meters": microphone.tolist(),
        "rt60_seconds": float(rng.uniform(*rt60_seconds)),
        "seed": int(rng.integers(1 << 53)),
    }


def room_responses(
    rooms: Sequence[Parameters], *, lead: int, sample_rate: int, device: torch.device | str = "cpu"
) -> Tensor:
    """Return the impulse responses [R, lead + K] float32 of drawn rooms; their direct sound is 1 at sample `lead`.

    Early reflections, up to 50 ms after the direct sound, are simulated one by one. What follows is Gaussian noise that
    falls by 60 dB in the reverberation time. Its energy is that of a diffuse field, 4 pi c r_0^2 / V a second where the
    direct sound's is 1 (c the speed of sound, r_0 the distance, V the volume). The one is faded into the other over 10
    ms. Walls reflect as much as Eyring's formula asks for: V, their area S and the reverberation time T give
    exp(-12 ln(10) V / (c S T)). Below 50 Hz early reflections are weakened: images that are all of one sign add up to
    more there than rooms do.
    """
    # The geometry is small: it stays on the CPU, where its size is known without waiting for a device.
    sizes, sources, microphones = (
        torch.tensor([room[key] for room in rooms], dtype=torch.float64)
        for key in ("room_meters", "source_meters", "microphone_meters")
    )
    rt60 = torch.tensor([room["rt60_seconds"] for room in rooms], dtype=torch.float64)
    volumes, surfaces = sizes.prod(1), 2 * (sizes * sizes.roll(1, 1)).sum(1)
    walls = torch.exp(-12 * math.log(10) * volumes / (SPEED_OF_SOUND * surfaces * rt60))
    distances = torch.linalg.vector_norm(sources - microphones, dim=1)
    found = reflections(sizes, sources, microphones, walls, seconds=EARLY_SECONDS)

    seconds = [max(room["rt60_seconds"], EARLY_SECONDS) for room in rooms]
    counts = [round(duration * sample_rate) for duration in seconds]
    noise = torch.zeros(len(rooms), lead + max(counts))
    for row, (room, count) in enumerate(zip(rooms, counts, strict=True)):
        samples = derive_rng("room", room["seed"]).standard_normal(count, dtype=np.float32)
        noise[row, lead : lead + count] = torch.from_numpy(samples)

    noise = noise.to(device, non_blocking=True).double()
    densities = 4 * math.pi * SPEED_OF_SOUND * distances**2 / (volumes * sample_rate)
    scales, decays, starts = torch.stack([densities.sqrt(), 3 * math.log(10) / rt60, distances / SPEED_OF_SOUND]).to(
        device, non_blocking=True
    )[:, :, None]
    times = (torch.arange(noise.shape[1], dtype=torch.float64, device=device) - lead) / sample_rate
    fade = math.pi / 2 * ((times - EARLY_SECONDS) / _JOINT_SECONDS + 1).clamp(0, 1)
    responses: Tensor = noise * scales * torch.exp(-decays * (starts + times)) * fade.sin()
    early = render(
        Reflections(*(part.to(device, non_blocking=True) for part in found)),
        rooms=len(rooms),
        lead=lead,
        samples=round(EARLY_SECONDS * sample_rate),
        sample_rate=sample_rate,
    )
    early = _high_pass(early, sample_rate)
    responses[:, : early.shape[1]] += early * fade[: early.shape[1]].cos()
    responses[:, lead] += 1
    return responses.float()


def _high_pass(responses: Tensor, sample_rate: int) -> Tensor:
    """Weaken what lies below 50 Hz, without delay: f^2 / (f^2 + 50^2), 6 dB at 50 Hz."""
    size = 1 << (responses.shape[1] + sample_rate // 20).bit_length()
    squares = torch.fft.rfftfreq(size, 1 / sample_rate, dtype=torch.float64, device=responses.device) ** 2
    spectra = torch.fft.rfft(responses, size) * (squares / (squares + _HIGH_PASS_HZ**2))
    passed: Tensor = torch.fft.irfft(spectra, size)
    return passed[:, : responses.shape[1]]
