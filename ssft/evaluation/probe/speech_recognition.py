"""`SpeechRecognition`: how well letters and words can be read from frozen frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from ssft.evaluation.corpus import LabelledCorpus
from ssft.evaluation.probe.ctc_probe import CtcProbe
from ssft.evaluation.probe.error_rate import ErrorRate
from ssft.evaluation.probe.examples import Examples
from ssft.evaluation.probe.model import ProbeModel, RecurrentHead
from ssft.evaluation.probe.targets import ENGLISH_LETTERS, letters_of, spelt, words_in
from ssft.evaluation.probe.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class SpeechRecognition(CtcProbe):
    """Letter and word error rates of a small recurrent recogniser without a language model, after SUPERB's ASR.

    A projection and two bidirectional LSTM layers spell what is said, from A to Z, with apostrophes and `|` between
    words; a corpus whose training transcripts have other letters is spelt with those that occur there. Case and
    punctuation do not count. The best probe on `dev` is the one with the lowest letter error rate.

    **These are not SUPERB's figures**: the defaults suit an hour of speech on a CPU. SUPERB's settings are
    `layers="weighted", updates=200_000, batch_seconds=400, lr=1e-4, warmup_updates=0, decay=False, evaluate_every=2000,
    blank_penalties=(0.0,), hidden=1024, stride=1, dropout=0.2, residual=False` on LibriSpeech (train-clean-100,
    dev-clean, test-clean). Even so SUPERB masks frames in training (SpecAugment) and chooses the probe by its WER, and
    here neither is done.

    Args:
        stride: so many neighbouring frames are put together into one, before the projection.
        dropout: behind each LSTM layer.
        residual: add to the output of each LSTM layer what goes into it. Without, some seeds never learn to say
            anything but the blank in so few updates.

    Source: Yang et al., SUPERB, Interspeech 2021.

    Example:
        >>> letters, words, *layer_weights = SpeechRecognition().scores(corpus, store)
        >>> letters.measure.name, words.measure.name, layer_weights[0].measure.name
        ('CER', 'WER', 'layer weight')
    """

    name: ClassVar[str] = "asr"
    rates: ClassVar[tuple[ErrorRate, ...]] = (
        ErrorRate("CER", "letters", spelt),
        ErrorRate("WER", "words", words_in),
    )
    needs: ClassVar[str] = "no transcripts"

    layers: Literal["weighted", "last", "both", "each"] = "weighted"
    updates: int = 400
    batch_seconds: float = 20.0
    lr: float = 1e-2
    warmup_updates: int = 20
    evaluate_every: int = 100
    hidden: int = 64
    stride: int = 2
    dropout: float = 0.1
    residual: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stride < 1:
            raise ValueError(f"stride is {self.stride}. Give 1 or more.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}. Give 0 or more, and less than 1.")

    @property
    def frames_per_step(self) -> int:
        return self.stride

    def target(self, corpus: LabelledCorpus, utterance: str) -> Sequence[str]:
        return letters_of(corpus, utterance)

    def vocabulary(self, train: Examples) -> Vocabulary:
        own = Vocabulary.of(train.targets.values())
        return Vocabulary(ENGLISH_LETTERS) if set(own.symbols) <= set(ENGLISH_LETTERS) else own

    def model(self, layers: int, dim: int, symbols: int) -> ProbeModel:
        head = RecurrentHead(
            dim, symbols, hidden=self.hidden, stride=self.stride, dropout=self.dropout, residual=self.residual
        )
        return ProbeModel(layers, head)
