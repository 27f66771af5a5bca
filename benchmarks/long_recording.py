"""What a recording of three hours costs beside one of a minute: memory and time of a whole run.

    python benchmarks/long_recording.py [--speech DIR] [--minutes 180] [--formats wav flac mp3]

Prints Markdown. For each format one long file is made by repeating speech, and a file with its first minute. Each alone
is the corpus of `ssft train score_tiny` with the same settings and no data workers, so that one process does all: scan,
training and export. Its peak is the highest resident memory that Linux reports of it; decoded at once, three hours at
16 kHz would take 691 MB as float32. `scan` is `data.verify`: `audio` decodes the whole file before training, `header`
does not.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from ssft.data import read_audio
from ssft.types import SAMPLE_RATE

CODINGS = {"wav": "PCM_16", "flac": "PCM_16", "ogg": "VORBIS", "opus": "OPUS", "mp3": "MPEG_LAYER_III"}
SETTINGS = [
    "--train.steps", "10", "--train.warmup_steps", "0", "--train.batch_seconds", "16", "--train.cache_variants", "0",
    "--data.workers", "0",
]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, default=Path("../shared/speech/ljspeech_141/audio"))
    parser.add_argument("--minutes", type=int, default=180)
    parser.add_argument("--formats", nargs="+", choices=sorted(CODINGS), default=["wav", "flac", "mp3"])
    options = parser.parse_args()
    imports, _ = measure(["-c", "import ssft.runs"])
    print(f"soundfile {soundfile.__version__}, importing alone: {imports:.0f} MB\n")
    units = [f"{minutes} min, {unit}" for unit in ("MB", "s") for minutes in (1, options.minutes)]
    print(f"| format | scan | {' | '.join(units)} | more, MB |\n|{'---|' * 7}")
    with tempfile.TemporaryDirectory() as folder:
        for name in options.formats:
            corpora = [Path(folder) / f"{name}-{minutes}" for minutes in (1, options.minutes)]
            for corpus, minutes in zip(corpora, (1, options.minutes), strict=True):
                corpus.mkdir()
                write(corpus / f"recording.{name}", options.speech, minutes=minutes, coding=CODINGS[name])
            for scan in ("header", "audio"):
                found = [train(corpus, scan) for corpus in corpora]
                (short, long), seconds = (one[0] for one in found), [f"{one[1]:.1f}" for one in found]
                figures = (name, scan, f"{short:.0f}", f"{long:.0f}", *seconds, f"{long - short:+.0f}")
                print(f"| {' | '.join(figures)} |", flush=True)


def train(corpus: Path, scan: str) -> tuple[float, float]:
    """Train on a corpus; return what `measure` does."""
    where = ["--data.root", str(corpus), "--data.verify", scan, "--out", f"{corpus}-{scan}"]
    return measure(["-m", "ssft.cli.main", "train", "score_tiny", *SETTINGS, *where])


def write(path: Path, speech: Path, *, minutes: int, coding: str) -> None:
    """Write as much speech as asked for, a recording at a time, from the beginning again where it ends."""
    container = "OGG" if coding in ("VORBIS", "OPUS") else path.suffix[1:].upper()
    left = minutes * 60 * SAMPLE_RATE
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1, coding, format=container) as file:
        for wave in repeated(sorted(speech.iterdir())):
            file.write(wave[:left])
            left -= len(wave[:left])
            if left == 0:
                return


def repeated(paths: list[Path]) -> Iterator[np.ndarray]:
    while True:
        for path in paths:
            yield read_audio(path)


def measure(arguments: list[str]) -> tuple[float, float]:
    """Run Python by itself; return its highest resident memory in MB and its processor time in seconds."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=said, env=environment
        )
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            said.seek(0)
            sys.exit(said.read().decode())
    return usage.ru_maxrss * 1024 / 1e6, usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
