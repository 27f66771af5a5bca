"""`PhoneRecognition`: how well phones can be read from frozen frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from ssft.evaluation.corpus import LabelledCorpus
from ssft.evaluation.probe.ctc_probe import CtcProbe
from ssft.evaluation.probe.error_rate import ErrorRate
from ssft.evaluation.probe.examples import Examples
from ssft.evaluation.probe.model import LinearHead, ProbeModel
from ssft.evaluation.probe.targets import phones_of
from ssft.evaluation.probe.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class PhoneRecognition(CtcProbe):
    """Phone error rate of a linear probe, after SUPERB's phoneme recognition.

    Two linear layers with nothing in between give each frame's phone; the greedy decoding is compared with the phones
    of the corpus: its pronunciations or, if it has none, its aligned phones without pauses.

    **These are not SUPERB's figures**: the defaults suit an hour of speech on a CPU. SUPERB's settings are
    `layers="weighted", updates=100_000, batch_seconds=400, lr=5e-4, warmup_updates=0, decay=False, evaluate_every=1000,
    blank_penalties=(0.0,)` on LibriSpeech (train-clean-100, dev-clean, test-clean) with the pronunciations of its
    lexicon. Even so SUPERB ends every utterance with a symbol of its own, and here none is.

    Args:
        stress: tell phones with different stress apart where the corpus does, as in `AH0` and `AH1`; False strips the
            digits.

    Source: Yang et al., SUPERB, Interspeech 2021.

    Example:
        >>> [score] = PhoneRecognition(layers="last").scores(corpus, store)
        >>> score.measure.name, score.layer, f"{score.value:.2f}"
        ('PER', 6, '0.77')
    """

    name: ClassVar[str] = "pr"
    rates: ClassVar[tuple[ErrorRate, ...]] = (ErrorRate("PER", "phones", list),)
    needs: ClassVar[str] = "neither pronunciations nor aligned phones"

    layers: Literal["weighted", "last", "both", "each"] = "both"
    updates: int = 600
    batch_seconds: float = 20.0
    lr: float = 1e-2
    warmup_updates: int = 20
    evaluate_every: int = 100
    hidden: int = 256
    stress: bool = True

    def target(self, corpus: LabelledCorpus, utterance: str) -> Sequence[str]:
        return phones_of(corpus, utterance, stress=self.stress)

    def vocabulary(self, train: Examples) -> Vocabulary:
        return Vocabulary.of(train.targets.values())

    def model(self, layers: int, dim: int, symbols: int) -> ProbeModel:
        return ProbeModel(layers, LinearHead(dim, symbols, hidden=self.hidden))
