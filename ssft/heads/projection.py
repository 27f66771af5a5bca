"""A projection between the encoder and the loss, thrown away after training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import torch.nn.functional as F
from torch import nn

from ssft.errors import RecipeError
from ssft.types import Frames


class Projection(nn.Module):
    """A linear layer, or a perceptron with ReLU between its layers, then frames of unit length.

    One projection serves student and reference and learns from both sides, as in SCORE.

    Args:
        dim: width that the loss sees.
        hidden: widths of hidden layers; empty for a linear projection.
        l2_normalize: divide every frame by its Euclidean norm.

    Source:
        SCORE (Meghanani and Hain, ICASSP 2024): one layer to 256 for HuBERT, hidden=(256,) and 256 for WavLM.

    Example:
        >>> head = Projection(256)
        >>> head.materialize(768)
        256
        >>> head(Frames(torch.randn(2, 50, 768), torch.tensor([50, 40]))).values.shape
        torch.Size([2, 50, 256])
    """

    layers: nn.Sequential

    def __init__(self, dim: int = 256, hidden: Sequence[int] = (), l2_normalize: bool = True) -> None:
        super().__init__()
        if min(dim, *hidden, dim) < 1:
            raise RecipeError(f"Projection(dim={dim}, hidden={tuple(hidden)}): widths are at least 1.")
        self.dim = dim
        self.hidden = tuple(hidden)
        self.l2_normalize = l2_normalize

    def materialize(self, dim: int) -> int:
        """Make the weights for frames of width `dim`, with PyTorch's default initialisation; return the width after."""
        widths = [dim, *self.hidden, self.dim]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])
        return self.dim

    def forward(self, frames: Frames) -> Frames:
        """Frames [B, F, D] to frames [B, F, dim]."""
        values = self.layers(frames.values)
        return replace(frames, values=F.normalize(values, dim=-1) if self.l2_normalize else values)
