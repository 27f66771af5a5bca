"""Which audio of a corpus is analysed: about an hour of one split."""

from __future__ import annotations

from dataclasses import replace

from ssft.errors import DataError, RecipeError, closest
from ssft.evaluation.corpus import TEST, LabelledCorpus
from ssft.units import draw_utterances

AUGMENTED = "augmented"
"""The split of those utterances that are heard once more, augmented."""


def analysed_part(
    corpus: LabelledCorpus,
    *,
    split: str = TEST,
    max_hours: float = 1.0,
    augmented_hours: float = 0.0,
    seed: int = 0,
) -> LabelledCorpus:
    """Return a corpus whose `test` is so much of a split, drawn at random, and `augmented` a part of it.

    Args:
        corpus: the whole.
        split: which of its splits.
        max_hours: at most about so much; of more, utterances are drawn.
        augmented_hours: about how much of this is in the split `augmented`.
        seed: of the draw.

    Raises:
        DataError: there is no such split.
        RecipeError: no audio is asked for.

    Example:
        >>> analysed_part(open_corpus("demo"), max_hours=0.05).summary()
        'demo: test 58 utterances, 0.05 h'
    """
    if not max_hours > 0:
        raise RecipeError(f"max_hours={max_hours} must be positive: so much audio is looked at, at most.")
    whole = corpus.splits.get(split)
    if not whole:
        raise DataError(f"{corpus.name} has no split '{split}'. {closest(split, corpus.splits)}")
    drawn = draw_utterances(sorted(whole, key=lambda utterance: utterance.id), hours=max_hours, seed=seed)
    splits = {TEST: drawn}
    if augmented_hours > 0:
        splits[AUGMENTED] = draw_utterances(drawn, hours=augmented_hours, seed=seed)
    hours = sum(utterance.seconds for utterance in drawn) / 3600
    some = f"{len(drawn):,} of {len(whole):,} utterances" if len(drawn) < len(whole) else "all"
    note = f"Looked at: {hours:.2f} h of split {split}, {some}."
    return replace(corpus, splits=splits, searches=(), notes=(*corpus.notes, note))
