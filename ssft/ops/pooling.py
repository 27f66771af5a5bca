"""Frames to segments: means over windows of time."""

from __future__ import annotations

from torch import Tensor

from ssft.ops.masking import lengths_to_mask, pad_to


def pool_segments(values: Tensor, lengths: Tensor, *, size: int) -> tuple[Tensor, Tensor]:
    """Return the mean of every window of `size` frames [B, S, D], and how many windows each item has [B].

    Windows lie side by side from the first frame on; an item's last one holds what is left. Padding of `values`
    [B, F, D] is never read, and padding of the result is zero, so `size=1` takes padding off and changes nothing else.

    Example:
        >>> pool_segments(torch.tensor([[[1.0], [3.0], [8.0]]]), torch.tensor([3]), size=2)
        (tensor([[[2.],
                 [8.]]]), tensor([2]))
    """
    windows = (lengths + size - 1) // size
    frames = int(windows.max()) * size
    real = lengths_to_mask(lengths, frames)
    clean = pad_to(values[:, :frames], frames).masked_fill(~real[..., None], 0)
    sums = clean.view(len(clean), -1, size, clean.shape[2]).sum(2)
    counts = real.view(len(real), -1, size).sum(2).clamp_min(1)
    return sums / counts[..., None], windows
