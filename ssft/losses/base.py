"""What every loss is: a comparison of frames in float32, with its needs declared."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace

import torch
from torch import Tensor, nn

from ssft.errors import RecipeError
from ssft.ops.pooling import pool_segments
from ssft.types import Frames, LossOutput

_TOLERATED_FRAMES = 2


class FrameLoss(nn.Module):
    """A loss between what student and reference say about a batch of pairs.

    A subclass implements `compare` and declares what it needs; it keeps its constructor's arguments under their own
    names. Whatever autocast says, `compare` runs in float32 (float64 stays float64). A subclass of `nn.Module` with the
    same attributes serves as well.

    Attributes:
        needs_same_length: frame t of the student is compared with frame t of the reference, so nothing that changes the
            length may come before it.
        needs_targets: labels of the frames are needed, `targets` of `forward`.
        needs_mask: frames must have been hidden from the student, `views.mask`.
        needs_reference: False if the student's view is all it looks at; the reference is then not computed.
        lets_collapse: constant frames are a minimum of it, so that something else has to prevent them, such as a frozen
            reference.
        compares_across_utterances: the loss of a batch is not the mean, by weight, of the losses of its parts. With
            several processes it is given the frames of all of them.

    Example:
        >>> class Mine(FrameLoss):
        ...     def compare(self, student, reference, targets):
        ...         return LossOutput((student.valid().mean(0) - reference.valid().mean(0)).square().sum(), weight=1)
    """

    needs_same_length = False
    needs_targets = False
    needs_mask = False
    needs_reference = True
    lets_collapse = False
    compares_across_utterances = False

    @abstractmethod
    def compare(self, student: Frames, reference: Frames, targets: Frames | None) -> LossOutput:
        """The loss itself, of frames that are float32 or float64 and fit together."""

    def after_step(self) -> None:
        """Called after every optimizer step, e.g. to put weights back onto a sphere."""

    def forward(self, student: Frames, reference: Frames, targets: Frames | None = None) -> LossOutput:
        """Compare frames [B, F_s, D] with frames [B, F_r, D], and labels [B, F_s] where the loss needs them.

        Raises:
            RecipeError: lengths differ though the loss needs them equal, or labels are needed and missing.
        """
        name = type(self).__name__
        if self.needs_same_length and not torch.equal(student.lengths, reference.lengths):
            raise RecipeError(
                f"{name} compares frame t with frame t, but student and reference have {student.lengths.tolist()} and "
                f"{reference.lengths.tolist()} frames. Leave out what changes the length, or use a loss that aligns, "
                "such as SoftDTW."
            )
        if self.needs_targets and targets is None:
            raise RecipeError(f"{name} needs labels of the frames; give them with --data.targets FILE.")
        with torch.autocast(student.values.device.type, enabled=False):
            return self.compare(_full_precision(student), _full_precision(reference), targets)


def paired_frames(student: Frames, reference: Frames, *, segment_frames: int = 1) -> tuple[Tensor, Tensor]:
    """Return the real frames of both sides, paired by index: two times [N, D], for equal lengths.

    With `segment_frames` above 1 they are means of that many frames.
    """
    if segment_frames > 1:
        student, reference = (
            Frames(*pool_segments(side.values, side.lengths, size=segment_frames)) for side in (student, reference)
        )
    size = int(student.lengths.max())
    mask = student.mask[:, :size]
    if bool(mask.all()):  # without padding nothing has to be copied
        return student.values[:, :size].flatten(0, 1), reference.values[:, :size].flatten(0, 1)
    return student.values[:, :size][mask], reference.values[:, :size][mask]


def labelled_frames(frames: Frames, targets: Frames) -> tuple[Tensor, Tensor]:
    """Return the real frames [N, D] that have a label, and their labels [N].

    Labels may have been made with other padding, so up to two frames more or fewer per item are cut off.

    Raises:
        RecipeError: an item's labels and frames differ by more.
    """
    difference = (frames.lengths - targets.lengths).abs()
    if int(difference.max()) > _TOLERATED_FRAMES:
        item = int(difference.argmax())
        raise RecipeError(
            f"Item {item} of the batch has {int(frames.lengths[item])} frames but {int(targets.lengths[item])} labels. "
            "Labels must be made at the encoder's frame rate, and nothing may change the length."
        )
    lengths = torch.minimum(frames.lengths, targets.lengths)
    size = int(lengths.max())
    mask = torch.arange(size, device=lengths.device)[None, :] < lengths[:, None]
    return frames.values[:, :size][mask], targets.values[:, :size][mask]


def known_labels(labels: Tensor, *, classes: int, loss: str) -> Tensor:
    """Return which of the labels [N] say something: a negative one means that its frame has none.

    Raises:
        RecipeError: a label beyond the classes of the loss.
    """
    largest = int(labels.max()) if len(labels) else -1
    if largest >= classes:
        raise RecipeError(
            f"{loss}(classes={classes}): labels go up to {largest}, so there are at least {largest + 1}; set "
            f"classes={largest + 1}, or give the labels that belong to this recipe."
        )
    return labels >= 0


def _full_precision(frames: Frames) -> Frames:
    return replace(frames, values=frames.values.to(torch.promote_types(frames.values.dtype, torch.float32)))
