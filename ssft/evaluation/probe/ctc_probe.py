"""`CtcProbe`: what the two recognition tasks have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import numpy as np

from ssft.errors import DataError
from ssft.evaluation.corpus import DEV, TEST, TRAIN, LabelledCorpus
from ssft.evaluation.frames import CLEAN, FrameStore
from ssft.evaluation.measure import Floats, Measure, Score, ratio
from ssft.evaluation.probe.error_rate import ErrorRate
from ssft.evaluation.probe.examples import Examples, find_examples
from ssft.evaluation.probe.model import ProbeModel
from ssft.evaluation.probe.recognition import TrainedProbe, listen
from ssft.evaluation.probe.training import train_probe
from ssft.evaluation.probe.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class CtcProbe(ABC):
    """A head on frozen frames, trained with CTC on `train`, chosen on `dev`, measured on `test` in every condition.

    The frames are those of one layer, or the sum of all, weighted by the softmax of scalars that are learned from 0 on.
    An utterance of `train` is left out, and counted, if it is without frames or labels, or if its labels are more than
    its frames can say. In `dev` and `test` only those without frames or labels are left out, which is counted as well.

    Args:
        layers: probe the weighted sum of all layers, the last layer, both, or each layer and the weighted sum.
        updates: at most this many.
        batch_seconds: audio per update.
        lr: highest learning rate of Adam; gradients are clipped to norm 1.
        warmup_updates: in which the learning rate rises from 0.
        decay: then let it fall to 0 in a straight line; otherwise it stays.
        evaluate_every: after so many updates, and after the last, the probe is tried on `dev`; the best is kept.
        patience: stop after so many updates in which `dev` did not get better; None: go on.
        blank_penalties: what is taken off the logit of CTC's blank before greedy decoding; for each error rate, what
            is best for it on `dev`. While symbols are rarely likelier than the blank, nearly all errors are deletions,
            and how many says little about the frames. `(0.0,)` is greedy decoding as usual.

    Raises:
        ValueError: a setting that makes no sense.
    """

    name: ClassVar[str]
    needs_training: ClassVar[bool] = True
    trains_by_gradient: ClassVar[bool] = True
    rates: ClassVar[tuple[ErrorRate, ...]]
    """What is measured; the probe is chosen by the first."""
    needs: ClassVar[str]
    """What a corpus that cannot be used has not."""

    layers: Literal["weighted", "last", "both", "each"]
    updates: int
    batch_seconds: float
    lr: float
    warmup_updates: int
    decay: bool = True
    evaluate_every: int
    patience: int | None = None
    blank_penalties: tuple[float, ...] = (0.0, 0.5, 1.0, 1.5, 2.0)
    hidden: int

    def __post_init__(self) -> None:
        positive = {
            "updates": self.updates,
            "batch_seconds": self.batch_seconds,
            "lr": self.lr,
            "evaluate_every": self.evaluate_every,
            "hidden": self.hidden,
        }
        for key, value in positive.items():
            if not value > 0:
                raise ValueError(f"{key} is {value}. Give a number above 0.")
        if not 0 <= self.warmup_updates < self.updates:
            raise ValueError(f"warmup_updates is {self.warmup_updates}. Give 0 or more, and less than updates.")
        if self.patience is not None and self.patience < self.evaluate_every:
            raise ValueError(f"patience is {self.patience}. Give at least evaluate_every, {self.evaluate_every}.")
        if not self.blank_penalties:
            raise ValueError("blank_penalties is empty. Give (0.0,) for greedy decoding as usual.")

    @property
    def frames_per_step(self) -> int:
        """How many frames the head makes one output of."""
        return 1

    @abstractmethod
    def target(self, corpus: LabelledCorpus, utterance: str) -> Sequence[str]:
        """Return what is to be recognised in an utterance; nothing if that is not known."""

    @abstractmethod
    def vocabulary(self, train: Examples) -> Vocabulary:
        """Return what the probe can say."""

    @abstractmethod
    def model(self, layers: int, dim: int, symbols: int) -> ProbeModel:
        """Return an untrained probe."""

    def obstacle(self, corpus: LabelledCorpus) -> str | None:
        for split in (TRAIN, DEV, TEST):
            utterances = corpus.splits.get(split, ())
            if not utterances:
                return f"it has no split `{split}`. A probe needs one to train on, one to choose on and one to test on."
            if not any(self.target(corpus, utterance.id) for utterance in utterances):
                return f"nothing says which {self.rates[0].unit} are spoken in its split `{split}`: {self.needs}."
        return None

    def scores(self, corpus: LabelledCorpus, store: FrameStore, *, seeds: int = 1) -> Iterator[Score]:
        """Train a probe for each seed, and measure it in every condition that has all layers it looks at.

        The layer of an error rate is None for the weighted sum, and `layer weight` says how it weighs each layer.

        Raises:
            DataError: nothing to train on, to choose on or to test on, or frames that cannot be used.
        """
        for layer in self._probed(store):
            layers = tuple(store.layers) if layer is None else (layer,)
            probes, counts = self._train(corpus, store, layers, seeds)
            for condition in store.conditions:
                if set(layers) <= set(store.layers_in(condition)):
                    test = find_examples(corpus, store, TEST, self.target, layers=layers, condition=condition)
                    for measures in self._measures(probes, test, corpus, counts):
                        yield Score(self.name, layer, condition, measures)
            if layer is None:
                for own, weights in zip(layers, _layer_weights(probes, corpus), strict=True):
                    yield Score(self.name, own, CLEAN, weights)

    def _probed(self, store: FrameStore) -> list[int | None]:
        """Layers that get a probe of their own; None is the weighted sum of all."""
        single = [] if self.layers == "weighted" else list(store.layers)
        return [*([] if self.layers == "last" else [None]), *(single if self.layers == "each" else single[-1:])]

    def _train(
        self, corpus: LabelledCorpus, store: FrameStore, layers: tuple[int, ...], seeds: int
    ) -> tuple[list[TrainedProbe], dict[str, int]]:
        """Return a probe for each seed, and on what they were trained."""
        train = self._short_enough(find_examples(corpus, store, TRAIN, self.target, layers=layers))
        if not train.ids:
            labels = self.rates[0].unit
            raise DataError(f"{corpus.name}: all of `train` have more {labels} than frames. Check its labels.")
        dev = find_examples(corpus, store, DEV, self.target, layers=layers)
        vocabulary = self.vocabulary(train)
        probes = [
            train_probe(
                lambda: self.model(len(layers), train.dim, len(vocabulary)),
                vocabulary,
                train,
                dev,
                rates=self.rates,
                schedule=self,
                seed=seed,
                name=f"{self.name} on {store.name}, seed {seed}",
            )
            for seed in range(seeds)
        ]
        counts = {"train utterances": len(train.ids), "dev utterances": len(dev.ids)}
        for split, part in (("train", train), ("dev", dev)):
            counts |= {f"{split} utterances {reason}": count for reason, count in part.left_out.items()}
        return probes, counts

    def _short_enough(self, examples: Examples) -> Examples:
        return examples.short_enough(self.frames_per_step, labels=self.rates[0].unit)

    def _measures(
        self, probes: Sequence[TrainedProbe], test: Examples, corpus: LabelledCorpus, trained: Mapping[str, int]
    ) -> Iterator[tuple[Measure, ...]]:
        """Give each error rate of all probes."""
        groups, grouped_by = _groups(test.ids, corpus)
        counts = {f"test utterances {reason}": count for reason, count in self._short_enough(test).left_out.items()}
        unseen = sum(probes[0].vocabulary.unknown(target) for target in test.targets.values())
        counts |= {f"test {self.rates[0].unit} never seen in training": unseen, **trained}
        heard = [listen(probe.model, test, batch_seconds=self.batch_seconds) for probe in probes]
        for rate in self.rates:
            measures = []
            for probe, own in zip(probes, heard, strict=True):
                errors, units = rate.count(test.targets, probe.recognise(own, rate.name))
                facts = {"test utterances": len(test.ids), f"test {rate.unit}": int(units.sum()), **counts}
                facts["updates of the best probe"] = probe.updates
                measures.append(
                    ratio(rate.name, errors, units, groups=groups, grouped_by=grouped_by, percent=True, counts=facts)
                )
            yield tuple(measures)


def _layer_weights(probes: Sequence[TrainedProbe], corpus: LabelledCorpus) -> list[tuple[Measure, ...]]:
    """Return how much of each layer is in the weighted sums: for each layer, a measure of each probe."""
    groups, grouped_by = _groups([utterance.id for utterance in corpus.splits[TEST]], corpus)
    names = tuple(sorted(set(groups)))
    weights = np.stack([probe.model.layer_weights.detach().numpy() for probe in probes])
    return [
        tuple(
            Measure("layer weight", "neither", names, partial(_constant, weight), grouped_by, percent=True)
            for weight in own
        )
        for own in weights.T.tolist()
    ]


def _groups(tested: Sequence[str], corpus: LabelledCorpus) -> tuple[list[str], str]:
    """Return what each utterance is drawn with in a bootstrap: its speaker, or itself if any speaker is unknown."""
    speakers = corpus.speakers()
    if all(utterance.id in speakers for utterance in corpus.splits[TEST]):
        return [speakers[name] for name in tested], "speaker"
    return list(tested), "utterance"


def _constant(value: float, weights: Floats) -> Floats:
    """A figure that does not depend on who was recorded."""
    return np.full(len(weights), value)
