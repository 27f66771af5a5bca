"""How far a run has come."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ssft.data import Position


@dataclass
class RunState:
    """What a checkpoint holds beside tensors.

    Attributes:
        step: optimizer steps made.
        position: what to read next.
        seconds: audio heard, original only.
        loss: of the last step.
        discarded: steps in a row that were thrown away.
        halvings: how often micro-batches are halved, since memory ran out.
        changes: what was changed on purpose when the run was resumed.

    Example:
        >>> RunState.of(RunState(step=7).describe()).step
        7
    """

    step: int = 0
    position: Position = field(default_factory=lambda: Position(0, 0))
    seconds: float = 0.0
    loss: float = math.nan
    discarded: int = 0
    halvings: int = 0
    changes: list[str] = field(default_factory=list)

    def describe(self) -> dict[str, Any]:
        """Return it as what JSON can hold."""
        return {**asdict(self), "position": list(self.position)}

    def farewell(self, steps: int, folder: Path) -> str:
        """Say where a run of so many steps was stopped, and how it goes on."""
        if not self.step:
            return f"Stopped before the first step of {steps}; there is nothing to resume yet."
        return f"Stopped at step {self.step} of {steps} and saved. Continue with: ssft resume {folder}"

    @staticmethod
    def of(description: Mapping[str, Any]) -> RunState:
        """Return the state that was described; what an older version did not write is as at the beginning."""
        known = {part.name for part in fields(RunState)}
        found = {name: value for name, value in description.items() if name in known}
        return RunState(**{**found, "position": Position(*description["position"])})
