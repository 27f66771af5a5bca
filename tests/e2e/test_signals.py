"""A signal to stop is obeyed in every phase, within a step and a save, and what was reached goes on."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from ssft.cli.main import main
from ssft.data import corpus
from ssft.engine import cache, checkpoint, interrupt, step, validation

SETTINGS = [
    *("--train.steps", "4", "--train.batch_seconds", "4", "--train.warmup_steps", "0", "--train.save_every", "2"),
    *("--train.cache_variants", "2", "--data.workers", "0", "--train.select", "label_free"),
]
HOWS = [signal.SIGTERM, signal.SIGINT, *([signal.SIGUSR1] if hasattr(signal, "SIGUSR1") else [])]
PHASES = {
    "scanning": (corpus.Data, "load"),
    "filling the cache": (cache.CachedPairs, "encode"),
    "stepping": (step.OptimizerStep, "_attempt"),
    "saving": (checkpoint.CheckpointFolder, "save"),
    "measuring": (validation.Validation, "measure"),
}


@pytest.fixture(scope="module")
def straight(recordings, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("straight") / "run"
    assert main(["train", "score_tiny", "--data.root", str(recordings), "--out", str(folder), *SETTINGS]) == 0
    return folder


def lines(path: Path, *, without: str = "audio_per_second") -> list[dict]:
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != without} for line in found]


@pytest.mark.parametrize("how", HOWS, ids=lambda how: how.name)
@pytest.mark.parametrize("phase", PHASES)
def test_a_signal_in_any_phase(recordings, straight, tmp_path, capsys, phase, how):
    owner, name = PHASES[phase]
    original, calls = getattr(owner, name), iter(range(1000))
    when = 0 if phase in ("scanning", "filling the cache", "saving") else 1

    def interrupted(*args, **settings):
        if next(calls) == when:
            os.kill(os.getpid(), how)
        return original(*args, **settings)

    run = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, interrupted)
        code = main(["train", "score_tiny", "--data.root", str(recordings), "--out", str(run), *SETTINGS])
    message = capsys.readouterr().err
    assert code == 128 + how
    assert "Traceback" not in message
    reached = {"scanning": 0, "filling the cache": 0, "stepping": 2, "saving": 2, "measuring": 2}[phase]
    if phase == "measuring":
        reached = 4  # the second of its measurements; the first belongs to step 2
    saved = sorted(path.name for path in run.glob("checkpoints/step-*"))
    if not reached:
        assert "nothing to resume yet" in message
        assert not saved
        assert main(["train", "score_tiny", "--data.root", str(recordings), "--out", str(run), *SETTINGS]) == 0
    else:
        assert f"ssft resume {run}" in message
        assert saved[-1] == f"step-{reached:06d}"
        assert main(["resume", str(run)]) == 0
    for file in ("metrics.jsonl", "validation.jsonl"):
        assert lines(run / file) == lines(straight / file)


def test_a_second_interrupt_stops_at_once():
    flag = interrupt.InterruptFlag(lambda: "Stopped.")
    with flag:
        os.kill(os.getpid(), signal.SIGINT)
        assert flag.received == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_handlers_are_as_before_also_when_nested():
    before = [signal.getsignal(number) for number in interrupt.STOP_SIGNALS]
    with interrupt.InterruptFlag(lambda: "outer", noting=False), interrupt.InterruptFlag(lambda: "inner") as inner:
        os.kill(os.getpid(), signal.SIGTERM)
        assert inner.received == signal.SIGTERM
        with pytest.raises(interrupt.InterruptedRunError, match="inner") as caught, inner.at_once():
            pass
        assert caught.value.exit_code == 143
    assert [signal.getsignal(number) for number in interrupt.STOP_SIGNALS] == before


@pytest.mark.parametrize("how", HOWS, ids=lambda how: how.name)
def test_a_signal_while_exporting_leaves_the_run_whole(straight, tmp_path, capsys, monkeypatch, how):
    from ssft import run_export

    write = run_export.export_encoder

    def interrupted(*args, **settings):
        os.kill(os.getpid(), how)
        return write(*args, **settings)

    monkeypatch.setattr(run_export, "export_encoder", interrupted)
    assert main(["export", str(straight), "--to", str(tmp_path / "out")]) == 128 + how
    assert f"ssft export {straight}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(run_export, "export_encoder", write)
    assert main(["export", str(straight), "--to", str(tmp_path / "out")]) == 0
