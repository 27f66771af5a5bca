"""Which pieces of a waveform are put where, to give a voice another pitch in the same time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ssft.ops.period_marks import PeriodMarks


@dataclass(frozen=True)
class Grains:
    """Grains [G], waveform after waveform; the first of each is at its sample 0, the last at its end.

    `targets` say where each goes and `sources` where it comes from, in samples, float64; `periods` is the period there,
    0 where there is no voice; `rows` says of which waveform it is.
    """

    rows: Tensor
    targets: Tensor
    sources: Tensor
    periods: Tensor


def plan_grains(lengths: Tensor, marks: PeriodMarks, pitch_ratios: Tensor, *, unvoiced_step: float) -> Grains:
    """Put grains one new period apart, each taken from the nearest mark; `unvoiced_step` apart where there is no voice.

    New periods are counted along the old ones, so that at a ratio of 1 every grain stays where it is.

    Args:
        lengths: of the waveforms [B], in samples.
        marks: where the periods of the voiced parts lie.
        pitch_ratios: the new pitch over the old one at each mark [M] float64, positive.
        unvoiced_step: in samples; steps are made shorter to fit between voiced parts.
    """
    rows, places, begins, ratios = _with_ends(lengths, marks, pitch_ratios)
    index = torch.arange(len(places), device=places.device)
    before, after = index - (~begins).long(), index + F.pad((~begins)[1:], (0, 1)).long()  # in the same part
    old_periods = (places[after] - places[before]) / (after - before).clamp_min(1)
    gained = torch.where(begins, 0, (ratios + ratios.roll(1)) / 2)
    count = gained.cumsum(0)

    first = begins.nonzero()[:, 0]
    last = F.pad(first[1:], (0, 1), value=len(places)) - 1
    new_periods = (count[last] - count[first] + 1e-9).floor()  # whole ones, of each part

    def find(part: Tensor, number: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the mark before the new period of this number, how far it is to the mark after it, and where it is."""
        wanted = count[first[part]] + number
        mark = torch.searchsorted(count, wanted, right=True) - 1
        mark = torch.minimum(mark, last[part] - 1).maximum(first[part])
        within = ((wanted - count[mark]) / gained[after[mark]].clamp_min(1e-9)).clamp(0, 1)
        return mark, within, places[mark] + within * (places[after[mark]] - places[mark])

    part = torch.arange(len(first), device=places.device)
    end = find(part, new_periods)[2]
    is_followed = F.pad(rows[first[1:]] == rows[first[:-1]], (0, 1))
    gap = torch.where(is_followed, places[first.roll(-1)] - end, 0)
    steps = (gap / unvoiced_step).ceil().clamp_min(1)  # to the first mark of the part that follows

    counts = (new_periods + steps).long()
    of = part.repeat_interleave(counts)
    number = torch.arange(len(of), device=places.device) - (counts.cumsum(0) - counts)[of]
    beyond = (number - new_periods[of]).clamp_min(0)
    mark, within, targets = find(of, number - beyond)
    targets = targets + beyond / steps[of] * gap[of]
    is_voiced = (beyond == 0) & (last > first)[of]
    nearest = torch.where(within > 0.5, after[mark], mark)
    return Grains(
        rows=rows[first][of],
        targets=targets,
        sources=torch.where(is_voiced, places[nearest], targets),
        periods=torch.where(is_voiced, old_periods[nearest], 0),
    )


def _with_ends(lengths: Tensor, marks: PeriodMarks, ratios: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return rows, places, where parts begin, and ratios of the marks and of both ends of every waveform.

    An end is a part of its own, of one mark.
    """
    row = torch.arange(len(lengths), device=lengths.device)
    rows = torch.cat([row, marks.rows, row])
    places = torch.cat([torch.zeros_like(row).double(), marks.places, lengths.double()])
    parts = torch.cat([torch.full_like(row, -1), marks.parts, torch.full_like(row, -2)])
    ratios = F.pad(ratios, (len(row), len(row)), value=1.0)
    order = (rows * (lengths.max() + 1.0) + places).argsort(stable=True)
    rows, places, parts, ratios = rows[order], places[order], parts[order], ratios[order]
    begins = F.pad((parts[1:] != parts[:-1]) | (rows[1:] != rows[:-1]), (1, 0), value=True)
    return rows, places, begins, ratios
