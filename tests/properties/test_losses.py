"""What holds for every loss in the table: a new one is covered the day it appears."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from loss_examples import DIM, NAMES, call, frames, labels, make
from torch.nn.functional import normalize

from ssft.components import describe
from ssft.losses import LOSSES, FrameLoss
from ssft.types import Frames

ROOT = Path(__file__).resolve().parents[2]


def value(loss: FrameLoss, student: Frames, reference: Frames, targets: Frames) -> float:
    return float(call(loss, student, reference, targets).loss.detach())


def lengths_for(loss: FrameLoss) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Lengths of student and reference: different ones where the loss takes them."""
    return (12, 7, 9), (12, 7, 9) if loss.needs_same_length or loss.needs_targets else (10, 11, 5)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_what_the_loss_looks_at_and_its_own_weights(name: str) -> None:
    loss = make(name)
    n, m = lengths_for(loss)
    student, reference = frames(*n), frames(*m, seed=1)
    for side in (student, reference):
        side.values.requires_grad_()
    output = call(loss, student, reference, labels(*n))
    assert output.loss.ndim == 0
    assert output.loss.dtype == torch.float32
    assert output.weight > 0
    assert all(isinstance(entry, float) and math.isfinite(entry) for entry in output.logs.values())
    output.loss.backward()
    assert float(student.values.grad.abs().sum()) > 0
    assert (reference.values.grad is not None and float(reference.values.grad.abs().sum()) > 0) is loss.needs_reference
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in loss.parameters())
    loss.after_step()


@pytest.mark.parametrize("name", NAMES)
def test_padding_changes_neither_loss_nor_gradient(name: str) -> None:
    loss = make(name)
    n, m = lengths_for(loss)
    results = []
    for filling in (0.0, 7.0):
        student, reference = frames(*n), frames(*m, seed=1)
        padded = []
        for side in (student, reference):
            longer = torch.full((3, 20, DIM), filling)
            longer[:, : side.values.shape[1]] = torch.where(side.mask[..., None], side.values, filling)
            masked = torch.zeros(3, 20, dtype=torch.bool)
            masked[:, : side.values.shape[1]] = side.masked
            padded.append(Frames(longer.requires_grad_(), side.lengths, masked))
        output = call(loss, padded[0], padded[1], labels(*n))
        output.loss.backward()
        gradient = padded[0].values.grad
        assert float(gradient[~padded[0].mask].abs().max()) == 0
        results.append((output.loss.detach(), gradient[padded[0].mask]))
    unpadded = call(loss, frames(*n), frames(*m, seed=1), labels(*n)).loss.detach()
    torch.testing.assert_close(results[0], results[1], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(results[0][0], unpadded, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_order_of_the_batch_does_not_matter(name: str) -> None:
    loss = make(name)
    n, m = lengths_for(loss)
    student, reference, targets = frames(*n), frames(*m, seed=1), labels(*n)
    order = torch.tensor([2, 0, 1])
    shuffled = value(loss, student.select(order), reference.select(order), targets.select(order))
    assert shuffled == pytest.approx(value(loss, student, reference, targets), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", NAMES)
def test_half_precision_views_are_compared_in_float32(name: str, dtype: torch.dtype) -> None:
    loss = make(name)
    n, m = lengths_for(loss)
    student, reference, targets = frames(*n), frames(*m, seed=1), labels(*n)
    rounded = [replace(side, values=side.values.to(dtype)) for side in (student, reference)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = call(loss, rounded[0], rounded[1], targets)
    expected = value(loss, *(replace(side, values=side.values.float()) for side in rounded), targets)
    assert output.loss.dtype == torch.float32
    # A head of a term is the recipe's, and runs as autocast has it.
    assert float(output.loss.detach()) == pytest.approx(expected, rel=2e-2 if name == "weighted" else 1e-6)


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
@pytest.mark.parametrize("n", [1, 2, 40])
@pytest.mark.parametrize("name", NAMES)
def test_silence_single_frames_and_huge_frames_stay_finite(name: str, n: int, scale: float) -> None:
    loss = make(name)
    m = n if loss.needs_same_length or loss.needs_targets else 3
    student, reference = frames(n, n, scale=scale), frames(m, m, seed=1, scale=scale)
    student.values.requires_grad_()
    if scale > 1 and name == "swapped_prediction":
        pytest.skip("asks for frames of unit length, and says so; its logits of 1e4 are tested with it")
    output = call(loss, student, reference, labels(n, n))
    output.loss.backward()
    assert torch.isfinite(output.loss)
    assert torch.isfinite(student.values.grad).all()


@pytest.mark.parametrize("name", [name for name in NAMES if name != "weighted"])
def test_what_becomes_of_constant_frames_is_as_declared(name: str) -> None:
    """A collapsed encoder: every frame of every utterance the same unit vector."""
    loss = make(name)
    n = (30, 30, 30)
    spread, targets = frames(*n), labels(*n)
    constant = replace(spread, values=normalize(torch.ones_like(spread.values), dim=-1).requires_grad_())
    collapsed = call(loss, constant, replace(constant, values=constant.values.detach()), targets)
    collapsed.loss.backward()
    if loss.lets_collapse:
        assert float(collapsed.loss.detach()) == pytest.approx(0, abs=1e-5)
        assert float(constant.values.grad.abs().max()) == pytest.approx(0, abs=1e-5)
    elif loss.needs_targets:  # no classifier of constant frames does better than the labels' entropy
        counts = torch.bincount(targets.valid()).double()
        entropy = float(-(counts / counts.sum() * (counts / counts.sum()).log()).sum())
        assert float(collapsed.loss.detach()) >= 0.9 * entropy
    else:
        assert float(collapsed.loss.detach()) > value(loss, spread, spread, targets) + 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_is_explained_and_tested(name: str) -> None:
    doc = LOSSES[name].__doc__ or ""
    for section in ("Args:", "Source:", "Requirements:", "Relations:", "Example:"):
        assert f"    {section}\n" in doc, section
    file = LOSSES[name].__module__.rsplit(".", 1)[1]
    assert (ROOT / "tests" / "unit" / f"test_{file}.py").is_file() or name == "temporal_contrast"
    assert (ROOT / "tests" / "papers" / f"test_{file}.py").is_file() or name in ("weighted", "temporal_contrast")
    page = (ROOT / "docs" / "losses.md").read_text(encoding="utf-8")
    assert len(re.findall(rf"`{name}`", page)) >= 2
    assert describe(make(name), [LOSSES])["name"] == name
