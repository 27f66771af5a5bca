"""Values that come with their gradients, where these are smaller than what computing them later would have to keep."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Compute = Callable[[tuple[bool, ...]], tuple[Tensor, dict[int, Tensor]]]
"""Given which inputs want a gradient: values [B], and gradients [B, ...] by the place of the input."""


def with_gradients(compute: Compute, *inputs: Tensor, name: str) -> Tensor:
    """Return the values [B] that `compute` gives, differentiable once in `inputs`.

    Args:
        compute: called at once, without recording. Value b may depend on item b of the inputs only.
        inputs: [B, ...] each.
        name: of the function, for the error where somebody asks for a second derivative.

    Example:
        >>> x = torch.tensor([3.0], requires_grad=True)
        >>> with_gradients(lambda wanted: (x.detach() ** 2, {0: 2 * x.detach()}), x, name="the square").backward()
        >>> x.grad
        tensor([6.])
    """
    wanted = tuple(torch.is_grad_enabled() and each.requires_grad for each in inputs)
    values: Tensor = _EagerGradient.apply(compute, wanted, name, *inputs)
    return values


class _EagerGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, compute: Compute, wanted: tuple[bool, ...], name: str, *inputs: Tensor) -> Tensor:
        values, gradients = compute(wanted)
        ctx.save_for_backward(*(gradients.get(place) for place in range(len(inputs))))
        ctx.name = name
        return values

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            # Autograd would take the gradients for constants, and return a second derivative that is wrong.
            raise RuntimeError(f"{ctx.name} has a first derivative only; do not use create_graph=True.")
        gradients = (
            None if saved is None else saved * grad.reshape(-1, *[1] * (saved.ndim - 1)) for saved in ctx.saved_tensors
        )
        return None, None, None, *gradients
