"""The normalised soft-DTW loss, forward and backward, beside other libraries: time, memory, threads and error.

    python benchmarks/soft_dtw.py [--peers pysdtw tslearn ddtw sdtw-cuda-torch] [--rounds 7]

Prints Markdown. Peers that are not installed are named and left out: `pip install pysdtw tslearn ddtw
dtw-loss-functions` (the last contains sdtw-cuda-torch). All compute the same divergence, with gradients in both
sequences; peers get their distances from a matrix product, and varying lengths item by item, so that none pays for
padding. Frames have 256 numbers and unit length, gamma is 0.1.

Rounds are interleaved: each lets everyone compute once. Times on a CPU are for one thread, of the processor's own clock
for this process, which stands still while something else runs; the speed-up by two threads is of the wall clock.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import itertools
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ssft.ops.soft_dtw import scan, soft_dtw_divergence

DIM = 256
GAMMA = 0.1
VARYING = [269, 342, 415, 488, 561, 634, 706, 779]
SHAPES = {
    "(1, 500, 500)": ([500], [500]),
    "(8, 500, 550)": ([500] * 8, [550] * 8),
    "(8, 750, 800)": ([750] * 8, [800] * 8),
    "(16, 1000, 1100)": ([1000] * 16, [1100] * 16),
    "8 items of 269 to 779": (VARYING, VARYING[3:] + VARYING[:3]),
}
CUDA_SHAPES = SHAPES | {"(32, 1000, 1000)": ([1000] * 32, [1000] * 32)}

Batch = tuple[Tensor, Tensor, Tensor, Tensor]
Divergence = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.memory_of:
        print(added_memory(contender(options.memory_of, torch.device("cpu"))))
        return
    contenders, missing = {"ssft": ours}, []
    for name in options.peers:
        try:
            contenders[name] = contender(name, torch.device("cpu"))
        except ImportError as error:
            missing.append(f"{name} ({error})")
    print(f"Not installed: {', '.join(missing) or 'none'}.")
    for make, title in ((speech_like, "Smooth sequences, each pair two warps of one"), (unrelated, "Unrelated noise")):
        print(f"\n### {title}: milliseconds, and how many times ours\n")
        times(contenders, SHAPES, make, rounds=options.rounds, device=torch.device("cpu"))
    print("\n### Two threads\n")
    threads(rounds=options.rounds)
    print("\n### Memory added at its peak, (8, 750, 800), in a process of its own\n")
    table(["", "MB"], ([name, memory_in_own_process(name)] for name in contenders))
    print("\n### Error against float64: of the value, relative; of the gradient, relative to its largest number\n")
    errors(contenders)
    if torch.cuda.is_available():
        cuda = torch.device("cuda")
        contenders = {"ssft": ours} | {n: contender(n, cuda) for n in contenders if n in CUDA_PEERS}
        print(f"\n### {torch.cuda.get_device_name()}, smooth sequences: milliseconds, and how many times ours\n")
        times(contenders, CUDA_SHAPES, speech_like, rounds=options.rounds, device=cuda)


def speech_like(n: int, m: int, seed: int) -> tuple[Tensor, Tensor]:
    """Two sequences of unit frames: a smooth one, read at two changing speeds, each with noise of its own."""
    generator = torch.Generator().manual_seed(seed)
    steps = 2 * max(n, m)
    path = torch.randn(steps, DIM, generator=generator)
    for before, after in itertools.pairwise(path):
        after.mul_(0.19**0.5).add_(before, alpha=0.9)

    def read(frames: int) -> Tensor:
        speed = 0.5 + torch.rand(frames, generator=generator)
        place = (speed.cumsum(0) - speed[0]) / speed[1:].sum() * (steps - 1)
        low = place.long().clamp(0, steps - 2)
        part = (place - low)[:, None]
        smooth = (1 - part) * path[low] + part * path[low + 1]
        return normalize(smooth + 0.3 * torch.randn(frames, DIM, generator=generator), dim=1)

    return read(n), read(m)


def unrelated(n: int, m: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(normalize(torch.randn(frames, DIM, generator=generator), dim=1) for frames in (n, m))


def batch(lengths: tuple[list[int], list[int]], make: Callable, device: torch.device) -> Batch:
    pairs = [make(n, m, seed) for seed, (n, m) in enumerate(zip(*lengths, strict=True))]
    sides = [torch.nn.utils.rnn.pad_sequence(side, batch_first=True).to(device) for side in zip(*pairs, strict=True)]
    return sides[0], sides[1], *(torch.tensor(each, device=device) for each in lengths)


def ours(x: Tensor, y: Tensor, lengths_x: Tensor, lengths_y: Tensor) -> Tensor:
    return soft_dtw_divergence(x, y, lengths_x, lengths_y, gamma=GAMMA)


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    return (x.square().sum(2)[:, :, None] + y.square().sum(2)[:, None, :] - 2 * x @ y.mT).clamp_min(0)


def contender(name: str, device: torch.device) -> Divergence:
    """A function like `ours`, by another library's soft-DTW of equally long pairs."""
    if name == "ssft":
        return ours
    value = PEERS[name](device)

    def divergence(x: Tensor, y: Tensor) -> Tensor:
        return value(x, y) - (value(x, x) + value(y, y)) / 2

    def of_batch(x: Tensor, y: Tensor, lengths_x: Tensor, lengths_y: Tensor) -> Tensor:
        if len({*lengths_x.tolist()}) == len({*lengths_y.tolist()}) == 1:
            return divergence(x, y)
        items = enumerate(zip(lengths_x.tolist(), lengths_y.tolist(), strict=True))
        return torch.cat([divergence(x[item : item + 1, :n], y[item : item + 1, :m]) for item, (n, m) in items])

    return of_batch


def pysdtw(device: torch.device) -> Callable[[Tensor, Tensor], Tensor]:
    module = importlib.import_module("pysdtw")
    return module.SoftDTW(gamma=GAMMA, dist_func=squared_distances, use_cuda=device.type == "cuda")


def tslearn(device: torch.device) -> Callable[[Tensor, Tensor], Tensor]:
    module = importlib.import_module("tslearn.metrics")
    return module.SoftDTWLossPyTorch(gamma=GAMMA, dist_func=squared_distances)


def ddtw(device: torch.device) -> Callable[[Tensor, Tensor], Tensor]:
    module = importlib.import_module("ddtw")
    mean = module.SDTW(gamma=GAMMA, normalization="none", backend="cpu_numba")
    return lambda x, y: mean(C=squared_distances(x, y)).expand(len(x))


def sdtw_cuda_torch(device: torch.device) -> Callable[[Tensor, Tensor], Tensor]:
    module = importlib.import_module("dtw_loss_functions.soft_dtw_implementations.soft_dtw_cuda_ron")
    return module.SoftDTW(gamma=GAMMA)  # distances by a matrix product are its own choice


PEERS = {"pysdtw": pysdtw, "tslearn": tslearn, "ddtw": ddtw, "sdtw-cuda-torch": sdtw_cuda_torch}
CUDA_PEERS = ("pysdtw", "sdtw-cuda-torch")


def step(divergence: Divergence, inputs: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Values of a batch and both gradients."""
    x, y = (side.detach().requires_grad_() for side in inputs[:2])
    values = divergence(x, y, *inputs[2:])
    values.sum().backward()
    return values.detach(), x.grad, y.grad


def clock(device: torch.device) -> float:
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def times(
    contenders: dict[str, Divergence], shapes: dict, make: Callable, *, rounds: int, device: torch.device
) -> None:
    importlib.import_module("numba").set_num_threads(1)
    rows = []
    for shape, lengths in shapes.items():
        inputs = batch(lengths, make, device)
        seconds: dict[str, list[float]] = {name: [] for name in contenders}
        for turn in range(rounds + 1):
            for name, divergence in contenders.items():
                began = clock(device)
                try:
                    step(divergence, inputs)
                except Exception:  # lengths or a device that a peer cannot handle: said in the table
                    continue
                if turn:  # the first compiles and warms up
                    seconds[name].append(clock(device) - began)
        medians = {name: 1000 * statistics.median(each) for name, each in seconds.items() if each}
        row = [shape]
        for name in contenders:
            ratio = "" if name == "ssft" or name not in medians else f" ({medians[name] / medians['ssft']:.1f}x)"
            row.append(f"{medians[name]:.1f}{ratio}" if name in medians else "fails")
        rows.append(row)
    table(["(B, N, M)", *contenders], rows)


def threads(*, rounds: int) -> None:
    rows = []
    for shape in ("(1, 500, 500)", "(8, 750, 800)"):
        inputs = batch(SHAPES[shape], speech_like, torch.device("cpu"))
        seconds: dict[int, list[float]] = {1: [], 2: []}
        for _ in range(4 * rounds):
            for count, each in seconds.items():
                torch.set_num_threads(count)
                began = time.perf_counter()
                step(ours, inputs)
                each.append(time.perf_counter() - began)
        torch.set_num_threads(1)
        # Two threads need both cores free, which the shortest time has had.
        one, two = (1000 * min(each) for each in seconds.values())
        rows.append([shape, f"{one:.1f}", f"{two:.1f}", f"{one / two:.2f}x"])
    table(["(B, N, M)", "one thread, shortest ms", "two threads, shortest ms", "speed-up"], rows)


def memory_in_own_process(name: str) -> str:
    command = [sys.executable, __file__, "--memory-of", name]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def added_memory(divergence: Divergence) -> str:
    """Megabytes by which resident memory rises above its level before a step, by Linux's own high-water mark."""
    step(divergence, batch(([40], [40]), unrelated, torch.device("cpu")))  # compiles
    inputs = batch(SHAPES["(8, 750, 800)"], speech_like, torch.device("cpu"))
    try:
        ctypes.CDLL(None).malloc_trim(0)  # what was freed is given back, so that using it again counts
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts again from what is in use
    except (OSError, AttributeError):
        return "not measured: this needs Linux with glibc"
    before = high_water_mark()
    step(divergence, inputs)
    return f"{(high_water_mark() - before) / 1000:.0f}"


def high_water_mark() -> int:
    """Kilobytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def errors(contenders: dict[str, Divergence]) -> None:
    rows = []
    for make in (speech_like, unrelated):
        for n, m in ((500, 550), (2100, 2000)):
            inputs = batch(([n], [m]), make, torch.device("cpu"))
            exact = step(partial(scan.evaluate, gamma=GAMMA, divergence=True), tuple(map(as_float64, inputs)))
            cells = []
            for divergence in contenders.values():
                parts = [
                    float((part - truth).abs().max() / truth.abs().max())
                    for part, truth in zip(step(divergence, inputs), exact, strict=True)
                ]
                cells.append(f"{parts[0]:.0e}, {max(parts[1:]):.0e}")
            rows.append([f"{make.__name__} (1, {n}, {m})", *cells])
    table(["", *contenders], rows)


def as_float64(values: Tensor) -> Tensor:
    return values.double() if values.is_floating_point() else values


def table(header: list[str], rows: Iterable[list[str]]) -> None:
    for cells in (header, ["---"] * len(header), *rows):
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
