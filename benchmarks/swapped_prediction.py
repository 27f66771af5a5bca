"""SPIN's loss, forward and backward, against the matrix products that nobody can do without.

    python benchmarks/swapped_prediction.py [--frames 12800] [--codes 256 2048] [--threads 1] [--device cuda]

Per view these products are: frames by codes for the logits, and two of that size in the backward pass. Prints medians
as a Markdown table, a row per size of the codebook; the columns are measured in turn, so that other work on the machine
meets all of them, and with one thread on a CPU it is the process's own time, which that work disturbs less.
"As written" is the formula in PyTorch's own operations, with Sinkhorn in the linear domain.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ssft.losses.swapped_prediction import SwappedPrediction
from ssft.ops.sinkhorn import sinkhorn_
from ssft.types import Frames


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--frames", type=int, default=12_800, help="real frames of a view; the default is 256 s")
    parser.add_argument("--codes", type=int, nargs="+", default=[256, 2048])
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore", message="SwappedPrediction")
    names = ["products", "this loss", "of it Sinkhorn", "as written"]
    print(f"| codes | {' | '.join(f'{name}, ms' for name in names)} | loss / products |\n|---|---|---|---|---|---|")
    for codes in options.codes:
        cases = make_cases(options.frames, codes, options.dim, options.device)
        times = measure(cases, options.repeats, options.device)
        cells = [f"{1000 * value:.0f}" for value in times]
        print(f"| {codes} | {' | '.join(cells)} | {times[1] / times[0]:.2f} |", flush=True)


def make_cases(frames: int, codes: int, dim: int, device: str) -> list[Callable[[], object]]:
    """What is measured, in the order of the table's columns."""
    torch.manual_seed(0)
    loss = SwappedPrediction(codebook_size=codes)
    loss.materialize(dim)
    loss.to(device)
    views = [F.normalize(torch.randn(1, frames, dim), dim=2).to(device).requires_grad_() for _ in range(2)]
    sides = [Frames(view, torch.tensor([frames], device=device)) for view in views]
    codebook, flat = loss.codebook.detach(), [view.detach()[0] for view in views]

    def products() -> None:
        for view in flat:
            gradient = view @ codebook.T
            gradient @ codebook
            gradient.T @ view

    def assign() -> None:
        for view in flat:
            sinkhorn_((view @ codebook.T).mul_(1 / loss.epsilon), loss.sinkhorn_iterations)

    def scores() -> None:
        for view in flat:
            (view @ codebook.T).mul_(1 / loss.epsilon)

    def step() -> None:
        loss(*sides).loss.backward()

    def as_written() -> None:
        plain(views[0][0], views[1][0], loss.codebook, loss).backward()

    return [products, step, assign, scores, as_written]


def plain(first: Tensor, second: Tensor, codebook: Tensor, loss: SwappedPrediction) -> Tensor:
    logits = [view @ codebook.T for view in (first, second)]
    log_p = [torch.log_softmax(scores / loss.temperature, dim=1) for scores in logits]
    targets = []
    with torch.no_grad():
        for scores in logits:
            q = torch.exp(scores / loss.epsilon)
            q /= q.sum()
            for _ in range(loss.sinkhorn_iterations):
                q /= q.sum(0, keepdim=True) * q.shape[1]
                q /= q.sum(1, keepdim=True) * q.shape[0]
            targets.append(q * q.shape[0])
    return -((targets[0] * log_p[1]).sum(1).mean() + (targets[1] * log_p[0]).sum(1).mean()) / 2


def measure(cases: list[Callable[[], object]], repeats: int, device: str) -> list[float]:
    """Median seconds of each case; the fourth, Sinkhorn's input, is taken off the third."""
    alone = device == "cpu" and torch.get_num_threads() == 1
    clock = time.process_time if alone else time.perf_counter
    seconds: list[list[float]] = [[] for _ in cases]
    for repeat in range(repeats + 1):
        for case, into in zip(cases, seconds, strict=True):
            began = clock()
            case()
            if device != "cpu":
                torch.cuda.synchronize()
            if repeat:  # the first warms up
                into.append(clock() - began)
    products, step, assign, scores, as_written = (statistics.median(values) for values in seconds)
    return [products, step, assign - scores, as_written]


if __name__ == "__main__":
    main()
