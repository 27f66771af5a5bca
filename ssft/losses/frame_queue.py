"""The newest frames of earlier batches, for a loss that wants more of them than a batch has."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FrameQueue(nn.Module):
    """A ring of pairs of frames, without gradient, in persistent buffers: a checkpoint keeps it.

    Args:
        size: how many pairs it holds, at least 1.
        dim: width of the frames.

    Example:
        >>> queue = FrameQueue(size=1000, dim=256)
        >>> queue.push(torch.randn(300, 256), torch.randn(300, 256))
        >>> queue.filled().shape
        torch.Size([2, 300, 256])
    """

    frames: Tensor
    seen: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("frames", torch.zeros(2, size, dim))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def filled(self) -> Tensor:
        """What it holds, [2, 0 to size, D], in no particular order."""
        return self.frames[:, : int(self.seen)]

    @torch.no_grad()
    def push(self, first: Tensor, second: Tensor) -> None:
        """Put frames [N, D] of both views, paired by index, in the place of the oldest."""
        size = self.frames.shape[1]
        newest = torch.stack([first[-size:], second[-size:]])
        places = (self.seen + torch.arange(newest.shape[1], device=self.seen.device)) % size
        self.frames[:, places] = newest.to(self.frames.dtype)
        self.seen += newest.shape[1]
