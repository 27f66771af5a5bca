"""The optimizer, and a learning rate that is a function of the step."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from ssft.engine.settings import Train


def make_optimizer(model: nn.Module, train: Train) -> AdamW:
    """AdamW over what is trainable: the encoder's layers at `lr`, everything else (head, loss) at `head_lr`."""
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in trainable(model).items():
        in_encoder = name.startswith("encoder.")
        lr = train.lr if in_encoder or train.head_lr is None else train.head_lr
        groups.setdefault(lr, []).append(parameter)
    return AdamW(
        [{"params": parameters, "lr": lr, "peak_lr": lr} for lr, parameters in groups.items()],
        betas=train.betas,
        eps=train.eps,
        weight_decay=train.weight_decay,
    )


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that training moves, by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


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
    """Set the learning rate for a step; return that of the first group, the encoder's."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * lr_factor(step, train)
    return float(optimizer.param_groups[0]["lr"])


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
