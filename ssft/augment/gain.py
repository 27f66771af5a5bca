"""Gain: louder or softer, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ssft.augment.base import BatchTransform, Parameters
from ssft.errors import RecipeError
from ssft.types import Waves


class Gain(BatchTransform):
    """Makes a waveform louder or softer by a gain drawn uniformly in dB.

    y = x * 10^(gain_db / 20). [T] stays [T]. The result is not clipped: samples are floats, and a clipped one would be
    distorted as well as louder.

    Args:
        min_gain_db: the lowest gain, in dB; below 0 is softer.
        max_gain_db: the highest, in dB.

    Relations:
        Encoders hardly hear a level: their first layers normalise it. Use it for one that does, or before a step that
        depends on the level, such as `Codec`.

    Example:
        >>> Gain(min_gain_db=6.0, max_gain_db=6.0)(np.full(2, 0.1, np.float32), rng).round(3).tolist()
        [0.2, 0.2]
    """

    def __init__(self, min_gain_db: float = -12.0, max_gain_db: float = 6.0) -> None:
        if not -60 <= min_gain_db <= max_gain_db <= 60:
            raise RecipeError(
                f"Gain(min_gain_db={min_gain_db}, max_gain_db={max_gain_db}): give the lower one first, both between "
                "-60 and 60 dB."
            )
        self.min_gain_db = min_gain_db
        self.max_gain_db = max_gain_db

    def draw(self, rng: np.random.Generator, wave: np.ndarray) -> Parameters:
        return {"gain_db": float(rng.uniform(self.min_gain_db, self.max_gain_db))}

    def apply_batch(self, waves: Waves, parameters: Sequence[Parameters]) -> Waves:
        factors = waves.samples.new_tensor([10 ** (drawn["gain_db"] / 20) for drawn in parameters])
        return Waves((waves.samples * factors[:, None]).masked_fill(~waves.mask, 0), waves.lengths)
