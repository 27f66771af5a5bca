"""The GPU kernel of soft-DTW, run without a GPU: in Triton's interpreter, and through its compiler.

Triton decides at its import whether it interprets, so the cases run in a process of their own (this file as a script).
It knows nothing of threads: what only a GPU can show is in `tests/gpu/test_soft_dtw_gpu.py`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from oracles import soft_dtw as oracle
from torch.nn.functional import normalize

from ssft.ops.soft_dtw import triton as kernel
from ssft.ops.soft_dtw.scan import SoftDTWScan

needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
ROOT = Path(__file__).resolve().parents[2]
BLOCK = 4  # lengths above 8 take three strips


def run(*arguments: str, **environment: str) -> Any:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", **environment}
    done = subprocess.run(
        [sys.executable, __file__, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def seen() -> dict[str, Any]:
    return run("interpret", TRITON_INTERPRET="1")


@needs_triton
def test_kernel_is_available_in_the_interpreter(seen):
    assert seen["available"] is True


@needs_triton
@pytest.mark.parametrize("case", ["lengths", "pair", "gamma 0.01", "gamma 10", "values of 1e4", "part by part"])
def test_values_and_gradients_equal_float64(seen, case):
    """Padding is NaN in all of these cases."""
    value_error, error_x, error_y = seen[case]
    assert value_error <= 1e-6
    assert error_x <= 1e-5
    assert error_y <= 1e-5


@needs_triton
def test_divergence_of_a_sequence_with_itself_is_zero_with_zero_gradient(seen):
    value, *gradients = seen["equal"]
    assert value <= 5e-6
    assert max(gradients) <= 3e-7


@needs_triton
def test_frame_is_at_distance_zero_from_itself_exactly(seen):
    assert seen["diagonal"] == 0


@needs_triton
def test_silence_is_finite_and_has_no_gradient(seen):
    value, expected, gradient = seen["silence"]
    assert value == pytest.approx(expected, abs=1e-6)
    assert gradient == 0


@needs_triton
@pytest.mark.parametrize("wanted", ["x", "y", "neither"])
def test_gradient_of_one_side_alone_is_the_same(seen, wanted):
    sides, value_difference, differences = seen[f"wanted {wanted}"]
    assert sides == {"x": [0], "y": [1], "neither": []}[wanted]
    assert value_difference == 0
    assert all(difference == 0 for difference in differences)


@needs_triton
def test_gradient_follows_what_comes_from_above_and_reaches_only_what_asks_for_it(seen):
    error, frozen = seen["autograd"]
    assert error <= 1e-6
    assert frozen is None


@needs_triton
def test_second_derivative_is_refused(seen):
    assert seen["second"] == "soft-DTW has a first derivative only; do not use create_graph=True."


@needs_triton
def test_autocast_changes_nothing(seen):
    assert seen["autocast"] == [True, "torch.float32"]


@needs_triton
def test_kernels_compile_for_gpus_with_and_without_asynchronous_copies(tmp_path):
    """Registers, shared memory and layouts fit; a strip ends in a barrier, without which its last row may come late."""
    if sys.platform != "linux":
        pytest.skip("the compiler that Triton brings is for Linux")
    compiled = run("compile", TRITON_INTERPRET="0", TRITON_CACHE_DIR=str(tmp_path))
    assert len(compiled) == 4
    for name, (bytes_of_code, barrier_ends_strip) in compiled.items():
        assert bytes_of_code > 0, name
        assert barrier_ends_strip, name


def test_without_triton_the_kernel_is_not_available(monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "ssft.ops.soft_dtw.triton_kernels", raising=False)
    kernel.available.cache_clear()
    assert kernel.available() is False
    monkeypatch.undo()
    assert kernel.available() is False  # remembered
    kernel.available.cache_clear()


def test_tensorfloat32_is_off_inside_only():
    setting = torch.backends.cuda.matmul
    before = setting.fp32_precision
    try:
        setting.fp32_precision = "tf32"
        with kernel._full_precision():
            assert setting.fp32_precision == "ieee"
        assert setting.fp32_precision == "tf32"
    finally:
        setting.fp32_precision = before


@pytest.mark.parametrize("frames", [100, 1000, 2100])
def test_scratch_of_a_part_of_the_batch_is_bounded(frames):
    per_item = kernel._bytes_per_item((frames, frames), divergence=True, kept=True, block=kernel.BLOCK)
    assert per_item >= 3 * 12 * frames**2
    assert per_item <= kernel.SCRATCH_BYTES / 4


# From here on: what runs in the other process.


def batch(*lengths: tuple[int, int], scale: float = 1.0, dim: int = 6) -> list[torch.Tensor]:
    """x, y, lengths_x, lengths_y: unit frames times `scale`, NaN as padding."""
    generator = torch.Generator().manual_seed(len(lengths))
    sides, ends = [], []
    for numbers in zip(*lengths, strict=True):
        ends.append(torch.tensor(numbers))
        frames = normalize(torch.randn(len(numbers), max(numbers), dim, generator=generator), dim=-1) * scale
        padding = torch.arange(max(numbers)) >= ends[-1][:, None]
        sides.append(frames.masked_fill(padding[..., None], torch.nan))
    return [*sides, *ends]


def reference(x, y, lengths_x, lengths_y, *, gamma, divergence):
    """Values by the oracle's loops, gradients by the float64 scan over costs that are exact."""
    sides = [side.double().nan_to_num().requires_grad_() for side in (x, y)]
    values, total = [], torch.zeros((), dtype=torch.float64)
    for a, b, n, m in zip(*sides, lengths_x.tolist(), lengths_y.tolist(), strict=True):
        by_loops = oracle.divergence if divergence else oracle.soft_dtw
        values.append(by_loops(a[:n].detach().numpy(), b[:m].detach().numpy(), gamma))
        for p, q, weight in ((a[:n], b[:m], 1), (a[:n], a[:n], -0.5), (b[:m], b[:m], -0.5)):
            if weight == 1 or divergence:
                cost = (p[:, None] - q[None]).square().sum(-1)[None]
                ends = torch.tensor([len(p)]), torch.tensor([len(q)])
                total = total + weight * SoftDTWScan.apply(cost, *ends, gamma).sum()
    total.backward()
    return torch.tensor(values, dtype=torch.float64), sides[0].grad, sides[1].grad


def errors(inputs, *, gamma=0.1, divergence=True, **how):
    """Largest errors of values and gradients, relative to each value and to each side's largest gradient."""
    values, gradients = kernel.values_and_gradients(*inputs, gamma=gamma, divergence=divergence, block=BLOCK, **how)
    exact, *exact_gradients = reference(*inputs, gamma=gamma, divergence=divergence)
    result = [float(((values - exact) / exact).abs().max())]
    for side, gradient in enumerate(exact_gradients):
        result.append(float((gradients[side] - gradient).abs().max() / gradient.abs().max()))
    return result


def interpret() -> dict[str, Any]:
    seen: dict[str, Any] = {"available": kernel.available()}
    seen["lengths"] = errors(batch((10, 5), (1, 6), (6, 1), (1, 1), (4, 8)))
    seen["pair"] = errors(batch((9, 5), (2, 10)), divergence=False)
    seen["gamma 0.01"] = errors(batch((5, 4)), gamma=0.01)
    seen["gamma 10"] = errors(batch((4, 5)), gamma=10.0, divergence=False)
    seen["values of 1e4"] = errors(batch((5, 3), scale=1e4), gamma=1e3)
    seen["part by part"] = errors(batch((3, 5), (4, 2)), scratch_bytes=1)

    x, _, n, _ = batch((9, 1), (5, 1))
    values, gradients = kernel.values_and_gradients(x, x, n, n, gamma=0.1, divergence=True, block=BLOCK)
    seen["equal"] = [float(each.abs().max()) for each in (values, gradients[0], gradients[1])]

    frames, ones = 1e3 * torch.randn(16, 1, 64, generator=torch.Generator().manual_seed(0)), torch.ones(16).long()
    own, _ = kernel._sweep(frames, frames, ones, ones, gamma=0.1, pairs=0, kept=0, block=BLOCK)
    seen["diagonal"] = float(own.abs().max())

    x, y, n, m = torch.zeros(1, 4, 2), torch.zeros(1, 3, 2), torch.tensor([4]), torch.tensor([3])
    values, gradients = kernel.values_and_gradients(x, y, n, m, gamma=0.1, divergence=True, block=BLOCK)
    expected = oracle.divergence(x[0].double().numpy(), y[0].double().numpy(), 0.1)
    seen["silence"] = [float(values), expected, float(gradients[0].abs().max() + gradients[1].abs().max())]

    inputs = batch((2, 3), (4, 2))
    values, gradients = kernel.values_and_gradients(*inputs, gamma=0.1, divergence=True)
    for name, wanted in (("x", (True, False)), ("y", (False, True)), ("neither", (False, False))):
        alone, some = kernel.values_and_gradients(*inputs, gamma=0.1, divergence=True, wanted=wanted)
        differences = [float((some[side] - gradients[side]).abs().max()) for side in some]
        seen[f"wanted {name}"] = [sorted(some), float((alone - values).abs().max()), differences]

    x, y, n, m = inputs
    x.requires_grad_()
    value = kernel.evaluate(x, y, n, m, gamma=0.1, divergence=True)
    weights = torch.tensor([2.0, -3.0])
    value.backward(weights, retain_graph=True)
    seen["autograd"] = [float((x.grad - weights[:, None, None] * gradients[0]).abs().max()), y.grad]
    try:
        torch.autograd.grad(value.sum(), x, create_graph=True)
    except RuntimeError as error:
        seen["second"] = str(error)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        cast = kernel.evaluate(x, y, n, m, gamma=0.1, divergence=True)
    seen["autocast"] = [torch.equal(cast, values), str(cast.dtype)]
    return seen


def compile_kernels() -> dict[str, tuple[int, bool]]:
    """Machine code of both kernels for several generations of GPUs, as a launch there would compile it."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from ssft.ops.soft_dtw import triton_kernels

    seen = {}
    for capability in (75, 90):
        for name in ("forward_kernel", "backward_kernel"):
            function = getattr(triton_kernels, name)
            signature = dict.fromkeys(function.arg_names, "*fp32")
            for argument in signature:
                if argument.startswith("size") or argument in ("pairs", "kept"):
                    signature[argument] = "i32"
                elif argument.startswith("lengths"):
                    signature[argument] = "*i64"
                elif argument.endswith("exponents"):
                    signature[argument] = "*i32"
            signature |= {"scale": "fp32"} if "scale" in signature else {}
            constants = {"BLOCK": kernel.BLOCK, "STAGES": kernel.STAGES}
            source = ASTSource(function, signature | dict.fromkeys(constants, "constexpr"), constants)
            target = GPUTarget("cuda", capability, 32)
            code = triton.compile(source, target=target, options={"num_warps": kernel.WARPS}).asm
            behind_the_steps = code["ttir"].split("scf.yield")[1]
            seen[f"{name} {capability}"] = len(code["cubin"]), "barrier" in behind_the_steps
    return seen


if __name__ == "__main__":
    print(json.dumps({"interpret": interpret, "compile": compile_kernels}[sys.argv[1]]()))
