"""Praat as a back end: it moves what it should, comes back whatever happens to it, and leaves no process behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
import voices
from torch.utils.data import DataLoader
from voices import RATE, VOWELS, measured_formants

from ssft.augment import praat
from ssft.augment.praat import PROBLEMS, change_gender, ensure_praat
from ssft.errors import RecipeError

parselmouth = pytest.importorskip("parselmouth", reason="praat-parselmouth is not installed")

ROOT = Path(praat.__file__).parents[2]
SAME = {"formant_ratio": 1.0, "pitch_ratio": 1.0, "range_ratio": 1.0}
BOUNDS = {"min_pitch_hz": 75.0, "max_pitch_hz": 400.0, "sample_rate": RATE, "timeout_seconds": 20.0}
NEVER_ENDS = {"formant_ratio": 0.8, "pitch_ratio": 0.5, "range_ratio": 4.0}


melody = partial(voices.melody, turns_per_second=1.0)
voice = partial(voices.voice, formants=VOWELS["a"])


def half_voiced():
    """A vowel, then noise, where Praat draws random numbers."""
    noise = 0.05 * np.random.default_rng(0).standard_normal(RATE // 2)
    return np.r_[voice(melody(150, 0.7)), noise].astype(np.float32)


def measured_hz(wave, low, high):
    """The pitch at every 20 ms: the lag of the highest autocorrelation of 60 ms, which needs no Praat."""
    lags = np.arange(int(RATE / high), int(RATE / low))
    hz = []
    for start in range(0, len(wave) - 960 - lags[-1], 320):
        part = wave[start : start + 960].astype(np.float64)
        others = np.lib.stride_tricks.sliding_window_view(wave[start : start + 960 + lags[-1]], 960)[lags]
        likeness = others @ part / np.sqrt((others**2).sum(axis=1) * (part @ part) + 1e-12)
        hz.append(RATE / lags[likeness.argmax()])
    return np.array(hz)


def alive(pid):
    """Whether a process runs; a zombie does not."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
    return bool(state) and not state.startswith("Z")


def gone_soon(pid, seconds=10.0):
    end = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.02)
    return not alive(pid)


def praat_pid():
    process = praat._praats[os.getpid()]._process
    return process and process.pid


# ------------------------------------------------------------------------------------------------ what is changed


@pytest.mark.parametrize("pitch_ratio", [0.55, 1.0, 1.8])
@pytest.mark.parametrize("formant_ratio", [0.75, 1.0, 1.35])
def test_pitch_and_formants_move_by_their_own_ratios(pitch_ratio, formant_ratio):
    wave = voice(melody(130, seconds=2.0, depth=0.3, turns_per_second=0.5))  # harmonics that stay hide the formants
    ratios = {"formant_ratio": formant_ratio, "pitch_ratio": pitch_ratio, "range_ratio": 1.0}
    changed = change_gender(wave, **ratios, **BOUNDS)
    assert changed.shape == wave.shape
    assert changed.dtype == np.float32
    before, after = measured_hz(wave, 85, 200), measured_hz(changed, 85 * pitch_ratio, 200 * pitch_ratio)
    assert np.median(after) / np.median(before) == pytest.approx(pitch_ratio, rel=0.02)
    assert measured_formants(wave) == pytest.approx(VOWELS["a"], rel=0.06)
    assert measured_formants(changed, formant_ratio) / VOWELS["a"] == pytest.approx(formant_ratio, rel=0.08)


@pytest.mark.parametrize("range_ratio", [0.6, 1.5])
def test_the_range_moves_about_the_median(range_ratio):
    hz = melody(150, seconds=2.0)
    ratios = {"formant_ratio": 1.1, "pitch_ratio": 1.2, "range_ratio": range_ratio}
    after = measured_hz(change_gender(voice(hz), **ratios, **BOUNDS), 100, 300)
    assert np.median(after) == pytest.approx(180, rel=0.02)
    assert np.ptp(np.percentile(after, [5, 95])) == pytest.approx(
        1.2 * range_ratio * np.ptp(np.percentile(hz, [5, 95])), rel=0.1
    )


def test_real_voices_move_by_the_ratio_asked_for(shared_speech):
    files = sorted((shared_speech / "librivox_bits" / "audio").rglob("*.opus"))[::5]
    assert len(files) >= 3
    for number, path in enumerate(files):
        wave = soundfile.read(path, dtype="float32")[0][: 6 * RATE]
        pitch_ratio, formant_ratio = (0.7, 1.2) if number % 2 else (1.5, 0.85)
        ratios = {"formant_ratio": formant_ratio, "pitch_ratio": pitch_ratio, "range_ratio": 1.0}
        changed = change_gender(wave, **ratios, **BOUNDS)
        assert changed.shape == wave.shape

        def median_hz(samples, factor=1.0):
            sound = parselmouth.Sound(samples.astype(np.float64), RATE)
            hz = sound.to_pitch_ac(pitch_floor=75 * factor, pitch_ceiling=400 * factor).selected_array["frequency"]
            return np.median(hz[hz > 0])

        def centre_hz(samples):
            power = np.abs(np.fft.rfft(samples)) ** 2
            return (power * np.fft.rfftfreq(len(samples), 1 / RATE)).sum() / power.sum()

        assert median_hz(changed, pitch_ratio) / median_hz(wave) == pytest.approx(pitch_ratio, rel=0.05)
        assert (centre_hz(changed) > centre_hz(wave)) == (formant_ratio > 1)


@pytest.mark.parametrize("samples", [3_300, 4_001, 16_001, 12 * RATE + 7])
def test_the_length_is_kept_exactly(samples):
    changed = change_gender(
        voice(melody(150, 13.0))[:samples], formant_ratio=1.3, pitch_ratio=0.6, range_ratio=1.4, **BOUNDS
    )
    assert changed.shape == (samples,)
    assert np.isfinite(changed).all()


def test_the_input_is_left_alone_and_may_be_of_any_layout():
    wave = voice(melody(150))
    before = wave.copy()
    changed = change_gender(wave, **SAME, **BOUNDS)
    assert np.array_equal(wave, before)
    assert np.array_equal(changed, change_gender(np.repeat(wave, 2)[::2].astype(np.float64), **SAME, **BOUNDS))
    changed[0] = 1  # and the result belongs to the caller


# --------------------------------------------------------------------------------------------- what is not changed


@pytest.mark.parametrize("kind", ["nothing", "one sample", "400 samples", "silence", "dc", "noise", "no numbers"])
def test_what_has_no_voice_gives_none(kind):
    wave = {
        "nothing": np.zeros(0),
        "one sample": np.ones(1),
        "400 samples": voice(melody(150))[:400],
        "silence": np.zeros(RATE),
        "dc": np.full(RATE, 0.4),
        "noise": 0.1 * np.random.default_rng(3).standard_normal(RATE),
        "no numbers": np.full(RATE, np.nan),
    }[kind]
    problems = Counter()
    assert change_gender(wave.astype(np.float32), **SAME, **BOUNDS, problems=problems) is None
    assert problems == {"unvoiced": 1}
    assert set(problems) <= set(PROBLEMS)


def test_what_praat_complains_of_gives_none():
    problems = Counter()
    wave = voice(np.repeat([240.0, 90.0], [2 * RATE, RATE]))  # whose new pitch would fall below zero
    for _ in range(2):
        assert change_gender(wave, **{**SAME, "range_ratio": 3.0}, **BOUNDS, problems=problems) is None
    assert problems == {"error": 2}
    assert set(problems) <= set(PROBLEMS)


def test_full_scale_squares_stay_finite():
    square = np.sign(np.sin(2 * np.pi * 100.1 * np.arange(RATE) / RATE)).astype(np.float32)
    changed = change_gender(square, formant_ratio=1.4, pitch_ratio=0.5, range_ratio=1.5, **BOUNDS)
    assert changed.shape == square.shape
    assert np.isfinite(changed).all()


def test_what_praat_never_comes_back_from_gives_none_in_time():
    wave, problems = voice(melody(160, depth=0.5, turns_per_second=1.5)), Counter()
    bounds = {**BOUNDS, "max_pitch_hz": 250.0, "timeout_seconds": 0.5}
    change_gender(wave, **SAME, **bounds)
    begin, pid = time.process_time(), praat_pid()
    changed = change_gender(wave, **NEVER_ENDS, **bounds, problems=problems)
    if changed is not None:
        pytest.skip("this version of Praat comes back from it")
    assert problems == {"timeout": 1}
    assert not alive(pid)
    assert time.process_time() - begin < 1
    assert change_gender(wave, **SAME, **bounds).shape == wave.shape


def test_a_process_that_stands_still_is_replaced():
    wave, problems = voice(melody(150)), Counter()
    first = change_gender(wave, **SAME, **BOUNDS)
    pid = praat_pid()
    os.kill(pid, signal.SIGSTOP)
    begin = time.monotonic()
    assert change_gender(wave, **SAME, **{**BOUNDS, "timeout_seconds": 0.05}, problems=problems) is None
    assert time.monotonic() - begin < 5
    assert problems == {"timeout": 1}
    assert not alive(pid)
    assert np.array_equal(change_gender(wave, **SAME, **BOUNDS), first)


def test_a_process_that_was_killed_does_not_cost_an_utterance():
    wave, problems = half_voiced(), Counter()
    first = change_gender(wave, **SAME, **BOUNDS)
    for _ in range(2):
        os.kill(praat_pid(), signal.SIGKILL)
        assert np.array_equal(change_gender(wave, **SAME, **BOUNDS, problems=problems), first)
    assert not problems


def test_a_program_that_dies_of_every_request_is_an_error(tmp_path, monkeypatch):
    program = tmp_path / "program.py"
    program.write_text('import os\nos.write(0, b\'{"problem": "", "samples": 0}\\n\')\nos.read(0, 1)\n')
    monkeypatch.setattr(praat, "_PROGRAM", program)
    monkeypatch.setattr(praat, "_praats", {})
    problems = Counter()
    assert change_gender(voice(melody(150)), **SAME, **BOUNDS, problems=problems) is None
    assert problems == {"error": 1}


def test_an_interrupted_request_leaves_no_answer_for_the_next(monkeypatch):
    wave, other = voice(melody(150)), voice(melody(220))
    expected = change_gender(other, **SAME, **BOUNDS)

    def interrupted(stream):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(praat, "receive", interrupted)
        with pytest.raises(KeyboardInterrupt):
            change_gender(wave, **SAME, **BOUNDS)
    assert np.array_equal(change_gender(other, **SAME, **BOUNDS), expected)


# ------------------------------------------------------------------------------------- the same everywhere, and ended


def test_equal_calls_give_equal_samples_whatever_came_before():
    wave = half_voiced()
    ratios = {"formant_ratio": 1.2, "pitch_ratio": 0.8, "range_ratio": 1.3}
    first = change_gender(wave, **ratios, **BOUNDS)
    change_gender(voice(melody(200)), **ratios, **BOUNDS)
    assert np.array_equal(change_gender(wave, **ratios, **BOUNDS), first)
    os.kill(praat_pid(), signal.SIGKILL)
    assert np.array_equal(change_gender(wave, **ratios, **BOUNDS), first)


class Changed:
    """What each item became, and the processes that took part."""

    def __init__(self, wave):
        self.wave = wave

    def __len__(self):
        return 6

    def __getitem__(self, index):
        changed = change_gender(self.wave, formant_ratio=1.0 + index / 20, pitch_ratio=1.2, range_ratio=1.0, **BOUNDS)
        return index, changed, os.getpid(), praat_pid()


def test_workers_have_a_process_each_and_give_the_same_samples():
    items = Changed(half_voiced())
    alone = [items[index][1] for index in range(len(items))]  # so that workers are forked from a process that has one
    pids = {praat_pid()}
    loader = DataLoader(items, batch_size=None, num_workers=2, persistent_workers=True, multiprocessing_context="fork")
    workers = {}
    for _ in range(2):
        for index, changed, worker, pid in loader:
            assert np.array_equal(changed, alone[index])
            workers[worker] = pid
    assert len(workers) == 2
    assert len(pids | set(workers.values())) == 3
    del loader
    assert all(gone_soon(pid) for pid in workers.values())
    assert alive(praat_pid())


def test_a_forked_process_does_not_end_its_parents():
    wave = half_voiced()
    first, pid = change_gender(wave, **SAME, **BOUNDS), praat_pid()

    def work(queue):
        queue.put((change_gender(wave, **SAME, **BOUNDS), praat_pid()))

    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=work, args=(queue,), daemon=True)
    child.start()
    changed, own = queue.get(timeout=60)
    child.join(60)
    assert np.array_equal(changed, first)
    assert own != pid
    assert gone_soon(own)
    assert alive(pid)
    assert np.array_equal(change_gender(wave, **SAME, **BOUNDS), first)
    assert praat_pid() == pid


def test_no_process_is_left_at_exit():
    script = f"""
        import os, sys
        import numpy as np
        from ssft.augment.praat import _praats, change_gender
        change_gender(np.zeros(16000, np.float32), **{SAME | BOUNDS})
        print(_praats[os.getpid()]._process.pid, flush=True)
        sys.exit(3)
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 3, done.stderr
    assert not alive(int(done.stdout))


@pytest.mark.parametrize("praat_is_busy", [False, True])
def test_no_process_is_left_where_there_is_no_exit(praat_is_busy):
    wave = voice(melody(160, depth=0.5, turns_per_second=1.5))

    def work(pipe):
        bounds = {**BOUNDS, "max_pitch_hz": 250.0, "timeout_seconds": 1.0}
        change_gender(wave, **SAME, **bounds)
        pipe.send(praat_pid())
        change_gender(wave, **(NEVER_ENDS if praat_is_busy else SAME), **bounds)
        time.sleep(60)

    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(target=work, args=(theirs,), daemon=True)
    child.start()
    pid = ours.recv()
    time.sleep(0.2)
    child.kill()
    child.join()
    assert gone_soon(pid)


def test_the_program_needs_little_and_nothing_of_ours():
    probe = (
        "import runpy, sys; runpy.run_path(sys.argv[1]); print(sorted({'torch', 'scipy', 'ssft'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", probe, praat._PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ------------------------------------------------------------------------------------------------- where it is absent


def test_where_praat_is_not_installed_the_remedy_is_said(monkeypatch):
    ensure_praat()
    monkeypatch.setattr(praat.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(praat, "_praats", {})
    with pytest.raises(RecipeError, match=r"pip install 'ssft\[praat\]'"):
        ensure_praat()
    with pytest.raises(RecipeError, match=r"pip install 'ssft\[praat\]'"):
        change_gender(voice(melody(150)), **SAME, **BOUNDS)
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(RecipeError, match="Linux and macOS"):
        ensure_praat()


@pytest.mark.parametrize("program", ["", "import time; time.sleep(60)", "print('{}')"])
def test_a_program_that_does_not_start_is_an_error_of_the_recipe(tmp_path, monkeypatch, program):
    (tmp_path / "program.py").write_text(program)
    monkeypatch.setattr(praat, "_PROGRAM", tmp_path / "program.py")
    monkeypatch.setattr(praat, "_START_SECONDS", 0.5)
    monkeypatch.setattr(praat, "_praats", {})
    with pytest.raises(RecipeError, match="Praat cannot be started"):
        change_gender(voice(melody(150)), **SAME, **BOUNDS)
