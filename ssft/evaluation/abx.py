"""The ABX task: is X closer to A, which is the same word or phone, than to B, which is another?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from ssft.errors import DataError
from ssft.evaluation.items import Item, frame_span
from ssft.evaluation.trials import Trial, make_groups, make_trials
from ssft.ops.dtw import angular_dtw, pack

TIE = 1e-6
"""Distances that differ by no more than this are equal: far below what matters, far above rounding."""
PAIRS_AT_ONCE = 2**22

Features = Mapping[str, NDArray[np.floating] | Tensor]
Integers = NDArray[np.integer]


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


def abx(
    features: Features,
    items: Iterable[Item],
    *,
    speaker: Literal["within", "across"],
    max_group: int = 10,
    max_x_speakers: int | None = 5,
    frame_rate: float = 50.0,
    seed: int = 0,
) -> AbxResult:
    """Measure how often an item X is farther from an item A of its own label than from an item B of another label.

    A, B and X share their context. A and B come from one speaker; X comes from another speaker (`across`), or from the
    same one without being A (`within`). X is wrong when d(x, a) > d(x, b), and half wrong when they are equal to within
    1e-6. d is `ssft.ops.dtw.angular_dtw`, whose first sequence is the item that comes first by utterance and onset.

    A cell is (label of A, label of B, speaker of A and B, speaker of X, context), and its error the mean over all its
    x, a, b. Cells are averaged over contexts, then over (ordered pairs of) speakers, then over ordered pairs of labels,
    each time without weights, so that frequent ones count no more than rare ones.

    Args:
        features: frames [F, D] of each utterance that an item is in; arrays or tensors.
        items: what to compare, in any order; equal ones count once.
        speaker: `within` or `across`.
        max_group: at most so many items of one label, speaker and context are used, drawn at random.
        max_x_speakers: `across`, at most so many speakers of X for one label, speaker and context of A; None for all.
        frame_rate: frames per second.
        seed: of the draws, which depend on nothing else but label, speaker and context.

    Raises:
        DataError: nothing to compare, an utterance without features, or features that are not [F, D] and finite.
        ValueError: an option out of range.

    Source: Schatz et al., Interspeech 2013; settings of Libri-Light, Kahn et al., ICASSP 2020. Memory is 5 bytes times
    the square of the number of items in the largest context.

    Example:
        >>> features = {"u": np.repeat(np.eye(2), 50, axis=0), "v": np.repeat(np.eye(2), 50, axis=0)}
        >>> items = [Item(u, t, t + 1, w, (), u) for u in "uv" for t, w in enumerate(["a", "b"])]
        >>> abx(features, items, speaker="across")
        AbxResult(error=0.0, cells=4, items=4, dropped=0)
    """
    if speaker not in ("within", "across"):
        raise ValueError(f"speaker must be 'within' or 'across', not {speaker!r}")
    if max_group < 1 or (max_x_speakers is not None and max_x_speakers < 1) or not 0 < frame_rate < np.inf:
        raise ValueError("max_group, max_x_speakers and frame_rate must be positive")
    given = sorted(set(items))
    values = _arrays(features, {item.utterance for item in given})
    spans = {item: frame_span(item, frame_rate, len(values[item.utterance])) for item in given}
    slices = {item: values[item.utterance][span.start : span.stop] for item, span in spans.items() if span}

    keys, scores, used = [], [], 0
    groups = make_groups(slices, max_group, seed)
    labels, speakers = sorted({group.label for group in groups}), sorted({group.speaker for group in groups})
    for _, in_context in groupby(groups, key=lambda group: group.context):
        own = list(in_context)
        trials = make_trials(own, speaker, max_x_speakers, seed)
        if not trials:
            continue
        bounds = np.cumsum([0, *(len(group.items) for group in own)])
        distances, compared = _distances([item for group in own for item in group.items], slices, bounds, trials)
        cells, errors = _score(distances, bounds, np.array(trials), TIE)
        label = np.searchsorted(labels, [group.label for group in own])[cells]
        who = np.searchsorted(speakers, [group.speaker for group in own])[cells]
        # A cell's labels and speakers as one integer, from which the context is already gone.
        keys.append(((label[:, 0] * len(labels) + label[:, 1]) * len(speakers) + who[:, 0]) * len(speakers) + who[:, 2])
        scores.append(errors)
        used += compared
    if not keys:
        raise DataError(_nothing_to_compare(speaker, given, list(slices)))
    key, error = _mean_by(np.concatenate(keys), np.concatenate(scores))  # over contexts
    key, error = _mean_by(key // len(speakers) ** 2, error)  # over speakers
    names = [(labels[k // len(labels)], labels[k % len(labels)]) for k in key.tolist()]
    return AbxResult(
        float(error.mean()),
        sum(map(len, scores)),
        used,
        len(given) - len(slices),
        dict(zip(names, error.tolist(), strict=True)),
    )


def _arrays(features: Features, utterances: Iterable[str]) -> dict[str, NDArray[np.floating]]:
    arrays: dict[str, NDArray[np.floating]] = {}
    for name in sorted(utterances):
        if name not in features:
            raise DataError(f"There are no features of {name}, but items in it.")
        value = features[name]
        array = value.detach().float().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
        width = next(iter(arrays.values())).shape[1] if arrays else None
        if array.ndim != 2 or array.shape[1] != (width or array.shape[1]):
            raise DataError(f"Features must be [F, {width or 'D'}], but those of {name} are {list(array.shape)}.")
        if not np.isfinite(array).all():
            raise DataError(f"Features of {name} contain NaN or infinity.")
        arrays[name] = array
    return arrays


def _distances(
    items: Sequence[Item], slices: Mapping[Item, NDArray[np.floating]], bounds: Integers, trials: Sequence[Trial]
) -> tuple[NDArray[np.float32], int]:
    """Distances [N, N] of the items of a context, NaN where no trial needs them, and how many items any trial needs."""
    count = len(items)
    needed = np.zeros((count, count), dtype=bool)
    for trial in trials:
        needed[bounds[trial.x] : bounds[trial.x + 1], bounds[trial.first] : bounds[trial.end]] = True
    used = int((needed.any(axis=0) | needed.any(axis=1)).sum())
    # Each distance once, and the same whatever the speakers are called.
    order = sorted(range(count), key=lambda index: (items[index].utterance, items[index].onset, items[index].offset))
    rank = np.argsort(order)
    frames, offsets = pack([slices[item] for item in items])
    distances = np.full((count, count), np.nan, dtype=np.float32)
    step = max(1, PAIRS_AT_ONCE // count)
    for top in range(0, count, step):
        rows = slice(top, top + step)
        upper = np.triu(needed[rows] | needed[:, rows].T, k=top + 1)
        pairs = np.argwhere(upper)
        pairs[:, 0] += top
        flip = rank[pairs[:, 0]] > rank[pairs[:, 1]]
        found = angular_dtw(frames, offsets, np.where(flip[:, None], pairs[:, ::-1], pairs))
        distances[pairs[:, 0], pairs[:, 1]] = distances[pairs[:, 1], pairs[:, 0]] = found
    return distances, used


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _score(
    distances: NDArray[np.float32], bounds: Integers, trials: Integers, tie: float
) -> tuple[Integers, NDArray[np.float64]]:
    """Groups [C, 3] (A, B, X) and errors [C] of all cells of a context."""
    count = 0
    for trial in range(len(trials)):
        count += trials[trial, 3] - trials[trial, 2] - 1
    cells = np.empty((count, 3), dtype=np.int64)
    errors = np.empty(count)
    cell = 0
    for trial in range(len(trials)):
        a_group, x_group, first, end = trials[trial]
        for b_group in range(first, end):
            if b_group == a_group:
                continue
            halves, triples = 0, 0
            for x in range(bounds[x_group], bounds[x_group + 1]):
                for a in range(bounds[a_group], bounds[a_group + 1]):
                    if a == x:
                        continue
                    for b in range(bounds[b_group], bounds[b_group + 1]):
                        excess = distances[x, a] - distances[x, b]
                        halves += 2 if excess > tie else 1 if excess >= -tie else 0
                        triples += 1
            cells[cell] = a_group, b_group, x_group
            errors[cell] = 0.5 * halves / triples
            cell += 1
    return cells, errors


def _mean_by(keys: Integers, values: NDArray[np.float64]) -> tuple[Integers, NDArray[np.float64]]:
    """The mean value of each distinct key, keys ascending."""
    distinct, where, counts = np.unique(keys, return_inverse=True, return_counts=True)
    return distinct, np.bincount(where, weights=values) / counts


def _nothing_to_compare(speaker: str, given: Sequence[Item], kept: Sequence[Item]) -> str:
    labels, speakers = ({getattr(item, name) for item in kept} for name in ("label", "speaker"))
    found = f"{len(kept)} items with frames (of {len(given)}), {len(labels)} labels, {len(speakers)} speakers"
    need = (
        "a label that two speakers say in one context, where one of them says another label too"
        if speaker == "across"
        else "a speaker who says one label twice and another label in the same context"
    )
    return f"There is nothing to compare {speaker} speakers: that needs {need}. Found {found}."
