"""Runs that are killed, at any instant or between two operations of a save, and go on."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

import ssft.engine.checkpoint
import ssft.seal
from ssft.engine import CheckpointFolder, CorrespondenceTrainer


@dataclass
class Crashes:
    """Kills one run after another until `kills` of them have hit, and checks what is left each time.

    Args:
        make_trainer: the trainer of the run, always the same.
        folder: where runs go.
        kills: how many kills in all.
        in_saves: how many of them between two operations on the disk of a save.
        seed: of the instants.
    """

    make_trainer: Callable[[], CorrespondenceTrainer]
    folder: Path
    kills: int
    in_saves: int
    seed: int = 0
    lost_steps: list[int] = field(default_factory=list)
    finished: int = 0
    hit_in_saves: int = 0

    def run(self) -> None:
        """Kill and resume until done; every run is brought to its end.

        Raises:
            AssertionError: something was lost.
        """
        rng = random.Random(self.seed)
        plans = ["save"] * self.in_saves + ["time"] * (self.kills - self.in_saves)
        rng.shuffle(plans)
        # How long a run takes, so that instants can be drawn from all of it.
        straight, run = self.folder / "straight", self.folder / "run"
        began = time.monotonic()
        self._fork(straight)
        seconds = time.monotonic() - began
        while plans or run.exists():
            plan = plans[-1] if plans else ""
            operations = rng.randrange(1, 40) if plan == "save" else 0
            if self._fork(run, plan, seconds=rng.uniform(0.0, seconds), operations=operations):
                self.hit_in_saves += plans.pop() == "save"
                self._check(run)
            else:
                self._compare(run, straight)
                self.finished += 1
                shutil.rmtree(run)

    def _fork(self, run: Path, plan: str = "", *, seconds: float = 0.0, operations: int = 0) -> bool:
        """Train in a child; return whether it was killed before it came to its end."""
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.setsid()
                os.close(reading)
                _report_operations(writing)
                resume = bool(CheckpointFolder(run / "checkpoints"))
                self.make_trainer().fit(run, resume=resume)
                code = 0
            finally:
                os._exit(code)
        os.close(writing)
        if plan == "time":
            time.sleep(seconds)
        while operations > 0 and (said := os.read(reading, operations)):  # nothing is said once the run has ended
            operations -= len(said)
        if plan:
            try:
                os.killpg(child, signal.SIGKILL)
            except ProcessLookupError:
                os.kill(child, signal.SIGKILL)  # it has not come to setsid yet
        _, status = os.waitpid(child, 0)
        os.close(reading)
        if os.WIFSIGNALED(status):
            return True
        assert os.WEXITSTATUS(status) == 0, f"the run in {run} failed"
        return False

    def _check(self, run: Path) -> None:
        metrics = run / "metrics.jsonl"
        lines = metrics.read_text().splitlines(keepends=True) if metrics.exists() else []
        made = max((json.loads(line)["step"] for line in lines if line.endswith("\n")), default=0)
        checkpoints = CheckpointFolder(run / "checkpoints")
        if not checkpoints:
            self.lost_steps.append(made)
            return
        checkpoint, warnings = checkpoints.load()
        assert not warnings, warnings
        self.lost_steps.append(made - checkpoint.progress["step"])

    @staticmethod
    def _compare(run: Path, straight: Path) -> None:
        found, expected = (CheckpointFolder(folder / "checkpoints").load()[0] for folder in (run, straight))
        for part in ("model", "optimizer"):
            own, other = getattr(found, part), getattr(expected, part)
            assert set(own) == set(other)
            assert all(torch.equal(own[name], other[name]) for name in other)
        losses = [
            [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
            for folder in (run, straight)
        ]
        assert losses[0] == losses[1]


def _report_operations(pipe: int) -> None:
    """Tell of every operation of a save on the disk before it is made, and wait a little, so that a kill can hit."""

    def reporting(call: Callable[..., object]) -> Callable[..., object]:
        def reported(*args: object, **how: object) -> object:
            os.write(pipe, b".")
            time.sleep(0.003)
            return call(*args, **how)

        return reported

    for owner, name in (
        (os, "fsync"),
        (os, "replace"),
        (os, "unlink"),
        (shutil, "rmtree"),
        (ssft.seal, "hash_file"),
        (ssft.engine.checkpoint, "save_file"),
    ):
        setattr(owner, name, reporting(getattr(owner, name)))
