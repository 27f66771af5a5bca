"""Killed at some instant, a run has lost at most one save interval, and ends as if it had not been killed.

`benchmarks/crash.py` is the long form.
"""

from __future__ import annotations

import os

import pytest
from crashing import Crashes
from random_encoders import random_encoder

from ssft.augment import SpeedPerturb
from ssft.data import Data, PairDataset
from ssft.encoders import SplitEncoder
from ssft.engine import CorrespondenceTrainer, Train
from ssft.heads import Projection
from ssft.losses import SoftDTW


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(("keep", "workers"), [(1, 0), (2, 1)])
def test_kills_lose_at_most_a_save_interval(recordings, tmp_path, keep, workers):
    utterances = Data(str(recordings), verify="header").load().utterances

    def make_trainer():
        return CorrespondenceTrainer(
            encoder=SplitEncoder(random_encoder("hubert", "group", dropout=0.1), 2),
            head=Projection(8),
            loss=SoftDTW(),
            pairs=PairDataset(utterances, augment=SpeedPerturb(), swap=0.5, max_seconds=0.5),
            train=Train(steps=9, batch_seconds=1.5, lr=1e-3, save_every=3, keep=keep, select="min:loss"),
            workers=workers,
        )

    crashes = Crashes(make_trainer, tmp_path, kills=4, in_saves=2, seed=keep)
    crashes.run()
    assert len(crashes.lost_steps) == 4
    assert crashes.hit_in_saves == 2
    assert max(crashes.lost_steps) <= 3
    assert crashes.finished >= 1
