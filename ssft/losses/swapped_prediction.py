"""SPIN's loss."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import chain

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssft.errors import RecipeError
from ssft.losses.base import FrameLoss, paired_frames
from ssft.losses.code_prediction import predict_codes_
from ssft.losses.frame_queue import FrameQueue
from ssft.ops.sinkhorn import sinkhorn_
from ssft.types import Frames, LossOutput

_FACTS = ("accuracy", "code_perplexity", "prob_perplexity")
_FRAMES_PER_CODE = 6
_LONGEST_UNIT_FRAME = 1.05  # a frame of unit length, rounded to bfloat16


class SwappedPrediction(FrameLoss):
    """Each view predicts which code of a learned codebook the other view's frame belongs to.

    With frames z [N, D] of a view (all real frames of the batch, paired by index) and a codebook C [K, D] of unit rows,
    `p = softmax(z C^T / temperature)` predicts, and `q = Sinkhorn(z C^T / epsilon)`, without gradient, is the target,
    spread over all codes equally. Each view has a Sinkhorn of its own. The loss is
    `-(mean_t sum_k q1 log p2 + mean_t sum_k q2 log p1) / 2`; its weight is N. Gradients flow into both views and into
    the codebook, a parameter that `materialize` makes and `after_step` puts back to rows of unit length. Several
    codebooks look at the same frames, and the loss is the mean of theirs. Logged: `accuracy` (best code of p against
    that of q), `code_perplexity` and `prob_perplexity` (how many codes are used, by best code and by p; at most K),
    with the size behind the name if there are several codebooks.

    Args:
        codebook_size: number of codes K; a list makes a codebook of each size, as in DC-Spin.
        epsilon: temperature of the targets; smaller is sharper.
        temperature: of the predictions.
        sinkhorn_iterations: how often codes and frames are balanced; ends with the frames.
        hard_target: take the best code of q alone.
        prob_ratio: share of a view's own similarities in its target; the rest is the other view's.
        queue_frames: number of earlier frames of each view that take part in Sinkhorn, and in nothing else; they are
            compared with the present codebook. For batches that are small against the codebook.

    Source:
        SPIN, Chang et al., Interspeech 2023 (the defaults; K from 128 to 2048), checked against the authors'
        vectominist/spin at 73edb7a. Several codebooks: DC-Spin, Interspeech 2025 (50 to 500, and 4096). The queue:
        SwAV, Caron et al., NeurIPS 2020.

    Requirements:
        Both views of equal length, and frames of unit length: put `Projection(256)` before it. Sinkhorn wants about 6
        frames per code in a micro-batch, the queue and all processes included (`frames_needed`); gradient accumulation
        does not add any.

    Relations:
        Both views may learn (`reference="student"`), as in the paper: equal shares for all codes are what prevents the
        collapse to one. That holds for the top layers; R-Spin reports that plain SPIN collapses when all layers train,
        and adds pseudo-labels. SoftDTW compares views of different length, but relies on a frozen reference.

    Example:
        >>> loss = SwappedPrediction(codebook_size=256)
        >>> loss.materialize(256)
        >>> loss(student, reference).loss.backward()
        >>> optimizer.step()
        >>> loss.after_step()
    """

    needs_same_length = True
    compares_across_utterances = True

    def __init__(
        self,
        codebook_size: int | Sequence[int] = 256,
        epsilon: float = 0.02,
        temperature: float = 0.1,
        sinkhorn_iterations: int = 3,
        hard_target: bool = False,
        prob_ratio: float = 1.0,
        queue_frames: int = 0,
    ) -> None:
        super().__init__()
        self.codebook_size = codebook_size if isinstance(codebook_size, int) else tuple(codebook_size)
        self.epsilon = epsilon
        self.temperature = temperature
        self.sinkhorn_iterations = sinkhorn_iterations
        self.hard_target = hard_target
        self.prob_ratio = prob_ratio
        self.queue_frames = queue_frames
        sizes = self._sizes
        for setting, good, remedy in (
            ("codebook_size", min(sizes, default=0) >= 2, "a codebook has at least 2 codes; SPIN has 128 to 2048"),
            ("codebook_size", len(set(sizes)) == len(sizes), "codebooks must differ in size"),
            ("epsilon", epsilon > 0, "epsilon must be positive; 0.02 is the published value"),
            ("temperature", temperature > 0, "temperature must be positive; 0.1 is the published value"),
            ("sinkhorn_iterations", sinkhorn_iterations >= 1, "at least 1 is needed; 3 is the published value"),
            ("prob_ratio", 0 <= prob_ratio <= 1, "prob_ratio must be from 0 to 1; 1 is the published value"),
            ("queue_frames", queue_frames >= 0, "queue_frames cannot be negative; 0 is the published value"),
        ):
            if not good:
                raise RecipeError(f"SwappedPrediction({setting}={getattr(self, setting)}): {remedy}.")
        self.codebooks = nn.ParameterList()
        self.queue: FrameQueue | None = None
        self._warned: set[str] = set()

    def materialize(self, dim: int) -> None:
        """Make codebooks [K, dim] of unit rows in random directions, and the queue [2, queue_frames, dim]."""
        self.codebooks = nn.ParameterList(
            nn.Parameter(F.normalize(torch.randn(size, dim), dim=1)) for size in self._sizes
        )
        self.queue = FrameQueue(self.queue_frames, dim) if self.queue_frames else None

    @property
    def codebook(self) -> nn.Parameter:
        """The codebook [K, D]; of several, the first."""
        first: nn.Parameter = self.codebooks[0]
        return first

    def frames_needed(self) -> int:
        """How many real frames a batch should have, over all processes, beside a full queue."""
        return max(_FRAMES_PER_CODE * max(self._sizes) - self.queue_frames, 0)

    @torch.no_grad()
    def after_step(self) -> None:
        """Put the rows of the codebooks back to unit length."""
        for codebook in self.codebooks:
            codebook.copy_(F.normalize(codebook, dim=1))

    def compare(self, student: Frames, reference: Frames, targets: Frames | None) -> LossOutput:
        if not self.codebooks:
            raise RecipeError(
                "SwappedPrediction has no codebook yet: call materialize(dim), dim being the frames' width."
            )
        views = paired_frames(student, reference)
        count, dim = views[0].shape
        earlier = views[0].new_empty(2, 0, dim) if self.queue is None else self.queue.filled().to(views[0].dtype)
        losses, facts = zip(*(self._compare_by(codebook, views, earlier) for codebook in self.codebooks), strict=True)
        longest = torch.stack([view.detach().norm(dim=1).max() for view in views]).max()
        length, *numbers = torch.stack([longest, *chain(*facts)]).tolist()  # waits for the device, once
        if self.training and torch.is_grad_enabled():
            self._warn(count + earlier.shape[1], length, queue_full=earlier.shape[1] == self.queue_frames)
            if self.queue is not None:
                self.queue.push(*views)
        suffixes = [f"_{size}" for size in self._sizes] if len(self._sizes) > 1 else [""]
        names = (f"{name}{suffix}" for suffix in suffixes for name in _FACTS)
        return LossOutput(torch.stack(losses).mean(), count, dict(zip(names, numbers, strict=True)))

    @property
    def _sizes(self) -> tuple[int, ...]:
        return (self.codebook_size,) if isinstance(self.codebook_size, int) else self.codebook_size

    def _compare_by(
        self, codebook: Tensor, views: tuple[Tensor, Tensor], earlier: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the loss by one codebook, and what is logged of it, in the order of `_FACTS`."""
        codebook = codebook.to(views[0].dtype)
        with torch.no_grad():
            logits = [(view / self.temperature) @ codebook.T for view in views]
            targets = self._assign(logits, (earlier / self.temperature) @ codebook.T)[::-1]
        predictions = [
            predict_codes_(view, codebook, logits=scores, targets=q, temperature=self.temperature)
            for view, scores, q in zip(views, logits, targets, strict=True)
        ]
        hits = [q.gather(1, p.codes[:, None])[:, 0] == q.amax(1) for p, q in zip(predictions, targets, strict=True)]
        shares = torch.stack([p.shares for p in predictions]).sum(0)
        codes = torch.cat([p.codes for p in predictions])
        used = torch.zeros_like(shares).index_add_(0, codes, shares.new_ones(len(codes)))
        loss = torch.stack([p.loss for p in predictions]).mean()
        return loss, [torch.cat(hits).to(shares.dtype).mean(), _perplexity(used), _perplexity(shares)]

    def _assign(self, logits: list[Tensor], earlier: Tensor) -> list[Tensor]:
        """Return the targets [N, K] of both views, whose logits, like those of earlier frames, are over temperature."""
        count = len(logits[0])
        if earlier.shape[1]:
            logits = [torch.cat(parts) for parts in zip(logits, earlier, strict=True)]
        sharper = self.temperature / self.epsilon
        assigned = []
        for own, other in (logits, logits[::-1]):
            scores = own * (sharper * self.prob_ratio)
            if self.prob_ratio < 1:
                scores.add_(other, alpha=sharper * (1 - self.prob_ratio))
            q = sinkhorn_(scores, self.sinkhorn_iterations)[:count]
            if self.hard_target:
                best = q.argmax(1, keepdim=True)
                q.zero_().scatter_(1, best, 1.0)
            assigned.append(q)
        return assigned

    def _warn(self, frames: int, longest: float, *, queue_full: bool) -> None:
        """Say once what keeps the loss from working as published."""
        size = max(self._sizes)
        if queue_full and frames < _FRAMES_PER_CODE * size:
            self._warn_once(
                "frames",
                f"{frames:,} frames for {size:,} codes is less than {_FRAMES_PER_CODE} per code; Sinkhorn needs more: "
                "raise train.batch_seconds, set loss.queue_frames, or lower loss.codebook_size.",
            )
        if longest > _LONGEST_UNIT_FRAME:
            self._warn_once(
                "length",
                f"frames have lengths up to {longest:.3g}, but epsilon and temperature are meant for frames of length "
                "1: use a head that normalises, such as Projection(256).",
            )

    def _warn_once(self, about: str, message: str) -> None:
        if about not in self._warned:
            self._warned.add(about)
            warnings.warn(f"SwappedPrediction: {message}", stacklevel=3)


def _perplexity(counts: Tensor) -> Tensor:
    """Exp of the entropy of what is counted: how many codes are used as if equally."""
    entropy: Tensor = torch.special.entr(counts / counts.sum()).sum()
    return entropy.exp()
