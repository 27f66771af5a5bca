"""Where each period of a voice lies."""

from __future__ import annotations

import numpy as np

from ssft.augment.pitch_track import PitchTrack

_SEARCH = 0.2  # how far from one tracked period the next mark may lie, as a part of it


def mark_periods(wave: np.ndarray, track: PitchTrack, *, sample_rate: int) -> list[np.ndarray]:
    """Return for each voiced part of a waveform [T] where its periods lie: samples [M] float64, rising, at least one.

    The first mark is on the loudest sample of a period in the middle of the part. From there to both sides, the next
    mark is where the waveform is most like that around the last one, about one tracked period further.
    """
    voiced = track.hz[track.hz > 0]
    if len(voiced) == 0:
        return []
    margin = int(3 * sample_rate / voiced.min())
    padded = np.pad(wave.astype(np.float64), margin)
    energy = np.r_[0.0, np.cumsum(padded**2)]
    marks = []
    for part in track.voiced_parts():
        places, periods = track.places[part], sample_rate / track.hz[part]
        first, last = max(places[0] - track.step // 2, 0), min(places[-1] + track.step // 2, len(wave) - 1)
        middle = len(places) // 2
        begin = round(places[middle] - periods[middle] / 2) + margin
        loudest = int(np.abs(padded[begin : begin + round(periods[middle])]).argmax()) + begin - margin
        start = float(min(max(loudest, first), last))
        sides: dict[int, list[float]] = {-1: [], 1: []}
        for direction, side in sides.items():
            mark = start
            while True:
                period = float(np.interp(mark, places, periods))
                mark += direction * _distance(padded, energy, mark + margin, period, direction)
                if not first <= mark <= last:
                    break
                side.append(mark)
        marks.append(np.array([*sides[-1][::-1], start, *sides[1]]))
    return marks


def _distance(wave: np.ndarray, energy: np.ndarray, mark: float, period: float, direction: int) -> float:
    """Return how far from `mark`, about one period, the waveform is most like it is there.

    The likeness is the correlation of one period, divided by the root of the energy that is compared with;
    `energy` [T + 1] is that of the samples before each.
    """
    centre, half = round(mark), int(period / 2)
    width = 2 * half + 1
    nearest, farthest = int((1 - _SEARCH) * period), int((1 + _SEARCH) * period) + 1
    begin = centre - half + (nearest if direction > 0 else -farthest)
    count = farthest - nearest + 1
    likeness = np.correlate(wave[begin : begin + count + width - 1], wave[centre - half : centre + half + 1])
    likeness /= np.sqrt(energy[begin + width : begin + width + count] - energy[begin : begin + count]) + 1e-12
    best = int(likeness.argmax())
    place = best + _vertex(*likeness[best - 1 : best + 2]) if 0 < best < count - 1 else float(best)
    return nearest + place if direction > 0 else farthest - place


def _vertex(before: float, here: float, after: float) -> float:
    """Return where between -1/2 and 1/2 the parabola through three points, the middle one highest, has its top."""
    curve = before - 2 * here + after
    return 0.5 * (before - after) / curve if curve < 0 else 0.0
