"""What units tell of labels: mutual information and purities of joint counts, for any weights of the groups."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.special import xlogy

from ssft.evaluation.measure import Floats, Resampled, divide

Integers = NDArray[np.int64]

_ENTRIES = 2**22
"""Counts of so many draws at once, times labels, times units: 32 MiB."""


@dataclass(frozen=True, eq=False)
class JointCounts:
    """How many frames of each group have a label and a unit. Methods take weights [R, G] and return values [R].

    Only pairs that occur are kept, so that memory grows with the number of frames at most.

    Args:
        pairs: [L * K, G], the counts of label l and unit k in row l * K + k.
        labels: L.
        units: K.

    Example:
        >>> counts = JointCounts.of([0, 0, 0, 0], [0, 0, 1, 1], [5, 5, 2, 7], groups=1, labels=2, units=8)
        >>> counts.normalized_information(np.ones((1, 1))), counts.unit_purity(np.ones((1, 1)))
        (array([1.]), array([0.75]))
    """

    pairs: csr_array = field(repr=False)
    labels: int
    units: int

    @staticmethod
    def of(group: Integers, label: Integers, unit: Integers, *, groups: int, labels: int, units: int) -> JointCounts:
        """Count frames, of which each has a group, a label and a unit [N]."""
        rows = np.asarray(label, dtype=np.int64) * units + unit
        ones = np.ones(len(rows))
        return JointCounts(csr_array((ones, (rows, group)), shape=(labels * units, groups)), labels, units)

    def normalized_information(self, weights: Floats) -> Floats:
        """Return I(label; unit) / H(label), from 0 to 1; NaN if there are not two labels.

        Source: Hsu et al., HuBERT, IEEE/ACM TASLP 2021, where labels are phones and it is called PNMI.
        """

        def figure(counts: Floats) -> Floats:
            by_label, by_unit = counts.sum(axis=1), counts.sum(axis=0)
            total = by_label.sum(axis=0)
            entropy = _xlogx(total) - _xlogx(by_label).sum(axis=0)
            rest = _xlogx(by_unit).sum(axis=0) - _xlogx(counts).sum(axis=(0, 1))  # H(label | unit)
            return divide(np.maximum(entropy - rest, 0.0), entropy)

        return self._each(weights, figure)

    def label_purity(self, weights: Floats) -> Floats:
        """Return the share of frames whose label is the most frequent one of their unit: phone purity.

        Source: as `normalized_information`.
        """
        return self._each(weights, lambda counts: divide(counts.max(axis=0).sum(axis=0), counts.sum(axis=(0, 1))))

    def unit_purity(self, weights: Floats) -> Floats:
        """Return the share of frames whose unit is the most frequent one of their label: cluster purity.

        Source: as `normalized_information`.
        """
        return self._each(weights, lambda counts: divide(counts.max(axis=1).sum(axis=0), counts.sum(axis=(0, 1))))

    def _each(self, weights: Floats, figure: Callable[[Floats], Floats]) -> Floats:
        """Apply `figure` to the counts [L, K, r] of some draws after the other."""
        step = max(1, _ENTRIES // (self.labels * self.units))
        parts = [
            figure((self.pairs @ weights[start : start + step].T).reshape(self.labels, self.units, -1))
            for start in range(0, len(weights), step)
        ]
        return np.concatenate([np.zeros(0), *parts])


def speaker_information(counts: Floats) -> Resampled:
    """Return I(speaker; unit) / H(speaker), SNMI, for weights of the speakers; NaN if there are not two.

    A speaker who is drawn twice counts as two who sound alike. Were they one, draws would have fewer speakers than the
    corpus, H(speaker) would be too small in all of them, and an interval would lie above the value.

    Args:
        counts: frames of each speaker with each unit, [G, K].

    Source: as PNMI, with speakers as labels: Chang, Liu and Glass, SPIN, Interspeech 2023.
    """
    own = counts.sum(axis=1)
    own_units, own_speakers = _xlogx(counts).sum(axis=1), _xlogx(own)

    def of(weights: Floats) -> Floats:
        total = _xlogx(weights @ own)
        entropy = total - weights @ own_speakers
        rest = _xlogx(weights @ counts).sum(axis=1) - weights @ own_units  # H(speaker | unit)
        return divide(np.maximum(entropy - rest, 0.0), np.where(entropy > 1e-9 * total, entropy, 0.0))

    return of


def bitrate(counts: Floats, seconds: Floats) -> Resampled:
    """Return the bits per second that it takes to send units one by one: units per second times their entropy.

    `B = N / D * H`, where N units, none equal to the one before it, last D seconds, and H is the entropy of their
    relative frequencies, in bits.

    Args:
        counts: units of each group without repetitions, [G, K].
        seconds: of audio of each group, [G].

    Source: Dunbar et al., The Zero Resource Speech Challenge 2019, Interspeech 2019; there N counts frames or segments,
    as they were submitted.
    """

    def of(weights: Floats) -> Floats:
        units = weights @ counts
        nats = np.maximum(_xlogx(units.sum(axis=1)) - _xlogx(units).sum(axis=1), 0.0)
        return divide(nats / math.log(2), weights @ seconds)

    return of


def active_units(counts: Floats) -> Resampled:
    """Return how many units occur at all, of `counts` [G, K]."""
    return lambda weights: np.count_nonzero(weights @ counts > 0, axis=1).astype(np.float64)


def _xlogx(values: Floats) -> Floats:
    return np.asarray(xlogy(values, values))
