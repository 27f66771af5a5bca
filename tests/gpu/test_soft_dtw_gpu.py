"""The soft-DTW kernel compiled and run on a real GPU: the promises that the interpreter checks, at full size.

`pytest -m gpu tests/gpu/test_soft_dtw_gpu.py`. Until a GPU has run it, the kernel is known to be right in Triton's
interpreter, and to compile, and nothing more. To be measured first, in this order:

1. Races. The interpreter runs the threads of a program one after the other, and so can show none.
   `compute-sanitizer --tool racecheck python tests/gpu/test_soft_dtw_gpu.py small` watches shared memory (gathers
   between warps, fetches ahead); `--tool synccheck` belongs to it. The rows between strips go through global memory,
   which racecheck does not watch. There, `--tool initcheck` shows a row that is read before it is written (with
   PYTORCH_NO_CUDA_MEMORY_CACHING=1, so that memory is fresh), `--tool memcheck` a place outside, and
   `test_runs_are_equal_to_the_last_bit` an order that varies.
2. These tests.
3. Speed. `python tests/gpu/test_soft_dtw_gpu.py sweep` prints milliseconds for (32, 1000, 1000, 256), divergence,
   values and both gradients, for every sensible BLOCK, WARPS and STAGES, and what the matrix products alone need. The
   goal is at most 5 ms. The constants in `ssft/ops/soft_dtw/triton.py` are reasoned, not measured: set them to the
   best, also for 250 and 2000 frames.
4. STAGES = 1 against the rest, should a result be wrong: that is the kernel without fetching ahead.
"""

from __future__ import annotations

import itertools
import sys

import pytest
import torch
from torch.nn.functional import normalize

from ssft.ops.soft_dtw import triton as kernel
from ssft.ops.soft_dtw.scan import SoftDTWScan

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def batch(*lengths: tuple[int, int], dim: int = 256, seed: int = 0) -> list[torch.Tensor]:
    """x, y, lengths_x, lengths_y on the GPU: unit frames that change slowly, as speech does, and NaN as padding."""
    generator = torch.Generator().manual_seed(seed)
    sides, ends = [], []
    for numbers in zip(*lengths, strict=True):
        ends.append(torch.tensor(numbers))
        steps = torch.randn(len(numbers), max(numbers), dim, generator=generator)
        frames = normalize(steps.cumsum(1) + 5 * steps, dim=-1)
        sides.append(frames.masked_fill((torch.arange(max(numbers)) >= ends[-1][:, None])[..., None], torch.nan))
    return [each.cuda() for each in (*sides, *ends)]


def reference(x, y, lengths_x, lengths_y, *, gamma):
    """Divergences and gradients by the scan in float64."""
    x, y = (side.double().nan_to_num().requires_grad_() for side in (x, y))

    def term(a, b, n, m):
        cost = a.square().sum(2)[:, :, None] + b.square().sum(2)[:, None] - 2 * a @ b.mT
        if a is b:
            cost = cost - torch.diag_embed(cost.diagonal(dim1=1, dim2=2))
        return SoftDTWScan.apply(cost, n, m, gamma)

    values = term(x, y, lengths_x, lengths_y)
    values = values - (term(x, x, lengths_x, lengths_x) + term(y, y, lengths_y, lengths_y)) / 2
    values.sum().backward()
    return values.detach(), x.grad, y.grad


def test_kernel_is_available():
    assert kernel.available()


@pytest.mark.parametrize("gamma", [0.1, 1.0, 10.0])
@pytest.mark.parametrize(
    "lengths",
    [
        [(1, 1), (1, 300), (300, 1), (17, 5)],
        [(255, 256), (256, 257), (257, 255), (513, 511)],
        [(1000, 1000), (250, 900), (769, 1)],
        [(2100, 1900)],
    ],
    ids=["short", "around a strip", "unequal", "long"],
)
def test_values_and_gradients_equal_float64(lengths, gamma):
    inputs = batch(*lengths)
    values, gradients = kernel.values_and_gradients(*inputs, gamma=gamma, divergence=True)
    exact, *exact_gradients = reference(*inputs, gamma=gamma)
    assert ((values - exact) / exact).abs().max() <= 1e-6
    for side, gradient in enumerate(exact_gradients):
        assert (gradients[side] - gradient).abs().max() <= 1e-5 * gradient.abs().max()


def test_runs_are_equal_to_the_last_bit():
    inputs = batch(*[(1000 - 7 * item, 600 + 11 * item) for item in range(32)])
    first, first_gradients = kernel.values_and_gradients(*inputs, gamma=0.1, divergence=True)
    for _ in range(20):
        again, gradients = kernel.values_and_gradients(*inputs, gamma=0.1, divergence=True)
        assert torch.equal(again, first)
        assert all(torch.equal(gradients[side], first_gradients[side]) for side in (0, 1))


@pytest.mark.parametrize(("block", "stages"), [(32, 4), (64, 1), (256, 1), (512, 3), (1024, 2)])
def test_settings_change_the_speed_alone(block, stages, monkeypatch):
    inputs = batch((700, 300), (65, 600))
    expected, expected_gradients = kernel.values_and_gradients(*inputs, gamma=0.1, divergence=True)
    monkeypatch.setattr(kernel, "STAGES", stages)
    values, gradients = kernel.values_and_gradients(*inputs, gamma=0.1, divergence=True, block=block)
    torch.testing.assert_close(values, expected, rtol=1e-6, atol=0)
    for side in (0, 1):
        torch.testing.assert_close(gradients[side], expected_gradients[side], rtol=0, atol=1e-6)


def test_tensorfloat32_and_autocast_change_nothing():
    inputs = batch((300, 280))
    expected, _ = kernel.values_and_gradients(*inputs, gamma=0.1, divergence=True)
    before = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    try:
        with torch.autocast("cuda", dtype=torch.bfloat16):
            values, _ = kernel.values_and_gradients(*inputs, gamma=0.1, divergence=True)
    finally:
        torch.backends.cuda.matmul.fp32_precision = before
    assert torch.equal(values, expected)


def test_divergence_of_a_sequence_with_itself_is_zero_with_zero_gradient():
    x, _, n, _ = batch((900, 1), (400, 1))
    values, gradients = kernel.values_and_gradients(x, x, n, n, gamma=0.1, divergence=True)
    assert values.abs().max() <= 1e-3  # each of the 900 frames is at a rounded distance of up to 5e-7 from itself
    assert max(float(each.abs().max()) for each in gradients.values()) <= 1e-5


def test_only_what_asks_for_a_gradient_gets_one_and_only_once():
    x, y, n, m = batch((200, 150), (90, 160))
    _, gradients = kernel.values_and_gradients(x, y, n, m, gamma=0.1, divergence=True)
    x.requires_grad_()
    value = kernel.evaluate(x, y, n, m, gamma=0.1, divergence=True)
    weights = torch.tensor([2.0, -3.0], device="cuda")
    value.backward(weights, retain_graph=True)
    torch.testing.assert_close(x.grad, weights[:, None, None] * gradients[0])
    assert y.grad is None
    with pytest.raises(RuntimeError, match="first derivative only"):
        torch.autograd.grad(value.sum(), x, create_graph=True)


def test_memory_is_bounded_whatever_the_batch():
    x = normalize(torch.randn(128, 1000, 64, device="cuda"), dim=-1).requires_grad_()
    ends = torch.full((128,), 1000, device="cuda")
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    kernel.evaluate(x, x.detach(), ends, ends, gamma=0.1, divergence=True)
    assert torch.cuda.max_memory_allocated() - before <= 1.3 * kernel.SCRATCH_BYTES


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_frames_may_lie_on_another_device_than_the_current_one():
    inputs = batch((300, 200))
    expected, _ = kernel.values_and_gradients(*inputs, gamma=0.1, divergence=True)
    values, _ = kernel.values_and_gradients(*[each.to("cuda:1") for each in inputs], gamma=0.1, divergence=True)
    assert values.device.index == 1
    torch.testing.assert_close(values.cpu(), expected.cpu())


# From here on: what the docstring has run by hand.


def milliseconds(function, *, repeats: int = 20) -> float:
    for _ in range(3):
        function()
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(repeats):
        function()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / repeats


def sweep() -> None:
    inputs = batch(*[(1000, 1000)] * 32)
    frames = inputs[0].repeat(3, 1, 1)
    matrices = torch.bmm(frames, frames.mT)

    def products() -> None:  # one for the distances, one for each side of the pairs and each sequence with itself
        torch.bmm(frames, frames.mT)
        torch.bmm(matrices, frames)
        torch.bmm(matrices[:32].mT, frames[:32])

    print(f"{torch.cuda.get_device_name()}: matrix products alone {milliseconds(products):.2f} ms")
    for block, warps, stages in itertools.product((128, 256, 512, 1024), (2, 4, 8, 16, 32), (1, 2, 3, 4, 6)):
        if warps <= block // 32 and block // warps <= 128:
            kernel.WARPS, kernel.STAGES = warps, stages
            duration = milliseconds(
                lambda block=block: kernel.values_and_gradients(*inputs, gamma=0.1, divergence=True, block=block)
            )
            print(f"BLOCK {block:4}  WARPS {warps:2}  STAGES {stages}  {duration:6.2f} ms", flush=True)


def small() -> None:
    """Little enough for compute-sanitizer, with several strips, and lengths on both sides of a strip's end."""
    values, _ = kernel.values_and_gradients(
        *batch((300, 40), (64, 65), (1, 33), dim=8), gamma=0.1, divergence=True, block=64
    )
    print(values.tolist())


if __name__ == "__main__":
    {"sweep": sweep, "small": small}[sys.argv[1]]()
