"""What can be said about an encoder without labels: measured on held-out utterances and their augmented twins."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool1d, normalize

from ssft.data import PairDataset, batches_by_length
from ssft.encoders import SplitEncoder
from ssft.encoders.top import Top
from ssft.errors import DataError, RecipeError
from ssft.ops.spread import effective_rank
from ssft.types import SAMPLE_RATE, Frames, Pair, Waves

_BATCH_SECONDS = 60.0
_APART_SECONDS = 0.1
"""About the length of a phone: frames of an utterance that lie farther apart are taken for different sounds."""
_OTHERS = 8
"""How many other utterances each is compared with."""
_PAUSE = 1e-3
"""Frames that are 30 dB below the loudest of their utterance are pauses, with which an encoder may do as it likes."""
_TIE = 1e-6
_SMALLEST = 1e-3
"""Added to what is divided, so that a base that makes no mistakes can be compared with."""


class _View(NamedTuple):
    """What an encoder says of an original, that scaled to unit length, and its twin so, at the same times: [F, D]."""

    frames: Tensor
    original: Tensor
    twin: Tensor


class _SameSounds(NamedTuple):
    """Frames [N] of an utterance, and those of another that are the same sounds, by the places of these two."""

    utterance: int
    other: int
    frames: Tensor
    counterparts: Tensor


class Validation:
    """Measures an encoder on a few utterances, each beside an augmented twin that is always the same.

    The base's opinion stands in for labels. Two frames of different utterances are taken for the same sound if to the
    base each is the other's nearest. Then one of them is heard in the twin: does the adapted encoder still find the
    other, among all sounds of its utterance? That is an ABX task across voices, in which an encoder fails to which the
    augmentation matters, and also one that has forgotten what the base knew.

    In memory is what the frozen bottom says of all waveforms, so that a measurement costs one pass through the top.

    Args:
        pairs: held-out utterances with their augmentation; the pairs of epoch 0 are used. What cannot be decoded is
            left out.
        encoder: whose base everything is relative to; nothing of it may have been trained yet.

    Raises:
        DataError: what is left is too little.
        RecipeError: no twin differs from its original, so that there is nothing to be invariant to.

    Example:
        >>> validation = Validation(PairDataset(held_out, augment=SpeedPerturb(factors=(0.9, 1.1))), encoder)
        >>> validation.measure(encoder)["score"]  # nothing has been trained yet
        0.0
    """

    def __init__(self, pairs: PairDataset, encoder: SplitEncoder) -> None:
        self.apart = max(1, round(_APART_SECONDS * encoder.encoder.frame_rate))
        drawn = (pairs[0, index] for index in range(len(pairs)))
        kept = [item for item in drawn if isinstance(item, Pair)]
        too_little = DataError(
            f"The {len(pairs)} held-out utterances, of which {len(kept)} can be used, are too few or too short to "
            "choose a checkpoint by. Raise data.held_out, or choose without: --train.select last."
        )
        if len(kept) < 2:
            raise too_little
        if all(torch.equal(pair.original, pair.augmented) for pair in kept):
            raise RecipeError(
                "train.select=label_free compares utterances with augmented twins, but views.augmented changes none. "
                "Give an augmentation, or choose without: --train.select last."
            )
        self._leads = [pair.lead for pair in kept]
        self._bottoms = list(_through_bottom(encoder, [*(p.original for p in kept), *(p.augmented for p in kept)]))
        base = self._views(encoder, encoder.base_top().eval())
        waves = [pair.original[pair.lead * pairs.frame_samples :] for pair in kept]
        is_loud = [_is_loud(wave, len(view.frames)) for wave, view in zip(waves, base, strict=True)]
        self._base_originals = [view.original for view in base]
        self._same = list(_same_sounds(self._base_originals, is_loud))
        if not self._same:
            raise too_little
        self._base = self._numbers(base)
        if not all(map(math.isfinite, self._base.values())):
            raise too_little

    def measure(self, encoder: SplitEncoder) -> dict[str, float]:
        """Return what can be said of the last hidden state of an encoder, the base as it is adapted by now.

        - `invariance`: how much nearer a frame is to its counterpart in the twin than to other sounds of its
          utterance; 0 is no nearer, 1 the same.
        - `discrimination`: how often a frame of the twin is nearer to the same sound in another utterance than to
          another sound there; 0.5 is chance, 1 always.
        - `rank`: effective rank of the originals' frames.
        - `drift`: 1 - cosine of frames and the base's, averaged over the originals.
        - `score`: 0 for the base, above 0 for what is better, 1 for half as many errors. It is log2(e of the base / e),
          where e = 1.001 - discrimination, less log2(rank of the base / rank) if the rank has fallen.

        All are NaN where frames are not finite. Neither the encoder's mode nor any random state is changed.
        """
        numbers = self._numbers(self._views(encoder, encoder.own_top()))
        error, base_error = (1 - one["discrimination"] + _SMALLEST for one in (numbers, self._base))
        lost_rank = max(0.0, math.log2(self._base["rank"] / numbers["rank"]))
        return {**numbers, "score": math.log2(base_error / error) - lost_rank}

    @torch.no_grad()
    def _views(self, encoder: SplitEncoder, top: Top) -> list[_View]:
        device = next(encoder.parameters()).device
        states: dict[int, Tensor] = {}
        was_training = encoder.training
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            encoder.eval()
            try:
                for places, bottom in self._bottoms:
                    hidden = encoder.top(bottom.to(device), top).to("cpu")
                    states.update(zip(places, hidden.items(), strict=True))
            finally:
                encoder.train(was_training)
        count = len(self._leads)
        views = []
        for place, lead in enumerate(self._leads):
            frames, twin = states[place][lead:], states[place + count]
            times = torch.arange(len(frames))
            # The frame at the same relative time: augmentations that change the length do so evenly.
            twin = twin[(2 * times + 1) * len(twin) // (2 * len(frames))]
            views.append(_View(frames, normalize(frames, dim=1), normalize(twin, dim=1)))
        return views

    def _numbers(self, views: Sequence[_View]) -> dict[str, float]:
        if not all(torch.isfinite(view.frames).all() and torch.isfinite(view.twin).all() for view in views):
            return dict.fromkeys(("invariance", "discrimination", "rank", "drift"), math.nan)
        near, far, right, cosines = [], [], [], []
        for view, base in zip(views, self._base_originals, strict=True):
            angles = (view.twin @ view.original.T).clamp(-1, 1).arccos()
            near.append(angles.diagonal())
            far.append(_row_means(angles, self._is_other(torch.arange(len(angles)), len(angles))))
            cosines.append((view.original * base).sum(dim=1))
        for same in self._same:
            likeness = views[same.utterance].twin[same.frames] @ views[same.other].original.T
            margin = likeness.gather(1, same.counterparts[:, None]) - likeness
            won = (margin > _TIE).float() + 0.5 * (margin.abs() <= _TIE)
            right.append(_row_means(won, self._is_other(same.counterparts, won.shape[1])))
        return {
            "invariance": 1 - _mean(near) / max(_mean(far), _TIE),
            "discrimination": _mean(right),
            "rank": effective_rank(torch.cat([view.frames for view in views])),
            "drift": 1 - _mean(cosines),
        }

    def _is_other(self, frames: Tensor, count: int) -> Tensor:
        """Which of `count` frames of an utterance are another sound than each of its `frames` [N]: [N, count]."""
        return (frames[:, None] - torch.arange(count)).abs() >= self.apart


def _through_bottom(encoder: SplitEncoder, waves: Sequence[Tensor]) -> Iterator[tuple[list[int], Frames]]:
    """Give what the frozen bottom says of waveforms [T], in batches of similar length, and where these were."""
    device = next(encoder.parameters()).device
    was_training = encoder.training
    encoder.eval()
    for places in batches_by_length([len(wave) / SAMPLE_RATE for wave in waves], _BATCH_SECONDS):
        yield places, encoder.bottom(Waves.stack([waves[place] for place in places]).to(device)).to("cpu")
    encoder.train(was_training)


def _same_sounds(utterances: Sequence[Tensor], is_loud: Sequence[Tensor]) -> Iterator[_SameSounds]:
    """Find loud frames whose nearest in a few other utterances has them for its nearest, given unit frames [F, D]."""
    count = len(utterances)
    # Neighbours in a corpus often share a speaker, so the others are spread over it.
    steps = sorted({1 + round((count - 2) * place / (_OTHERS - 1)) for place in range(_OTHERS)})
    for utterance, frames in enumerate(utterances):
        others = [(utterance + step) % count for step in steps]
        likeness = [frames @ utterances[other].T for other in others]
        nearest_of_all = torch.stack([one.amax(dim=1) for one in likeness]).argmax(dim=0)
        for place, (other, one) in enumerate(zip(others, likeness, strict=True)):
            nearest = one.argmax(dim=1)
            is_mutual = one.argmax(dim=0)[nearest] == torch.arange(len(nearest))
            found = (is_mutual & is_loud[utterance] & (nearest_of_all == place)).nonzero()[:, 0]
            if len(found):
                yield _SameSounds(utterance, other, found, nearest[found])


def _is_loud(wave: Tensor, frames: int) -> Tensor:
    """Which of an utterance's frames are no pause: [frames] bool."""
    power = adaptive_avg_pool1d(wave.square()[None], frames)[0]
    return power > power.max() * _PAUSE


def _row_means(values: Tensor, condition: Tensor) -> Tensor:
    """The mean of each row of `values` [N, M] over where `condition` holds, without rows in which it never does."""
    count = condition.sum(dim=1)
    return ((values * condition).sum(dim=1) / count)[count > 0]


def _mean(values: Sequence[Tensor]) -> float:
    return float(torch.cat(list(values)).double().mean())
