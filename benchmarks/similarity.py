"""CKA and PWCCA of all layer pairs in one pass, beside the published way: stored frames and full SVDs.

    python benchmarks/similarity.py [--frames 50000] [--layers 13] [--width 768] [--pairs 3]

The frames are synthetic, each layer a linear map of the one before and some noise, float32 on disk and memory-mapped.
`ssft` is `ssft.analysis.comparison.compare`, all pairs of layers. The others are given the same frames in float64:
`SVD for each pair` is how the codes of SVCCA and PWCCA are called, `SVD for each layer` keeps the singular vectors of
all layers in memory. Both do only the first `--pairs` pairs of different layers, the second with only the layers in
these, and are extrapolated to all: pairs, and layers, times what one took. CKA is from the products of the frames.

Each runs in a process of its own and in one thread. Times are of the process's own clock, which stands still while
something else runs. Memory is the largest that is not backed by a file, above what there was before. Prints Markdown.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

UTTERANCE = 500
"""Frames of each."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--frames", type=int, default=50_000)
    parser.add_argument("--layers", type=int, default=13)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--one", nargs=2, metavar=("NAME", "DIR"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        name, folder = options.one
        print(json.dumps(CONTENDERS[name](load(Path(folder)), options.pairs)))
        return
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), options)
        results = {name: in_own_process(name, folder, options) for name in CONTENDERS}
    ours, pairs = results["ssft"], options.layers**2
    print(f"{pairs} pairs of {options.layers} layers, {options.frames:,} frames of {options.width}\n")
    print("| | seconds | times ours | MB | largest difference of CKA | of PWCCA |\n|---|---|---|---|---|---|")
    for name, found in results.items():
        apart = (
            [max(abs(ours[kind][pair] - value) for pair, value in found[kind].items()) for kind in ("cka", "pwcca")]
            if name != "ssft"
            else []
        )
        cells = [f"{found['seconds']:.1f}", f"{found['seconds'] / ours['seconds']:.1f}", f"{found['megabytes']:.0f}"]
        print("|", " | ".join([name, *cells, *(f"{value:.0e}" for value in apart)]), "|")


def make(folder: Path, options: argparse.Namespace) -> None:
    """Write the layers, [N, D] float32 each."""
    rng = np.random.default_rng(0)
    shape = options.frames, options.width
    frames = rng.normal(size=shape).astype(np.float32) * np.geomspace(1, 0.05, options.width, dtype=np.float32)
    for layer in range(options.layers):
        np.save(folder / f"{layer:02d}.npy", frames)
        mixing = np.linalg.qr(rng.normal(size=(options.width, options.width)))[0].astype(np.float32)
        frames = frames @ mixing + 0.05 * rng.normal(size=shape).astype(np.float32)


def load(folder: Path) -> list[NDArray[np.float32]]:
    return [np.load(path, mmap_mode="r") for path in sorted(folder.glob("*.npy"))]


def in_own_process(name: str, folder: str, options: argparse.Namespace) -> dict[str, Any]:
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    command = [sys.executable, __file__, "--pairs", str(options.pairs), "--one", name, folder]
    done = subprocess.run(command, env={**os.environ, **threads}, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@contextmanager
def watching(found: dict[str, Any]) -> Iterator[None]:
    """Put the processor time and the added anonymous memory of this context into `found`."""
    before, highest, done = resident(), 0, threading.Event()

    def watch() -> None:
        nonlocal highest
        while not done.wait(0.01):
            highest = max(highest, resident())

    thread = threading.Thread(target=watch)
    thread.start()
    begun = time.thread_time()
    try:
        yield
    finally:
        found["seconds"] = time.thread_time() - begun
        done.set()
        thread.join()
        found["megabytes"] = (highest - before) / 1e6


def resident() -> int:
    """Bytes of this process in memory that are no file's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024


def ours(layers: list[NDArray[np.float32]], pairs: int) -> dict[str, Any]:
    from ssft.analysis.comparison import compare

    store, found = Stored(layers), dict[str, Any]()
    with watching(found):
        comparison = compare(store, store, measures=["cka", "pwcca"], most_frames=len(layers[0]))
    for name in ("cka", "pwcca"):
        matrix = comparison.similarity[name]
        found[name] = {f"{x} {y}": matrix[x, y] for x in range(len(layers)) for y in range(len(layers))}
    return found


def svd_for_each_pair(layers: list[NDArray[np.float32]], pairs: int) -> dict[str, Any]:
    found: dict[str, Any] = {"cka": {}, "pwcca": {}}
    with watching(found):
        for x, y in itertools.islice(itertools.permutations(range(len(layers)), 2), pairs):
            a, b = centred(layers[x]), centred(layers[y])
            found["cka"][f"{x} {y}"] = cka(a, b)
            found["pwcca"][f"{x} {y}"] = pwcca(a, basis(a), basis(b))
    found["seconds"] *= len(layers) ** 2 / pairs
    return found


def svd_for_each_layer(layers: list[NDArray[np.float32]], pairs: int) -> dict[str, Any]:
    found: dict[str, Any] = {"cka": {}, "pwcca": {}}
    chosen = list(itertools.islice(itertools.permutations(range(len(layers)), 2), pairs))
    used = sorted(set(itertools.chain(*chosen)))
    once, each = dict[str, Any](), dict[str, Any]()
    with watching(once):
        frames = {layer: centred(layers[layer]) for layer in used}
        bases = {layer: basis(frames[layer]) for layer in used}
    with watching(each):
        for x, y in chosen:
            found["cka"][f"{x} {y}"] = cka(frames[x], frames[y])
            found["pwcca"][f"{x} {y}"] = pwcca(frames[x], bases[x], bases[y])
    found["seconds"] = once["seconds"] * len(layers) / len(used) + each["seconds"] * len(layers) ** 2 / pairs
    kept = sum(array.nbytes for array in (*frames.values(), *bases.values()))
    found["megabytes"] = once["megabytes"] + kept / 1e6 * (len(layers) / len(used) - 1)
    return found


def centred(frames: NDArray[np.float32]) -> Floats:
    values = frames.astype(np.float64)
    return values - values.mean(axis=0)


def basis(frames: Floats) -> Floats:
    return np.linalg.svd(frames, full_matrices=False)[0]


def cka(x: Floats, y: Floats) -> float:
    return float(np.linalg.norm(x.T @ y) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)))


def pwcca(x: Floats, basis_x: Floats, basis_y: Floats) -> float:
    own, correlations, _ = np.linalg.svd(basis_x.T @ basis_y, full_matrices=False)
    weights = np.abs((basis_x @ own).T @ x).sum(axis=1)
    return float(correlations @ weights / weights.sum())


class Stored:
    """A `FrameStore` of layers that are on disk."""

    name = "stored"
    conditions = ("clean",)

    def __init__(self, layers: list[NDArray[np.float32]]) -> None:
        self._layers = layers
        self.layers = range(len(layers))

    def frames(self, split: str = "test", *, layer: int, condition: str = "clean") -> dict[str, NDArray[np.float32]]:
        values = self._layers[layer]
        return {f"{begin:08d}": values[begin : begin + UTTERANCE] for begin in range(0, len(values), UTTERANCE)}

    def layers_in(self, condition: str) -> range:
        return self.layers

    def frame_rate(self, layer: int) -> float:
        return 50.0

    def describe(self) -> dict[str, Any]:
        return {}


CONTENDERS = {"ssft": ours, "SVD for each pair": svd_for_each_pair, "SVD for each layer": svd_for_each_layer}

if __name__ == "__main__":
    main()
