"""`Profile`: how alike each layer is to acoustics, to the input of the first layer, to phones and to words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ssft.analysis.fold_back import Curve, FoldBack, fold_back
from ssft.analysis.held_out import Estimate, draw_folds, held_out_likeness
from ssft.analysis.sample import FrameSample
from ssft.analysis.targets import (
    LAYER_0,
    LOG_MEL,
    MFCC,
    PHONES,
    WORDS,
    Targets,
    acoustic_targets,
    known_lengths,
    phone_targets,
    word_targets,
)
from ssft.errors import DataError, EncoderError
from ssft.evaluation.corpus import LabelledCorpus
from ssft.evaluation.frames import FramesById, FrameStore
from ssft.evaluation.systems import LogMelFrames, MfccFrames

_FEWEST_LAYERS = 3


@dataclass(frozen=True)
class Profile:
    """Curves over the layers of a system.

    Args:
        name: of the system.
        pwcca: held-out PWCCA by target and layer, weighted by the target.
        cka: linear CKA by target and layer.
        counts: in how many frames or words each target was looked at.
        missing: why a target was left out, by its name.
    """

    name: str
    pwcca: Mapping[str, Curve]
    cka: Mapping[str, Mapping[int, float]]
    counts: Mapping[str, int]
    missing: Mapping[str, str]

    @property
    def layers(self) -> list[int]:
        """Their numbers, ascending."""
        return sorted(self.pwcca[LAYER_0])

    def fold_backs(self) -> dict[str, FoldBack]:
        """Return how far similarity to log-mel and layer 0 rises again in the top layers, and to phones falls."""
        return {
            target: fold_back(target, self.pwcca[target], rises=target != PHONES)
            for target in (LOG_MEL, LAYER_0, PHONES)
            if target in self.pwcca
        }


class Material:
    """The same moments of several systems, and what their layers are compared with in these.

    Args:
        corpus: of which `test` is looked at.
        systems: with layer 0 and at least two others.
        cache: a folder for acoustic frames.
        most_frames: a sample of about so many frames; all words are looked at.
        folds: how many parts the utterances are split into.
        seed: of the sample and the folds.

    Attributes:
        missing: why there are no phones or words, by name.

    Raises:
        DataError: fewer utterances than folds, or systems of different frame rates.
        EncoderError: a system has too few layers.

    Source: Vielzeuf, 2024; Pasad, Chou and Livescu, ASRU 2021.

    Example:
        >>> material = Material(corpus, [store], cache=Path("frames"))
        >>> material.profile(store).pwcca["log-mel"][6].mean
        0.71
    """

    def __init__(
        self,
        corpus: LabelledCorpus,
        systems: Sequence[FrameStore],
        *,
        cache: Path,
        most_frames: int = 50_000,
        folds: int = 5,
        seed: int = 0,
    ) -> None:
        for store in systems:
            if 0 not in store.layers or len(store.layers) < _FEWEST_LAYERS:
                raise EncoderError(
                    f"{store.name}: whether top layers go back towards the sound shows in layer 0 and at least two "
                    f"others, but only {', '.join(map(str, store.layers))} can be looked at."
                )
        acoustics: dict[str, FramesById] = {
            LOG_MEL: LogMelFrames(corpus, cache=cache).frames(layer=0),
            MFCC: MfccFrames(corpus, cache=cache).frames(layer=0),
        }
        heard = [store.frames(layer=layer) for store in systems for layer in store.layers]
        sample = FrameSample([*heard, *acoustics.values()], most_frames=most_frames, seed=seed)
        own_folds = draw_folds(list(sample.places), folds, seed=seed)
        rate, lengths = systems[0].frame_rate(0), known_lengths(heard[0])
        self.acoustic = acoustic_targets(sample, acoustics, own_folds)
        self.labelled: dict[str, Targets] = {}
        self.missing: dict[str, str] = {}
        for kind in (PHONES, WORDS):
            if not corpus.segments(kind):
                self.missing[kind] = f"{corpus.name} has no {kind} with times."
            elif kind == PHONES:
                self.labelled[kind] = phone_targets(corpus, sample, own_folds, lengths, rate=rate)
            else:
                self.labelled[kind] = word_targets(corpus, own_folds, lengths, rate=rate)

    def profile(self, store: FrameStore) -> Profile:
        """Return the profile of one of the systems.

        Raises:
            DataError: too few frames, a layer that is the same everywhere, NaN or infinity.
        """
        first = store.frames(layer=0)
        width = first[next(iter(first))].shape[1]
        if obstacle := self.acoustic.obstacle(width):
            raise DataError(obstacle)
        obstacles = {name: why for name, own in self.labelled.items() if (why := own.obstacle(width))}
        layer_0 = {LAYER_0: self.acoustic.frames_of(first)}
        groups = [
            replace(self.acoustic, values={**self.acoustic.values, **layer_0}),
            *(own for name, own in self.labelled.items() if name not in obstacles),
        ]
        pwcca: dict[str, dict[int, Estimate]] = {}
        cka: dict[str, dict[int, float]] = {}
        counts: dict[str, int] = {}
        for targets in groups:
            counts |= dict.fromkeys(targets.values, len(targets.fold))
            for layer in store.layers:
                frames = targets.frames_of(store.frames(layer=layer))
                found = held_out_likeness(frames, targets.values, targets.fold, name=f"layer {layer} of {store.name}")
                for target, likeness in found.items():
                    pwcca.setdefault(target, {})[layer] = likeness.pwcca
                    cka.setdefault(target, {})[layer] = likeness.cka
        return Profile(store.name, pwcca, cka, counts, {**self.missing, **obstacles})
