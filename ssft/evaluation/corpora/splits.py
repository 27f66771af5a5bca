"""The splits of a corpus: its utterances by what they are for, no speaker for two things."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

from ssft.data import Data
from ssft.data.audio import REASONS
from ssft.data.huggingface import HUB_PREFIX
from ssft.data.probe import SHORTEST
from ssft.data.tables import MANIFEST_SUFFIXES, read_rows
from ssft.errors import DataError, closest
from ssft.evaluation.corpora.description import Description, Part
from ssft.evaluation.corpus import DEV, TEST, TRAIN
from ssft.evaluation.items import UNKNOWN_SPEAKERS
from ssft.randomness import derive_seed
from ssft.types import Reject, Utterance

Splits = dict[str, Sequence[Utterance]]

_DEV_SHARE = 10
"""One in so many speakers of train is in a dev that is made of it."""


def list_splits(description: Description, folder: Path, skipped: Counter[str]) -> tuple[Splits, list[str]]:
    """Return the utterances of every split, sorted by id, and what must be said of the splits.

    Args:
        description: of the corpus.
        folder: that its paths are relative to.
        skipped: gets the number of recordings that cannot be used, by reason.

    Raises:
        DataError: no audio, no such split or speaker, an utterance in two splits, or splits of which none is for tests.
    """
    audio = _root(description.audio, folder)
    parts = description.parts() or _default_parts(_splits_of(audio, skipped), where=description.name)
    sources = {
        name: (audio if part.audio is None else _root(part.audio, folder), part.split) for name, part in parts.items()
    }
    listed = {source: _listed(*source, description.allow_outside) for source in dict.fromkeys(sources.values())}
    for reject in {reject for _, rejects in listed.values() for reject in rejects}:
        skipped[f"recordings: {REASONS[reject.reason]}"] += 1

    claimed: dict[str, set[str]] = defaultdict(set)
    for name, part in parts.items():
        claimed[sources[name][0]].update(part.speakers)
    splits: Splits = {}
    for name, part in parts.items():
        utterances, _ = listed[sources[name]]
        if part.speakers:
            splits[name] = _of_speakers(utterances, part.speakers, where=f"{description.name}, splits.{name}")
        else:
            splits[name] = [u for u in utterances if u.speaker not in claimed[sources[name][0]]]
        if not splits[name]:
            raise DataError(f"{description.name}: nothing is left for the split {name}; all speakers are in others.")
    splits = _with_distinct_ids(splits, {name: source for name, (source, _) in sources.items()})
    notes = [
        f"{count:,} speakers are in both {one} and {other}."
        for one, other in combinations([name for name in (TRAIN, DEV, TEST) if name in splits], 2)
        if (count := len(_speakers(splits[one]) & _speakers(splits[other])))
    ]
    if TRAIN in splits and DEV not in splits:
        notes += _take_dev(splits)
    return {name: sorted(own, key=lambda utterance: utterance.id) for name, own in splits.items()}, notes


def _root(audio: str | None, folder: Path) -> str:
    """The `data.root` that a description in `folder` means."""
    if audio == "demo":
        return str(Data(root=audio).path)
    if audio is None or audio.startswith(HUB_PREFIX):
        return audio or ""
    return str(folder / Path(audio).expanduser())


def _splits_of(audio: str, skipped: Counter[str]) -> list[str]:
    """The names in the column of splits of a manifest; of other audio none."""
    path = Path(audio)
    if path.suffix.lower() not in MANIFEST_SUFFIXES or not path.is_file():
        return []
    counts = Counter(row.cells.get("split", "") for row in read_rows(path) if not row.problem)
    names = sorted(name for name in counts if name)
    if names and counts[""]:
        skipped["recordings: the manifest says no split"] += counts[""]
    return names


def _default_parts(names: Collection[str], *, where: str) -> dict[str, Part]:
    if len(names) < 2:
        return {TEST: Part(split=next(iter(names), None))}
    if TEST in names:
        return {name: Part(split=name) for name in names}
    others = [name for name in names if name != TRAIN]
    if len(others) > 1 or TRAIN not in names:
        raise DataError(
            f"{where} has the splits {', '.join(names)}, and none is called test. Say which one is: "
            f"splits: {{test: {others[-1]}}} in a description."
        )
    return {TRAIN: Part(split=TRAIN), TEST: Part(split=others[0])}


def _listed(audio: str, split: str | None, allow_outside: bool) -> tuple[list[Utterance], list[Reject]]:
    data = Data(root=audio, split=split, min_seconds=SHORTEST, verify="header", allow_outside=allow_outside)
    corpus = data.load()
    return list(corpus.utterances), corpus.rejects


def _of_speakers(utterances: Sequence[Utterance], wanted: Sequence[str], *, where: str) -> list[Utterance]:
    known = _speakers(utterances)
    for speaker in wanted:
        if speaker not in known:
            raise DataError(f"{where}: there is no speaker '{speaker}'. {closest(speaker, known)}")
    return [utterance for utterance in utterances if utterance.speaker in wanted]


def _with_distinct_ids(splits: Splits, audio: Mapping[str, str]) -> Splits:
    """Put the name of the split before every id, if splits of different audio share ids."""
    owners: dict[str, str] = {}
    shared = False
    for name, utterances in splits.items():
        for utterance in utterances:
            other = owners.setdefault(utterance.id, name)
            if other != name and audio[other] == audio[name]:
                raise DataError(
                    f"{utterance.id} is in the splits {other} and {name}. What a probe is trained on must not test it."
                )
            shared |= other != name
    if not shared:
        return splits
    return {name: [replace(u, id=f"{name}/{u.id}") for u in utterances] for name, utterances in splits.items()}


def _speakers(utterances: Sequence[Utterance]) -> set[str]:
    return {u.speaker for u in utterances if u.speaker and u.speaker not in UNKNOWN_SPEAKERS}


def _take_dev(splits: Splits) -> list[str]:
    """Make `dev` of whole speakers of `train`, one in ten, or of utterances if speakers are not told apart."""
    speakers = _speakers(splits[TRAIN])
    by_speaker = len(speakers) > 1

    def group(utterance: Utterance) -> str:
        return (utterance.speaker or "") if by_speaker else utterance.id

    groups = speakers if by_speaker else {utterance.id for utterance in splits[TRAIN]}
    if len(groups) < 2:
        return []
    chosen = set(sorted(groups, key=lambda name: derive_seed("dev", name))[: max(1, round(len(groups) / _DEV_SHARE))])
    splits[DEV] = [utterance for utterance in splits[TRAIN] if group(utterance) in chosen]
    splits[TRAIN] = [utterance for utterance in splits[TRAIN] if group(utterance) not in chosen]
    return [] if by_speaker else ["The utterances of dev are taken from train, whose speakers are not told apart."]
