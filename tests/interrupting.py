"""Runs that are broken off, to be resumed."""

from __future__ import annotations

from typing import Any

from ssft.engine import CorrespondenceTrainer


def interrupt_at(trainer: CorrespondenceTrainer, step: int) -> None:
    """Let the trainer be interrupted where it would make this step, counted from 0."""
    make = trainer.make_step._attempt

    def until(parts: Any, number: int, *, watch: bool) -> Any:
        if number == step:
            raise KeyboardInterrupt
        return make(parts, number, watch=watch)

    trainer.make_step._attempt = until
