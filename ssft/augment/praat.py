"""Praat's "Change gender", in a process that is ended when Praat does not come back."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from io import BufferedRWPair
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

import numpy as np

from ssft.augment.praat_process import receive, send
from ssft.errors import RecipeError

PROBLEMS = ("unvoiced", "error", "timeout")
"""What keeps Praat from changing a voice: it finds none; it complains or returns what is no good; it takes too long."""

_PROGRAM = Path(__file__).with_name("praat_process.py")

_START_SECONDS = 120.0

# Of the clock, in limits of processing time: only a process that is stopped, or starved, comes so far.
_PATIENCE = 10

# A process that was ended by somebody else is not the waveform's fault.
_TRIES = 2


def ensure_praat() -> None:
    """Look for Praat without starting it.

    Raises:
        RecipeError: it is not installed, or cannot be used here.
    """
    if sys.platform == "win32":
        raise RecipeError("Praat is run on Linux and macOS only. Use the default back end, which runs everywhere.")
    if importlib.util.find_spec("parselmouth") is None:
        raise RecipeError("Praat is not installed. pip install 'ssft[praat]', or use the default back end.")


def change_gender(
    wave: np.ndarray,
    *,
    formant_ratio: float,
    pitch_ratio: float,
    range_ratio: float,
    min_pitch_hz: float,
    max_pitch_hz: float,
    sample_rate: int,
    timeout_seconds: float,
    problems: Counter[str] | None = None,
) -> np.ndarray | None:
    """Return the waveform [T] float32 as another speaker would say it, or None if Praat cannot change it.

    Pitch is found by autocorrelation in steps of 0.8 / `min_pitch_hz`. Its median over the voiced steps is multiplied
    by `pitch_ratio`, its distance from the median by `range_ratio`, formants by `formant_ratio`. Times stay.

    Praat runs in a process of its own, one for each process that calls, started when it is first needed and again after
    it was ended. Equal calls give equal samples, whatever came before.

    Args:
        wave: [T].
        formant_ratio: a factor.
        pitch_ratio: a factor.
        range_ratio: a factor.
        min_pitch_hz: the lowest pitch to look for.
        max_pitch_hz: the highest.
        sample_rate: of the waveform, in Hz.
        timeout_seconds: of processing time, so that it does not matter what else the machine has to do; ten times as
            much on the clock. To start is not counted.
        problems: the reason for a None, one of `PROBLEMS`, is counted here.

    Raises:
        RecipeError: Praat is not installed or cannot be started.
    """
    request = {
        "formant_ratio": formant_ratio,
        "pitch_ratio": pitch_ratio,
        "range_ratio": range_ratio,
        "min_pitch_hz": min_pitch_hz,
        "max_pitch_hz": max_pitch_hz,
        "sample_rate": sample_rate,
        "timeout_seconds": timeout_seconds,
    }
    problem, changed = _of_this_process().ask(request, np.ascontiguousarray(wave, dtype=np.float32))
    if not problem:
        return changed
    if problems is not None:
        problems[problem] += 1
    return None


class _Process:
    """A process that Praat runs in, from its start to its end."""

    def __init__(self) -> None:
        ensure_praat()
        self._connection, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [sys.executable, str(_PROGRAM)], stdin=theirs.fileno(), stdout=subprocess.DEVNULL
            )
        self.pid = process.pid
        self._stream = self._connection.makefile("rwb")
        # Called at exit, too, of workers as well. Where there is no exit, Praat's process finds its socket closed.
        self.end = Finalize(self, _end, (process, self._connection, self._stream), exitpriority=0)
        try:
            self._connection.settimeout(_START_SECONDS)
            problem = receive(self._stream)[0]["problem"]
        except (OSError, EOFError) as error:
            problem = f"{type(error).__name__}: {error}"
        if problem:
            self.end()
            raise RecipeError(f"Praat cannot be started ({problem}). pip install --force-reinstall 'ssft[praat]'.")

    def ask(self, request: dict[str, Any], samples: np.ndarray) -> tuple[str, np.ndarray]:
        self._connection.settimeout(_PATIENCE * request["timeout_seconds"])
        send(self._stream, request, samples)
        answer, changed = receive(self._stream)
        return answer["problem"], changed


class _Praat:
    """Praat for one process: one request at a time, and a new process after one has ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: _Process | None = None

    def ask(self, request: dict[str, Any], samples: np.ndarray) -> tuple[str, np.ndarray]:
        """Return the problem, an empty text if there is none, and the changed samples."""
        with self._lock:
            for _ in range(_TRIES):
                self._process = process = self._process or _Process()
                try:
                    return process.ask(request, samples)
                except BaseException as error:
                    self._process = None  # or the next request would get the answer to this one
                    status = process.end()
                    if isinstance(error, TimeoutError) or status == -signal.SIGPROF:
                        return "timeout", samples[:0]
                    if not isinstance(error, (OSError, EOFError)):
                        raise
            return "error", samples[:0]


_praats: dict[int, _Praat] = {}


def _of_this_process() -> _Praat:
    # A worker that was forked must not talk to the process of the one that it was forked from.
    return _praats.setdefault(os.getpid(), _Praat())


def _end(process: subprocess.Popen[bytes], *ours: socket.socket | BufferedRWPair) -> int:
    """Close our ends, and return the process's status once it is gone."""
    process.kill()
    for one in ours:
        with contextlib.suppress(OSError):  # what was not sent yet
            one.close()
    return process.wait()
