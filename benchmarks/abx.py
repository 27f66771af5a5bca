"""ABX beside fastabx: are the errors equal on the same items, and which is faster?

    python3.12 -m venv /tmp/fastabx && /tmp/fastabx/bin/pip install fastabx
    ssft features tiny --data ../shared/speech/speechocean762_train/manifest.tsv --split dev --layers 4 --out features
    python benchmarks/abx.py --peer /tmp/fastabx/bin/python --features features

Prints Markdown. Any folder of features will do that holds all utterances of the corpus's split `dev`. fastabx needs
Python >= 3.12 and torch >= 2.10, thus an environment of its own; the two exchange files.

Both get the same items (triphones, and words of at least 0.2 s) and the same frames, and nothing is subsampled, because
they draw differently. Words across speakers are those of the first `--speakers` speakers: fastabx pads all words to the
longest, and would need minutes for all. Items that reach past the last frame are left out: fastabx refuses them.

Timed is what leads from an item file, and frames in memory, to the error: reading items, laying out what is compared,
normalising, distances, scores, means. Compiling is not: each process first measures a few items. Processes alternate,
figures are medians of rounds; processor time is that of all threads. OMP_NUM_THREADS says how many there are, and
threads that wait do not spin.

Errors of pairs of labels are compared too. fastabx computes cosines, angles and sums in float32 and calls only bitwise
equal distances a tie, `ssft` rounds angles to 2 ** -20, adds exactly, and calls what is within 1e-6 a tie. So single
triples whose distances all but agree may come out otherwise; `differing` counts the pairs of labels with such.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

CORPUS = Path(__file__).resolve().parents[2] / "shared" / "speech" / "speechocean762_train"
MODES = ("within", "across")
HEADER = "#file onset offset #phone prev-phone next-phone speaker"
NO_CONTEXT = "-"
FRAME_RATE = 50
NO_SPINNING = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"}
"""Else threads that wait count as work: on a busy machine, fastabx took 20 times as long with two as with one."""
Pairs = dict[str, float]
Frames = dict[str, np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--peer", type=Path, required=True, help="Python of an environment with fastabx")
    parser.add_argument("--features", type=Path, required=True)
    parser.add_argument("--layer", type=int)
    parser.add_argument("--corpus", type=Path, default=CORPUS)
    parser.add_argument("--speakers", type=int, default=6, help="of words across speakers")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        counts = export(options, folder)
        print("| items | threads | | error % | processor s | wall s |")
        print("|---|---|---|---|---|---|")
        for task, count in counts.items():
            for threads in options.threads:
                compare(task, count, threads, folder, options)


def export(options: argparse.Namespace, folder: Path) -> dict[str, int]:
    """Write the frames of all utterances, and item files by level and mode; return how many items are in each."""
    from ssft.evaluation.items import frame_span, read_segments, read_table, triphone_items, word_items
    from ssft.features import read_features

    rows = read_table(options.corpus / "manifest.tsv", ("path", "speaker", "split"))
    speakers = {path: speaker for path, speaker, split in rows if split == "dev"}
    features = read_features(options.features, layer=options.layer)
    for name in speakers:
        path = folder / "frames" / f"{name}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.asarray(features[name]))
    segments = {
        kind: [one for one in read_segments(options.corpus / table, kind) if one.utterance in speakers]
        for kind, table in (("phone", "alignments.tsv"), ("word", "words.tsv"))
    }
    levels = {
        "triphones": triphone_items(segments["phone"], speakers).items,
        "words": word_items(segments["word"], speakers).items,
    }
    few = sorted(set(speakers.values()))[: options.speakers]
    counts = {}
    for level, mode in ((level, mode) for level in levels for mode in MODES):
        lines = [HEADER]
        for item in sorted(set(levels[level])):
            length = len(features[item.utterance])
            # Longer by more than an item may overhang, so that nothing is cut.
            if frame_span(item, FRAME_RATE, length) != frame_span(item, FRAME_RATE, length + 3):
                continue
            if (level, mode) != ("words", "across") or item.speaker in few:
                context = item.context or (NO_CONTEXT, NO_CONTEXT)
                lines.append(
                    " ".join(map(str, (item.utterance, item.onset, item.offset, item.label, *context, item.speaker)))
                )
        (folder / f"{level} {mode}.item").write_text("\n".join(lines) + "\n", encoding="utf-8")
        counts[f"{level} {mode}"] = len(lines) - 1
    return counts


def compare(task: str, count: int, threads: int, folder: Path, options: argparse.Namespace) -> None:
    """Let both measure one task in turns, and print a row for each."""
    pythons = {"ssft": Path(sys.executable), "fastabx": options.peer}
    runs: dict[str, list[dict[str, Any]]] = {who: [] for who in pythons}
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "TQDM_DISABLE": "1", **NO_SPINNING}
    for _ in range(options.rounds):
        for who, python in pythons.items():
            command = [str(python), __file__, "--measure", who, str(folder), task]
            done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
            runs[who].append(json.loads(done.stdout.splitlines()[-1]))
    ours, theirs = (runs[who][0]["pairs"] for who in pythons)
    if ours.keys() != theirs.keys():
        raise SystemExit(f"{task}: {len(ours)} and {len(theirs)} pairs of labels")
    apart = [abs(ours[pair] - theirs[pair]) for pair in ours]
    seconds = {
        kind: {who: statistics.median(run[kind] for run in runs[who]) for who in pythons}
        for kind in ("processor", "wall")
    }
    for who in pythons:
        error = 100 * statistics.mean(runs[who][0]["pairs"].values())
        took = " | ".join(f"{seconds[kind][who]:.2f}" for kind in seconds)
        print(f"| {count} {task} | {threads} | {who} | {error:.4f} | {took} |")
    ratios = " | ".join(f"{seconds[kind]['fastabx'] / seconds[kind]['ssft']:.1f}x" for kind in seconds)
    differing = sum(one > 1e-6 for one in apart)
    found = f"{differing} of {len(apart)} pairs of labels differ by more than 1e-6"
    found += f", by at most {max(apart):.4f}" if differing else ""
    print(f"| | | {found} | | {ratios} |", flush=True)


def measure(who: str, folder: Path, task: str) -> None:
    """Measure one task in this process, and print what came out and how long it took."""
    item_file = folder / f"{task}.item"
    few = folder / f"{task} few.item"
    lines = item_file.read_text(encoding="utf-8").splitlines()
    utterances = {line.split()[0] for line in lines[1:400]}
    few.write_text(
        "\n".join([lines[0], *(line for line in lines[1:] if line.split()[0] in utterances)]), encoding="utf-8"
    )
    run: Callable[[Path, Path, str, Frames], Pairs] = {"ssft": with_ssft, "fastabx": with_fastabx}[who]
    frames = {str(path): np.load(path) for path in sorted((folder / "frames").rglob("*.npy"))}
    try:
        run(few, folder / "frames", task.split()[1], frames)
    except Exception as error:  # too few to compare; what there is has been compiled none the less
        print(error, file=sys.stderr)
    wall, processor = time.perf_counter(), time.process_time()
    pairs = run(item_file, folder / "frames", task.split()[1], frames)
    processor, wall = time.process_time() - processor, time.perf_counter() - wall
    print(json.dumps({"pairs": pairs, "processor": processor, "wall": wall}))


def with_ssft(item_file: Path, root: Path, mode: str, frames: Frames) -> Pairs:
    from ssft.evaluation.abx import abx
    from ssft.evaluation.items import Item

    items = []
    for line in item_file.read_text(encoding="utf-8").splitlines()[1:]:
        name, onset, offset, label, *context, speaker = line.split()
        items.append(Item(name, float(onset), float(offset), label, tuple(context), speaker))
    features = {name: frames[str(root / f"{name}.npy")] for name in {item.utterance for item in items}}
    how: dict[str, Any] = {"speaker": mode, "max_group": 10**9, "max_x_speakers": None, "frame_rate": FRAME_RATE}
    return {" ".join(pair): error for pair, error in abx(features, items, **how).label_pairs.items()}


def with_fastabx(item_file: Path, root: Path, mode: str, frames: Frames) -> Pairs:
    import torch
    from fastabx import Dataset, Score, Task

    def load(path: str | Path) -> torch.Tensor:
        return torch.from_numpy(frames[str(path)])

    dataset = Dataset.from_item(item_file, root, FRAME_RATE, feature_maker=load, extension=".npy", device="cpu")
    context = ["prev-phone", "next-phone"]
    by, across = ([*context, "speaker"], None) if mode == "within" else (context, ["speaker"])
    score = Score(Task(dataset, on="#phone", by=by, across=across), "angular")
    details = score.details(levels=[tuple(context), "speaker"])
    return {f"{a} {b}": error for a, b, error in details.select("#phone", "#phone_b", "score").iter_rows()}


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(sys.argv[2], Path(sys.argv[3]), sys.argv[4])
    else:
        main()
