"""What LASER's regulariser costs: forward and backward, against its two matrix products alone.

    python benchmarks/laser.py [--threads 1] [--dim 256] [--frames 500 1000 1500] [--repeats 15]

`formula` is the regulariser written down with autograd. Prints a Markdown table of medians in milliseconds; the three
take turns, so that other work on the machine meets them alike, and with one thread it is the process's own time, which
that work disturbs less. Set OMP_NUM_THREADS to `--threads` as well.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ssft.ops.contrastive_idm import contrastive_idm

MARGIN = 1.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--frames", type=int, nargs="+", default=[500, 1000, 1500])
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"PyTorch {torch.__version__}, {platform.machine()}, torch threads: {options.threads}, D = {options.dim}\n")
    print("| frames | matrix products, ms | contrastive_idm, ms | ratio | formula, ms |\n|---|---|---|---|---|")
    for frames in options.frames:
        x = normalize(1 + torch.randn(frames, options.dim, generator=torch.Generator().manual_seed(0)), dim=1)
        floor, ours, formula = medians([products, moment, autograd_moment], x, options.repeats)
        print(f"| {frames} | {floor:.1f} | {ours:.1f} | {ours / floor:.2f} | {formula:.1f} |")


def medians(functions: list[Callable[[Tensor], Tensor]], x: Tensor, repeats: int) -> list[float]:
    """Return the median milliseconds of each function with its backward pass, after a round that does not count."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    rounds = []
    for _ in range(repeats + 1):
        durations = []
        for function in functions:
            began = clock()
            value = function(x.detach().requires_grad_())
            if value.requires_grad:
                value.backward()
            durations.append(1000 * (clock() - began))
        rounds.append(durations)
    return [statistics.median(column) for column in zip(*rounds[1:], strict=True)]


@torch.no_grad()
def products(x: Tensor) -> Tensor:
    """The least that distances between all frames and their gradient can cost."""
    return (x @ x.T) @ x


def moment(x: Tensor) -> Tensor:
    return contrastive_idm(x[None], torch.tensor([len(x)]), sigma=0, margin=MARGIN).sum()


def autograd_moment(x: Tensor) -> Tensor:
    """The formula for sigma = 0, with a safe gradient on the diagonal only."""
    squares = x.square().sum(1)
    distance = (squares[:, None] + squares - 2 * x @ x.T).clamp_min(0).add(torch.eye(len(x))).sqrt()
    times = torch.arange(len(x))
    weight = ((times[:, None] - times).square() + 1).fill_diagonal_(0)
    return (weight * (MARGIN - distance).clamp_min(0)).mean()


if __name__ == "__main__":
    main()
