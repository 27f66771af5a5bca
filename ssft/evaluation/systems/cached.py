"""`CachedFrames`: frames in a folder, made when they are first asked for."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any, Literal

from ssft.data.corpus import fingerprint
from ssft.data.rejects import count_reasons, read_rejects
from ssft.data.utterances import stamp_of
from ssft.errors import DataError, EncoderError, RecipeError, closest
from ssft.evaluation.corpus import TEST, LabelledCorpus
from ssft.evaluation.frames import CLEAN
from ssft.evaluation.systems.condition import Condition
from ssft.features import FeatureFolder, FrameSource, read_features, write_features
from ssft.files import free_bytes, remove_folder, size
from ssft.types import Reject, Utterance

_SHARD_SECONDS = 1800.0
_BYTES = 4


class CachedFrames:
    """A `FrameStore` that writes frames to a folder, once for each split and condition, and reads them from there.

    A folder is found again by the hash of the weights, the settings, the layers, the condition, and the ids, lengths,
    sizes and times of change of the audio: several models, corpora and calls share one cache. What was interrupted goes
    on; what is damaged is made again.

    Args:
        source: makes frames of the layers that it is given.
        layers: which are measured.
        corpus: the audio.
        name: of the system.
        cache: where the folders go.
        conditions: in which audio is heard, beside clean.
        condition_layers: which layers are measured in these; None is the last of `layers`, `all` are all of them.

    Attributes:
        rejects: by split and condition, as far as they have been asked for, the utterances that could not be read.

    Raises:
        EncoderError: there is no such layer.
        RecipeError: two conditions of one name, or layers in them that are not measured in clean audio.
    """

    def __init__(
        self,
        source: Callable[[tuple[int, ...]], FrameSource],
        layers: Sequence[int],
        corpus: LabelledCorpus,
        *,
        name: str,
        cache: Path,
        conditions: Sequence[Condition] = (),
        condition_layers: Sequence[int] | Literal["all"] | None = None,
    ) -> None:
        self.name = name
        self.corpus = corpus
        self.cache = cache.expanduser()
        self.layers: Sequence[int] = tuple(sorted(set(layers)))
        self.conditions: Sequence[str] = (CLEAN, *(condition.name for condition in conditions))
        self.rejects: dict[tuple[str, str], list[Reject]] = {}
        self._heard = {condition.name: condition for condition in conditions}
        self._source = source
        self._clean = source(self.layers)
        if condition_layers is None or condition_layers == "all":
            condition_layers = self.layers if condition_layers else self.layers[-1:]
        self._in_conditions = tuple(sorted(set(condition_layers)))
        self._folders: dict[tuple[str, str], Path] = {}
        self._lock = Lock()
        self._features: dict[tuple[str, str, int], FeatureFolder] = {}
        if len(set(self.conditions)) < len(self.conditions):
            raise RecipeError(f"Two conditions have the same name: {', '.join(self.conditions[1:])}. Keep one.")
        if not self._in_conditions or not set(self._in_conditions) <= set(self.layers):
            raise RecipeError(
                f"condition_layers={list(self._in_conditions)}: of {name}, only layers {_list(self.layers)} are "
                "measured. Name some of these."
            )

    def frames(self, split: str = TEST, *, layer: int, condition: str = CLEAN) -> FeatureFolder:
        """Return the frames [F, D] of all utterances of a split that can be read, by id.

        The first time all layers that are measured in a condition are made at once.

        Raises:
            DataError: no such split or condition, nothing in it can be read, or the disk is too small.
            EncoderError: a layer that is not measured, or weights that are broken.
        """
        if not self.corpus.splits.get(split):
            raise DataError(f"{self.corpus.name} has no split '{split}'. {closest(split, self.corpus.splits)}")
        if condition not in self.conditions:
            raise DataError(f"{self.name} is not heard in '{condition}'. {closest(condition, self.conditions)}")
        if layer not in self.layers_in(condition):
            raise EncoderError(
                f"layer={layer}: of {self.name}, layers {_list(self.layers_in(condition))} are measured in {condition}."
            )
        place = (split, condition)
        with self._lock:  # the encoder can only be used by one thread at a time
            if place not in self._folders:
                self._folders[place] = self._made(split, condition)
        if (*place, layer) not in self._features:
            self._features[(*place, layer)] = read_features(self._folders[place], layer=layer)
        return self._features[(*place, layer)]

    def layers_in(self, condition: str) -> Sequence[int]:
        """Return the layers that are measured in a condition."""
        return self.layers if condition == CLEAN else self._in_conditions

    def frame_rate(self, layer: int) -> float:
        """Return the frames per second of a layer."""
        return self._clean.frame_rate(layer)

    def describe(self) -> dict[str, Any]:
        """Return where the frames come from: the model, the hash of its weights, and settings."""
        return {**self._identity, **self._clean.settings()}

    @cached_property
    def _identity(self) -> dict[str, Any]:
        """Hashing all weights takes a while, and every split and condition needs the hash."""
        return self._clean.identity()

    def _made(self, split: str, condition: str) -> Path:
        """The folder of a split in a condition, complete."""
        source = self._clean if condition == CLEAN else self._source(self._in_conditions)
        utterances, heard = self.corpus.splits[split], self._heard.get(condition)
        done = None if heard is None else json.dumps(heard.describe())
        folder = self._folder(source, split, condition, done)
        rejects_file = folder / "rejects-000.tsv"
        left = _left(folder, source.layers, utterances, {reject.id for reject in read_rejects(rejects_file)})
        if left:
            self._refuse_full_disk(source, sum(utterance.seconds for utterance in left), f"{split}, {condition}")
            write_features(
                source,
                utterances,
                folder,
                transform=heard,
                condition=done,
                shard_seconds=_SHARD_SECONDS,
                progress=f"encoding {split}, {condition}",
            )
        self.rejects[split, condition] = rejects = read_rejects(rejects_file)
        if len(rejects) == len(utterances):
            raise DataError(
                f"None of the {len(utterances):,} utterances of {self.corpus.name}, {split}, can be encoded "
                f"({count_reasons(rejects)}). They are listed in {rejects_file}."
            )
        return folder

    def _folder(self, source: FrameSource, split: str, condition: str, done: str | None) -> Path:
        """Where the frames of a split belong, by all that they depend on; `done` is what is done to the audio."""
        utterances = sorted(self.corpus.splits[split], key=lambda utterance: utterance.id)
        stamps = {path: stamp_of(path) for path in {utterance.path for utterance in utterances}}
        audio = [(utterance.id, stamps[utterance.path]) for utterance in utterances]
        weights = str(self._identity["weights"])
        facts = [weights, source.settings(), done, fingerprint(utterances), audio]
        key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
        words = re.sub(r"[^\w.]+", "-", f"{split}-{condition}")[:60]
        return self.cache / weights[:16] / f"{words}-{key}"

    def _refuse_full_disk(self, source: FrameSource, seconds: float, what: str) -> None:
        # What is in the shard that is being written is on the disk twice for a moment.
        values = (seconds + min(seconds, _SHARD_SECONDS)) * source.width
        needed = round(_BYTES * values * sum(source.frame_rate(layer) for layer in source.layers))
        if needed > (free := free_bytes(self.cache)):
            raise DataError(
                f"Frames of {self.name} ({what}: {seconds / 3600:.2f} h, {len(source.layers)} layers) take up to "
                f"{size(needed)}, and where {self.cache} is, {size(free)} are free. Measure fewer layers or fewer "
                "hours, or name a larger disk with --cache."
            )


def _left(
    folder: Path, layers: Sequence[int], utterances: Sequence[Utterance], rejected: set[str]
) -> Sequence[Utterance]:
    """What is not in a folder yet: all of it if the folder is damaged, which is then removed."""
    if not folder.exists():
        return utterances
    try:
        for layer in layers:
            features = read_features(folder, layer=layer)
            features.check()
    except DataError:
        remove_folder(folder)
        return utterances
    missing = set(features.missing) - rejected
    return [utterance for utterance in utterances if utterance.id in missing]


def _list(layers: Sequence[int]) -> str:
    return ", ".join(map(str, layers))
