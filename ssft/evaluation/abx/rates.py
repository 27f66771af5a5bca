"""ABX error rates of given items: of phones or words, and of speakers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

import numpy as np

from ssft.evaluation.abx.design import Design, Features
from ssft.evaluation.abx.result import AbxResult, SpeakerErrors
from ssft.evaluation.items import Item


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
    1e-6. d is `ssft.ops.dtw.angular_dtw_table`, with X as the first sequence. The frames of an item are those whose
    centre, (i + 0.5) / `frame_rate`, lies in it, both ends included, as in fastabx; the code of Libri-Light left out
    the last one.

    A cell is (label of A, label of B, speaker of A and B, speaker of X, context), and its error the mean over all its
    x, a, b. Cells are averaged over contexts and speakers of X, then over speakers of A and B, then over ordered pairs
    of labels, each time without weights, so that frequent ones count no more than rare ones.

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

    Source: Schatz et al., Interspeech 2013; settings of Libri-Light, Kahn et al., ICASSP 2020.

    Example:
        >>> features = {"u": np.repeat(np.eye(2), 50, axis=0), "v": np.repeat(np.eye(2), 50, axis=0)}
        >>> items = [Item(u, t, t + 1, w, (), u) for u in "uv" for t, w in enumerate(["a", "b"])]
        >>> abx(features, items, speaker="across")
        AbxResult(error=0.0, cells=4, items=4, dropped=0)
    """
    items = list(items)
    lengths = {name: len(features[name]) for name in {item.utterance for item in items} if name in features}
    design = Design(
        items,
        lengths,
        speaker=speaker,
        max_group=max_group,
        max_x_speakers=max_x_speakers,
        frame_rate=frame_rate,
        seed=seed,
    )
    return design.measure(features)


def speaker_abx(
    features: Features, items: Iterable[Item], *, max_group: int = 10, frame_rate: float = 50.0, seed: int = 0
) -> AbxResult:
    """Measure how often an item X is farther from an item A of its own speaker than from an item B of another speaker.

    All three are of one label and context, so that only the voice, and what goes with it, tells them apart: 0 means
    that frames give every speaker away, 0.5 that nothing of the speaker is in them. For representations of what is
    said, higher is better. It is `abx` within one speaker, with the speaker as the label, and the label in the context;
    `label_pairs` are pairs of speakers, and its measure weighs the pair (A, B) by what A and B weigh.

    Args:
        features: as in `abx`.
        items: as in `abx`.
        max_group: as in `abx`.
        frame_rate: as in `abx`.
        seed: as in `abx`.

    Raises:
        DataError: as in `abx`.
        ValueError: as in `abx`.

    Example:
        >>> features = {"u": np.repeat(np.eye(2)[:1], 100, axis=0), "v": np.repeat(np.eye(2)[1:], 100, axis=0)}
        >>> items = [Item(u, t, t + 1, "a", (), u) for u in "uv" for t in (0, 1)]
        >>> speaker_abx(features, items)
        AbxResult(error=0.0, cells=2, items=4, dropped=0)
    """
    of_speakers = [
        replace(item, label=item.speaker, context=(item.label, *item.context), speaker="any") for item in items
    ]
    result = abx(features, of_speakers, speaker="within", max_group=max_group, frame_rate=frame_rate, seed=seed)
    names, index = np.unique(list(result.label_pairs), return_inverse=True)
    pairs = index.reshape(-1, 2)
    errors = SpeakerErrors(
        speakers=tuple(names.tolist()),
        blocks=np.array([0, 1]),
        groups=np.array([0, len(pairs)]),
        group_speakers=np.array([len(names)]),
        sums=np.array(list(result.label_pairs.values())),
        counts=np.ones(len(pairs), dtype=np.int64),
        pair=np.arange(len(pairs)),
        pairs=pairs,
    )
    return replace(result, speaker_errors=errors, better="higher")
