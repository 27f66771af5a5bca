"""Kills and stops, many of them: what they cost, and whether what goes on is bit for bit what was not disturbed.

    OMP_NUM_THREADS=1 python benchmarks/crash.py kills --kills 100 --in-saves 40
    OMP_NUM_THREADS=1 python benchmarks/crash.py stops --stops 20

Prints Markdown tables. The short form is in tests/e2e/test_crash.py and tests/unit/test_engine.py.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import soundfile
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from crashing import Crashes
from interrupting import interrupt_at
from random_encoders import random_encoder

from ssft.augment import SpeedPerturb
from ssft.data import Data, PairDataset
from ssft.encoders import SplitEncoder
from ssft.engine import CheckpointFolder, CorrespondenceTrainer, Train
from ssft.heads import Projection
from ssft.losses import SoftDTW

STEPS, SAVE_EVERY = 12, 3


def trainer_maker(audio: Path, *, workers: int = 0, **train: object) -> Callable[[], CorrespondenceTrainer]:
    utterances = Data(str(audio), verify="header").load().utterances
    settings = {"steps": STEPS, "batch_seconds": 4.0, "lr": 1e-3, "save_every": SAVE_EVERY, "keep": 1, **train}

    def make() -> CorrespondenceTrainer:
        return CorrespondenceTrainer(
            encoder=SplitEncoder(random_encoder("hubert", "group", dropout=0.1), 2),
            head=Projection(8),
            loss=SoftDTW(),
            pairs=PairDataset(utterances, augment=SpeedPerturb(), swap=0.5, max_seconds=1.0),
            train=Train(**settings),
            workers=workers,
        )

    return make


def kills(audio: Path, folder: Path, options: argparse.Namespace) -> None:
    """Kill with signal 9, at random instants and between the operations of a save; `keep` is 1."""
    crashes = Crashes(
        trainer_maker(audio, select="min:loss"), folder, kills=options.kills, in_saves=options.in_saves, seed=0
    )
    crashes.run()
    counts = Counter(crashes.lost_steps)
    print("| kills | in a save | resumed | runs brought to their end, bit-equal | steps lost: kills |")
    print("|---|---|---|---|---|")
    lost = ", ".join(f"{steps}: {count}" for steps, count in sorted(counts.items()))
    print(f"| {options.kills} | {crashes.hit_in_saves} | {len(crashes.lost_steps)} | {crashes.finished} | {lost} |")
    print(f"\nA save interval is {SAVE_EVERY} steps; the worst kill lost {max(counts)}.")


def stops(audio: Path, folder: Path, options: argparse.Namespace) -> None:
    """Break off at random steps, under every number of workers and micro-batches, and compare what comes of it."""
    rng = random.Random(0)
    cases = [(workers, accumulate) for workers in (0, 2, 4) for accumulate in (1, 4)]
    straight: dict[int, tuple[list[float], dict[str, torch.Tensor]]] = {}
    print(
        "| workers | micro-batches | stopped before step (saved every) | losses and weights equal |\n|---|---|---|---|"
    )
    points: dict[tuple[int, int], list[str]] = {case: [] for case in cases}
    equal: dict[tuple[int, int], int] = dict.fromkeys(cases, 0)
    for number in range(options.stops):
        workers, accumulate = case = cases[number % len(cases)]
        if accumulate not in straight:
            trainer_maker(audio, accumulate=accumulate)().fit(folder / f"straight {accumulate}")
            straight[accumulate] = outcome(folder / f"straight {accumulate}")
        stop, save_every = rng.randrange(1, STEPS), rng.randrange(1, 5)
        make = trainer_maker(audio, workers=workers, accumulate=accumulate, save_every=save_every)
        run = folder / f"run {number}"
        first = make()
        interrupt_at(first, stop)
        with suppress(KeyboardInterrupt):
            first.fit(run)
        make().fit(run, resume=bool(CheckpointFolder(run / "checkpoints")))
        losses, weights = outcome(run)
        expected = straight[accumulate]
        same = losses == expected[0] and all(weights[name].equal(tensor) for name, tensor in expected[1].items())
        equal[case] += same
        points[case].append(f"{stop + 1} ({save_every})")
    for case in cases:
        print(f"| {case[0]} | {case[1]} | {', '.join(points[case])} | {equal[case]} of {len(points[case])} |")


def outcome(run: Path) -> tuple[list[float], dict[str, torch.Tensor]]:
    losses = [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    checkpoint, _ = CheckpointFolder(run / "checkpoints").load()
    return losses, {**checkpoint.model, **checkpoint.optimizer}


def record(folder: Path) -> Path:
    """Sixteen short recordings with a melody each."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(16):
        time = np.arange(int(16_000 * rng.uniform(0.5, 1.6))) / 16_000
        phase = 2 * np.pi * np.cumsum(rng.uniform(90, 250) * (1 + 0.2 * np.sin(2 * np.pi * 3 * time))) / 16_000
        wave = 0.1 * sum(np.sin(k * phase) / k for k in range(1, 12)) + 0.003 * rng.standard_normal(len(time))
        soundfile.write(folder / f"{number:02d}.wav", wave, 16_000)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["kills", "stops"])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--in-saves", type=int, default=40)
    parser.add_argument("--stops", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        {"kills": kills, "stops": stops}[options.what](record(folder / "audio"), folder, options)


if __name__ == "__main__":
    main()
