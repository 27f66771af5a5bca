"""The optimizer, and a learning rate that is a function of the step."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from ssft.engine.settings import Train


def make_optimizer(model: nn.Module, train: Train) -> AdamW:
    """AdamW over what is trainable: the encoder at `lr`, lower layers at less of it, everything else at `head_lr`.

    What is trained of the encoder outside of its layers learns as the lowest trained layer does.
    """
    groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
    depths = layer_depths(trainable(model))
    for name, parameter in trainable(model).items():
        in_encoder = name in depths
        lr = train.lr * train.layer_decay ** depths[name] if in_encoder else train.head_lr or train.lr
        groups.setdefault((in_encoder, lr), []).append(parameter)
    return AdamW(
        [
            {"params": parameters, "lr": lr, "peak_lr": lr, "in_encoder": in_encoder}
            for (in_encoder, lr), parameters in groups.items()
        ],
        betas=train.betas,
        eps=train.eps,
        weight_decay=train.weight_decay,
    )


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that training moves, by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def layer_depths(names: Iterable[str]) -> dict[str, int]:
    """Say for each trained parameter of the encoder how many trained layers lie above its own."""
    numbers: dict[str, int | None] = {}
    for name in names:
        if name.startswith("encoder."):
            layer = re.search(r"\.encoder\.layers\.(\d+)\.", name)
            numbers[name] = int(layer[1]) if layer else None
    layers = sorted({number for number in numbers.values() if number is not None}, reverse=True)
    depth = {number: place for place, number in enumerate(layers)}
    return {name: len(layers) - 1 if number is None else depth[number] for name, number in numbers.items()}


def asleep(model: nn.Module, step: int, train: Train) -> list[nn.Parameter]:
    """Return the parameters of layers that do not learn yet in a step, by `train.unfreeze_steps`."""
    awake = 1 + sum(step >= begin for begin in train.unfreeze_steps)
    if awake > len(train.unfreeze_steps):
        return []
    parameters = trainable(model)
    return [parameters[name] for name, depth in layer_depths(parameters).items() if depth >= awake]


def lr_factor(step: int, train: Train) -> float:
    """Return what the peak learning rate is multiplied by in optimizer step `step`, counted from 0.

    Example:
        >>> [lr_factor(step, Train(steps=4, warmup_steps=2)) for step in range(4)]
        [0.5, 1.0, 1.0, 0.5]
    """
    if step < train.warmup_steps:
        return (step + 1) / train.warmup_steps
    progress = (step - train.warmup_steps) / (train.steps - train.warmup_steps)
    match train.schedule:
        case "constant":
            return 1.0
        case "cosine":
            return (1 + math.cos(math.pi * progress)) / 2
        case "linear":
            return 1 - progress


def set_lr(optimizer: torch.optim.Optimizer, step: int, train: Train) -> float:
    """Set the learning rate for a step; return that of the encoder's highest layer, before an anchor lowers it."""
    factor = lr_factor(step, train)
    for group in optimizer.param_groups:
        anchored = train.anchor.lr_factor(step) if train.anchor and group["in_encoder"] else 1.0
        group["lr"] = group["peak_lr"] * factor * anchored
    return train.lr * factor


def optimizer_tensors(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """Return the optimizer's state as named tensors, fit for safetensors: `<parameter>|exp_avg` and so on."""
    state = {}
    for name, parameter in trainable(model).items():
        for key, value in optimizer.state.get(parameter, {}).items():
            state[f"{name}|{key}"] = value.detach().cpu().contiguous()
    return state


def load_optimizer_tensors(optimizer: torch.optim.Optimizer, model: nn.Module, state: dict[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` returned."""
    parameters = trainable(model)
    for full_name, value in state.items():
        name, _, key = full_name.rpartition("|")
        parameter = parameters[name]
        # AdamW keeps its step counter on the CPU.
        optimizer.state[parameter][key] = value if key == "step" else value.to(parameter.device)
