"""`layer_quality`: what each layer of a system is good for, as far as it can be measured on the audio at hand."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ssft.analysis.clusters import CLUSTERS, ClusterQuality, cluster_quality, fit_centres
from ssft.analysis.content import phone_accuracy, sampled_phones, speaker_accuracy
from ssft.analysis.drift import cka_distance, cosine_distance
from ssft.analysis.part import AUGMENTED
from ssft.analysis.rank import Ranks, measure_ranks
from ssft.analysis.sample import FrameSample
from ssft.analysis.similarity.units import cluster_stability
from ssft.analysis.uniformity import Augmented, uniformity
from ssft.errors import DataError, RecipeError, closest
from ssft.evaluation.corpus import TEST, LabelledCorpus
from ssft.evaluation.frames import FramesById, FrameStore
from ssft.ops.spread import EPSILON

Value = TypeVar("Value")
Floats = NDArray[np.float32]

LABEL_FREE = ("ranks", "clusters", "uniformity", "alignment")
USUAL = (*LABEL_FREE, "phone_accuracy", "speaker_accuracy", "drift")
MEASURES = (*USUAL, "cluster_stability")
"""What can be measured; some give several figures."""

MOST_FRAMES = 50_000

_NOT_FIGURES = ("system", "layer", "ranks", "clusters", "why")


@dataclass(frozen=True)
class LayerQuality:
    """One layer of one system on one corpus. What was not measured is None; if it could not be, `why` says the reason.

    Args:
        system: its name.
        layer: the number.
        ranks: effective ranks of frames and utterances.
        clusters: indices of a k-means partition.
        cluster_stability: `ssft.analysis.similarity.units.cluster_stability`.
        uniformity: `ssft.analysis.uniformity.uniformity`.
        alignment: `Augmented.alignment`.
        moment_error: `Augmented.moment_error`, a share of 1.
        phone_accuracy: `ssft.analysis.content.phone_accuracy`, a share of 1.
        speaker_accuracy: `ssft.analysis.content.speaker_accuracy`, a share of 1.
        cosine_distance: from the same layer of the base, `ssft.analysis.drift.cosine_distance`.
        cka_distance: the same with `cka_distance`.
        why: reasons, by name.
    """

    system: str
    layer: int
    ranks: Ranks | None = None
    clusters: ClusterQuality | None = None
    cluster_stability: float | None = None
    uniformity: float | None = None
    alignment: float | None = None
    moment_error: float | None = None
    phone_accuracy: float | None = None
    speaker_accuracy: float | None = None
    cosine_distance: float | None = None
    cka_distance: float | None = None
    why: Mapping[str, str] = field(default_factory=dict)

    def values(self) -> dict[str, float | None]:
        """All figures by name, those of `Ranks` and `ClusterQuality` among them if they are known.

        Example:
            >>> layer_quality(corpus, store)[-1].values()["global_rank"]
            84.9
        """
        nested = [vars(part) for part in (self.ranks, self.clusters) if part]
        own = {name: value for name, value in vars(self).items() if name not in _NOT_FIGURES}
        return {name: value for part in (*nested, own) for name, value in part.items()}


def layer_quality(
    corpus: LabelledCorpus,
    store: FrameStore,
    *,
    base: FrameStore | None = None,
    measures: Collection[str] = USUAL,
    sample: FrameSample | None = None,
    most_frames: int = MOST_FRAMES,
    clusters: int = CLUSTERS,
    center: bool = False,
    epsilon: float = EPSILON,
    seed: int = 0,
) -> list[LayerQuality]:
    """Measure every layer of a system on the split `test`: ranks on all frames, most else on a sample of them.

    If the store knows a condition beside clean, the first one tells which frames move when the voice is changed; on the
    split `augmented`, if the corpus has it. A layer that cannot be measured, as its frames are NaN or all the same,
    keeps no other from it.

    Args:
        corpus: the audio, and its labels if there are any.
        store: the system.
        base: what it was made of, to measure drift from.
        measures: some of `MEASURES`.
        sample: which frames to look at; those of other systems too, if all are to be measured on the same.
        most_frames: how many the sample has if none is given.
        clusters: of k-means.
        center: whether ranks are of centred frames.
        epsilon: of the ranks.
        seed: of all draws.

    Raises:
        DataError: no frames, or layers whose frames do not come at the same rate.
        RecipeError: an unknown measure, or settings that none of them can have.

    Example:
        >>> for row in layer_quality(open_corpus("demo"), store, clusters=100):
        ...     print(row.layer, row.ranks.global_rank)
    """
    for name in measures:
        if name not in MEASURES:
            raise RecipeError(f"There is no measure '{name}'. {closest(name, MEASURES)}")
    if sample is None:
        systems = [own.frames(layer=layer) for own in (store, base) if own for layer in own.layers]
        sample = FrameSample(systems, most_frames=most_frames, seed=seed)
    layers = tqdm(store.layers, desc=f"layers of {store.name}", delay=2.0, leave=False, disable=None)
    return [
        _Layer(corpus, store, base, layer, sample, clusters, center, epsilon, seed).quality(measures)
        for layer in layers
    ]


@dataclass(eq=False)
class _Layer:
    """A layer while it is looked at: each method measures one thing, or raises DataError."""

    corpus: LabelledCorpus
    store: FrameStore
    base: FrameStore | None
    layer: int
    sample: FrameSample
    clusters: int
    center: bool
    epsilon: float
    seed: int

    def quality(self, measures: Collection[str]) -> LayerQuality:
        why: dict[str, str] = {}

        def tried(name: str, measure: Callable[[], Value]) -> Value | None:
            if name not in measures:
                return None
            try:
                return measure()
            except DataError as error:
                why[name] = str(error)
                return None

        augmented = tried("alignment", self._augmented)
        return LayerQuality(
            self.store.name,
            self.layer,
            tried(
                "ranks", lambda: measure_ranks(self.frames, center=self.center, epsilon=self.epsilon, seed=self.seed)
            ),
            tried("clusters", self._clusters),
            tried("cluster_stability", lambda: cluster_stability(self.values, clusters=self.clusters, seed=self.seed)),
            tried("uniformity", lambda: uniformity(self.values, self.sample.places, seed=self.seed)),
            augmented.alignment() if augmented else None,
            augmented.moment_error() if augmented else None,
            tried("phone_accuracy", self._phones),
            tried("speaker_accuracy", lambda: speaker_accuracy(self.corpus, self.frames, seed=self.seed)),
            tried("drift", lambda: cosine_distance(self.values, self._of_base)),
            tried("drift", lambda: cka_distance(self.values, self._of_base)),
            why,
        )

    @cached_property
    def frames(self) -> FramesById:
        return self.store.frames(layer=self.layer)

    @cached_property
    def values(self) -> Floats:
        """The sampled frames [N, D]."""
        return self.sample.of(self.frames)

    def _clusters(self) -> ClusterQuality:
        return cluster_quality(self.values, fit_centres(self.values, clusters=self.clusters, seed=self.seed))

    def _augmented(self) -> Augmented:
        """The first condition beside clean, on the utterances that are heard in it."""
        condition = next(iter(self.store.conditions[1:]), None)
        if condition is None or self.layer not in self.store.layers_in(condition):
            raise DataError(f"{self.store.name} is not heard in any other condition than clean.")
        split = AUGMENTED if self.corpus.splits.get(AUGMENTED) else TEST
        changed = self.store.frames(split, layer=self.layer, condition=condition)
        return Augmented(self.frames, changed, seed=self.seed)

    def _phones(self) -> float:
        rate = self.store.frame_rate(self.layer)
        labels = sampled_phones(self.corpus, self.frames, self.sample.places, frame_rate=rate)
        return phone_accuracy(self.values, labels, seed=self.seed)

    @cached_property
    def _of_base(self) -> Floats:
        if self.base is None:
            raise DataError("There is no base to have drifted from.")
        if self.layer not in self.base.layers:
            raise DataError(f"{self.base.name} has no layer {self.layer}.")
        return self.sample.of(self.base.frames(layer=self.layer))
