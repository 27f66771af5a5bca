"""`Abx`: the ABX task of `ssft evaluate`, on phones and words of a corpus or on items from files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ssft.errors import DataError
from ssft.evaluation.abx.design import Design
from ssft.evaluation.corpus import LabelledCorpus
from ssft.evaluation.frames import FrameStore
from ssft.evaluation.items import Item, Items, phone_items, triphone_items, word_items
from ssft.evaluation.measure import Score

Level = Literal["auto", "triphone", "phone", "word", "items"]
Mode = Literal["within", "across"]
MODES: tuple[Mode, ...] = get_args(Mode)

PHONE = "phone ABX {} (any context)"
ENOUGH_PAIRS = 0.5
"""If triphones tell apart a smaller share of the ordered pairs of phones, phones in any context are compared too."""


@dataclass(frozen=True)
class Abx:
    """Tells phones and words apart by their frames, within speakers and across: `ssft.evaluation.abx.abx`.

    The defaults of `max_group` and `max_x_speakers` are those of Libri-Light. The frames of an item are those whose
    centre lies in it, both ends included, as in fastabx; the code of Libri-Light leaves out the last. What cannot be
    compared, such as anything across a single speaker, is left out if something else can, and is among the counts.

    Args:
        level: what is compared. `triphone`: the middle phones of equal triphones; `phone`: phones in any context;
            `word`: words; `items`: what the corpus has item files for. `auto`: item files, else triphones, and phones
            in any context where triphones tell apart fewer than half of all ordered pairs of phones; and words.
        max_group: at most so many items of one label, speaker and context are used.
        max_x_speakers: at most so many speakers of X for each label, speaker and context of A; null for all.
        min_word_seconds: shorter words are left out: most function words are reduced to a few frames.
        seed: of what is drawn where there is more.

    Raises:
        ValueError: a setting out of range.

    Example:
        >>> [score.measure.name for score in Abx(level="word").scores(corpus, store)][:2]
        ['word ABX within', 'word ABX across']
    """

    name: ClassVar[str] = "abx"
    needs_training: ClassVar[bool] = False
    trains_by_gradient: ClassVar[bool] = False

    level: Level = "auto"
    max_group: int = 10
    max_x_speakers: int | None = 5
    min_word_seconds: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        if self.level not in get_args(Level):
            raise ValueError(f"level must be one of {', '.join(get_args(Level))}, not {self.level!r}.")
        if self.max_group < 2:
            raise ValueError(f"max_group={self.max_group} must be at least 2: A and X are two items of one group.")
        if self.max_x_speakers is not None and self.max_x_speakers < 1:
            raise ValueError(f"max_x_speakers={self.max_x_speakers} must be at least 1, or null for all speakers.")
        if not 0 <= self.min_word_seconds < np.inf:
            raise ValueError(f"min_word_seconds={self.min_word_seconds} must be 0 or more.")

    def obstacle(self, corpus: LabelledCorpus) -> str | None:
        """Return what the corpus lacks: labels with times of the level, or speakers."""
        lacking = {
            "triphone": None if corpus.segments("phones") else "phones with times",
            "phone": None if corpus.segments("phones") else "phones with times",
            "word": None if corpus.segments("words") else "words with times",
            "items": None if corpus.items else "item files",
        }
        chosen = lacking if self.level == "auto" else {self.level: lacking[self.level]}
        if all(chosen.values()):
            return f"It has no {' or '.join(sorted({str(lack) for lack in chosen.values()}))}."
        needs_speakers = any(level != "items" and lack is None for level, lack in chosen.items())
        if needs_speakers and not corpus.speakers() and (self.level != "auto" or not corpus.items):
            return "It does not say who speaks, and ABX is measured within and across speakers."
        return None

    def scores(self, corpus: LabelledCorpus, store: FrameStore, *, seeds: int = 1) -> Iterator[Score]:
        """Measure every layer in every condition.

        Raises:
            DataError: nothing can be compared; with the reasons.
        """
        sources = self._sources(corpus)
        designs: dict[str, Design] = {}
        left_out: dict[str, dict[str, int]] = {}
        places = [(condition, layer) for condition in store.conditions for layer in store.layers_in(condition)]
        planned: tuple[float, Mapping[str, int]] | None = None
        for condition, layer in tqdm(places, desc=f"ABX of {store.name}", delay=2.0, leave=False, disable=None):
            given = store.frames(layer=layer, condition=condition)
            features: dict[str, NDArray[np.floating]] = {name: given[name] for name in given}
            laid_out = store.frame_rate(layer), {name: len(frames) for name, frames in features.items()}
            if laid_out != planned:
                designs, left_out = self._designs(sources, *laid_out)
                planned = laid_out
            for name, design in designs.items():
                yield Score(self.name, layer, condition, (design.measure(features).measure(name, **left_out[name]),))

    def _sources(self, corpus: LabelledCorpus) -> dict[str, Items]:
        """Items by the names of the measures made of them, without `within` and `across`."""
        speakers = corpus.speakers()
        phones, words = corpus.segments("phones"), corpus.segments("words")
        wanted = self.level
        sources: dict[str, Items] = {}
        if corpus.items and wanted in ("auto", "items"):
            sources |= {f"{name} ABX {{}}": Items(list(items), 0) for name, items in corpus.items.items()}
        from_phones = phones and not (corpus.items and wanted == "auto")
        if from_phones and wanted in ("auto", "triphone"):
            sources["triphone ABX {}"] = triphone_items(phones, speakers)
        if from_phones and wanted in ("auto", "phone"):
            sources[PHONE] = phone_items(phones, speakers)
        if words and wanted in ("auto", "word"):
            sources["word ABX {}"] = word_items(words, speakers, min_seconds=self.min_word_seconds)
        return sources

    def _designs(
        self, sources: Mapping[str, Items], frame_rate: float, lengths: Mapping[str, int]
    ) -> tuple[dict[str, Design], dict[str, dict[str, int]]]:
        """What is compared, and how many items were left out of it and why, by the names of measures."""
        designs: dict[str, Design] = {}
        counts: dict[str, dict[str, int]] = {}
        reasons: dict[str, str] = {}
        without: dict[str, int] = {}
        for source, (items, without_speaker) in sources.items():
            there = [item for item in items if item.utterance in lengths]
            for mode in MODES:
                name = source.replace("{}", mode)
                try:
                    design = self._design(there, lengths, mode, frame_rate)
                except DataError as error:
                    reasons[name] = str(error)
                    without[f"items that {name} was not measured on, for want of pairs"] = len(items)
                    continue
                triphones = designs.get(f"triphone ABX {mode}")
                if source == PHONE and self.level == "auto" and triphones and _tells_enough(triphones, there):
                    continue
                designs[name] = design
                counts[name] = {
                    "items of unknown speakers": without_speaker,
                    "items in recordings without frames": len(items) - len(there),
                }
        if not designs:
            raise DataError("\n".join(f"{name}: {reason}" for name, reason in reasons.items()))
        return designs, {name: own | without for name, own in counts.items()}

    def _design(self, items: list[Item], lengths: Mapping[str, int], mode: Mode, frame_rate: float) -> Design:
        return Design(
            items,
            lengths,
            speaker=mode,
            max_group=self.max_group,
            max_x_speakers=self.max_x_speakers,
            frame_rate=frame_rate,
            seed=self.seed,
        )


def _tells_enough(triphones: Design, phones: list[Item]) -> bool:
    kinds = len({item.label for item in phones})
    return len(triphones.label_pairs) >= ENOUGH_PAIRS * kinds * (kinds - 1)
