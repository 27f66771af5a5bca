"""The task `units`: discrete units of frames, what they tell of phones and speakers, and what noise does to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from ssft.errors import DataError
from ssft.evaluation.corpus import TEST, TRAIN, LabelledCorpus
from ssft.evaluation.frames import CLEAN, FramesById, FrameStore
from ssft.evaluation.measure import Score
from ssft.evaluation.unit_quality.labels import label_frames
from ssft.evaluation.unit_quality.measures import unit_edit_distance, unit_measures
from ssft.types import Utterance
from ssft.units import Quantizer, codebook_of_run, draw_utterances, fit_kmeans

KMEANS_PASSES = 20
"""More lower the error of k-means by half a percent, and change PNMI by less than another seed does."""


@dataclass(frozen=True)
class Units:
    """Gives every frame a unit, and measures `PNMI`, `phone purity`, `cluster purity`, `SNMI`, `bitrate`, `active
    units`, and in conditions other than clean the `unit edit distance` from clean.

    Units are clusters of k-means, fitted to each layer on clean audio of the split `train`, or of `test` if there is no
    other, or what a file or a run brings. PNMI and purities rise with the number of clusters whatever the encoder:
    compare only what has the same.

    Args:
        clusters: K of k-means.
        mean_removed: subtract each utterance's mean frame first: units then tell less of the speaker.
        frames_per_cluster: k-means sees so many times K frames, drawn at random.
        max_hours: from so much audio of `train`, drawn at random.
        quantizer: what `ssft units fit` wrote, or the folder of a run of SPIN with one codebook, instead of k-means;
            only the layer that it is made for is measured.

    Example:
        >>> [score.measure.name for score in Units(clusters=50).scores(corpus, store)][:2]
        ['PNMI', 'phone purity']
    """

    name: ClassVar[str] = "units"
    needs_training: ClassVar[bool] = True
    trains_by_gradient: ClassVar[bool] = False

    clusters: int = 100
    mean_removed: bool = False
    frames_per_cluster: int = 256
    max_hours: float = 0.5
    quantizer: str | None = None

    def __post_init__(self) -> None:
        if self.clusters < 2 or self.frames_per_cluster < 1 or not self.max_hours > 0:
            raise ValueError(
                f"clusters={self.clusters}, frames_per_cluster={self.frames_per_cluster}, max_hours={self.max_hours}: "
                "give at least 2 clusters, one frame for each, and some audio."
            )
        if self.quantizer is not None and self.mean_removed:
            raise ValueError("mean_removed is for k-means; whether a quantizer removes means is said in its own file.")

    def obstacle(self, corpus: LabelledCorpus) -> str | None:
        """Return None: without phones and speakers there are still the bitrate and the unit edit distance."""
        return None

    def scores(self, corpus: LabelledCorpus, store: FrameStore, *, seeds: int = 1) -> Iterator[Score]:
        """Measure the units of every layer; one measure for each seed of k-means, or a single one of a quantizer.

        Raises:
            DataError: fewer frames than clusters, NaN or infinity in frames, or a quantizer for other frames.
        """
        given = None if self.quantizer is None else _load(Path(self.quantizer))
        layers = store.layers if given is None else [_layer_of(given, store)]
        for layer in tqdm(layers, desc=f"units of {store.name}", delay=2.0, leave=False, disable=None):
            quantizers, counts = self._fit(corpus, store, layer, seeds) if given is None else ([given], {})
            clean: list[dict[str, NDArray[np.int64]]] = []
            for condition in store.conditions:
                if layer not in store.layers_in(condition):
                    continue
                frames = store.frames(layer=layer, condition=condition)
                coded = [_encode(quantizer, frames) for quantizer in quantizers]
                lengths = {name: len(codes) for name, codes in coded[0].items()}
                labels = label_frames(corpus, lengths, frame_rate=store.frame_rate(layer))
                found = [
                    unit_measures(codes, labels, units=len(quantizer.centroids), counts=counts)
                    for quantizer, codes in zip(quantizers, coded, strict=True)
                ]
                if condition == CLEAN:
                    clean = coded
                for own, before, after in zip(found, clean, coded, strict=False):
                    if condition != CLEAN:
                        own.append(unit_edit_distance(before, after, labels, counts=counts))
                for measures in zip(*found, strict=True):
                    yield Score(self.name, layer, condition, measures)

    def _fit(
        self, corpus: LabelledCorpus, store: FrameStore, layer: int, seeds: int
    ) -> tuple[list[Quantizer], dict[str, int]]:
        split = TRAIN if corpus.splits.get(TRAIN) else TEST
        frames = store.frames(split, layer=layer)
        quantizers = []
        for seed in range(seeds):
            drawn = draw_utterances(corpus.splits[split], hours=self.max_hours, seed=seed)
            quantizer, seen = fit_kmeans(
                _stream(drawn, frames),
                clusters=self.clusters,
                mean_removed=self.mean_removed,
                seed=seed,
                most_frames=self.frames_per_cluster * self.clusters,
                passes=KMEANS_PASSES,
            )
            quantizers.append(quantizer)
        return quantizers, {f"frames of {split} that k-means was fitted to": seen}


def _stream(utterances: Sequence[Utterance], frames: FramesById) -> Iterator[tuple[Utterance, torch.Tensor]]:
    for utterance in utterances:
        if utterance.id in frames:
            yield utterance, torch.from_numpy(np.array(frames[utterance.id]))


def _encode(quantizer: Quantizer, frames: FramesById) -> dict[str, NDArray[np.int64]]:
    """The unit of every frame, by utterance."""
    codes = {}
    for name in sorted(frames):
        own = np.array(frames[name])
        if not np.isfinite(own).all():
            raise DataError(f"The frames of '{name}' contain NaN or infinity; the encoder is broken.")
        codes[name] = quantizer(torch.from_numpy(own)).numpy()
    return codes


def _load(path: Path) -> Quantizer:
    return codebook_of_run(path) if path.is_dir() else Quantizer.load(path)


def _layer_of(quantizer: Quantizer, store: FrameStore) -> int:
    layer = quantizer.origin.layer if quantizer.origin else None
    if layer is None:
        return max(store.layers)
    if layer not in store.layers:
        raise DataError(
            f"The units are made for layer {layer}, which is not among those of {store.name} that are measured: "
            f"{', '.join(map(str, store.layers))}. Measure it too, or fit units to another layer."
        )
    return layer
