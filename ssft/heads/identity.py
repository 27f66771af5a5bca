"""No head: the loss sees the encoder's own frames."""

from __future__ import annotations

from dataclasses import replace

import torch.nn.functional as F
from torch import nn

from ssft.types import Frames


class Identity(nn.Module):
    """Passes frames on, normalised to unit length if asked.

    Args:
        l2_normalize: divide every frame by its Euclidean norm.

    Relations:
        With few seconds of audio, or an encoder so narrow that a projection has nothing to leave out, the frames
        themselves are what the loss should see; `Projection` is what the papers use for encoders of 768 dimensions.
    """

    def __init__(self, l2_normalize: bool = True) -> None:
        super().__init__()
        self.l2_normalize = l2_normalize

    def materialize(self, dim: int) -> int:
        """There is nothing to make; the width stays."""
        return dim

    def forward(self, frames: Frames) -> Frames:
        """Frames [B, F, D] to frames [B, F, D]."""
        return replace(frames, values=F.normalize(frames.values, dim=-1)) if self.l2_normalize else frames
