"""Cross-entropy of predicted codes, in no more memory than the logits have."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor


class CodePrediction(NamedTuple):
    """The mean cross-entropy (scalar), the best code of each frame [N], and p summed over the frames [K]."""

    loss: Tensor
    codes: Tensor
    shares: Tensor


def predict_codes_(
    frames: Tensor, codebook: Tensor, *, logits: Tensor, targets: Tensor, temperature: float
) -> CodePrediction:
    """Mean over frames of `-sum_k q log p` with `p = softmax(frames @ codebook.T / temperature)`.

    The logits are given, because targets are made of them too. Their memory, the largest there is, becomes that of p,
    and then of p - q, the gradient. It flows into frames and codebook, not into targets.

    Args:
        frames: [N, D].
        codebook: [K, D].
        logits: `frames @ codebook.T / temperature` [N, K], without gradient; overwritten.
        targets: q [N, K], rows sum to 1.
        temperature: positive.
    """
    with torch.no_grad():
        largest, codes = logits.max(1)
        logits -= largest[:, None]
        cross = -torch.einsum("nk,nk->n", targets, logits)  # one dot product of everything loses 1e-3 in float32
        p = logits.exp_()
        total = p.sum(1)
        p /= total[:, None]
        shares = p.sum(0)
        loss = (cross + total.log()).mean()
        residual = p.sub_(targets)
    return CodePrediction(_WithGradient.apply(loss, residual, frames, codebook, temperature), codes, shares)


class _WithGradient(torch.autograd.Function):
    """The loss that is computed already, as a function of frames and codebook; p - q over N is d loss / d logits."""

    @staticmethod
    def forward(
        ctx: Any, loss: Tensor, residual: Tensor, frames: Tensor, codebook: Tensor, temperature: float
    ) -> Tensor:
        ctx.save_for_backward(residual, frames, codebook)
        ctx.scale = 1 / (temperature * len(frames))
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, None, Tensor | None, Tensor | None, None]:
        if torch.is_grad_enabled():
            # Autograd would take the residual for a constant, and return a second derivative that is wrong.
            raise RuntimeError("SwappedPrediction has a first derivative only; do not use create_graph=True.")
        residual, frames, codebook = ctx.saved_tensors
        scale = grad * ctx.scale
        with torch.autocast(residual.device.type, enabled=False):  # backward may be called inside a region
            to_frames = (residual @ codebook) * scale if ctx.needs_input_grad[2] else None
            to_codebook = (residual.T @ frames) * scale if ctx.needs_input_grad[3] else None
        return None, None, to_frames, to_codebook, None
