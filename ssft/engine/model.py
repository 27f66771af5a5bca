"""The module that training optimises: two views of each utterance, compared."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ssft.encoders import SplitEncoder, make_reference
from ssft.encoders.reference import ReferenceKind
from ssft.types import Frames, LossOutput, Materializable, PairBatch


class CorrespondenceModel(nn.Module):
    """Bottom once for both waveforms, student and reference above it, one shared head, and a loss between the two.

    Args:
        encoder: the student.
        head: frames to frames; its weights, like a loss's, learn from both sides.
        loss: `loss(student, reference)`.
        reference: `frozen`, the encoder as it was, or `student`, the encoder as it is.
        seed: of the weights that head and loss begin with.

    Example:
        >>> model = CorrespondenceModel(Encoder("tiny").load(), Projection(64), SoftDTW())
        >>> model(batch)["loss"].backward()
    """

    def __init__(
        self,
        encoder: SplitEncoder,
        head: nn.Module,
        loss: nn.Module,
        *,
        reference: ReferenceKind = "frozen",
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.reference = make_reference(reference, encoder)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            width = encoder.encoder.width
            if isinstance(head, Materializable):
                width = head.materialize(width) or width
            if isinstance(loss, Materializable):
                loss.materialize(width)
        self.head = head
        self.loss = loss

    def views(self, batch: PairBatch) -> tuple[Frames, Frames]:
        """What student and reference say about a batch, after the head: two times [B, F, D]."""
        joined = batch.joined()
        hidden = joined if isinstance(joined, Frames) else self.encoder.bottom(joined)
        original = torch.arange(len(batch), device=hidden.values.device)
        augmented = original + len(batch)
        student = self.encoder.top(hidden.select(torch.where(batch.swapped, original, augmented)))
        reference = self.reference(self.encoder, hidden.select(torch.where(batch.swapped, augmented, original)))
        return self.head(student), self.head(reference)

    def forward(self, batch: PairBatch) -> dict[str, Any]:
        """Return `loss` (the mean to minimise), `weight` (items in that mean) and `logs`."""
        device = next(self.encoder.parameters()).device
        student, reference = self.views(batch.to(device))
        output: LossOutput = self.loss(student, reference)
        return {"loss": output.loss, "weight": output.weight, "logs": output.logs}
