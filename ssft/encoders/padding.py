"""Group normalisation that does not see padding, so that encoding in a batch equals encoding alone."""

from __future__ import annotations

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
        """Return a masked norm that shares the parameters of `norm`.

        Raises:
            ValueError: groups of several channels, which no known encoder has.
        """
        if norm.num_groups != norm.num_channels:
            raise ValueError(f"expected one channel per group, got {norm.num_channels} in {norm.num_groups} groups")
        masked = MaskedGroupNorm(norm.num_groups, norm.num_channels, eps=norm.eps)
        masked.weight, masked.bias = norm.weight, norm.bias
        return masked

    def forward(self, input: Tensor) -> Tensor:
        """[B, C, T] to [B, C, T]; padded positions hold finite values without a meaning."""
        if self.lengths is None:
            return super().forward(input)
        mask = lengths_to_mask(self.lengths, input.shape[-1])[:, None]
        with torch.autocast(input.device.type, enabled=False):
            values = input.float()
            count = self.lengths[:, None, None]
            mean = (values * mask).sum(-1, keepdim=True) / count
            variance = ((values - mean).square() * mask).sum(-1, keepdim=True) / count
            normed = (values - mean) * torch.rsqrt(variance + self.eps)
            normed = normed * self.weight[:, None] + self.bias[:, None]
        return (normed * mask).to(input.dtype)
