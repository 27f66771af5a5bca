"""What a run tells while it goes: speed and time left that are right, and trackers that nobody gets unasked."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import PartialState
from accelerate.tracking import LOGGER_TYPE_TO_CLASS

from ssft.engine import trackers
from ssft.engine.settings import TRACKERS
from ssft.engine.trackers import Trackers, refuse_missing_trackers
from ssft.engine.tracking import Progress
from ssft.errors import RecipeError

SETTINGS = {
    "train": {"lr": 2e-5, "steps": 100, "betas": [0.9, 0.999], "anchor": None},
    "loss": {"name": "weighted", "weights": {"spin+labels": 5.0}},
}
RECORD = {"step": 3, "epoch": 0, "loss": 0.5, "spin+labels.accuracy": 0.25, "what": "text", "is_it": True}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("ssft.engine.tracking.time.monotonic", clock)
    return clock


def advance(progress: Progress, clock: Clock, *, steps: int, took: float, seconds: float) -> None:
    for _ in range(steps):
        clock.now += took
        progress.advance(seconds, 0.5)


def lines(stream: io.StringIO) -> list[str]:
    return stream.getvalue().splitlines()


def test_progress_after_resume_counts_on_and_tells_the_speed_of_this_process(clock: Clock) -> None:
    stream = io.StringIO()
    progress = Progress(1000, done=500, hours=2.0, stream=stream)
    advance(progress, clock, steps=1, took=300, seconds=36)  # what was kept in a cache is encoded again
    advance(progress, clock, steps=9, took=2, seconds=36)
    advance(progress, clock, steps=1, took=2, seconds=36)
    assert progress.audio_per_second == pytest.approx(18)
    assert progress.hours == pytest.approx(2.11)
    assert lines(stream)[-1] == "step 511/1000: loss 0.5000, 2.11 h of audio at 18x real time, 16:18 left"


def test_progress_follows_a_machine_that_becomes_slower(clock: Clock) -> None:
    stream = io.StringIO()
    progress = Progress(10_000, stream=stream)
    advance(progress, clock, steps=5000, took=1, seconds=50)
    advance(progress, clock, steps=200, took=10, seconds=50)
    assert progress.audio_per_second == pytest.approx(5)
    assert lines(stream)[-1].endswith("at 5x real time, 13:20:00 left")


def test_progress_writes_a_line_every_ten_seconds_and_at_the_end(clock: Clock) -> None:
    stream = io.StringIO()
    progress = Progress(25, stream=stream)
    advance(progress, clock, steps=25, took=1, seconds=7)
    assert [line.split(":")[0] for line in lines(stream)] == ["step 10/25", "step 20/25", "step 25/25"]
    assert lines(stream)[-1].endswith("0:00 left")


def test_progress_of_a_single_step_and_of_no_time_at_all_divides_by_nothing(clock: Clock) -> None:
    progress = Progress(1, stream=io.StringIO())
    assert progress.audio_per_second == 0
    progress.advance(5.0, 0.1)
    assert progress.audio_per_second > 0


def test_progress_tells_rejects_and_memory(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 3 * 2**29)
    stream = io.StringIO()
    progress = Progress(1, stream=stream)
    progress.rejected = 1234
    advance(progress, clock, steps=1, took=2, seconds=2)
    assert "at 1x real time, 1,234 rejected, 1.5 GiB of GPU memory, 0:00 left" in stream.getvalue()


def test_bar_on_a_terminal_begins_where_the_run_does() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    progress = Progress(10, done=4, hours=1.0, stream=stream)
    progress.advance(360.0, 0.25, fallbacks=2)
    progress.say("something else")
    progress.close()
    assert " 5/10 " in stream.getvalue()
    assert "loss 0.2500, 1.10 h of audio" in stream.getvalue()
    assert "something else" in stream.getvalue()
    assert "2 augmentations fell back" in stream.getvalue()


class Fake:
    """A tracker of accelerate's shape that fails where it is told to."""

    made: list[Fake]
    fails: set[str]

    def __init__(self, project: str, *places: Any, **settings: Any) -> None:
        self.init_kwargs = settings
        self.calls: list[tuple[Any, ...]] = []
        type(self).made.append(self)

    def _called(self, name: str, *arguments: Any) -> None:
        self.calls.append((name, *arguments))
        if name in self.fails:
            raise ConnectionError("no route to host\nmore of it")

    def start(self) -> None:
        self._called("start")

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self._called("settings", values)

    def log(self, values: dict[str, Any], step: int) -> None:
        self._called("log", values, step)

    def finish(self) -> None:
        self._called("finish")


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, type[Fake]]]:
    """Put a fake in the place of every tracker that is named; `fails` says where it fails."""

    def install(**fails: set[str]) -> dict[str, type[Fake]]:
        kinds = {name: type(name, (Fake,), {"made": [], "fails": where}) for name, where in fails.items()}
        for name, kind in kinds.items():
            monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, name, kind)
        monkeypatch.setattr(trackers, "get_available_trackers", lambda: list(kinds))
        return kinds

    return install


def test_trackers_get_settings_flat_numbers_only_and_an_end(tmp_path: Path, fakes: Any) -> None:
    kinds = fakes(wandb=set(), tensorboard=set())
    with_two = Trackers(("wandb", "tensorboard"), folder=tmp_path, settings=SETTINGS)
    with_two.log(RECORD, step=3)
    with_two.close()
    flat = {
        "train.lr": 2e-5,
        "train.steps": 100,
        "train.betas": "[0.9, 0.999]",
        "train.anchor": "null",
        "loss.name": "weighted",
        "loss.weights.spin_labels": 5.0,
    }
    numbers = {"epoch": 0, "loss": 0.5, "spin_labels.accuracy": 0.25}
    for kind in kinds.values():
        assert kind.made[0].calls == [("start",), ("settings", flat), ("log", numbers, 3), ("finish",)]


@pytest.mark.parametrize("where", ["start", "settings", "log", "finish"])
def test_a_tracker_that_fails_is_said_once_and_left_out(tmp_path: Path, fakes: Any, where: str) -> None:
    kinds, said = fakes(wandb={where}, tensorboard=set()), []
    both = Trackers(("wandb", "tensorboard"), folder=tmp_path, settings=SETTINGS, say=said.append)
    for step in (1, 2, 3):
        both.log(RECORD, step=step)
    both.close()
    assert said == ["warning: wandb failed (no route to host) and gets nothing more; metrics.jsonl has everything"]
    assert [name for name, *_ in kinds["wandb"].made[0].calls].count(where) == 1
    assert [name for name, *_ in kinds["tensorboard"].made[0].calls] == ["start", "settings", *["log"] * 3, "finish"]


def test_a_failure_without_a_message_is_said_by_its_name(tmp_path: Path, fakes: Any, capsys: Any) -> None:
    kinds = fakes(wandb=set())
    kinds["wandb"].start = lambda self: (_ for _ in ()).throw(TimeoutError)
    Trackers(("wandb",), folder=tmp_path, settings={})
    assert "wandb failed (TimeoutError)" in capsys.readouterr().err


def test_a_resumed_run_goes_on_where_its_service_knows_it(tmp_path: Path, fakes: Any) -> None:
    kinds = fakes(wandb=set(), trackio=set(), tensorboard=set())
    folders = [tmp_path / "a run", tmp_path / "other" / "a run"]
    for folder, done in ((folders[0], 0), (folders[0], 40), (folders[1], 0)):
        Trackers(tuple(kinds), folder=folder, settings=SETTINGS, done=done)
    for name in ("wandb", "trackio"):
        first, resumed, other = kinds[name].made
        assert first.init_kwargs["name"].startswith("a-run-")
        assert resumed.init_kwargs["name"] == first.init_kwargs["name"] != other.init_kwargs["name"]
        assert resumed.init_kwargs["resume"] == "allow"
        assert [call[0] for call in resumed.calls] == ["start"]
    assert [made.init_kwargs["purge_step"] for made in kinds["tensorboard"].made] == [1, 41, 1]
    assert set(json.loads((folders[0] / "tracking" / "runs.json").read_text())) == {"wandb", "trackio"}


def test_a_tracker_that_is_not_installed_is_refused_with_the_command(tmp_path: Path, fakes: Any) -> None:
    fakes(tensorboard=set())
    with pytest.raises(RecipeError, match=r"wandb and mlflow are not installed\. Use: pip install wandb mlflow"):
        Trackers(("wandb", "tensorboard", "mlflow"), folder=tmp_path, settings={})
    refuse_missing_trackers(("tensorboard",))
    assert not list(tmp_path.iterdir())


def test_every_tracker_of_the_settings_is_one_that_accelerate_has() -> None:
    assert set(TRACKERS) <= set(LOGGER_TYPE_TO_CLASS)


def test_a_run_that_asks_for_none_imports_none_though_all_are_there(tmp_path: Path, recordings: Path) -> None:
    """Installed packages by the names of trackers, which tell when they are imported."""
    for name in (*TRACKERS, "comet_ml", "aim", "swanlab"):
        package = tmp_path / "site" / name
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(f"print('imported', {name!r}, flush=True)\n")
        about = tmp_path / "site" / f"{name}-99.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 99.0\n")
    settings = {"data.root": recordings, "train.steps": 1, "train.batch_seconds": 3, "train.warmup_steps": 0}
    arguments = [f"--{name}={value}" for name, value in settings.items()]
    code = (
        "import sys\nfrom ssft.cli.main import main\nfrom accelerate.tracking import get_available_trackers as there\n"
    )
    code += "print('there', *there())\nsys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, "train", "score_tiny", "--out", str(tmp_path / "run"), *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), *sys.path])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (there,) = (line for line in done.stdout.splitlines() if line.startswith("there"))
    assert set(TRACKERS) <= set(there.split())
    assert "imported" not in done.stdout
    assert (tmp_path / "run" / "metrics.jsonl").is_file()
    assert not (tmp_path / "run" / "tracking").exists()


def test_tensorboard_shows_a_run_and_goes_on_after_resume(tmp_path: Path) -> None:
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="tensorboard is not installed"
    )
    PartialState()
    # Steps 3 and 4 were made after the newest checkpoint, and are made again.
    for done, last in ((0, 4), (2, 6)):
        board = Trackers(("tensorboard",), folder=tmp_path, settings=SETTINGS, done=done)
        for step in range(done + 1, last + 1):
            board.log({**RECORD, "step": step, "loss": 10 * done + step}, step=step)
        board.close()
    events = accumulator.EventAccumulator(str(tmp_path / "tracking" / "tensorboard"))
    events.Reload()
    assert sorted(events.Tags()["scalars"]) == ["epoch", "loss", "spin_labels.accuracy"]
    shown = [(event.step, event.value) for event in events.Scalars("loss")]
    assert shown == [(1, 1.0), (2, 2.0), (3, 23.0), (4, 24.0), (5, 25.0), (6, 26.0)]
    assert list((tmp_path / "tracking" / "tensorboard").rglob("hparams.yml"))
