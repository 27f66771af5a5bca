"""`Design`: what an ABX task compares with what, in frames; made once, and used for every layer and condition."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from operator import attrgetter
from typing import Literal, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from ssft.errors import DataError
from ssft.evaluation.abx.result import AbxResult, SpeakerErrors
from ssft.evaluation.abx.trials import Comparison, make_comparisons, make_groups
from ssft.evaluation.items import Item, frame_span
from ssft.ops.dtw import angular_dtw_table, pack
from ssft.ops.threads import thread_map

TIE = 1e-6
"""Distances that differ by no more than this are equal: far below what matters, far above rounding."""

Features = Mapping[str, NDArray[np.floating] | Tensor]
Integers = NDArray[np.int64]


class _Rectangle(NamedTuple):
    """Items X by index, and those of one speaker's groups, which all are compared to; and which cells there are."""

    rows: Integers
    columns: Integers
    bounds: Integers
    """[G + 1], where each group begins among the columns."""
    pairs: Integers
    """[K, 3]: the group of A, and the first and the last but one row of X."""


class Design:
    """Everything of an ABX measurement that does not depend on the values of the frames.

    Args:
        items: what to compare, in any order; equal ones count once.
        lengths: number of frames of every utterance that an item is in.
        speaker: `within` or `across`.
        max_group: as in `abx`.
        max_x_speakers: as in `abx`.
        frame_rate: as in `abx`.
        seed: as in `abx`.

    Raises:
        DataError: there is nothing to compare, or an item is in an utterance without a length.
        ValueError: an option out of range.
    """

    def __init__(
        self,
        items: Iterable[Item],
        lengths: Mapping[str, int],
        *,
        speaker: Literal["within", "across"],
        max_group: int = 10,
        max_x_speakers: int | None = 5,
        frame_rate: float = 50.0,
        seed: int = 0,
    ) -> None:
        if speaker not in ("within", "across"):
            raise ValueError(f"speaker must be 'within' or 'across', not {speaker!r}")
        if max_group < 1 or (max_x_speakers is not None and max_x_speakers < 1) or not 0 < frame_rate < np.inf:
            raise ValueError("max_group, max_x_speakers and frame_rate must be positive")
        given = sorted(set(items), key=attrgetter("utterance", "onset", "offset", "label", "context", "speaker"))
        for name in sorted({item.utterance for item in given} - lengths.keys()):
            raise DataError(f"There are no features of {name}, but items in it.")
        spans = [frame_span(item, frame_rate, lengths[item.utterance]) for item in given]
        kept = [item for item, span in zip(given, spans, strict=True) if span]
        spans = [span for span in spans if span]
        groups = make_groups(kept, max_group, seed)
        comparisons = make_comparisons(groups, speaker, max_x_speakers, seed)
        if not comparisons:
            raise DataError(_nothing_to_compare(speaker, given, kept))
        compared = _groups_in(comparisons)
        names = sorted({kept[item].utterance for group in compared for item in groups[group].items})
        self.lengths = {name: lengths[name] for name in names}
        self.dropped = len(given) - len(kept)
        self.items = sum(len(groups[group].items) for group in compared)

        starts = dict(zip(names, np.cumsum([0, *self.lengths.values()]).tolist(), strict=False))
        # What is never compared has no frames here, and its place is never looked at.
        grouped = [(starts.get(kept[item].utterance, 0), spans[item]) for group in groups for item in group.items]
        self._spans = np.array([(start + span.start, start + span.stop) for start, span in grouped])
        bounds = np.cumsum([0, *(len(group.items) for group in groups)])
        self._rectangles = [_rectangle(comparison, bounds) for comparison in comparisons]
        self._within = speaker == "within"

        labels, label = np.unique([group.label for group in groups], return_inverse=True)
        # Who is in no cell is nobody to draw again.
        speakers, who = np.unique([groups[group].speaker for group in compared], return_inverse=True)
        of_group = np.zeros(len(groups), dtype=np.int64)
        of_group[compared] = who
        self.speakers = tuple(speakers.tolist())
        a, b, x = _cells(comparisons).T
        self.cells = len(a)
        # A cell as one integer: its labels, the speaker of A and B, and that of X. The context is already gone.
        keys = ((label[a] * len(labels) + label[b]) * len(speakers) + of_group[a]) * len(speakers) + of_group[x]
        keys, self._entry, self._counts = np.unique(keys, return_inverse=True, return_counts=True)
        keys, of_x = np.divmod(keys, len(speakers))
        keys, groups_begin = np.unique(keys, return_index=True)
        pairs, self._group_speakers = np.divmod(keys, len(speakers))
        pairs, blocks_begin = np.unique(pairs, return_index=True)
        self._groups, self._blocks = np.append(groups_begin, len(of_x)), np.append(blocks_begin, len(keys))
        self._of_x = np.full(len(of_x), len(speakers)) if self._within else of_x
        self.label_pairs = [(str(labels[p // len(labels)]), str(labels[p % len(labels)])) for p in pairs.tolist()]

    def measure(self, features: Features) -> AbxResult:
        """Compare the items' frames in `features`: [F, D] of every utterance, of the lengths of the design.

        The work is shared by as many threads as PyTorch uses; what comes out does not depend on them.

        Raises:
            DataError: features that are not [F, D] and finite, are not there, or are of another length.
        """
        frames, _ = pack(self._arrays(features))

        def errors(rectangle: _Rectangle) -> NDArray[np.float64]:
            rows, columns, bounds, pairs = rectangle
            table = angular_dtw_table(frames, self._spans[rows], self._spans[columns])
            scored: NDArray[np.float64] = _score(table, bounds, pairs, self._within, TIE)
            return scored

        with thread_map(len(self._rectangles)) as mapped:
            of_cells = np.concatenate(list(mapped(errors, self._rectangles)))
        sums = np.asarray(np.bincount(self._entry, weights=of_cells), dtype=np.float64)
        groups = np.add.reduceat(sums, self._groups[:-1]) / np.add.reduceat(self._counts, self._groups[:-1])
        by_labels = np.add.reduceat(groups, self._blocks[:-1]) / np.diff(self._blocks)
        nobody = len(self.speakers)
        everyone = np.arange(nobody + 1)
        return AbxResult(
            float(by_labels.mean()),
            self.cells,
            self.items,
            self.dropped,
            dict(zip(self.label_pairs, by_labels.tolist(), strict=True)),
            SpeakerErrors(
                self.speakers,
                self._blocks,
                self._groups,
                self._group_speakers,
                sums,
                self._counts.astype(np.int64),
                self._of_x,
                np.stack([everyone, np.full(nobody + 1, nobody)], axis=1),
            ),
        )

    def _arrays(self, features: Features) -> list[NDArray[np.floating]]:
        arrays: list[NDArray[np.floating]] = []
        for name, length in self.lengths.items():
            if name not in features:
                raise DataError(f"There are no features of {name}, but items in it.")
            array = _as_array(features[name])
            width = arrays[0].shape[1] if arrays else None
            if array.ndim != 2 or array.shape[1] != (width or array.shape[1]):
                raise DataError(f"Features must be [F, {width or 'D'}], but those of {name} are {list(array.shape)}.")
            if len(array) != length:
                raise DataError(f"{name} has {len(array)} frames, but the items were laid out for {length}.")
            if not np.isfinite(array).all():
                raise DataError(f"Features of {name} contain NaN or infinity.")
            arrays.append(array)
        return arrays


def _as_array(values: NDArray[np.floating] | Tensor) -> NDArray[np.floating]:
    return values.detach().float().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def _rectangle(comparison: Comparison, bounds: Integers) -> _Rectangle:
    first, end, pairs = comparison
    xs = sorted({x for _, x in pairs})
    tops = dict(zip(xs, np.cumsum([0, *(bounds[x + 1] - bounds[x] for x in xs)]).tolist(), strict=False))
    return _Rectangle(
        np.concatenate([np.arange(bounds[x], bounds[x + 1]) for x in xs]),
        np.arange(bounds[first], bounds[end]),
        bounds[first : end + 1] - bounds[first],
        np.array([(a - first, tops[x], tops[x] + bounds[x + 1] - bounds[x]) for a, x in pairs]),
    )


def _groups_in(comparisons: Iterable[Comparison]) -> list[int]:
    """All groups that A, B or X come from, by index, ascending."""
    runs = (range(comparison.first, comparison.end) for comparison in comparisons)
    xs = (x for comparison in comparisons for _, x in comparison.pairs)
    return sorted({*chain.from_iterable(runs), *xs})


def _cells(comparisons: Iterable[Comparison]) -> Integers:
    """Groups of A, B and X [C, 3] in the order in which `_score` goes through them."""
    cells = []
    for first, end, pairs in comparisons:
        run = np.arange(first, end)
        a, x = np.array(pairs).T
        every = np.stack(np.broadcast_arrays(a[:, None], run, x[:, None]), axis=-1)
        cells.append(every[run != a[:, None]])
    return np.concatenate(cells)


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _score(
    table: NDArray[np.float32], bounds: Integers, pairs: Integers, same: bool, tie: float
) -> NDArray[np.float64]:
    """Errors [K * (G - 1)] of all cells of a rectangle, from its distances; `same`: X is in the group of A."""
    groups, width = len(bounds) - 1, table.shape[1]
    errors = np.empty(len(pairs) * (groups - 1))
    halves = np.empty(width, dtype=np.int32)
    margin = np.float32(tie)
    cell = 0
    for pair in range(len(pairs)):
        a_group, top, bottom = pairs[pair]
        start, end = bounds[a_group], bounds[a_group + 1]
        halves[:] = 0
        for x in range(top, bottom):
            row = table[x]
            for a in range(start, end):
                if same and x - top == a - start:
                    continue
                to_a = row[a]
                for b in range(width):
                    excess = to_a - row[b]
                    halves[b] += np.int32(excess > margin) + np.int32(excess >= -margin)
        compared = (bottom - top) * (end - start - (1 if same else 0))
        for b_group in range(groups):
            if b_group != a_group:
                own = halves[bounds[b_group] : bounds[b_group + 1]]
                errors[cell] = 0.5 * own.sum() / (compared * len(own))
                cell += 1
    return errors


def _nothing_to_compare(speaker: str, given: Sequence[Item], kept: Sequence[Item]) -> str:
    labels, speakers = ({getattr(item, name) for item in kept} for name in ("label", "speaker"))
    found = f"{len(kept)} items with frames (of {len(given)}), {len(labels)} labels, {len(speakers)} speakers"
    need = (
        "a label that two speakers say in one context, where one of them says another label too"
        if speaker == "across"
        else "a speaker who says one label twice and another label in the same context"
    )
    return f"There is nothing to compare {speaker} speakers: that needs {need}. Found {found}."
