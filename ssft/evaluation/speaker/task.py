"""The task `speaker`: how well frames give away who speaks."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from tqdm import tqdm

from ssft.errors import DataError
from ssft.evaluation.abx import speaker_abx
from ssft.evaluation.corpus import TEST, LabelledCorpus
from ssft.evaluation.frames import FramesById, FrameStore
from ssft.evaluation.items import Item, phone_items, word_items
from ssft.evaluation.measure import Score
from ssft.evaluation.speaker.halves import FEWEST_UTTERANCES, Halves, halve
from ssft.evaluation.speaker.probe import SpeakerProbe

Pooling = Literal["mean", "mean_std"]
Compared = Literal["words", "phones", "none"]


@dataclass(frozen=True)
class Speaker:
    """Measures what frames tell of the speaker: `speaker probe`, `speaker probe (frames)` and `speaker ABX`.

    The probes are linear classifiers of the speakers of `test`, trained on half of the utterances of each on clean
    audio; their figure is the share of right answers for the other half. The first is of the mean frames of utterances,
    the second of single frames. Speaker ABX trains nothing, and is 50 % where nothing of the speaker is left. None of
    them can tell a voice from a room or a microphone. To leak less is better only as long as what is said is kept: a
    constant leaks nothing. Read these beside phone ABX or the error of a recogniser.

    Args:
        pooling: `mean` frames of utterances, or `mean_std`, with standard deviations.
        frames: about how many frames the second probe is trained on; 0 leaves it out.
        abx: what speaker ABX compares, `words` or `phones`; `none` leaves it out.
        max_group: of speaker ABX, as in the task `abx`.

    Example:
        >>> [score.measure.name for score in Speaker().scores(corpus, store)][:3]
        ['speaker probe', 'speaker probe (frames)', 'speaker ABX']
    """

    name: ClassVar[str] = "speaker"
    needs_training: ClassVar[bool] = False
    trains_by_gradient: ClassVar[bool] = False

    pooling: Pooling = "mean"
    frames: int = 4000
    abx: Compared = "words"
    max_group: int = 10

    def __post_init__(self) -> None:
        if self.pooling not in get_args(Pooling) or self.abx not in get_args(Compared):
            known = ", ".join(get_args(Pooling)), ", ".join(get_args(Compared))
            raise ValueError(f"pooling={self.pooling!r} must be one of {known[0]}; abx={self.abx!r} one of {known[1]}.")
        if self.frames < 0 or self.max_group < 2:
            raise ValueError(f"frames={self.frames} must be 0 or more, max_group={self.max_group} 2 or more, A and X.")

    def obstacle(self, corpus: LabelledCorpus) -> str | None:
        """Return None if `test` has two speakers whom a probe or ABX can tell apart."""
        if _can_be_probed(halve(corpus.speakers())) or _can_be_compared(self._items(corpus)):
            return None
        known = Counter(corpus.speakers().values())
        return (
            f"It needs two speakers in {TEST}, known by name, with {FEWEST_UTTERANCES} utterances each. There are "
            f"{len(known)} known ones, with {max(known.values(), default=0)} at most."
        )

    def scores(self, corpus: LabelledCorpus, store: FrameStore, *, seeds: int = 1) -> Iterator[Score]:
        """Measure every layer; a probe once for each seed, which makes other halves and draws other frames.

        Raises:
            DataError: too few utterances have frames, or there are NaN or infinity in them.
        """
        for layer in tqdm(store.layers, desc=f"speakers in {store.name}", delay=2.0, leave=False, disable=None):
            clean = store.frames(layer=layer)
            known = corpus.speakers()
            speakers = {name: who for name, who in known.items() if len(clean.get(name, ()))}
            splits = [halve(speakers, seed=seed) for seed in range(seeds)]
            left_out = {
                "utterances of unknown speakers": len(corpus.splits[TEST]) - len(known),
                "utterances without frames": len(known) - len(speakers),
            }
            too_few = {
                f"utterances of speakers with less than {FEWEST_UTTERANCES}": len(speakers) - len(splits[0].speakers)
            }
            probes = [self._probes(clean, halves, seed) for seed, halves in enumerate(splits) if _can_be_probed(halves)]
            for condition in store.conditions:
                if layer not in store.layers_in(condition):
                    continue
                frames = store.frames(layer=layer, condition=condition)
                items = self._items(corpus, frames)
                if not probes and not _can_be_compared(items):
                    raise DataError(f"Too few utterances of {corpus.name} have frames to tell speakers apart.")
                for name in probes[0] if probes else ():
                    own = [by_name[name].accuracy(frames, name=name, left_out=left_out | too_few) for by_name in probes]
                    yield Score(self.name, layer, condition, tuple(own))
                if _can_be_compared(items):
                    result = speaker_abx(frames, items, max_group=self.max_group, frame_rate=store.frame_rate(layer))
                    yield Score(self.name, layer, condition, (result.measure("speaker ABX", **left_out),))

    def _probes(self, frames: FramesById, halves: Halves, seed: int) -> dict[str, SpeakerProbe]:
        probes = {"speaker probe": SpeakerProbe(frames, halves, rows=self.pooling)}
        if self.frames:
            probes["speaker probe (frames)"] = SpeakerProbe(
                frames, halves, rows="frames", most_frames=self.frames, seed=seed
            )
        return probes

    def _items(self, corpus: LabelledCorpus, frames: FramesById | None = None) -> list[Item]:
        """What ABX compares; of those utterances that have frames, if these are given."""
        if self.abx == "none":
            return []
        make = word_items if self.abx == "words" else phone_items
        items = make(corpus.segments(self.abx), corpus.speakers()).items
        return [item for item in items if frames is None or len(frames.get(item.utterance, ()))]


def _can_be_probed(halves: Halves) -> bool:
    return len(set(halves.speakers.values())) > 1


def _can_be_compared(items: Sequence[Item]) -> bool:
    """Whether one speaker says something twice that another says too."""
    said: dict[str, Counter[str]] = defaultdict(Counter)
    for item in items:
        said[item.label][item.speaker] += 1
    return any(len(by) > 1 and max(by.values()) > 1 for by in said.values())
