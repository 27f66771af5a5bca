"""The law of equal losses: processes that share a batch compute what one would with all of it, whatever the loss."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from accelerate import PartialState
from loss_examples import CLASSES, DIM, NAMES, frames, labels, make, materialized
from safetensors.torch import load_file, save_file
from torch import Tensor

from ssft.engine.gathering import compare_together, gather_frames
from ssft.engine.ranks import Ranks
from ssft.heads import Projection
from ssft.losses import (
    BarlowTwins,
    FrameInfoNCE,
    FrameLoss,
    FrameRegression,
    Laser,
    MaskedPrediction,
    SoftDTW,
    SwappedPrediction,
    TemporalContrast,
    VICReg,
    Weighted,
)
from ssft.types import Frames, LossOutput

WORLD_SIZE = 2
STEPS = 2
# Frames of the utterances of either process.
LAYOUTS: dict[str, tuple[tuple[int, ...], ...]] = {
    "unequal": ((9, 4), (3, 1)),
    "second empty": ((9, 4, 6), ()),
    "first empty": ((), (4, 7)),
}
CASES: dict[str, Callable[[], Any]] = {
    **{name: partial(make, name) for name in NAMES},
    "barlow_twins of segments": partial(BarlowTwins, segment_frames=2),
    "frame_info_nce of segments": partial(FrameInfoNCE, negatives=2, segment_frames=2),
    "frame_info_nce with all": partial(FrameInfoNCE, negatives=None),
    "frame_regression by cosine": partial(FrameRegression, distance="cosine", align="linear"),
    "frame_regression summed": partial(FrameRegression, reduction="sum"),
    "frame_regression along dtw": partial(FrameRegression, align="dtw"),
    "laser by sum": partial(Laser, length_norm="sum"),
    "laser by square": partial(Laser, length_norm="squared", sigma=1),
    "masked_prediction of all": partial(MaskedPrediction, CLASSES, unmasked_weight=0.25),
    "soft_dtw alone": partial(SoftDTW, divergence=False),
    "soft_dtw unnormalised": partial(SoftDTW, normalize="none"),
    "swapped_prediction hard": partial(SwappedPrediction, [3, 6], prob_ratio=0.8, hard_target=True),
    "swapped_prediction with queue": partial(SwappedPrediction, 6, queue_frames=20),
    "temporal_contrast by square": partial(TemporalContrast, sigma=1, length_norm="squared"),
    "vicreg of segments": partial(VICReg, segment_frames=2),
    "weighted by labels": lambda: Weighted(
        {"spin": SwappedPrediction(6, queue_frames=9), "hidden": MaskedPrediction(CLASSES)},
        weights={"hidden": 3.0},
        heads={"spin": Projection(4)},
    ),
    "weighted of one": lambda: Weighted({"hidden": MaskedPrediction(CLASSES)}),
}
# A mean over hidden frames that is logged beside a loss over all frames; its own count is not known to who logs.
INEXACT_LOGS = {"masked_prediction of all"}


def loss_of(case: str) -> FrameLoss:
    return materialized(CASES[case]())


def part(lengths: Sequence[int], loss: FrameLoss, seed: int) -> tuple[Frames, Frames, Frames]:
    """Student, reference, labels; views of different length where the loss takes them."""
    if not lengths:
        none = Frames(torch.zeros(0, 1, DIM), torch.zeros(0, dtype=torch.int64))
        return none, none, Frames(torch.zeros(0, 1, dtype=torch.int64), none.lengths)
    longer = 0 if loss.needs_same_length or loss.needs_targets else 2
    return frames(*lengths, seed=seed), frames(*(n + longer for n in lengths), seed=seed + 1), labels(*lengths)


def turns(sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Process and utterance of every row of the batch that processes take turns in sharing."""
    return sorted(((rank, item) for rank, size in enumerate(sizes) for item in range(size)), key=lambda t: (t[1], t[0]))


def joined(parts: Sequence[Frames]) -> Frames:
    order = turns([len(each.lengths) for each in parts])
    values = [list(each.items()) for each in parts]
    masks = [[] if each.masked is None else list(Frames(each.masked, each.lengths).items()) for each in parts]
    masked = Frames.stack([masks[rank][item] for rank, item in order]).values if any(masks) else None
    return replace(Frames.stack([values[rank][item] for rank, item in order]), masked=masked)


def mean_gradients(parameters: Sequence[Tensor], total: Tensor, ranks: Ranks | None) -> list[Tensor]:
    """Everybody's gradients, added up and divided by all weights; the parameters have none afterwards."""
    joined = torch.cat([torch.zeros(p.numel()) if p.grad is None else p.grad.flatten() for p in parameters])
    joined = (joined if ranks is None else ranks.sum(joined)) / total
    for parameter in parameters:
        parameter.grad = None
    pieces = joined.split([p.numel() for p in parameters])
    return [piece.view_as(parameter) for piece, parameter in zip(pieces, parameters, strict=True)]


def run(case: str, layout: str, ranks: Ranks | None) -> dict[str, Tensor]:
    """What a process gets in two steps, or one alone with everybody's frames: gradients are those of the mean loss."""
    loss, head, results = loss_of(case), Projection(DIM), {}
    head.materialize(DIM)
    parameters = [*loss.parameters(), *head.parameters()]
    for step in range(STEPS):
        everybody = [part(n, loss, 100 * step + 10 * rank) for rank, n in enumerate(LAYOUTS[layout])]
        own = [joined(sides) for sides in zip(*everybody, strict=True)] if ranks is None else everybody[ranks.rank]
        student, reference, targets = own
        leaves = [side.values.detach().clone().requires_grad_() for side in (student, reference)]
        sides = [head(replace(side, values=x)) for side, x in zip((student, reference), leaves, strict=True)]
        if len(student.lengths) or loss.compares_across_utterances:
            output = compare_together(loss, *sides, targets, ranks=ranks)
            (output.loss * output.weight).backward()
        else:
            output = LossOutput(torch.zeros(()), 0.0)
        weight = torch.tensor(float(output.weight))
        total = weight if ranks is None else ranks.sum(weight.clone())
        for name, value in {"loss": output.loss.item(), **output.logs}.items():
            results[f"mean {name} {step}"] = value * weight / total
        for name, leaf, side in zip(("student", "reference"), leaves, (student, reference), strict=True):
            grad = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
            items = list(Frames(grad, side.lengths).items())
            if ranks is None:  # as processes one after the other have them
                order = turns([len(lengths) for lengths in LAYOUTS[layout]])
                items = [item for _, item in sorted(zip(order, items, strict=True), key=lambda pair: pair[0])]
            results[f"{name} {step}"] = torch.cat([grad.new_zeros(0, DIM), *items]) / total
        means = mean_gradients(parameters, total, ranks)
        for number, (parameter, grad) in enumerate(zip(parameters, means, strict=True)):
            results[f"weights {number} {step}"] = grad
            parameter.data -= 0.5 * grad
        loss.after_step()
    results |= {f"state {name}": value.clone() for name, value in loss.state_dict().items()}
    return results


def process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": WORLD_SIZE, "LOCAL_WORLD_SIZE": WORLD_SIZE}
    os.environ.update({name: str(value) for name, value in place.items()}, OMP_NUM_THREADS="1")
    meeting = f"file://{folder}/meeting"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2, timeout=timedelta(seconds=60))
    PartialState(cpu=True)
    ranks = Ranks(expected=WORLD_SIZE)
    results: dict[str, Tensor] = {}
    for layout, case in product(LAYOUTS, CASES):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            own = run(case, layout, ranks)
        own["warnings"] = torch.tensor(len(caught))
        results |= {f"{case}, {layout}: {name}": value for name, value in own.items()}
    save_file(results, Path(folder) / f"{rank}.safetensors")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Tensor]]:
    """What each of two processes got."""
    if not dist.is_gloo_available():
        pytest.skip("PyTorch without gloo")
    folder = tmp_path_factory.mktemp("processes")
    mp.spawn(process, args=(str(folder),), nprocs=WORLD_SIZE)
    return [load_file(folder / f"{rank}.safetensors") for rank in range(WORLD_SIZE)]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("case", CASES)
def test_two_processes_are_one_with_the_joined_batch(parts: list[dict[str, Tensor]], case: str, layout: str) -> None:
    for name, expected in run(case, layout, None).items():
        own = [part[key] for part in parts if (key := f"{case}, {layout}: {name}") in part]
        kind = name.split()[0]
        if kind == "mean":
            if case in INEXACT_LOGS and "accuracy" in name:
                continue
            actual = torch.stack(own).sum(0)
        elif kind in ("student", "reference"):
            assert kind == "reference" or expected.abs().sum() > 0
            actual = torch.cat(own)
        else:
            actual = own[0]
            assert torch.equal(own[1], actual), name
        torch.testing.assert_close(
            actual, expected, atol=1e-5, rtol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize("case", CASES)
def test_a_loss_declares_whether_its_parts_add_up(case: str) -> None:
    loss = loss_of(case).eval()
    parts = [part(lengths, loss, 10 * rank) for rank, lengths in enumerate(LAYOUTS["unequal"])]
    batches = [*parts, [joined(sides) for sides in zip(*parts, strict=True)]]
    with torch.no_grad():
        outputs = [compare_together(loss, *batch, ranks=None) for batch in batches]
    sums = [sum(output.loss * output.weight for output in outputs[:-1]), sum(output.weight for output in outputs[:-1])]
    add_up = torch.allclose(sums[0] / sums[1], outputs[-1].loss, atol=1e-5, rtol=1e-5)
    assert add_up is not loss.compares_across_utterances


def test_only_one_process_warns_of_what_all_of_them_see(parts: list[dict[str, Tensor]]) -> None:
    assert [int(part["swapped_prediction, unequal: warnings"]) for part in parts] == [1, 0]


class Threads:
    """Two threads that meet like processes."""

    world_size = 2

    def __init__(self, rank: int, meeting: threading.Barrier, desk: list[Any]) -> None:
        self.rank, self.meeting, self.desk = rank, meeting, desk

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def exchange(self, item: Any) -> list[Any]:
        self.desk[self.rank] = item
        self.meeting.wait()
        items = list(self.desk)
        self.meeting.wait()
        return items

    def sum(self, values: Tensor) -> Tensor:
        return values.copy_(sum(self.exchange(values.clone())))


def together(work: Callable[[Any], Any]) -> Iterator[Any]:
    meeting, desk = threading.Barrier(2, timeout=30), [None, None]
    with ThreadPoolExecutor(2) as pool:
        yield from pool.map(work, [Threads(rank, meeting, desk) for rank in (0, 1)])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_gathered_frames_are_the_joined_batch_and_gradients_reach_the_own_ones(dtype: torch.dtype) -> None:
    parts = [frames(3, 5), frames(7, seed=1)]
    padded = replace(parts[1], values=torch.nn.functional.pad(parts[1].values, (0, 0, 0, 4)))
    padded = replace(padded, masked=torch.nn.functional.pad(parts[1].masked, (0, 4), value=True))
    parts = [replace(side, values=side.values.to(dtype).requires_grad_()) for side in (parts[0], padded)]
    weights = torch.arange(3.0)[:, None, None].to(torch.promote_types(dtype, torch.float32))

    def work(ranks: Any) -> Frames:
        gathered = gather_frames(parts[ranks.rank], ranks=ranks)
        (gathered.values * weights).sum().backward()
        return gathered

    expected = joined(parts)
    for gathered in together(work):
        assert gathered.lengths.tolist() == [3, 7, 5]
        assert torch.equal(gathered.values[gathered.mask], expected.values[expected.mask].to(weights.dtype))
        assert torch.equal(gathered.masked & gathered.mask, expected.masked)
        assert gathered.values.shape == (3, 7, DIM)
    assert parts[0].values.grad[:, 0, 0].tolist() == [0.0, 4.0]
    assert parts[1].values.grad[:, 0, 0].tolist() == [2.0]


def test_gathered_labels_stay_labels() -> None:
    parts = [labels(3, 5), Frames(torch.zeros(0, 1, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))]
    for gathered in together(lambda ranks: gather_frames(parts[ranks.rank], ranks=ranks)):
        assert torch.equal(gathered.values, parts[0].values)
        assert gathered.values.dtype == torch.int64
        assert gathered.masked is None


def test_who_has_no_frames_can_differentiate_a_loss_without_weights() -> None:
    none = Frames(torch.zeros(0, 1, DIM), torch.zeros(0, dtype=torch.int64))
    parts = [frames(3, 5), none]

    def work(ranks: Any) -> LossOutput:
        own = parts[ranks.rank]
        output = compare_together(VICReg(), own, own, ranks=ranks)
        (output.loss * output.weight).backward()
        return output

    parts[0].values.requires_grad_()
    first, second = together(work)
    assert first.loss == second.loss
    assert first.weight == second.weight == 4.0
    assert parts[0].values.grad.abs().sum() > 0


@pytest.mark.parametrize("world_size", [1, 2])
def test_losses_that_add_up_and_processes_alone_exchange_nothing(world_size: int) -> None:
    class Silent:
        rank, is_main = 0, True

    ranks: Any = Silent()
    ranks.world_size = world_size
    loss = make("soft_dtw" if world_size == 2 else "vicreg")
    side, other = frames(4, 5), frames(4, 5, seed=1)
    together, alone = compare_together(loss, side, other, ranks=ranks), loss(side, other)
    assert together.loss == alone.loss
    assert together.weight == alone.weight
