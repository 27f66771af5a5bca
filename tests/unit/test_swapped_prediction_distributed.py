"""Two processes that share SPIN's Sinkhorn are one process on the joined batch: loss, gradients, queue and warning."""

from __future__ import annotations

import warnings
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from ssft.losses.swapped_prediction import SwappedPrediction
from ssft.types import Frames

RANKS = 2
STEPS = 2
LENGTHS = ((9, 4), (3,))  # utterances of either rank: 13 frames and 3
SETTINGS = {
    "soft": {"codebook_size": 6},
    "several": {"codebook_size": [3, 6], "prob_ratio": 0.8, "hard_target": True},
    "queue": {"codebook_size": 6, "queue_frames": 40},
}


def batches(step: int, rank: int) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    generator = torch.Generator().manual_seed(10 * step + rank)
    sides = [[torch.randn(n, 8, generator=generator) for n in LENGTHS[rank]] for _ in range(2)]
    return sides[0], [a + 0.5 * b for a, b in zip(*sides, strict=True)]


def run(which: str, ranks: list[int]) -> dict[str, torch.Tensor]:
    """Losses times weight, gradients and warnings of two steps on the batches of these ranks."""
    torch.manual_seed(0)
    loss = SwappedPrediction(**SETTINGS[which])
    loss.materialize(8)
    results = {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for step in range(STEPS):
            parts = [batches(step, rank) for rank in ranks]
            sides = [Frames.stack([F.normalize(x, dim=1) for part in parts for x in part[side]]) for side in (0, 1)]
            for side in sides:
                side.values.requires_grad_()
            output = loss(*sides)
            (output.loss * output.weight).backward()
            results[f"loss {step}"] = output.loss.detach() * output.weight
            results[f"weight {step}"] = torch.tensor(float(output.weight))
            for name, side in zip(("first", "second"), sides, strict=True):
                results[f"{name} {step}"] = side.values.grad[side.mask]
    for number, codebook in enumerate(loss.codebooks):
        results[f"codebook {number}"] = codebook.grad
    results["warned of frames"] = torch.tensor([int(str(w.message).split()[1]) for w in caught])
    return results


def process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=RANKS, timeout=timedelta(seconds=60)
    )
    for which in SETTINGS:
        save_file(run(which, [rank]), Path(folder) / f"{which} {rank}.safetensors")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """What each of two processes got."""
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(process, args=(str(folder),), nprocs=RANKS)
    return folder


@pytest.mark.skipif(not dist.is_gloo_available(), reason="PyTorch without gloo")
@pytest.mark.parametrize("which", SETTINGS)
def test_two_processes_are_one_on_the_joined_batch(folder, which):
    parts = [load_file(folder / f"{which} {rank}.safetensors") for rank in range(RANKS)]
    whole, alone = run(which, [0, 1]), run(which, [0])
    for name, expected in whole.items():
        if name.startswith(("first", "second")):
            actual = torch.cat([part[name] for part in parts])
        elif name.startswith("warned"):
            actual = parts[0][name]
            assert torch.equal(parts[1][name], actual)
        else:
            actual = sum(part[name] for part in parts)
        torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)
    # The other rank's frames do matter.
    assert abs(float(alone["loss 0"] - parts[0]["loss 0"])) > 1e-3
    if which != "queue":
        assert whole["warned of frames"].tolist() == [16]
