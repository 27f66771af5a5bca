"""`ErrorRate`: how many of the phones, letters or words that were spoken are not what was recognised."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ssft.evaluation.error_counts import count_errors
from ssft.evaluation.measure import Floats
from ssft.evaluation.probe.recognition import Said


@dataclass(frozen=True)
class ErrorRate:
    """One way to count errors.

    Args:
        name: `PER`, `CER` or `WER`.
        unit: what is counted, in the plural.
        units_of: from the symbols of a probe to what is counted.
    """

    name: str
    unit: str
    units_of: Callable[[Sequence[str]], Sequence[str]]

    def count(self, references: Said, recognised: Said) -> tuple[Floats, Floats]:
        """Return the errors and the units of every reference, [N] and [N]."""
        said = [self.units_of(symbols) for symbols in references.values()]
        errors = count_errors(said, [self.units_of(recognised[name]) for name in references])
        return errors.astype(np.float64), np.array([len(units) for units in said], dtype=np.float64)

    def overall(self, references: Said, recognised: Said) -> float:
        """Return all errors over all units."""
        errors, units = self.count(references, recognised)
        return float(errors.sum() / units.sum())
