"""The program that Praat runs in, a process of its own; `ssft.augment.praat` starts it and talks to it.

It is run by its path and imports nothing of ours, so that it starts quickly. Its standard input is a socket.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from io import BufferedRWPair
from typing import Any

if __name__ == "__main__" and sys.path[0] == os.path.dirname(os.path.abspath(__file__)):
    del sys.path[0]  # or the modules beside this file would hide others of their names

import numpy as np


def send(stream: BufferedRWPair, message: dict[str, Any], samples: np.ndarray) -> None:
    """Write a line of JSON, then samples [T] float32."""
    stream.write(json.dumps({**message, "samples": len(samples)}).encode() + b"\n")
    stream.write(samples.tobytes())
    stream.flush()


def receive(stream: BufferedRWPair) -> tuple[dict[str, Any], np.ndarray]:
    """Read what `send` wrote.

    Raises:
        EOFError: the other end is closed.
    """
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    message = json.loads(line)
    data = stream.read(4 * message["samples"])
    if len(data) < 4 * message["samples"]:
        raise EOFError
    return message, np.frombuffer(bytearray(data), np.float32)


def change_gender(samples: np.ndarray, request: dict[str, Any]) -> tuple[np.ndarray, str]:
    """Return the changed samples [T] float32 and an empty text, or no samples and the reason."""
    import parselmouth

    nothing, lowest, rate = samples[:0], request["min_pitch_hz"], request["sample_rate"]
    if len(samples) <= 3 * rate / lowest:  # Praat wants to see three periods
        return nothing, "unvoiced"
    try:
        # Where nothing is voiced Praat draws periods at random, from a generator that it seeds with the time of day.
        parselmouth.praat.run("random_initializeWithSeedUnsafelyButPredictably (1)")
        sound = parselmouth.Sound(samples.astype(np.float64), rate)
        pitch = sound.to_pitch_ac(time_step=0.8 / lowest, pitch_floor=lowest, pitch_ceiling=request["max_pitch_hz"])
        hz = pitch.selected_array["frequency"]
        if not (hz > 0).any():
            return nothing, "unvoiced"
        median = float(np.median(hz[hz > 0])) * request["pitch_ratio"]
        settings = (request["formant_ratio"], median, request["range_ratio"], 1.0)
        changed = parselmouth.praat.call((sound, pitch), "Change gender", *settings).values[0].astype(np.float32)
    except (parselmouth.PraatError, parselmouth.PraatWarning, ArithmeticError, ValueError):
        return nothing, "error"
    if len(changed) != len(samples) or not np.isfinite(changed).all():
        return nothing, "error"
    return changed, ""


def serve(connection: socket.socket) -> None:
    """Say whether Praat is there, then answer requests until the other end is closed."""
    stream = connection.makefile("rwb")
    send(stream, {"problem": _problem_of_start()}, np.zeros(0, np.float32))
    while True:
        try:
            request, samples = receive(stream)
        except EOFError:
            return
        # Praat may loop forever where no Python code can run. This signal ends the process then, and also when nobody
        # is left to do it. It counts processing time, so that the outcome does not depend on the machine's other work.
        signal.setitimer(signal.ITIMER_PROF, request["timeout_seconds"])
        changed, problem = change_gender(samples, request)
        signal.setitimer(signal.ITIMER_PROF, 0)
        send(stream, {"problem": problem}, changed)


def _problem_of_start() -> str:
    import warnings

    try:
        import parselmouth
    except ImportError as error:
        return f"{type(error).__name__}: {error}"
    warnings.simplefilter("error", parselmouth.PraatWarning)
    return ""


if __name__ == "__main__":
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the other end is interrupted as well, and closes its socket
    serve(socket.socket(fileno=0))
