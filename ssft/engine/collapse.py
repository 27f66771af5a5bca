"""Alarms for an encoder that stops telling sounds apart."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ssft.ops.spread import effective_count, spectrum
from ssft.types import Frames

EVERY_STEPS = 10
"""How often frames are measured, the first step being one of those in which they are."""

_LASTING_STEPS = 2 * EVERY_STEPS  # one measurement alone may be an odd batch
_SHARE = 0.3
_MIN_FRAMES = 100
_MAX_FRAMES = 2000
_RANK_FRAMES = 256
_SMALLEST = 1e-30


@torch.no_grad()
def measure(student: Frames, reference: Frames) -> dict[str, float]:
    """Return how much frames of the encoder, before any head, differ; nothing of fewer than 100 frames.

    At most 2,000 frames are looked at, in even steps, and 256 of them for the rank.

    - `frame_rank`: how many directions frames vary in: exp(entropy) of the shares of the covariance's eigenvalues, so
      of variances. Those of singular values, as in RankMe, would count the noise of dropout as directions.
    - `frame_spread`: 1 - mean cosine between any two frames; 0 where all are equal.
    - `frame_within`: share of the mean squared length that is variance around the utterance's mean.
    - `frame_across`: the same around the mean of all utterances at the same time; 0 where only the time counts.
    - `frame_similarity`: mean cosine of a frame and the reference's at the same relative time, both around their mean.

    Args:
        student: what the student says, [B, F, D].
        reference: what the reference says about the same utterances, [B, F', D].
    """
    if int(student.lengths.sum()) < _MIN_FRAMES:
        return {}
    frames, counterparts = _thinned(student, reference)
    x, y, mask = frames.valid(), counterparts.valid(), frames.mask
    if not bool(x.isfinite().all() & y.isfinite().all()):
        return {}
    row, time = mask.nonzero().T
    energy = x.square().sum().clamp_min(_SMALLEST)
    units = torch.nn.functional.normalize(x, dim=1)
    count = len(x)
    spread = 1 - (units.sum(0).square().sum() - count) / (count * (count - 1))
    numbers = {
        "frame_rank": _directions(x),
        "frame_spread": spread,
        "frame_within": (x - _means(x, row)[row]).square().sum() / energy,
        "frame_across": _across(x, time) * count / energy if int((mask.sum(1) > 0).sum()) > 1 else spread,
        "frame_similarity": torch.cosine_similarity(x - x.mean(0), y - y.mean(0)).mean(),
    }
    return dict(zip(numbers, torch.stack(list(numbers.values())).tolist(), strict=True))


class _Sign(NamedTuple):
    """What a number says once it is low, which value is too low whatever it was before, and what helps."""

    meaning: str
    floor: float
    remedy: str


_RETURN = "Go back to an earlier checkpoint and lower train.lr"
_REPEL = f"{_RETURN}, set views.reference to frozen, or take a loss that repels, such as laser or vicreg."
_SIGNS = {
    "frame_spread": _Sign("all frames of the encoder become alike", 0.005, _REPEL),
    "frame_within": _Sign("the frames of an utterance become alike", 0.005, _REPEL),
    "frame_across": _Sign(
        "frames depend on little but their time in the utterance", 0.005, f"{_RETURN}, or set views.pad_jitter."
    ),
    "frame_rank": _Sign("frames vary in few directions", 2.0, _REPEL),
    "frame_similarity": _Sign(
        "the encoder says nothing that the reference says",
        0.05,
        f"{_RETURN}, weaken views.augmented, or set train.anchor.",
    ),
    "code_perplexity": _Sign(
        "few codes of the codebook are used",
        1.5,
        f"{_RETURN} and train.head_lr, raise train.batch_seconds, or make the codebook smaller.",
    ),
}
_IMPLIED = {"frame_spread": ("frame_within", "frame_across", "frame_similarity")}


class CollapseWatch:
    """Says once, for each number, that it has become low and stays so.

    Low is below 30 % of the highest value of the run so far, or below a floor for those that were never high; the alarm
    comes when that has lasted for 20 steps. Watched are the numbers of `measure`, and any `code_perplexity` that a loss
    logs. How these limits were chosen: docs/guards.md.

    Example:
        >>> watch = CollapseWatch()
        >>> for step, perplexity in ((1, 110.0), (11, 3.0), (31, 2.5)):
        ...     alarms = watch.note(step, {"code_perplexity": perplexity})
        >>> alarms[0][:87]
        'step 31: few codes of the codebook are used: code_perplexity fell from 110 to 2.5 (2%).'
    """

    def __init__(self) -> None:
        self._highest: dict[str, float] = {}
        self._low_since: dict[str, int] = {}
        self._said: set[str] = set()

    def note(self, step: int, numbers: Mapping[str, Any]) -> list[str]:
        """Take notice of a step's numbers, of which any may be missing; return new alarms, with what to do."""
        alarms = []
        for name, sign in _signs(numbers):
            value = float(numbers[name])
            highest = self._highest[name] = max(self._highest.get(name, value), value)
            if value >= max(_SHARE * highest, sign.floor):
                self._low_since.pop(name, None)
            elif step - self._low_since.setdefault(name, step) >= _LASTING_STEPS and name not in self._said:
                self._said |= {name, *_IMPLIED.get(name, ())}
                change = f"is {value:.3g}"
                if highest > max(value, 0):
                    change = f"fell from {highest:.3g} to {value:.3g} ({value / highest:.0%})"
                alarms.append(f"step {step}: {sign.meaning}: {name} {change}. {sign.remedy}")
        return alarms

    def state(self) -> dict[str, Any]:
        """Return what it remembers, as what JSON can hold."""
        return {"highest": dict(self._highest), "low_since": dict(self._low_since), "said": sorted(self._said)}

    def load(self, state: Mapping[str, Any]) -> None:
        """Put back what `state` returned; nothing is the beginning."""
        self._highest = dict(state.get("highest", {}))
        self._low_since = dict(state.get("low_since", {}))
        self._said = set(state.get("said", ()))


def _signs(numbers: Mapping[str, Any]) -> list[tuple[str, _Sign]]:
    """Which of the numbers are watched, the most telling first; losses put names before theirs, and sizes after."""
    found = [(name, _SIGNS[name]) for name in _SIGNS if name in numbers]
    codes = [name for name in numbers if re.search(r"\.code_perplexity|^code_perplexity_", name)]
    return [*found, *((name, _SIGNS["code_perplexity"]) for name in codes)]


def _thinned(student: Frames, reference: Frames) -> tuple[Frames, Frames]:
    """Every n-th frame of the student, and the reference's at the same relative time, in float64."""
    stride = -(-int(student.lengths.sum()) // _MAX_FRAMES)
    values = student.values[:, ::stride].double()
    lengths = -(-student.lengths // stride)
    times = stride * torch.arange(values.shape[1], device=values.device)
    places = (2 * times + 1) * reference.lengths[:, None] // (2 * student.lengths[:, None].clamp_min(1))
    places = places.clamp(max=reference.values.shape[1] - 1)
    rows = torch.arange(len(values), device=values.device)[:, None]
    return Frames(values, lengths), Frames(reference.values[rows, places].double(), lengths)


def _directions(x: Tensor) -> Tensor:
    """How many directions some of the frames [N, D] vary in."""
    some = x[torch.linspace(0, len(x) - 1, min(_RANK_FRAMES, len(x))).long().to(x.device)]
    return effective_count(spectrum(some - some.mean(0))).to(x.device)


def _means(x: Tensor, group: Tensor) -> Tensor:
    """The mean frame of each group, of frames [N, D] that belong to groups [N]."""
    sums = x.new_zeros(int(group.max()) + 1, x.shape[1]).index_add_(0, group, x)
    return sums / torch.bincount(group)[:, None].clamp_min(1)


def _across(x: Tensor, time: Tensor) -> Tensor:
    """The variance of frames [N, D] around the mean at their time [N], where at least two utterances have one."""
    counts = torch.bincount(time)[time]
    is_shared = counts > 1
    squares = (x - _means(x, time)[time]).square().sum(1)[is_shared]
    return (squares * counts[is_shared] / (counts[is_shared] - 1)).mean()
