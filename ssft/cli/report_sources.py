"""`ReportSources`: what a report looks at: the recipe, the audio, the base and the adapted encoder of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ssft.errors import EncoderError, SsftError

if TYPE_CHECKING:
    from ssft.data import Corpus, PairDataset
    from ssft.encoders import PretrainedEncoder
    from ssft.evaluation.corpus import LabelledCorpus
    from ssft.evaluation.frames import FrameStore
    from ssft.recipe import Recipe
    from ssft.types import Utterance

AUGMENTED_HOURS = 0.05
"""So much audio is heard once more, in another voice."""

_FEWEST = 8
"""With fewer utterances that training did not hear, those that it did hear are looked at too."""


class ReportSources:
    """Opens each of them when it is first asked for, and raises what is in the way.

    Args:
        run: the folder.
        trained_from: the hash of the base's weights, as the export states it; None if there is none.
        data: which corpus to measure on; None is what the run itself says.
        hours: at most so much of it.
        cache: a folder for frames.
        seed: of what is drawn.
    """

    def __init__(
        self, run: Path, *, trained_from: str | None, data: str | None, hours: float, cache: Path, seed: int
    ) -> None:
        self.run = run
        self.trained_from = trained_from
        self.data = data
        self.hours = hours
        self.cache = cache
        self.seed = seed

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe of the run; of a user's own class, if that can be imported."""
        from ssft.runs import recorded_recipe

        return recorded_recipe(self.run)

    @cached_property
    def listed(self) -> Corpus:
        """All the audio of the run."""
        # Labels are not looked at, so they may be missing by now.
        return replace(self.recipe.data, targets=None).reload(self.run / "corpus.safetensors")

    @property
    def held_out_count(self) -> int:
        """How many utterances were kept from training."""
        from ssft.runs import held_out_count

        return held_out_count(self.recipe, self.listed)

    def pairs(self) -> PairDataset:
        """Return the pairs that the run trained on."""
        from ssft.runs import pairs_of

        self.recipe.views.check_sources()
        return pairs_of(self.recipe, self.listed.held_out(self.held_out_count)[0])

    @cached_property
    def corpus(self) -> LabelledCorpus:
        """What is measured on: as much as is asked for, with the splits that probes need."""
        from ssft.analysis.part import analysed_part
        from ssft.evaluation.corpus import TEST

        whole = self._named() if self.data is not None else self._own()
        part = analysed_part(whole, max_hours=self.hours, augmented_hours=AUGMENTED_HOURS, seed=self.seed)
        others = {name: own for name, own in whole.splits.items() if name != TEST}
        return replace(part, splits={**others, **part.splits})

    @cached_property
    def base(self) -> FrameStore:
        """The encoder that the run began with.

        Raises:
            EncoderError: it is not there, or no longer what it was.
        """
        from ssft.encoders import PretrainedEncoder
        from ssft.report.measured_sections import BASE

        encoder = self.recipe.encoder
        loaded = PretrainedEncoder.load(encoder.model, revision=encoder.revision)
        if self.trained_from not in (None, loaded.weights_hash()):
            raise EncoderError(f"{encoder.model} has other weights now than when the run began with it.")
        return self._store(loaded, BASE)

    @cached_property
    def adapted(self) -> FrameStore:
        """The exported encoder.

        Raises:
            EncoderError: there is none, or it cannot be loaded.
        """
        from ssft.encoders import PretrainedEncoder
        from ssft.report.measured_sections import ADAPTED

        folder = self.run / "adapted"
        if not folder.is_dir():
            raise EncoderError(f"{self.run} has no adapted model. Make it with `ssft export {self.run}`.")
        return self._store(PretrainedEncoder.load(str(folder)), ADAPTED)

    def results(self, named: Path | None) -> list[Path]:
        """Return results.json of earlier evaluations: that which is named, or those in the run folder."""
        from ssft.evaluation.results_folder import RESULTS

        if named is not None:
            return [named / RESULTS if named.is_dir() else named]
        return [path for path in (self.run / RESULTS, *sorted(self.run.glob(f"*/{RESULTS}"))) if path.is_file()]

    def _store(self, encoder: PretrainedEncoder, name: str) -> FrameStore:
        """Its frames in clean audio, and in another voice, by which alignment is measured."""
        from ssft.evaluation.systems import EncoderFrames, parse_conditions

        return EncoderFrames(
            encoder,
            self.corpus,
            name=name,
            cache=self.cache,
            conditions=parse_conditions(augmentations=("pitch_shift",)),
            condition_layers=range(encoder.num_layers + 1),
        )

    def _named(self) -> LabelledCorpus:
        from ssft.evaluation.corpora import open_corpus
        from ssft.evaluation.corpus import TEST

        corpus = open_corpus(str(self.data))
        both = sum(_place(utterance) in self._heard for utterance in corpus.splits[TEST])
        note = f"The run was trained on {both:,} of the {len(corpus.splits[TEST]):,} utterances in test."
        return replace(corpus, notes=(*corpus.notes, note)) if both else corpus

    def _own(self) -> LabelledCorpus:
        """The audio that the recipe names, with its labels if there are any: what of it was not trained on."""
        from ssft.evaluation.corpora import open_corpus
        from ssft.evaluation.corpus import TEST, LabelledCorpus

        root = self.recipe.data.root
        try:
            corpus = open_corpus(root)
        except SsftError:  # a kind of input that has no labels, or splits of which none is known to be for tests
            corpus = LabelledCorpus(name=Path(root).name or root, splits={TEST: list(self.listed.utterances)})
        test = corpus.splits[TEST]
        for utterances in (test, [one for split in corpus.splits.values() for one in split]):
            fresh = [one for one in utterances if _place(one) not in self._heard and one.id not in self._rejected]
            if len(fresh) >= _FEWEST:
                return _only(corpus, fresh, "The run was not trained on what is measured here.")
        used = [one for one in test if one.id not in self._rejected]
        return _only(
            corpus,
            used or test,
            "**The run was trained on this audio**: it does not say how other recordings fare. Name some with --data.",
        )

    @cached_property
    def _heard(self) -> set[tuple[Path, str, float]]:
        """Where the utterances lie that were trained on."""
        return {_place(utterance) for utterance in self.listed.held_out(self.held_out_count)[0].utterances}

    @cached_property
    def _rejected(self) -> set[str]:
        from ssft.data.rejects import read_rejects

        return {reject.id for reject in read_rejects(self.run / "rejects.tsv")}


def _place(utterance: Utterance) -> tuple[Path, str, float]:
    return utterance.path, utterance.member, utterance.start


def _only(corpus: LabelledCorpus, utterances: Sequence[Utterance], note: str) -> LabelledCorpus:
    """The corpus with other tests, and without what of its other splits is in them."""
    from ssft.evaluation.corpus import TEST

    tested = {utterance.id for utterance in utterances}
    rest = {name: [one for one in split if one.id not in tested] for name, split in corpus.splits.items()}
    splits = {name: split for name, split in rest.items() if split and name != TEST}
    return replace(corpus, splits={**splits, TEST: list(utterances)}, notes=(*corpus.notes, note))
