"""R-Spin's auxiliary loss."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssft.errors import RecipeError
from ssft.losses.base import FrameLoss, known_labels, labelled_frames
from ssft.types import Frames, LossOutput


class PseudoLabel(FrameLoss):
    """How badly a linear classifier of the frames of either view guesses labels that were fixed beforehand.

    The cross entropy of `softmax(W z_t + b)` with the label of frame t, averaged over the labelled frames and over both
    views, which share the classifier and the labels. Frames [B, F, D] on both sides, labels [B, F]; a negative label
    means that a frame has none. Gradients flow into both sides and into W and b, which are new and thrown away after
    training.

    Args:
        classes: how many labels there are; labels are 0 to classes - 1.
        label_smoothing: probability that is taken from the label and spread over all classes.

    Source:
        R-Spin, Chang and Glass, NAACL 2024: labels of clean audio by an earlier model, 2048 codes merged into acoustic
        pieces, weight 5 beside the swapped prediction. Its training code is not published.

    Requirements:
        Labels at the encoder's frame rate (--data.targets), and equal lengths. R-Spin classifies the encoder's own
        frames: beside a loss that wants a projection, give that loss its own head with `Weighted`.

    Relations:
        Cannot collapse: frames that are all alike cost the entropy of the labels. That anchor is what lets R-Spin train
        every layer; in return the encoder learns what the labels say and little beyond. `MaskedPrediction` asks for
        labels of frames that the encoder could not hear; `SwappedPrediction` makes its own labels as it goes.

    Example:
        >>> loss = PseudoLabel(classes=2048)
        >>> loss.materialize(768)
        >>> loss(student, reference, Frames(labels, lengths)).loss.backward()
    """

    needs_same_length = True
    needs_targets = True

    classifier: nn.Linear

    def __init__(self, classes: int = 2048, label_smoothing: float = 0.0) -> None:
        super().__init__()
        if classes < 2:
            raise RecipeError(f"PseudoLabel(classes={classes}): at least 2; R-Spin's first model has 2048 codes.")
        if not 0 <= label_smoothing < 1:
            raise RecipeError(
                f"PseudoLabel(label_smoothing={label_smoothing}): give 0 to below 1; 0 takes labels as they are."
            )
        self.classes = classes
        self.label_smoothing = label_smoothing

    def materialize(self, dim: int) -> None:
        """Make the classifier for frames of width `dim`, with PyTorch's default initialisation."""
        self.classifier = nn.Linear(dim, self.classes)

    def compare(self, student: Frames, reference: Frames, targets: Frames | None) -> LossOutput:
        losses: list[Tensor] = []
        hits: list[Tensor] = []
        for side in (student, reference):
            frames, labels = labelled_frames(side, cast(Frames, targets))
            known = known_labels(labels, classes=self.classes, loss="PseudoLabel")
            logits, labels = self.classifier(frames[known]), labels[known].long()
            losses.append(F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing, reduction="none"))
            hits.append(logits.argmax(-1) == labels)
        values, right = torch.cat(losses), torch.cat(hits)
        # Without a single label this is zero, and so is its gradient, which still reaches the weights.
        count = max(len(values), 1)
        return LossOutput(values.sum() / count, weight=len(values) // 2, logs={"accuracy": float(right.sum()) / count})
