"""One optimizer step: micro-batches in, and the weights moved once or not at all."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from torch import Tensor, nn

from ssft.engine.anchors import Anchor
from ssft.engine.collapse import measure
from ssft.engine.model import CorrespondenceModel, NotFiniteError
from ssft.engine.optim import asleep, set_lr, trainable
from ssft.engine.ranks import Ranks
from ssft.engine.settings import Train
from ssft.errors import RunError
from ssft.randomness import derive_seed
from ssft.types import PairBatch


@dataclass(frozen=True)
class Discarded:
    """A step that was thrown away because something in it was not finite, and the utterances that it was found in."""

    what: str
    ids: tuple[str, ...]


class HalfMovedError(RunError):
    """Some weights have moved and others have not, so they are not to be saved."""


@dataclass
class _Share:
    """What a process contributes to a step: sums over its items, or why there are none."""

    weight: float = 0.0
    sums: Counter[str] = field(default_factory=Counter)
    facts: dict[str, float] = field(default_factory=dict)
    ids: tuple[str, ...] = ()
    fallbacks: int = 0
    lacking: set[str] | None = None  # parameters without a gradient; None where there was nothing to learn from
    not_finite: str = ""
    out_of_memory: str = ""

    @property
    def failed(self) -> bool:
        return bool(self.not_finite or self.out_of_memory)


class OptimizerStep:
    """Makes optimizer steps: the gradient of the mean over all items of all micro-batches of all processes.

    A loss or a gradient that is not finite discards the whole step, and nothing has moved then. Where memory runs out,
    micro-batches are halved, now and from now on, and the step is made again. The mean stays the same, unless the loss
    compares utterances with each other.

    Args:
        model: what learns.
        optimizer: over its trained parameters.
        train: settings.
        ranks: the processes that share the step.

    Attributes:
        halvings: how often micro-batches are halved before they are used.

    Example:
        >>> step = OptimizerStep(model, make_optimizer(model, train), train=train, ranks=Ranks())
        >>> step([batch], 0)["loss"]
        0.71
    """

    def __init__(
        self, model: CorrespondenceModel, optimizer: torch.optim.Optimizer, *, train: Train, ranks: Ranks
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.train = train
        self.ranks = ranks
        self.halvings = 0
        self.bf16 = train.precision == "bf16" or (train.precision == "auto" and ranks.device.type == "cuda")

    def __call__(self, batches: Sequence[PairBatch], step: int, *, watch: bool = False) -> dict[str, Any] | Discarded:
        """Make step number `step`, counted from 0, and return what there is to write down.

        Args:
            batches: this process's micro-batches; others may have more or fewer.
            step: its number.
            watch: measure how much the encoder's frames differ, too.

        Raises:
            RunError: a trained parameter gets no gradient, or a single pair does not fit into memory.
        """
        lr = set_lr(self.optimizer, step, self.train)
        self.optimizer.zero_grad()  # an interrupted step may have left gradients
        buffers = {name: buffer.clone() for name, buffer in self._buffers()}
        while True:
            parts = self._parts(batches)
            shares = self._attempt(parts, step, watch=watch)
            not_finite = [share for share in shares if share.not_finite]
            out_of_memory = next((share.out_of_memory for share in shares if share.out_of_memory), "")
            if not not_finite and not out_of_memory:
                try:
                    return self._move(shares, step, lr)
                except NotFiniteError as error:
                    not_finite = [_Share(not_finite=error.what, ids=error.ids)]
                except (RuntimeError, MemoryError) as error:
                    out_of_memory = _out_of_memory(error)
            self.optimizer.zero_grad()
            for name, buffer in self._buffers():
                buffer.copy_(buffers[name])
            if not_finite:
                return Discarded(not_finite[0].not_finite, tuple(name for share in not_finite for name in share.ids))
            self._halve(parts, out_of_memory)

    def _attempt(self, parts: Sequence[PairBatch], step: int, *, watch: bool) -> list[_Share]:
        """Run all micro-batches forward and backward; return everybody's share.

        Where a loss brings the frames of all processes together, these meet before every comparison as well, so that
        none waits for one that has failed. The first meeting that hears of a failure is the last.
        """
        meets = self.ranks.world_size > 1 and self.model.compares_across_utterances
        rounds = max(self.ranks.exchange(len(parts))) if meets else len(parts)
        share = _Share(ids=tuple(name for part in parts for name in part.ids))
        ids: tuple[str, ...] = ()
        try:
            for number in range(rounds):
                ids = parts[number].ids if number < len(parts) else ()
                # Dropout is the only other randomness, and a function of its place too.
                place = (step, number, self.ranks.rank) if self.ranks.rank else (step, number)
                torch.manual_seed(derive_seed(self.train.seed, *place))
                with torch.autocast(self.ranks.device.type, torch.bfloat16, enabled=self.bf16):
                    compared = self.model.encode(parts[number]) if ids else self.model.nothing()
                    shares = self.ranks.exchange(_Share()) if meets else []
                    if any(other.failed for other in shares):
                        return shares
                    output = self.model.compare(compared)
                loss, weight = output["loss"], output["weight"]
                if not torch.isfinite(loss):
                    raise NotFiniteError(f"The loss became {loss.item()}", ids)
                (loss * weight).backward()
                share.weight += weight
                share.sums.update({name: value * weight for name, value in output["logs"].items()})
                share.sums["loss"] += loss.item() * weight
                if watch and ids and not share.facts:
                    share.facts = measure(*compared.states)
        except NotFiniteError as error:
            share = _Share(not_finite=error.what, ids=error.ids)
        except (RuntimeError, MemoryError) as error:
            share = _Share(out_of_memory=_out_of_memory(error), ids=ids)
        else:
            share.fallbacks = sum(part.fallbacks for part in parts)
            if rounds:
                share.lacking = {name for name, tensor in trainable(self.model).items() if tensor.grad is None}
        return self.ranks.exchange(share)

    def _move(self, shares: Sequence[_Share], step: int, lr: float) -> dict[str, Any]:
        """Turn sums of gradients into means, and step.

        Raises:
            NotFiniteError: a gradient is not finite.
        """
        parameters = trainable(self.model)
        lacking = [share.lacking for share in shares if share.lacking is not None]
        if lacking and (never := set.intersection(*lacking)):
            raise RunError(f"{min(never)} is to be trained but got no gradient, so it would never change.")
        total = sum(share.weight for share in shares) or 1.0  # nothing to learn from, as where no frame is masked
        self._sum_gradients(parameters)
        for parameter in parameters.values():
            if parameter.grad is not None:
                parameter.grad.div_(total)
        for parameter in asleep(self.model, step, self.train):
            parameter.grad = None
        norm = float(nn.utils.clip_grad_norm_(parameters.values(), self.train.clip_norm))
        if not math.isfinite(norm):
            where = [name for name, p in parameters.items() if p.grad is not None and not p.grad.isfinite().all()]
            first = f" (first in {where[0]})" if where else ""
            raise NotFiniteError(f"The gradient became {norm}{first}", [name for share in shares for name in share.ids])
        anchor = self.train.anchor or Anchor()
        anchor.before_step()
        self._step_optimizer(parameters.values())
        anchor.after_step(step, lr)
        self.optimizer.zero_grad()
        self.model.after_step()
        sums, facts = Counter[str](), Counter[str]()
        for share in shares:
            sums.update(share.sums)
            facts.update(share.facts)
        watching = sum(bool(share.facts) for share in shares)
        fallbacks = sum(share.fallbacks for share in shares)
        return {
            **{name: value / total for name, value in sums.items()},
            **{name: value / watching for name, value in facts.items()},
            "grad_norm": norm,
            "pairs": sum(len(share.ids) for share in shares),
            **({"fallbacks": fallbacks} if fallbacks else {}),
            "lr": lr,
        }

    def _sum_gradients(self, parameters: Mapping[str, nn.Parameter]) -> None:
        """Add up the gradients of all processes, in one go."""
        if self.ranks.world_size == 1:
            return
        for parameter in parameters.values():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in parameters.values() if parameter.grad is not None]
        joined = self.ranks.sum(torch.cat([gradient.flatten() for gradient in gradients]))
        for gradient, summed in zip(
            gradients, torch.split(joined, [gradient.numel() for gradient in gradients]), strict=True
        ):
            gradient.copy_(summed.view_as(gradient))

    def _step_optimizer(self, parameters: Iterable[nn.Parameter]) -> None:
        """Step, and leave everything as it was if memory runs out before anything has moved.

        Raises:
            HalfMovedError: memory ran out later.
        """
        state = self.optimizer.state
        touched = [*parameters, *(value for own in state.values() for value in own.values() if torch.is_tensor(value))]
        versions = [tensor._version for tensor in touched]
        known = set(state)
        try:
            self.optimizer.step()
        except (RuntimeError, MemoryError) as error:
            reason = _out_of_memory(error)
            if self.ranks.world_size > 1 or versions != [tensor._version for tensor in touched]:
                raise HalfMovedError(
                    f"Memory ran out while the optimizer moved the weights ({reason}), so some have moved and others "
                    "have not. ssft resume goes on from the newest checkpoint; set train.accumulate higher."
                ) from error
            for parameter in set(state) - known:
                del state[parameter]
            raise

    def _parts(self, batches: Sequence[PairBatch]) -> list[PairBatch]:
        parts = list(batches)
        for _ in range(self.halvings):
            parts = [half for part in parts for half in part.halves()]
        return parts

    def _halve(self, parts: Sequence[PairBatch], reason: str) -> None:
        if max(self.ranks.exchange(max(map(len, parts), default=0))) <= 1:
            raise RunError(
                f"A single pair does not fit into memory ({reason}). Lower data.max_seconds, train fewer layers "
                "(encoder.trainable_layers), or set encoder.checkpoint_layers to true."
            )
        self.halvings += 1
        clear_device_cache()

    def _buffers(self) -> list[tuple[str, Tensor]]:
        parts = (("heads", self.model.heads), ("losses", self.model.losses))
        return [(f"{part}.{name}", buffer) for part, module in parts for name, buffer in module.named_buffers()]


def _out_of_memory(error: Exception) -> str:
    """Return in a line how memory ran out; raise the error again if it is another one."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or should_reduce_batch_size(error):
        return str(error).split(". ")[0] or type(error).__name__
    raise error
