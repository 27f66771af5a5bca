"""The measures of one set of units on one test set."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ssft.evaluation.error_counts import count_errors
from ssft.evaluation.measure import Floats, Measure, ratio
from ssft.evaluation.unit_quality.information import JointCounts, active_units, bitrate, speaker_information
from ssft.evaluation.unit_quality.labels import NO_PHONE, FrameLabels

Codes = Mapping[str, NDArray[np.int64]]
"""The unit of each frame [F], by utterance id."""


def unit_measures(codes: Codes, labels: FrameLabels, *, units: int, counts: Mapping[str, int]) -> list[Measure]:
    """Return whatever can be measured of units, given what is known of their frames.

    `PNMI`, `phone purity` and `cluster purity` need two phones, and are of the frames within phones. `SNMI` needs two
    speakers; it is of the same frames, or of all where nothing is aligned. `bitrate` and `active units` are of all
    frames.

    Args:
        codes: of the utterances of a test set, and maybe more.
        labels: of their frames.
        units: K; codes are below it.
        counts: what else to say beside each measure.
    """
    names = sorted(set(labels.groups.values()))
    of_utterance = np.searchsorted(names, list(labels.groups.values()))
    own = [codes[utterance] for utterance in labels.groups]
    group, unit = np.repeat(of_utterance, [len(each) for each in own]), np.concatenate(own)
    new = np.concatenate([_begins(each) for each in own])
    phone = np.concatenate(
        [labels.phones.get(name, np.full(len(each), NO_PHONE)) for name, each in zip(labels.groups, own, strict=True)]
    )
    spoken = phone >= 0

    def table(chosen: NDArray[np.bool_]) -> Floats:
        found = np.bincount(group[chosen] * units + unit[chosen], minlength=len(names) * units)
        return found.reshape(len(names), units).astype(np.float64)

    measure = partial(Measure, groups=tuple(names), grouped_by=labels.grouped_by)
    said = {"units": units, f"{labels.grouped_by}s": len(names), **labels.left_out, **counts}
    of_phones = {"frames": int(spoken.sum()), "phones": len(np.unique(phone[spoken])), **said, **labels.without_phones}
    of_all = {"frames": len(unit), **said}
    found = []
    if of_phones["phones"] > 1:
        joint = JointCounts.of(
            group[spoken],
            phone[spoken],
            unit[spoken],
            groups=len(names),
            labels=len(labels.phone_names),
            units=units,
        )
        found = [
            measure("PNMI", "higher", of=joint.normalized_information, counts=of_phones),
            measure("phone purity", "higher", of=joint.label_purity, counts=of_phones),
            measure("cluster purity", "higher", of=joint.unit_purity, counts=of_phones),
        ]
    if labels.grouped_by == "speaker" and len(names) > 1:
        chosen, about = (spoken, of_phones) if spoken.any() else (np.ones_like(spoken), of_all)
        found.append(measure("SNMI", "lower", of=speaker_information(table(chosen)), counts=about))
    seconds = np.bincount(of_utterance, weights=list(labels.seconds.values())).astype(np.float64)
    return [
        *found,
        measure("bitrate", "neither", of=bitrate(table(new), seconds), counts=of_all),
        measure("active units", "neither", of=active_units(table(np.ones_like(new))), counts=of_all),
    ]


def unit_edit_distance(clean: Codes, changed: Codes, labels: FrameLabels, *, counts: Mapping[str, int]) -> Measure:
    """Return how many units differ when audio is changed in a way that does not change what is said.

    `sum(Levenshtein(d(clean), d(changed))) / sum(len(d(clean)))`, where d leaves out units that repeat the one before.

    Args:
        clean: units of each utterance as it was recorded.
        changed: the same, with noise for example.
        labels: of the utterances to use.
        counts: what else to say beside it.

    Source: Gat et al., Augmentation invariant discrete representation for generative spoken language modeling,
    IWSLT 2023. Sums over sums, so that short utterances count less, as in the public code of NAST (Messica and Adi,
    Interspeech 2024, `eval/ued_calculator.py`).
    """
    common = [name for name in labels.groups if len(clean.get(name, ()))]
    before, after = ([deduplicate(codes[name]) for name in common] for codes in (clean, changed))
    errors = count_errors([list(map(str, own)) for own in before], [list(map(str, own)) for own in after])
    return ratio(
        "unit edit distance",
        errors.astype(np.float64),
        [len(own) for own in before],
        groups=[labels.groups[name] for name in common],
        grouped_by=labels.grouped_by,
        percent=True,
        counts={"utterances": len(common), "units": sum(map(len, before)), **labels.left_out, **counts},
    )


def deduplicate(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Leave out codes that repeat the one before.

    Example:
        >>> deduplicate(np.array([5, 5, 2, 2, 2, 5])).tolist()
        [5, 2, 5]
    """
    return codes[_begins(codes)]


def _begins(codes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each code differs from the one before."""
    return np.append(True, codes[1:] != codes[:-1])
