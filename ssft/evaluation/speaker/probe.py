"""`SpeakerProbe`: a linear classifier of speakers, of whole utterances or of single frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ssft.errors import DataError
from ssft.evaluation.frames import FramesById
from ssft.evaluation.measure import Measure, ratio
from ssft.evaluation.speaker.halves import Halves
from ssft.randomness import derive_rng

Rows = Literal["mean", "mean_std", "frames"]
"""What is classified: the mean frame of each utterance, with or without standard deviations, or every frame."""
_UTTERANCES_AT_ONCE = 64
"""A call for each utterance would take longer than the products; all at once would not fit into memory."""


class SpeakerProbe:
    """Logistic regression of standardised rows, with scikit-learn's own L2 penalty.

    Args:
        frames: [F, D] by utterance id, to train on.
        halves: which utterances to train and to test on.
        rows: what to classify.
        most_frames: of single frames, train on about so many, as many of each utterance, drawn at random.
        seed: of the drawing.

    Raises:
        DataError: NaN or infinity in the frames.

    Example:
        >>> probe = SpeakerProbe(frames, halve(corpus.speakers()))
        >>> probe.accuracy(frames, name="speaker probe").value
        0.71
    """

    def __init__(
        self, frames: FramesById, halves: Halves, *, rows: Rows = "mean", most_frames: int = 4000, seed: int = 0
    ) -> None:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
        from threadpoolctl import threadpool_limits

        self.halves = halves
        self.rows = rows
        found = {name: self._rows(frames, name) for name in halves.train}
        if rows == "frames":
            most = max(1, most_frames // len(found))
            for name, own in found.items():
                found[name] = own[derive_rng(seed, "speaker probe frames", name).permutation(len(own))[:most]]
        speakers = [halves.speakers[name] for name, own in found.items() for _ in own]
        self.classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, tol=1e-3))
        # On matrices of this size several threads of BLAS mostly wait for each other: ten times the processor time.
        with threadpool_limits(limits=1):
            self.classifier.fit(np.concatenate(list(found.values())), speakers)

    def accuracy(self, frames: FramesById, *, name: str, left_out: Mapping[str, int] | None = None) -> Measure:
        """Return the share of right answers for the utterances to test on.

        Raises:
            DataError: none of them has frames, or NaN or infinity in the frames.
        """
        utterances = [utterance for utterance in self.halves.test if len(frames.get(utterance, ()))]
        speakers = [self.halves.speakers[utterance] for utterance in utterances]
        right, total = [], []
        for start in range(0, len(utterances), _UTTERANCES_AT_ONCE):
            chosen = slice(start, start + _UTTERANCES_AT_ONCE)
            rows = [self._rows(frames, utterance) for utterance in utterances[chosen]]
            lengths = [len(own) for own in rows]
            answers = self.classifier.predict(np.concatenate(rows)) == np.repeat(speakers[chosen], lengths)
            right += np.add.reduceat(answers, np.cumsum([0, *lengths[:-1]]), dtype=np.int64).tolist()
            total += lengths
        every = len(set(self.halves.speakers.values()))
        return ratio(
            name,
            right,
            total,
            groups=speakers,
            percent=True,
            counts={
                "speakers": every,
                "chance in percent": round(100 / every),
                "utterances trained on": len(self.halves.train),
                "utterances tested on": len(utterances),
                **{why: count for why, count in (left_out or {}).items() if count},
            },
        )

    def _rows(self, frames: FramesById, name: str) -> NDArray[np.floating]:
        own = np.asarray(frames[name])
        if not np.isfinite(own).all():
            raise DataError(f"The frames of '{name}' contain NaN or infinity; the encoder is broken.")
        if self.rows == "frames":
            return own
        mean = own.mean(axis=0, dtype=np.float64, keepdims=True)
        return mean if self.rows == "mean" else np.hstack([mean, own.std(axis=0, dtype=np.float64, keepdims=True)])
