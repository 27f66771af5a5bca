"""The processes of one run: which of them this is, and how they agree."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object, parse_flag_from_env
from torch import Tensor

from ssft.errors import RunError, SsftError

T = TypeVar("T")

# Decoding a large corpus takes the first process longer than the ten minutes after which NCCL gives up.
_TIMEOUT = timedelta(hours=6)


class Ranks:
    """This process among those that train together; alone if nobody else was started.

    `accelerate launch` and `torchrun` start several. Gradients are added up by one `sum` per step instead of by
    wrapping the model, so processes may have different numbers of micro-batches, or none, and nothing of the model is
    renamed.

    Args:
        expected: how many processes there must be; None takes what there is.

    Attributes:
        rank: number of this process, from 0.
        world_size: how many there are.

    Raises:
        RunError: there are more or fewer than expected.

    Example:
        >>> ranks = Ranks()
        >>> ranks.exchange({"seconds": 12.5})  # one process
        [{'seconds': 12.5}]
    """

    def __init__(self, *, expected: int | None = None) -> None:
        try:
            # Without a word that the CPU is meant, accelerate starts one process where there is no GPU.
            cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()
            self.state = PartialState() if PartialState._shared_state else PartialState(cpu, timeout=_TIMEOUT)
        except (RuntimeError, ValueError) as error:
            raise RunError(f"The processes of this run cannot reach each other: {error}") from error
        self.rank = int(self.state.process_index)
        self.world_size = int(self.state.num_processes)
        if expected is not None and expected != self.world_size:
            raise RunError(
                f"train.processes={expected}, but {self.world_size} {'was' if self.world_size == 1 else 'were'} "
                f"started. Use: torchrun --nproc_per_node {expected} -m ssft train ..."
            )

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        device: torch.device = self.state.device
        return device

    def exchange(self, item: T) -> list[T]:
        """Return everybody's item, in the order of ranks; all processes must call it equally often."""
        if self.world_size == 1:
            return [item]
        items: list[T] = self._together(lambda: gather_object([item]))
        return items

    def sum(self, values: Tensor) -> Tensor:
        """Add up a tensor over all processes, in place."""
        if self.world_size > 1:
            self._together(lambda: torch.distributed.all_reduce(values))
        return values

    def on_main(self, work: Callable[[], T]) -> T:
        """Let the main process work while the others wait; all get its result, or its error.

        Raises:
            SsftError: what the work raised.
        """
        if self.world_size == 1:
            return work()
        told: list[Any] = [None, None]
        if self.is_main:
            try:
                told[0] = work()
            except SsftError as error:
                told[1] = error
        self._together(lambda: broadcast_object_list(told))
        if isinstance(problem := told[1], SsftError):
            problem.is_said_elsewhere = not self.is_main
            raise problem
        result: T = told[0]
        return result

    def say(self, text: str) -> None:
        """Print a line once, to standard error."""
        if self.is_main:
            print(text, file=sys.stderr, flush=True)

    def _together(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except (RuntimeError, ValueError) as error:  # torch.distributed raises both when somebody has gone
            raise RunError(
                f"Process {self.rank} of {self.world_size} lost the others: one of them has ended, and its own message "
                "says why. ssft resume goes on from the newest checkpoint."
            ) from error
