"""Layers that begin afresh."""

from __future__ import annotations

import torch
from torch import nn

_STARTS_AT_ONE = ("gru_rel_pos_const",)
"""Parameters that belong to no module of their own and begin at 1 (WavLM's gate)."""


@torch.no_grad()
def reset_layer(layer: nn.Module, *, std: float) -> None:
    """Give a transformer layer the weights that it had before pre-training, drawn from PyTorch's global generator.

    Matrices and convolutions are drawn from a normal distribution, biases begin at 0, norms at 1 and 0.

    Args:
        layer: changed in place.
        std: of the distribution, `initializer_range` of the encoder's configuration.
    """
    for part in layer.modules():
        if isinstance(part, (nn.LayerNorm, nn.GroupNorm, nn.BatchNorm1d)):
            part.reset_parameters()
            continue
        for name, parameter in part.named_parameters(recurse=False):
            if name in _STARTS_AT_ONE:
                parameter.fill_(1.0)
            elif name == "bias":
                parameter.zero_()
            else:
                parameter.normal_(0.0, std)
