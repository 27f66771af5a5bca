"""GPUs, and what keeps torch from using one that is there."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

from ssft.doctor.finding import Finding, first_line
from ssft.doctor.packages import reinstall_pair

_CUDA_INDEX = "--index-url https://download.pytorch.org/whl/cu130"


def gpus() -> Iterator[Finding]:
    """What torch computes on, and what keeps it from a GPU that is there."""
    try:
        import torch
    except Exception:
        yield Finding("GPU", "unknown, as torch cannot be imported", "note")
        return
    facts = {"cuda_build": torch.version.cuda, "hip_build": torch.version.hip}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")  # that is how CUDA says what it has against a driver
        available = torch.cuda.is_available()
    for index in range(torch.cuda.device_count() if available else 0):
        yield _gpu(index, facts)
    if available:
        return
    if torch.backends.mps.is_available():
        yield Finding("GPU", "one of Apple's; ssft is not tested on it", "note", facts={**facts, "kind": "mps"})
    elif shutil.which("nvidia-smi") is None and not Path("/proc/driver/nvidia").exists():
        yield Finding("GPU", "none: training runs on the processor, in float32", facts={**facts, "kind": None})
    elif torch.version.cuda is None:
        value = f"there is an NVIDIA driver, but torch {torch.__version__} is built without CUDA"
        yield Finding("GPU", value, "note", reinstall_pair(_CUDA_INDEX), {**facts, "kind": None})
    else:
        why = first_line(Warning(caught[0].message)) if caught else "no device is visible to this process"
        value = f"there is an NVIDIA driver, but torch (CUDA {torch.version.cuda}) cannot use it: {why}"
        mend = "nvidia-smi   (shows the devices, and which CUDA the driver knows)"
        yield Finding("GPU", value, "note", mend, {**facts, "kind": None})


def _gpu(index: int, build: dict[str, str | None]) -> Finding:
    import torch

    about = torch.cuda.get_device_properties(index)
    bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    facts = {**build, "kind": "cuda", "name": about.name, "bytes": about.total_memory, "bf16": bf16}
    value = f"{about.name}, {about.total_memory / 1e9:,.1f} GB, "
    if bf16:
        return Finding(f"GPU {index}", f"{value}bf16", facts=facts)
    value += "which has no bf16 of its own and would emulate it"
    return Finding(f"GPU {index}", value, "note", "ssft train ... --train.precision float32", facts)
