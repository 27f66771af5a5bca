"""Layers that do not see padding, so that encoding in a batch equals encoding alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ssft.ops.masking import lengths_to_mask


class MaskedGroupNorm(nn.GroupNorm):
    """A GroupNorm over time whose statistics are taken from the real positions of each item.

    HuBERT-base, WavLM-base and wav2vec2-base normalise every channel of their first convolution over the whole padded
    batch, so the features of an utterance depend on how much padding follows it, attention mask or not. Weights, names
    and, for an utterance without padding, results are those of the layer that it replaces.

    Set `lengths` [B] (positions along time) before a padded batch, and None before one without padding.
    """

    lengths: Tensor | None = None

    @staticmethod
    def replacing(norm: nn.GroupNorm) -> MaskedGroupNorm:
        """Return a masked norm that shares the parameters of `norm`."""
        masked = MaskedGroupNorm(norm.num_groups, norm.num_channels, eps=norm.eps)
        masked.weight, masked.bias = norm.weight, norm.bias
        return masked

    def forward(self, input: Tensor) -> Tensor:
        """[B, C, T] to [B, C, T]; padded positions become 0."""
        if self.lengths is None:
            return super().forward(input)
        normed = torch.zeros_like(input)
        # Item by item it is the very kernel that encoding alone runs, and faster than statistics under a mask.
        for item, length in enumerate(self.lengths.tolist()):
            normed[item, :, :length] = super().forward(input[item : item + 1, :, :length])[0]
        return normed


class MaskedConv1d(nn.Conv1d):
    """A convolution over time that hears zeros behind each item, as it does when the item is alone.

    transformers zeroes padding once, before the layers; after the first norm or bias it is zero no more, and each
    further convolution carries it into real frames.

    Set `lengths` [B] before a padded batch, and None before one without padding.
    """

    lengths: Tensor | None = None

    @staticmethod
    def replacing(convolution: nn.Conv1d) -> MaskedConv1d:
        """Return a masked convolution that shares the parameters of `convolution`."""
        masked = MaskedConv1d.__new__(MaskedConv1d)
        masked.__dict__ = convolution.__dict__
        return masked

    def forward(self, input: Tensor) -> Tensor:
        """[B, C, T] to [B, C', T']."""
        if self.lengths is not None:
            input = input.masked_fill(~lengths_to_mask(self.lengths, input.shape[2])[:, None], 0.0)
        return super().forward(input)


def replace_convolutions(model: nn.Module, classes: Sequence[str]) -> None:
    """Put masked convolutions in the place of those that parts of the named classes own."""
    for part in list(model.modules()):
        if type(part).__name__ in classes:
            for name, child in part.named_children():
                # One position wide, they carry nothing from one frame to the next.
                if isinstance(child, nn.Conv1d) and child.kernel_size != (1,):
                    setattr(part, name, MaskedConv1d.replacing(child))


@contextmanager
def hiding_padding(parts: nn.Module, lengths: Tensor, size: int) -> Iterator[None]:
    """Within this context the masked convolutions of `parts` ignore what is behind `lengths` [B] of `size` frames."""
    convolutions = [part for part in parts.modules() if isinstance(part, MaskedConv1d)]
    if not convolutions or int(lengths.min()) == size:
        yield
        return
    for convolution in convolutions:
        convolution.lengths = lengths
    try:
        yield
    finally:
        for convolution in convolutions:
            convolution.lengths = None
