"""Group normalisation that does not see padding, so that encoding in a batch equals encoding alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn


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
