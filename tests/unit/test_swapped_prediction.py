"""SPIN's loss against its definition, and what keeps it from collapsing or breaking."""

from __future__ import annotations

import math
import warnings
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import swapped_prediction as oracle

from ssft.components import build, describe
from ssft.errors import RecipeError
from ssft.losses.code_prediction import predict_codes_
from ssft.losses.swapped_prediction import SwappedPrediction
from ssft.ops.sinkhorn import sinkhorn
from ssft.types import Frames

pytestmark = pytest.mark.filterwarnings("ignore:SwappedPrediction")


def frames(*lengths, dim=6, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return Frames.stack([F.normalize(torch.randn(n, dim, generator=generator, dtype=dtype), dim=1) for n in lengths])


def views(*lengths, dim=6, seed=0, dtype=torch.float64, noise=0.5):
    """Two views that resemble each other, with gradient."""
    first, other = (
        frames(*lengths, dim=dim, seed=seed, dtype=dtype),
        frames(*lengths, dim=dim, seed=seed + 1, dtype=dtype),
    )
    second = F.normalize(first.values + noise * other.values, dim=-1)
    return Frames(first.values.requires_grad_(), first.lengths), Frames(second.requires_grad_(), first.lengths)


def made(dim=6, seed=0, dtype=torch.float64, **settings):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        loss = SwappedPrediction(**{"codebook_size": 5, **settings})
        assert loss.materialize(dim) is None
    return loss.to(dtype)


def expected(loss, first, second, **more):
    how = {key: getattr(loss, key) for key in ("epsilon", "temperature", "hard_target", "prob_ratio")}
    pairs = [view.valid().detach().numpy() for view in (first, second)]
    values = [
        oracle.loss(*pairs, codebook.detach().numpy(), iterations=loss.sinkhorn_iterations, **how, **more)
        for codebook in loss.codebooks
    ]
    return float(np.mean(values))


def plain(first, second, codebook, epsilon=0.02, temperature=0.1):
    """The formula as one would write it, for autograd to differentiate."""
    log_p = [torch.log_softmax(view @ codebook.T / temperature, dim=1) for view in (first, second)]
    q = [sinkhorn(view @ codebook.T / epsilon, iterations=3) for view in (first, second)]
    return -((q[0] * log_p[1]).sum(1).mean() + (q[1] * log_p[0]).sum(1).mean()) / 2


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=3),
    size=st.integers(2, 7),
    epsilon=st.sampled_from([0.02, 0.05, 0.5]),
    prob_ratio=st.sampled_from([1.0, 0.7, 0.0]),
    iterations=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_equals_the_loop_oracle(lengths, size, epsilon, prob_ratio, iterations, seed):
    loss = made(codebook_size=size, epsilon=epsilon, prob_ratio=prob_ratio, sinkhorn_iterations=iterations)
    first, second = views(*lengths, seed=seed)
    output = loss(first, second)
    assert float(output.loss) == pytest.approx(expected(loss, first, second), rel=1e-9)
    assert output.weight == sum(lengths)


@pytest.mark.parametrize("seed", range(4))
def test_hard_targets_equal_the_loop_oracle(seed):
    loss, (first, second) = made(codebook_size=4, epsilon=0.1, hard_target=True), views(20, 13, seed=seed)
    assert float(loss(first, second).loss) == pytest.approx(expected(loss, first, second), rel=1e-9)


def test_settings_change_the_value():
    first, second = views(9, 4)
    values = [
        float(made(**change)(first, second).loss)
        for change in ({}, {"hard_target": True}, {"prob_ratio": 0.5}, {"epsilon": 0.1}, {"temperature": 0.3})
    ]
    assert len({round(value, 6) for value in values}) == 5


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_gradients_are_those_of_the_plain_formula(dtype):
    loss = made(codebook_size=7, dtype=dtype)
    first, second = views(9, 5, dtype=dtype)
    loss(first, second).loss.backward()
    actual = [first.values.grad[first.mask], second.values.grad[second.mask], loss.codebook.grad]
    leaves = [first.valid().detach(), second.valid().detach(), loss.codebook.detach()]
    plain(*(leaf.requires_grad_() for leaf in leaves)).backward()
    for one, leaf in zip(actual, leaves, strict=True):
        assert one.abs().max() > 1e-3
        torch.testing.assert_close(one, leaf.grad, atol=1e-10 if dtype == torch.float64 else 1e-6, rtol=1e-5)


def test_gradient_check_with_fixed_targets():
    generator = torch.Generator().manual_seed(0)
    q = torch.softmax(torch.randn(6, 4, generator=generator, dtype=torch.float64), dim=1)
    inputs = [torch.randn(n, 3, generator=generator, dtype=torch.float64, requires_grad=True) for n in (6, 4)]

    def value(z, codebook):
        logits = z.detach() @ codebook.detach().T / 0.3
        return predict_codes_(z, codebook, logits=logits, targets=q.clone(), temperature=0.3).loss

    assert torch.autograd.gradcheck(value, inputs)


def test_only_sides_that_ask_for_a_gradient_get_one():
    loss, (first, second) = made(), views(8)
    fixed = Frames(second.values.detach(), second.lengths)
    loss(first, fixed).loss.backward()
    alone = first.values.grad.clone()
    first.values.grad = None
    loss(first, second).loss.backward()
    assert torch.equal(first.values.grad, alone)
    with torch.no_grad():
        assert float(loss(first, second).loss) == pytest.approx(expected(loss, first, second))


def test_backward_inside_autocast_is_in_float32():
    gradients = []
    for inside in (False, True):
        loss, (first, second) = made(dtype=torch.float32), views(20, dtype=torch.float32)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=inside):
            loss(first, second).loss.backward()
        gradients.append((first.values.grad, loss.codebook.grad))
    assert torch.equal(gradients[0][0], gradients[1][0])
    assert torch.equal(gradients[0][1], gradients[1][1])


def test_second_derivative_is_refused():
    first, second = views(5)
    with pytest.raises(RuntimeError, match="first derivative only"):
        torch.autograd.grad(made()(first, second).loss, first.values, create_graph=True)


def test_padding_is_never_read():
    loss, (first, second) = made(), views(7, 3, 1)
    clean = loss(first, second)
    dirty = [v.values.detach().masked_fill(~v.mask[..., None], math.nan).requires_grad_() for v in (first, second)]
    output = loss(*(Frames(values, first.lengths) for values in dirty))
    assert torch.equal(output.loss, clean.loss)
    assert output.logs == clean.logs
    output.loss.backward()
    for values in dirty:
        assert torch.isfinite(values.grad).all()
        assert values.grad[~first.mask].abs().max() == 0


def test_order_of_the_batch_does_not_matter():
    loss, (first, second) = made(), views(7, 3, 5)
    order = torch.tensor([2, 0, 1])
    shuffled = loss(first.select(order), second.select(order))
    torch.testing.assert_close(shuffled.loss, loss(first, second).loss, atol=1e-12, rtol=1e-12)


def test_swapping_the_views_changes_nothing():
    loss, (first, second) = made(prob_ratio=0.8), views(7, 3)
    torch.testing.assert_close(loss(first, second).loss, loss(second, first).loss, atol=1e-12, rtol=1e-12)


def test_each_view_has_a_sinkhorn_of_its_own():
    """Joined, the second view's even use of codes would allow the first to be uneven."""
    loss, (first, second) = made(), views(12, noise=3.0)
    joint = sinkhorn(
        torch.cat([first.valid(), second.valid()]).detach() @ loss.codebook.detach().T / 0.02, iterations=3
    )
    log_p = [torch.log_softmax(view.valid() @ loss.codebook.T / 0.1, dim=1) for view in (first, second)]
    jointly = -((joint[:12] * log_p[1]).sum(1).mean() + (joint[12:] * log_p[0]).sum(1).mean()) / 2
    assert abs(float(jointly - loss(first, second).loss)) > 1e-3


def test_views_of_different_length_are_refused():
    assert SwappedPrediction.needs_same_length
    with pytest.raises(RecipeError, match="SoftDTW"):
        made()(frames(5, 4), frames(5, 3))


# Codebooks


def test_several_codebooks_are_the_mean_of_separate_losses():
    together, (first, second) = made(codebook_size=[3, 8]), views(9, 6)
    output = together(first, second)
    output.loss.backward()
    gradient = first.values.grad.clone()
    first.values.grad = None
    parts = []
    for codebook in together.codebooks:
        part = made(codebook_size=len(codebook))
        part.load_state_dict({"codebooks.0": codebook.detach()})
        parts.append(part(first, second))
        (parts[-1].loss / 2).backward()
        torch.testing.assert_close(part.codebook.grad, codebook.grad, atol=1e-12, rtol=1e-10)
        size = len(codebook)
        for name, value in parts[-1].logs.items():
            assert output.logs[f"{name}_{size}"] == pytest.approx(value)
    assert len(output.logs) == 6
    assert float(output.loss) == pytest.approx(float(sum(part.loss for part in parts)) / 2)
    torch.testing.assert_close(first.values.grad, gradient, atol=1e-12, rtol=1e-10)
    assert float(output.loss) == pytest.approx(expected(together, first, second))


def test_codebook_is_a_parameter_of_unit_rows_from_pytorchs_generator():
    loss = made(codebook_size=[40, 20], dim=32, dtype=torch.float32, queue_frames=7)
    assert [tuple(parameter.shape) for parameter in loss.parameters()] == [(40, 32), (20, 32)]
    assert loss.codebook is loss.codebooks[0]
    assert all((codebook.norm(dim=1) - 1).abs().max() < 1e-6 for codebook in loss.codebooks)
    assert torch.equal(made(codebook_size=[40, 20], dim=32, dtype=torch.float32).codebook, loss.codebook)
    assert not torch.equal(made(codebook_size=[40, 20], dim=32, seed=1, dtype=torch.float32).codebook, loss.codebook)


def test_rows_have_unit_length_after_every_step():
    loss = made(codebook_size=[50, 30], dim=16, dtype=torch.float32)
    optimizer = torch.optim.AdamW(loss.parameters(), lr=0.05)
    identity = loss.codebook
    for step in range(5):
        first, second = views(60, dim=16, seed=step, dtype=torch.float32)
        optimizer.zero_grad()
        loss(first, second).loss.backward()
        before = loss.codebook.detach().clone()
        optimizer.step()
        assert (loss.codebook.norm(dim=1) - 1).abs().max() > 1e-3
        loss.after_step()
        assert all((codebook.norm(dim=1) - 1).abs().max() < 1e-6 for codebook in loss.codebooks)
        assert not torch.equal(loss.codebook, before)
    assert loss.codebook is identity
    assert loss.codebook.requires_grad


def test_identical_views_near_one_hot_codes_start_below_log_k_and_training_goes_on_down():
    size = 16
    loss = made(codebook_size=size, dim=size, dtype=torch.float32)
    with torch.no_grad():
        loss.codebook.copy_(torch.eye(size))
    generator = torch.Generator().manual_seed(0)
    noisy = torch.eye(size).repeat(8, 1) + 0.2 * torch.randn(8 * size, size, generator=generator)
    values = noisy[None].requires_grad_()
    lengths = torch.tensor([8 * size])
    optimizer = torch.optim.Adam([values, *loss.parameters()], lr=0.02)
    losses = []
    for _ in range(20):
        unit = Frames(F.normalize(values, dim=-1), lengths)
        output = loss(unit, unit)
        losses.append(float(output.loss))
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        loss.after_step()
    assert losses[0] < math.log(size) / 2
    assert losses[-1] < losses[0] / 2
    assert all(after < before for before, after in pairwise(losses))
    assert output.logs["accuracy"] == 1
    assert output.logs["code_perplexity"] == pytest.approx(size)


def test_equal_shares_push_collapsed_frames_apart():
    """Frames that all prefer one code are given to all codes by their small differences, and training spreads them."""
    torch.manual_seed(0)
    loss = made(codebook_size=4, dim=8, dtype=torch.float32)
    start = F.normalize(loss.codebook[0].detach() + 0.02 * torch.randn(64, 8), dim=1)
    values = start[None].clone().requires_grad_()
    optimizer = torch.optim.Adam([values, *loss.parameters()], lr=0.02)
    used = []
    for _ in range(100):
        unit = Frames(F.normalize(values, dim=-1), torch.tensor([64]))
        output = loss(unit, unit)
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        loss.after_step()
        used.append(output.logs["code_perplexity"])
    assert used[0] == 1
    assert used[-1] > 3.5


# The queue


def test_queue_takes_part_in_sinkhorn_and_in_nothing_else():
    loss = made(queue_frames=20)
    before, now = views(8, 4, seed=5), views(6, 3)
    loss(*before)
    earlier = tuple(view.valid().detach().numpy() for view in before)
    output = loss(*now)
    assert output.weight == 9
    assert float(output.loss) == pytest.approx(expected(loss, *now, earlier=earlier), rel=1e-6)  # kept in float32
    assert float(output.loss) != pytest.approx(expected(loss, *now), rel=1e-4)
    output.loss.backward()
    assert before[0].values.grad is None
    # p - q with the queue's q, and the frames of this batch alone.
    q = [
        sinkhorn(torch.cat([view.valid(), old]).detach() @ loss.codebook.detach().T / 0.02, iterations=3)[:9]
        for view, old in zip(now, (view.valid() for view in before), strict=True)
    ]
    p = torch.softmax(now[0].valid() @ loss.codebook.T / 0.1, dim=1)
    expected_gradient = ((p - q[1]) @ loss.codebook / 0.1 / 9 / 2).detach()
    torch.testing.assert_close(now[0].values.grad[now[0].mask], expected_gradient, atol=1e-6, rtol=1e-5)


def test_queue_uses_the_codebook_of_now():
    loss, before, now = made(queue_frames=20), views(8, 4, seed=5), views(6, 3)
    loss(*before)
    with torch.no_grad():
        loss.codebook.copy_(loss.codebook.flip(1))
    earlier = tuple(view.valid().detach().numpy() for view in before)
    assert float(loss(*now).loss) == pytest.approx(expected(loss, *now, earlier=earlier), rel=1e-6)


def test_queue_fills_wraps_and_keeps_the_newest():
    loss = made(queue_frames=10)
    batches = [views(4, seed=seed) for seed in (10, 20, 30, 40)]
    for count, batch in enumerate(batches, 1):
        loss(*batch)
        held = loss.queue.filled()
        assert held.shape == (2, min(4 * count, 10), 6)
        for view in (0, 1):
            newest = torch.cat([b[view].valid().detach() for b in batches[:count]])[-10:]
            assert as_set(held[view]) == as_set(newest)
    loss(*views(25, seed=50))
    assert as_set(loss.queue.filled()[1]) == as_set(views(25, seed=50)[1].valid().detach()[-10:])


def test_queue_pairs_its_frames_by_index():
    loss = made(queue_frames=10, prob_ratio=0.5)
    old, now = [views(7, seed=seed) for seed in (10, 20)], views(6)
    for batch in old:
        loss(*batch)
    earlier = tuple(torch.cat([b[view].valid().detach() for b in old])[-10:].numpy() for view in (0, 1))
    assert float(loss(*now).loss) == pytest.approx(expected(loss, *now, earlier=earlier), rel=1e-6)


def test_queue_is_filled_by_training_only():
    loss, batch = made(queue_frames=10), views(4)
    with torch.no_grad():
        loss(*batch)
    loss.eval()
    loss(*batch)
    assert loss.queue.filled().shape[1] == 0
    loss.train()
    loss(*batch)
    assert loss.queue.filled().shape[1] == 4
    assert not loss.queue.filled().requires_grad


def test_queue_is_restored_from_a_state_dict():
    loss = made(queue_frames=10)
    for seed in (10, 20, 30):
        loss(*views(4, seed=seed))
    state = {name: tensor.clone() for name, tensor in loss.state_dict().items()}
    assert set(state) == {"codebooks.0", "queue.frames", "queue.seen"}
    other = made(queue_frames=10, seed=9)
    other.load_state_dict(state)
    for seed in (40, 50):
        assert torch.equal(loss(*views(4, seed=seed)).loss, other(*views(4, seed=seed)).loss)
    assert torch.equal(loss.queue.frames, other.queue.frames)
    assert "queue.frames" not in made().state_dict()


def as_set(rows):
    return {tuple(row) for row in rows.float().tolist()}


# Warnings


def warned(loss, batch):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loss(*batch)
    return [str(one.message) for one in caught]


def test_too_few_frames_are_said_once():
    loss, batch = made(codebook_size=[200, 50]), views(700, 499)
    assert warned(loss, batch) == [
        "SwappedPrediction: 1,199 frames for 200 codes is less than 6 per code; Sinkhorn needs more: raise "
        "train.batch_seconds, set loss.queue_frames, or lower loss.codebook_size."
    ]
    assert warned(loss, batch) == []
    assert warned(made(codebook_size=200), views(1200)) == []
    assert loss.frames_needed() == 1200


def test_too_few_frames_are_not_said_before_the_queue_is_full():
    loss = made(codebook_size=10, queue_frames=40)
    assert loss.frames_needed() == 20
    assert warned(loss, views(19)) == []
    assert warned(loss, views(21, seed=1)) == []
    assert loss.queue.filled().shape[1] == 40
    assert warned(loss, views(20)) == []
    assert warned(loss, views(19))[0].startswith("SwappedPrediction: 59 frames for 10 codes")
    assert made(codebook_size=10, queue_frames=100).frames_needed() == 0


def test_frames_that_are_not_of_unit_length_are_said_once():
    loss, batch = made(), views(60)
    large = [Frames(view.values.detach() * 3, view.lengths) for view in batch]
    assert warned(loss, batch) == []
    assert "lengths up to 3, but" in warned(loss, large)[0]
    assert warned(loss, large) == []
    rounded = [Frames(view.values.detach().bfloat16(), view.lengths) for view in batch]
    assert warned(made(), rounded) == []


def test_nothing_is_said_outside_training():
    loss, batch = made(codebook_size=200), views(5)
    with torch.no_grad():
        assert warned(loss, batch) == []
    assert warned(loss.eval(), batch) == []


# Numbers that break


def test_logs():
    loss, (first, second) = made(codebook_size=8), views(40, 25)
    output = loss(first, second)
    scores = [view.valid().detach() @ loss.codebook.detach().T for view in (first, second)]
    best = [score.argmax(1) for score in scores]
    q = [sinkhorn(score / 0.02, iterations=3).argmax(1) for score in scores]
    accuracy = ((best[0] == q[1]).double().mean() + (best[1] == q[0]).double().mean()) / 2
    hard = torch.bincount(torch.cat(best), minlength=8) / 130
    soft = torch.softmax(torch.cat(scores) / 0.1, dim=1).mean(0)
    expected_logs = {
        "accuracy": float(accuracy),
        "code_perplexity": float(torch.exp(-torch.xlogy(hard, hard).sum())),
        "prob_perplexity": float(torch.exp(-torch.xlogy(soft, soft).sum())),
    }
    assert 0.2 < output.logs["accuracy"] < 1
    assert output.logs == pytest.approx(expected_logs, rel=1e-6)
    assert all(type(value) is float for value in output.logs.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_frame_is_spread_over_all_codes(dtype):
    loss, (first, second) = made(dtype=dtype), views(1, dtype=dtype)
    output = loss(first, second)
    log_p = [torch.log_softmax(view.valid() @ loss.codebook.T / 0.1, dim=1) for view in (first, second)]
    torch.testing.assert_close(output.loss, -(log_p[0].mean() + log_p[1].mean()) / 2)
    output.loss.backward()
    assert torch.isfinite(first.values.grad).all()


def test_silence_on_both_sides_is_log_k_without_gradient():
    zeros = torch.zeros(2, 30, 6, requires_grad=True)
    side = Frames(zeros, torch.tensor([30, 1]))
    loss = made(dtype=torch.float32)
    output = loss(side, side)
    output.loss.backward()
    assert float(output.loss) == pytest.approx(math.log(5), rel=1e-6)
    assert zeros.grad.abs().max() < 1e-6
    assert torch.isfinite(loss.codebook.grad).all()


@pytest.mark.parametrize("hard_target", [False, True])
def test_large_values_stay_finite(hard_target):
    loss, (first, second) = made(dtype=torch.float32, hard_target=hard_target), views(20, 1, dtype=torch.float32)
    large = [Frames((view.values.detach() * 1e4).requires_grad_(), view.lengths) for view in (first, second)]
    output = loss(*large)
    output.loss.backward()
    assert torch.isfinite(output.loss)
    assert all(torch.isfinite(view.values.grad).all() for view in large)
    assert torch.isfinite(loss.codebook.grad).all()
    assert all(math.isfinite(value) for value in output.logs.values())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_input_is_computed_in_float32(dtype):
    loss, (first, second) = made(dtype=torch.float32), views(30, 12, dtype=torch.float32)
    rounded = [Frames(view.values.detach().to(dtype).requires_grad_(), view.lengths) for view in (first, second)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = loss(*rounded)
    whole = [Frames(view.values.detach().float(), view.lengths) for view in rounded]
    assert output.loss.dtype == torch.float32
    assert torch.equal(output.loss, loss(*whole).loss)
    output.loss.backward()
    assert rounded[0].values.grad.dtype == dtype
    assert torch.isfinite(rounded[0].values.grad).all()


def test_float32_stays_close_to_float64_at_the_published_size():
    first, second = views(900, 700, dim=256, dtype=torch.float64, noise=1.0)
    values = []
    for dtype in (torch.float64, torch.float32):
        loss = made(codebook_size=256, dim=256, dtype=torch.float64).to(dtype)
        pair = [Frames(view.values.detach().to(dtype).requires_grad_(), view.lengths) for view in (first, second)]
        value = loss(*pair).loss
        value.backward()
        values.append((value.detach().double(), pair[0].values.grad.double(), loss.codebook.grad.double()))
    for exact, rounded in zip(*values, strict=True):
        assert (exact - rounded).abs().max() < 1e-5 * exact.abs().max()


# Settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"codebook_size": 1}, r"codebook_size=1\): a codebook has at least 2"),
        ({"codebook_size": []}, r"codebook_size=\(\)\): a codebook has at least 2"),
        ({"codebook_size": [50, 0]}, "at least 2"),
        ({"codebook_size": [50, 50]}, "must differ"),
        ({"epsilon": 0.0}, r"epsilon=0.0\): .*0.02 is the published value"),
        ({"temperature": -0.1}, "0.1 is the published value"),
        ({"sinkhorn_iterations": 0}, "3 is the published value"),
        ({"prob_ratio": 1.1}, "from 0 to 1"),
        ({"prob_ratio": math.nan}, "from 0 to 1"),
        ({"queue_frames": -1}, "cannot be negative"),
    ],
)
def test_bad_settings_are_refused_by_name(settings, message):
    with pytest.raises(RecipeError, match=message):
        SwappedPrediction(**settings)


def test_settings_come_back_from_their_description():
    table = {"swapped_prediction": SwappedPrediction}
    for size in (128, [50, 4096]):
        loss = SwappedPrediction(codebook_size=size, queue_frames=9, hard_target=True)
        spec = describe(loss, [table])
        assert spec["codebook_size"] == size
        assert describe(build(table, spec, where="loss"), [table]) == spec
    assert build(table, {"name": "swapped_prediction", "codebook_size": "64"}, where="loss").codebook_size == 64


def test_a_loss_without_a_codebook_says_so():
    with pytest.raises(RecipeError, match="materialize"):
        SwappedPrediction()(*views(5))
