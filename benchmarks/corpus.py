"""What a corpus of a million utterances costs: to start, to start again, and in memory.

    python benchmarks/corpus.py [--rows 1000000] [--files 20000] [--step 100000] [--folder DIR]

Makes, in a folder for the purpose, manifests whose rows are segments of 200 recordings (TSV, and JSON lines as NeMo
writes them), and a folder of short recordings. Each measurement is a process of its own, from `Data` to the first
batch, which is decoded. Prints Markdown tables: seconds by the clock and of the process, and the largest resident
memory of the process (VmHWM), of which the imports alone, PyTorch's above all, take what the row `imports` says.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

RECORDINGS, RECORDING_SECONDS = 200, 15
BATCH_SECONDS = 100.0
TEXT = "he hoped there would be stew for dinner turnips and carrots and bruised potatoes"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--step", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help="where to make the corpora, and keep them")
    parser.add_argument("--measure", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(MEASUREMENTS[options.measure[0]](Path(options.measure[1]), options)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        make_manifests(folder, rows=options.rows)
        make_recordings(folder / "short", count=options.files)
        print(f"### {options.rows:,} rows with stated lengths, `data.verify=manifest`\n")
        for name in ("m.tsv", "nemo.jsonl"):
            table(name, measured("start", folder / name, options))
        print(f"\n### The run again, at step {options.step:,}: nothing is listed\n")
        table("corpus.safetensors", measured("again", folder / "corpus.safetensors", options))
        print(f"\n### {options.files:,} recordings of a second in a folder, half wav and half flac\n")
        for verify in ("header", "audio"):
            table(f"data.verify={verify}", measured(verify, folder / "short", options))


def measured(what: str, root: Path, options: argparse.Namespace) -> list[Any]:
    """What a process of its own says of a measurement."""
    sizes = ["--rows", str(options.rows), "--files", str(options.files), "--step", str(options.step)]
    command = [sys.executable, __file__, *sizes, "--measure", what, str(root)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    rows: list[Any] = json.loads(done.stdout.splitlines()[-1])
    return rows


def table(name: str, rows: list[Any]) -> None:
    print(f"| {name} | clock, s | process, s | VmHWM, MB |\n|---|---|---|---|")
    for what, clock, process, memory in rows:
        print(f"| {what} | {clock:.2f} | {process:.2f} | {memory:,.0f} |")
    first, last = rows[0], rows[-1]
    clock, process = (sum(row[column] for row in rows[1:]) for column in (1, 2))
    print(f"| all but the imports | {clock:.2f} | {process:.2f} | +{last[3] - first[3]:,.0f} |\n", flush=True)


class Stages:
    """Times and memory of one stage after the other."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, float, float, float]] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        clock, process = time.perf_counter(), time.process_time()
        yield
        self.rows.append((name, time.perf_counter() - clock, time.process_time() - process, peak_mb()))


def peak_mb() -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def start(root: Path, options: argparse.Namespace) -> list[tuple[str, float, float, float]]:
    stages = Stages()
    with stages.stage("imports"):
        from ssft.data import Data
    with stages.stage("`Data.load`"):
        corpus = Data(root=str(root), verify="manifest").load()
    with stages.stage("`Corpus.save`"):
        corpus.save(root.parent / "corpus.safetensors")
    first_batch(stages, corpus, step=0)
    return stages.rows


def again(path: Path, options: argparse.Namespace) -> list[tuple[str, float, float, float]]:
    stages = Stages()
    with stages.stage("imports"):
        from ssft.data import Data
    with stages.stage("`Data.reload`"):
        corpus = Data().reload(path)
    with stages.stage("`Corpus.held_out(64)`"):
        corpus, _ = corpus.held_out(64)
    with stages.stage("fingerprint"):
        _ = corpus.utterances.fingerprint
    first_batch(stages, corpus, step=options.step)
    return stages.rows


def first_batch(stages: Stages, corpus: Any, *, step: int) -> None:
    from ssft.data import Collate, DurationBatchSampler, PairDataset, Position

    with stages.stage("`PairDataset`, sampler"):
        pairs = PairDataset(corpus.utterances)
        sampler = DurationBatchSampler(pairs.seconds, batch_seconds=BATCH_SECONDS)
        # An epoch has about as many batches as its audio fills; the state of a run has this position.
        epoch, batch = divmod(step, int(corpus.utterances.seconds.sum() / BATCH_SECONDS))
        sampler.start = Position(epoch, batch)
        keys = next(iter(sampler))
    with stages.stage(f"first batch, {len(keys)} utterances"):
        group = Collate()([pairs[key] for key in keys])
        if group.rejects:
            raise RuntimeError(f"{group.rejects[0]}")


def header(root: Path, options: argparse.Namespace, verify: str = "header") -> list[tuple[str, float, float, float]]:
    stages = Stages()
    with stages.stage("imports"):
        from ssft.data import Data
    with stages.stage("`Data.load`"):
        corpus = Data(root=str(root), verify=verify).load()
    if len(corpus.utterances) != options.files:
        raise RuntimeError(corpus.summary())
    return stages.rows


def audio(root: Path, options: argparse.Namespace) -> list[tuple[str, float, float, float]]:
    return header(root, options, "audio")


MEASUREMENTS = {"start": start, "again": again, "header": header, "audio": audio}


def make_manifests(folder: Path, *, rows: int) -> None:
    """Write the two manifests, and the recordings whose segments they list."""
    names = []
    for number in range(RECORDINGS):
        speaker, chapter = number // 20, number // 5
        names.append(f"audio/train-clean-360/{speaker}/{chapter}/{speaker}-{chapter}-{number:04d}.flac")
        write_recording(folder / names[-1], RECORDING_SECONDS)
    tsv, jsonl = folder / "m.tsv", folder / "nemo.jsonl"
    with tsv.open("w", encoding="utf-8") as table, jsonl.open("w", encoding="utf-8") as lines:
        table.write("id\tpath\tstart\tduration\tspeaker\ttext\n")
        for row in range(rows):
            name, speaker, seconds = names[row % RECORDINGS], row // 400, 1 + row * 7919 % 900 / 100
            start = row // RECORDINGS / 1000
            table.write(f"{speaker}-{row // 25}-{row % 25:04d}\t{name}\t{start}\t{seconds}\t{speaker}\t{TEXT}\n")
            entry = {
                "audio_filepath": name,
                "offset": start,
                "duration": seconds,
                "text": TEXT,
                "speaker": str(speaker),
            }
            lines.write(json.dumps(entry) + "\n")


def make_recordings(folder: Path, *, count: int) -> None:
    """Write recordings of a second."""
    for number in range(count):
        suffix = "flac" if number % 2 else "wav"
        write_recording(folder / f"{number // 1000:03d}" / f"{number:06d}.{suffix}", 1)


def write_recording(path: Path, seconds: int) -> None:
    import numpy as np
    import soundfile

    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * np.sin(np.arange(16_000 * seconds) / 20), 16_000)


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
