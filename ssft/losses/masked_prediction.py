"""HuBERT's loss."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssft.errors import RecipeError
from ssft.losses.base import FrameLoss, known_labels, labelled_frames
from ssft.types import Frames, LossOutput


class MaskedPrediction(FrameLoss):
    """How badly the frames that were hidden from the encoder are guessed from those that it could hear.

    The cross entropy of `softmax over c of cos(z_t, e_c) / temperature` with the label of frame t, averaged over the
    labelled frames of the student with the weights below. Frames [B, F, D] and their `masked` [B, F], labels [B, F]; a
    negative label means that a frame has none. The label embeddings e [classes, D] are learned, new, and thrown away
    after training, like the head that makes z of the encoder's frames.

    Args:
        classes: how many labels there are; labels are 0 to classes - 1.
        temperature: of the softmax, positive.
        masked_weight: weight of a frame that was hidden.
        unmasked_weight: weight of a frame that was not.

    Source:
        HuBERT, Hsu et al., TASLP 2021: temperature 0.1, weights 1 and 0, a projection to 256 as head; 100 k-means
        classes of MFCC, then 500 of a layer. Authors' code (fairseq): embeddings begin uniform in 0 to 1, all much
        alike, here normal; it divides by the number of frames, here by their weights, which is the same for 1 and 0.
        HuBERT's penalty on the output of its convolutions is not part of this loss.

    Requirements:
        Labels at the encoder's frame rate (--data.targets), and a mask (views.mask, e.g. SpanMask()). Made from the
        clean original, the labels may also be predicted from an augmented view. A batch in which nothing is masked
        counts nothing, unless `unmasked_weight` is positive.

    Relations:
        Needs no second view and cannot collapse: frames that are all alike cost the entropy of the labels. It teaches
        context, as in pre-training, and takes long; `PseudoLabel` is the same anchor without a mask, and the losses
        that compare views teach invariance. With `unmasked_weight` it also imitates the labels.

    Example:
        >>> loss = MaskedPrediction(classes=500)
        >>> loss.materialize(256)
        >>> loss(Frames(values, lengths, masked), reference, Frames(labels, lengths)).loss.backward()
    """

    needs_targets = True
    needs_mask = True
    needs_reference = False

    embeddings: nn.Parameter

    def __init__(
        self,
        classes: int = 500,
        temperature: float = 0.1,
        masked_weight: float = 1.0,
        unmasked_weight: float = 0.0,
    ) -> None:
        super().__init__()
        if classes < 2:
            raise RecipeError(
                f"MaskedPrediction(classes={classes}): at least 2; HuBERT was trained with 100, then 500."
            )
        if not 0 < temperature < math.inf:
            raise RecipeError(
                f"MaskedPrediction(temperature={temperature}): temperature must be positive; 0.1 is the published "
                "value."
            )
        for key, weight in (("masked_weight", masked_weight), ("unmasked_weight", unmasked_weight)):
            if not 0 <= weight < math.inf:
                raise RecipeError(f"MaskedPrediction({key}={weight}): a weight is 0 or more; 1 and 0 are published.")
        if masked_weight == unmasked_weight == 0:
            raise RecipeError("MaskedPrediction(masked_weight=0, unmasked_weight=0): one of them must be positive.")
        self.classes = classes
        self.temperature = temperature
        self.masked_weight = masked_weight
        self.unmasked_weight = unmasked_weight

    def materialize(self, dim: int) -> None:
        """Make the label embeddings for frames of width `dim`: normal, for only their directions matter."""
        self.embeddings = nn.Parameter(torch.randn(self.classes, dim))

    def compare(self, student: Frames, reference: Frames, targets: Frames | None) -> LossOutput:
        if student.masked is None:
            raise RecipeError("MaskedPrediction needs a mask; set views.mask, e.g. SpanMask().")
        frames, labels = labelled_frames(student, cast(Frames, targets))
        masked, _ = labelled_frames(replace(student, values=student.masked), cast(Frames, targets))
        weights = frames.new_full(masked.shape, self.unmasked_weight).masked_fill(masked, self.masked_weight)
        counted = known_labels(labels, classes=self.classes, loss="MaskedPrediction") & (weights > 0)
        frames, labels, masked, weights = (item[counted] for item in (frames, labels.long(), masked, weights))
        logits = F.normalize(frames, dim=-1) @ F.normalize(self.embeddings, dim=-1).mT / self.temperature
        losses = F.cross_entropy(logits, labels, reduction="none")
        hits = logits.argmax(-1) == labels
        logs = {"accuracy": _share(hits[masked])}
        if self.unmasked_weight > 0:
            logs["accuracy_unmasked"] = _share(hits[~masked])
        total = float(weights.sum())
        # Where nothing counts this is zero, and so is its gradient, which still reaches frames and embeddings.
        return LossOutput((weights * losses).sum() / (total or 1.0), weight=total, logs=logs)


def _share(hits: Tensor) -> float:
    return float(hits.sum()) / max(len(hits), 1)
