"""The module that training optimises: two views of each utterance, compared."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ssft.encoders import FrozenReference, SpanMask, SplitEncoder, make_reference
from ssft.encoders.reference import AveragedReference, ReferenceKind
from ssft.encoders.selection import loss_layer_numbers
from ssft.engine.anchors import Anchor
from ssft.engine.device_augmentation import DeviceAugmentation
from ssft.engine.gathering import compare_together
from ssft.engine.ranks import Ranks
from ssft.errors import RunError
from ssft.randomness import derive_rng
from ssft.types import Frames, LossOutput, Materializable, PairBatch, Waves


class NotFiniteError(RunError):
    """Something that was computed is NaN or infinite, in the utterances `ids`."""

    def __init__(self, what: str, ids: Sequence[str]) -> None:
        super().__init__(what, tuple(ids))
        self.what = what
        self.ids = tuple(ids)

    def __str__(self) -> str:
        return f"{self.what}, on {', '.join(self.ids)}"


@dataclass(frozen=True)
class Compared:
    """What is to be compared of a batch: views after the head by loss layer, and what the encoder itself said.

    `states` are student and reference at the last loss layer, before the head; `penalty` is an anchor's, if any.
    """

    views: list[tuple[Frames, Frames]]
    states: tuple[Frames, Frames]
    targets: Frames | None
    penalty: Tensor | None


class CorrespondenceModel(nn.Module):
    """Bottom once for both waveforms, student and reference above it, one shared head, and a loss between the two.

    Args:
        encoder: the student.
        head: frames to frames; its weights, like a loss's, learn from both sides.
        loss: `loss(student, reference)`, or `loss(student, reference, targets)` if it says that it `needs_targets`.
        reference: `frozen`, the encoder as it was, `student`, the encoder as it is, or a `MovingAverage` of it.
        loss_layers: layers whose outputs are compared, each by a head and a loss of its own; without any, the last.
        mask: hides frames from the student.
        augment: makes the two waveforms, where that was left to the device.
        anchor: what is to keep the encoder's view of originals; asked for its penalty if it compares them.
        ranks: the processes that train together; a loss that compares utterances is given the frames of all.
        seed: of the weights that head and loss begin with.

    Attributes:
        loss_layers: numbers of the layers that are compared.
        heads, losses: one of each for every one of these layers.

    Raises:
        RecipeError: a loss layer below everything that is trained, or a frozen reference that has no frozen bottom.

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
        loss_layers: Sequence[int] = (),
        mask: SpanMask | None = None,
        augment: DeviceAugmentation | None = None,
        anchor: Anchor | None = None,
        ranks: Ranks | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        base = encoder.encoder
        self.loss_layers = loss_layer_numbers(loss_layers, max(encoder.cut, 0) + 1, base.num_layers, base.source)
        self.mask = mask
        self.augment = augment
        self.ranks = ranks
        self.compares_across_utterances: bool = getattr(loss, "compares_across_utterances", False)
        self.reference = make_reference(reference, encoder) if getattr(loss, "needs_reference", True) else None
        self.anchor = anchor if anchor is not None and anchor.compares_original else None
        self.unadapted = None
        if self.anchor is not None:
            is_frozen = type(self.reference) is FrozenReference
            self.unadapted = self.reference if is_frozen else FrozenReference(encoder)
        copies = len(self.loss_layers) - 1
        self.heads = nn.ModuleList([head, *(copy.deepcopy(head) for _ in range(copies))])
        self.losses = nn.ModuleList([loss, *(copy.deepcopy(loss) for _ in range(copies))])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for own_head, own_loss in zip(self.heads, self.losses, strict=True):
                width = base.width
                if isinstance(own_head, Materializable):
                    width = own_head.materialize(width) or width
                if isinstance(own_loss, Materializable):
                    own_loss.materialize(width)

    def views(self, batch: PairBatch) -> list[tuple[Frames, Frames]]:
        """What student and reference say about a batch, after the head: two times [B, F, D] for every loss layer."""
        _, views = self._views(batch, self._hidden(batch))
        return views

    def forward(self, batch: PairBatch) -> dict[str, Any]:
        """Return `loss` (the mean to minimise), `weight` (items in that mean) and `logs`.

        With several loss layers the loss is the mean of theirs, and their logs end in `_layer_N`.
        """
        return self.compare(self.encode(batch))

    def encode(self, batch: PairBatch) -> Compared:
        """Augment where that was left to the device, and encode both waveforms of every pair.

        Raises:
            NotFiniteError: a frame of a view is not finite; names its utterance.
        """
        batch = batch.to(next(self.encoder.parameters()).device)
        if self.augment is not None:
            batch = self.augment(batch)
        hidden = self._hidden(batch)
        states, views = self._views(batch, hidden)
        for side in (side for pair in views for side in pair):
            finite = (side.values.isfinite().all(-1) | ~side.mask).all(-1)
            if not bool(finite.all()):
                bad = [name for name, good in zip(batch.ids, finite.tolist(), strict=True) if not good]
                raise NotFiniteError("The encoder's frames became NaN or infinite", bad)
        penalty = None
        if self.anchor is not None and self.unadapted is not None:
            originals = hidden.select(torch.arange(len(batch), device=hidden.values.device))
            last = [self.encoder.encoder.num_layers]
            (unadapted,) = self.unadapted(self.encoder, originals, last)
            penalty = self.anchor.penalty(self.encoder.top(originals).after(batch.lead), unadapted.after(batch.lead))
        return Compared(views, states, batch.targets, penalty)

    def nothing(self) -> Compared:
        """What a process compares that has no utterances where others have some."""
        device = next(self.encoder.parameters()).device
        lengths = torch.zeros(0, dtype=torch.long, device=device)
        none = Frames(torch.zeros(0, 1, self.encoder.encoder.width, device=device), lengths)
        labels = Frames(torch.zeros(0, 1, dtype=torch.long, device=device), lengths)
        return Compared([(head(none), head(none)) for head in self.heads], (none, none), labels, None)

    def compare(self, compared: Compared) -> dict[str, Any]:
        """Return `loss`, `weight` and `logs`, as `forward` does, of what has been encoded."""
        outputs: list[LossOutput] = []
        for loss, (student, reference) in zip(self.losses, compared.views, strict=True):
            outputs.append(compare_together(loss, student, reference, compared.targets, ranks=self.ranks))
        total, logs = outputs[0].loss, dict(outputs[0].logs)
        if len(outputs) > 1:
            total = torch.stack([output.loss for output in outputs]).mean()
            logs = {
                f"{name}_layer_{number}": value
                for number, output in zip(self.loss_layers, outputs, strict=True)
                for name, value in {"loss": float(output.loss.detach()), **output.logs}.items()
            }
        if compared.penalty is not None:
            total, logs["anchor"] = total + compared.penalty, float(compared.penalty.detach())
        return {"loss": total, "weight": outputs[0].weight, "logs": logs}

    def _hidden(self, batch: PairBatch) -> Frames:
        """What the bottom says of originals and augmented, [2B, F, D]."""
        joined = batch.joined()
        return joined if isinstance(joined, Frames) else self.encoder.bottom(joined, self._masked(batch, joined))

    def _views(self, batch: PairBatch, hidden: Frames) -> tuple[tuple[Frames, Frames], list[tuple[Frames, Frames]]]:
        """Return what student and reference say at the last loss layer, and at every one of them after the head."""
        original = torch.arange(len(batch), device=hidden.values.device)
        augmented = original + len(batch)
        # Silence before an original has done its work once it is encoded.
        none = torch.zeros_like(batch.lead)
        student = self.encoder.top_states(
            hidden.select(torch.where(batch.swapped, original, augmented)), self.loss_layers
        )
        student = [state.after(torch.where(batch.swapped, batch.lead, none)) for state in student]
        if self.reference is None:
            reference = student
        else:
            rows = torch.where(batch.swapped, augmented, original)
            reference = self.reference(self.encoder, hidden.select(rows), self.loss_layers)
            reference = [state.after(torch.where(batch.swapped, none, batch.lead)) for state in reference]
        views = [(head(a), head(b)) for head, a, b in zip(self.heads, student, reference, strict=True)]
        return (student[-1], reference[-1]), views

    def after_step(self) -> None:
        """Let losses put their weights in order, and a moving average follow; call it after every optimizer step."""
        if isinstance(self.reference, AveragedReference):
            self.reference.after_step(self.encoder)
        for loss in self.losses:
            after_step: Callable[[], None] | None = getattr(loss, "after_step", None)
            if after_step is not None:
                after_step()

    def training_state(self) -> dict[str, Tensor]:
        """Everything that training changes, by name: trained parameters, buffers of heads and losses, averages."""
        trained = {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}
        parts = (("heads", self.heads), ("losses", self.losses))
        buffers = {f"{part}.{name}": buffer for part, module in parts for name, buffer in module.named_buffers()}
        followed = self.reference.state(self.encoder) if isinstance(self.reference, AveragedReference) else {}
        return {**trained, **buffers, **{f"reference.{name}": value for name, value in followed.items()}}

    @torch.no_grad()
    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        """Put back what `training_state` returned.

        Raises:
            RunError: it is the state of a model that trains other tensors.
        """
        own = self.training_state()
        if set(own) != set(state):
            differing = sorted(set(own) ^ set(state))
            raise RunError(f"The checkpoint trains other tensors than this recipe: {', '.join(differing[:5])}.")
        for name, tensor in own.items():
            tensor.copy_(state[name])

    def _masked(self, batch: PairBatch, joined: Waves) -> Tensor | None:
        """Which frames of originals and augmented [2B, F] the student may not hear."""
        if self.mask is None:
            return None
        lengths = self.encoder.encoder.frame_lengths(joined.lengths).tolist()
        hidden = torch.zeros(len(lengths), max(lengths), dtype=torch.bool)
        for item, (seed, swapped) in enumerate(zip(batch.seeds, batch.swapped.tolist(), strict=True)):
            row = item if swapped else item + len(batch)
            drawn = self.mask.draw(lengths[row], derive_rng(seed, "mask"))
            hidden[row, : lengths[row]] = torch.from_numpy(drawn)
        return hidden.to(joined.samples.device)
