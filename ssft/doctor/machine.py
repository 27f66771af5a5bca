"""The machine: processor, GPU, memory, disk, and the folders that are written to."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ssft.doctor.finding import Finding, first_line
from ssft.doctor.gpu import gpus

_LITTLE_DISK_BYTES = 2e9
_LITTLE_MEMORY_BYTES = 2e9
_LITTLE_SHARED_BYTES = 256e6  # Docker gives a container 64 MB
_VARIABLES = (
    "ACCELERATE_USE_CPU", "CUDA_VISIBLE_DEVICES", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "MKL_NUM_THREADS",
    "NUMBA_CACHE_DIR", "NUMBA_DISABLE_JIT", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OMP_WAIT_POLICY",
    "PYTORCH_ALLOC_CONF", "RANK", "SLURM_JOB_ID", "TMPDIR", "WORLD_SIZE",
)  # fmt: skip


def look() -> Iterator[Finding]:
    """Look at what the work is done with, and where it is written."""
    yield Finding("system", platform.platform(), facts={"platform": platform.platform()})
    yield _processor()
    yield from gpus()
    yield _memory()
    yield from _shared_memory()
    yield _folder("current folder", Path.cwd(), "cd /a/folder/that/you/can/write")
    yield _folder("temporary files", Path(tempfile.gettempdir()), "export TMPDIR=/a/folder/that/you/can/write")
    yield _folder("model cache", _model_cache(), "export HF_HOME=/a/folder/that/you/can/write")
    yield _environment()


def _processor() -> Finding:
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    facts: dict[str, Any] = {"cores": cores, "machine": platform.machine(), "threads": None}
    try:
        import torch

        facts["threads"] = torch.get_num_threads()
        how = f"; torch computes in {facts['threads']} of them"
    except Exception:
        how = ""
    return Finding("processor", f"{cores} cores ({platform.machine()}){how}", facts=facts)


def _memory() -> Finding:
    try:
        import psutil  # type: ignore[import-untyped]
    except ImportError:
        return Finding("memory", "unknown, as psutil cannot be imported", "note")
    memory = psutil.virtual_memory()
    total, free, limit = memory.total, memory.available, memory_limit()
    value = f"{_size(total)}, of which {_size(free)} are free"
    if limit is not None and limit < total:
        value += f"; this container may use {_size(limit)}"
        free = min(free, limit)
    facts = {"total_bytes": total, "free_bytes": free, "limit_bytes": limit}
    if free < _LITTLE_MEMORY_BYTES:
        return Finding(
            "memory", value, "note", "ssft train ... --train.accumulate 8   (smaller parts of a step)", facts
        )
    return Finding("memory", value, facts=facts)


def memory_limit() -> int | None:
    """What the container of this process may use, in bytes; None if it has no limit."""
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            return int(Path(path).read_text())
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return None


def _shared_memory() -> Iterator[Finding]:
    """Through which the processes that read audio hand it over."""
    folder = Path("/dev/shm")
    if not folder.is_dir():
        return
    total = shutil.disk_usage(folder).total
    value, facts = f"{_size(total)} between processes", {"total_bytes": total}
    if total >= _LITTLE_SHARED_BYTES:
        yield Finding("shared memory", value, facts=facts)
        return
    value += ", too little for data.workers to hand audio over"
    yield Finding("shared memory", value, "note", "docker run --shm-size=2g ...   or   --data.workers 0", facts)


def _folder(name: str, folder: Path, mend: str) -> Finding:
    """Whether a folder, or where it will be made, can be written, and how much."""
    there = next((path for path in (folder, *folder.parents) if os.path.isdir(path)), Path(folder.anchor))
    free = shutil.disk_usage(there).free
    facts: dict[str, Any] = {"path": str(folder), "writable": True, "free_bytes": free}
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        facts["writable"] = False
        return Finding(name, f"{folder} cannot be written: {first_line(error)}", "problem", mend, facts)
    value = f"{folder}, {_size(free)} free"
    if free < _LITTLE_DISK_BYTES:
        return Finding(name, value, "note", mend, facts)
    return Finding(name, value, facts=facts)


def _environment() -> Finding:
    """Variables that change what is computed, where, or what is downloaded; no others, which may be secrets."""
    facts = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
    value = " ".join(f"{name}={text}" for name, text in facts.items()) or "no variable that changes anything is set"
    return Finding("environment", value, facts=facts)


def _model_cache() -> Path:
    try:
        from huggingface_hub.constants import HF_HUB_CACHE
    except Exception:
        return Path("~/.cache/huggingface/hub").expanduser()
    return Path(HF_HUB_CACHE)


def _size(count: float) -> str:
    return f"{count / 1e9:,.1f} GB"
