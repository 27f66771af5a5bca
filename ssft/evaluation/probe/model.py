"""What a probe computes: a weighted sum of layers, and a head that tells symbols apart in it."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssft.ops.masking import pad_to


class LinearHead(nn.Module):
    """Two linear layers with nothing in between: frames [B, F, D] to logits [B, F, V].

    Their product is what is applied: with fewer symbols than hidden units it is the smaller matrix, and the result
    and the gradients are the same.
    """

    stride = 1

    def __init__(self, dim: int, symbols: int, *, hidden: int) -> None:
        super().__init__()
        self.projector = nn.Linear(dim, hidden)
        self.output = nn.Linear(hidden, symbols)

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        bias = F.linear(self.projector.bias, self.output.weight, self.output.bias)
        return F.linear(frames, self.output.weight @ self.projector.weight, bias)


class RecurrentHead(nn.Module):
    """A projection, two bidirectional LSTM layers and a linear layer: frames [B, F, D] to logits [B, ceil(F / r), V].

    Args:
        dim: D.
        symbols: V.
        hidden: units of the projection, and of the LSTMs in each direction.
        stride: r, how many neighbouring frames are put together into one.
        dropout: behind each LSTM layer.
        residual: add to the output of each LSTM layer what goes into it.
    """

    def __init__(self, dim: int, symbols: int, *, hidden: int, stride: int, dropout: float, residual: bool) -> None:
        super().__init__()
        self.stride = stride
        self.residual = residual
        self.projector = nn.Linear(dim * stride, hidden)
        self.lstms = nn.ModuleList([_BidirectionalLSTM(hidden, hidden), _BidirectionalLSTM(2 * hidden, hidden)])
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(2 * hidden, symbols)

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        size = math.ceil(frames.shape[1] / self.stride)
        states = self.projector(pad_to(frames, size * self.stride).reshape(len(frames), size, -1))
        lengths = steps(lengths, self.stride)
        for lstm in self.lstms:
            output = self.dropout(lstm(states, lengths))
            # The first layer's input goes to both of its directions.
            states = output + states.repeat(1, 1, output.shape[-1] // states.shape[-1]) if self.residual else output
        return self.output(states)  # type: ignore[no-any-return]


class _BidirectionalLSTM(nn.Module):
    """As `nn.LSTM(bidirectional=True)` on packed sequences, which on a CPU takes four times as long."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.ahead = nn.LSTM(dim, hidden, batch_first=True)
        self.back = nn.LSTM(dim, hidden, batch_first=True)

    def forward(self, values: Tensor, lengths: Tensor) -> Tensor:
        places = torch.arange(values.shape[1], device=values.device)
        ends = lengths[:, None].to(values.device)
        # Each utterance turned around by itself: the backward direction does not begin in its padding.
        turned = torch.where(places < ends, ends - 1 - places, places)
        rows = torch.arange(len(values), device=values.device)[:, None]
        return torch.cat([self.ahead(values)[0], self.back(values[rows, turned])[0][rows, turned]], dim=-1)


class ProbeModel(nn.Module):
    """Several layers [L, B, F, D] to logits [B, F', V] of the symbols.

    Attributes:
        layer_logits: [L], whose softmax the layers are weighted by; zeros before training.
    """

    def __init__(self, layers: int, head: LinearHead | RecurrentHead) -> None:
        super().__init__()
        self.layer_logits = nn.Parameter(torch.zeros(layers))
        self.head = head

    @property
    def layer_weights(self) -> Tensor:
        """[L], with sum 1."""
        return self.layer_logits.softmax(0)

    def forward(self, stack: Tensor, lengths: Tensor) -> Tensor:
        single = len(stack) == 1
        mixed = stack[0] if single else (self.layer_weights @ stack.flatten(1)).view(stack.shape[1:])
        return self.head(mixed, lengths)  # type: ignore[no-any-return]

    def steps(self, lengths: Tensor) -> Tensor:
        """How many of F' are real, given how many of F are."""
        return steps(lengths, self.head.stride)


def steps(lengths: Tensor, stride: int) -> Tensor:
    """Return how many steps `lengths` frames are when every `stride` of them are put together."""
    return torch.div(lengths + stride - 1, stride, rounding_mode="floor")
