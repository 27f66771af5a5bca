"""What each of several processes does in test_processes.py: `train_together.py CASE FOLDER RECORDINGS`."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import torch
from interrupting import interrupt_at
from random_encoders import random_encoder

from ssft.augment import SpeedPerturb
from ssft.data import Data, PairDataset
from ssft.encoders import SplitEncoder
from ssft.engine import CorrespondenceTrainer, Train
from ssft.errors import SsftError
from ssft.heads import Projection
from ssft.losses import SoftDTW, SwappedPrediction, VICReg


class PoisonedInOne(SoftDTW):
    """Not a number in the second step of the last process."""

    calls = 0

    def compare(self, student, reference, targets):
        output = super().compare(student, reference, targets)
        self.calls += 1
        is_last = os.environ.get("RANK", "0") == str(int(os.environ.get("WORLD_SIZE", "1")) - 1)
        return type(output)(output.loss * torch.nan, output.weight) if is_last and self.calls == 2 else output


SIGNALS = {"signal": signal.SIGUSR1, "killed": signal.SIGKILL}
LOSSES = {"soft_dtw": SoftDTW, "spin": lambda: SwappedPrediction(8, queue_frames=100), "vicreg": VICReg}


def make_trainer(recordings: Path, loss, **train) -> CorrespondenceTrainer:
    settings = {"steps": 6, "batch_seconds": 4.0, "lr": 1e-3, "save_every": 3, **train}
    utterances = Data(str(recordings), verify="header").load().utterances
    return CorrespondenceTrainer(
        encoder=SplitEncoder(random_encoder("hubert", "group", dropout=0.0), 2),
        head=Projection(8),
        loss=loss,
        pairs=PairDataset(utterances, augment=None if loss.needs_same_length else SpeedPerturb(), swap=0.5),
        train=Train(**settings),
    )


def run(case: str, folder: Path, recordings: Path) -> None:
    if case in LOSSES:
        make_trainer(recordings, LOSSES[case]()).fit(folder)
        if folder.name == "both":  # half a run, to be continued by another number of processes
            half = make_trainer(recordings, LOSSES[case]())
            interrupt_at(half, 4)
            with suppress(KeyboardInterrupt):
                half.fit(folder.with_name("half"))
    elif case.startswith("empty "):
        make_trainer(folder.parents[1] / "silence", LOSSES[case[6:]](), batch_seconds=2.0).fit(folder)
    elif case == "continued":
        make_trainer(recordings, SoftDTW()).fit(folder, resume=True)
    elif case == "poisoned":
        make_trainer(recordings, PoisonedInOne(), steps=4).fit(folder)
    elif case in SIGNALS:
        trainer = make_trainer(recordings, SoftDTW(), steps=1000)
        make = trainer.make_step._attempt

        def attempt(parts, step, *, watch):
            if step == 4 and trainer.ranks.rank == 1:
                os.kill(os.getpid(), SIGNALS[case])
            return make(parts, step, watch=watch)

        trainer.make_step._attempt = attempt
        trainer.fit(folder)


if __name__ == "__main__":
    torch.set_num_threads(1)
    *cases, root, recordings = sys.argv[1:]
    rank = os.environ.get("RANK", "0")
    for case in cases:
        folder = Path(root) / case
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / ("both" if "RANK" in os.environ else "one")
        try:
            run(case, target, Path(recordings))
        except SsftError as error:
            (folder / f"error {rank}.txt").write_text(str(error))
