"""Runs that are broken off, to be resumed."""

from __future__ import annotations

from typing import Any

from ssft.engine import CorrespondenceTrainer


def interrupt_at(trainer: CorrespondenceTrainer, step: int) -> None:
    """Let the trainer be interrupted where it would make this step, counted from 0."""
    make = trainer._step

    def until(batches: Any, number: int) -> Any:
        if number == step:
            raise KeyboardInterrupt
        return make(batches, number)

    trainer._step = until
