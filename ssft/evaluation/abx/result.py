"""`AbxResult`: an ABX error, and how it follows from the errors between speakers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ssft.evaluation.measure import Measure

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

DRAWS_AT_ONCE = 256
"""Bounds the memory for the weights of all pairs of speakers."""


@dataclass(frozen=True)
class SpeakerErrors:
    """What an error follows from if speakers weigh more or less: sums of errors, in groups, in blocks.

    Each sum counts as often as its speakers weigh. The error of a group is what its sums give together, that of a block
    the mean of its groups, weighted by theirs, and the whole is the mean of the blocks.

    Args:
        speakers: names [G]. Where a speaker is asked for by index, G stands for nobody, whose weight is always 1.
        blocks: [P + 1], where each block begins among the groups, and their number: one for each pair of labels.
        groups: [Q + 1], where each group begins among the sums, and their number: one for each speaker of A and B.
        group_speakers: [Q], by index.
        sums: [E], of the errors of cells.
        counts: [E], of cells.
        pair: [E], whose weights each sum has, as a row of `pairs`.
        pairs: [S, 2], speakers by index, whose weights are multiplied.
    """

    speakers: tuple[str, ...]
    blocks: Integers
    groups: Integers
    group_speakers: Integers
    sums: Floats
    counts: Integers
    pair: Integers
    pairs: Integers

    def means(self, weights: Floats) -> Floats:
        """[R], for weights [R, G] of the speakers. What has no weight is left out; NaN where nothing is left."""
        means = np.empty(len(weights))
        for start in range(0, len(weights), DRAWS_AT_ONCE):
            drawn = weights[start : start + DRAWS_AT_ONCE].T
            drawn = np.concatenate([drawn, np.ones((1, drawn.shape[1]))])
            by_pair = drawn[self.pairs[:, 0]] * drawn[self.pairs[:, 1]]
            means[start : start + DRAWS_AT_ONCE] = _means(
                self.sums, self.counts, self.pair, by_pair, self.groups, self.group_speakers, drawn, self.blocks
            )
        return means


@dataclass(frozen=True)
class AbxResult:
    """The error (0 perfect, 0.5 chance), what it was measured on, and the error of every ordered pair of labels (A, B).

    `cells` counts the combinations of labels, speakers and context, `items` the items compared in any of them, and
    `dropped` the items that had no frame or reached past the end of their features.
    """

    error: float
    cells: int
    items: int
    dropped: int
    label_pairs: dict[tuple[str, str], float] = field(repr=False)
    speaker_errors: SpeakerErrors = field(repr=False, compare=False)
    better: Literal["lower", "higher"] = field(default="lower", repr=False)

    def measure(self, name: str, **left_out: int) -> Measure:
        """Return the error as a measure that can be drawn again over speakers.

        Means over speakers are weighted by what these weigh, in the same order as in the error; those over pairs of
        labels are not, and a pair of labels that nobody is left of drops out.

        Args:
            name: e.g. `phone ABX across`.
            **left_out: further counts, by what was left out.
        """
        counts = {"items": self.items, "cells": self.cells, "pairs of labels": len(self.label_pairs)}
        left_out = {"items without frames": self.dropped, **left_out}
        counts |= {reason: count for reason, count in left_out.items() if count}
        speakers = self.speaker_errors.speakers
        return Measure(name, self.better, speakers, self.speaker_errors.means, percent=True, counts=counts)


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _means(
    sums: Floats,
    counts: Integers,
    pair: Integers,
    pair_weights: Floats,
    groups: Integers,
    group_speakers: Integers,
    weights: Floats,
    blocks: Integers,
) -> Floats:
    """Means [R] of `SpeakerErrors`, for the weights [S, R] of its pairs and those [G + 1, R] of its speakers."""
    draws = weights.shape[1]
    total, present = np.zeros(draws), np.zeros(draws)
    block_sum, block_weight = np.empty(draws), np.empty(draws)
    group_sum, group_weight = np.empty(draws), np.empty(draws)
    for block in range(len(blocks) - 1):
        block_sum[:] = 0
        block_weight[:] = 0
        for group in range(blocks[block], blocks[block + 1]):
            group_sum[:] = 0
            group_weight[:] = 0
            for entry in range(groups[group], groups[group + 1]):
                own, error, count = pair_weights[pair[entry]], sums[entry], float(counts[entry])
                for draw in range(draws):
                    group_sum[draw] += own[draw] * error
                    group_weight[draw] += own[draw] * count
            own = weights[group_speakers[group]]
            for draw in range(draws):
                weight = own[draw] if group_weight[draw] > 0 else 0.0
                block_sum[draw] += weight * group_sum[draw] / max(group_weight[draw], 1e-300)
                block_weight[draw] += weight
        for draw in range(draws):
            total[draw] += block_sum[draw] / max(block_weight[draw], 1e-300)
            present[draw] += 1.0 if block_weight[draw] > 0 else 0.0
    return total / present
