"""Checkpoints that are there whole or not at all: safetensors and JSON, a manifest of hashes, and a rename."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ssft.errors import RunError

_MANIFEST = "manifest.json"
_FILES = ("model.safetensors", "optimizer.safetensors", "progress.json")
_PARTIAL = ".partial"


@dataclass(frozen=True)
class Checkpoint:
    """What a run needs to go on: trained weights, optimizer state, and how far it has come."""

    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    progress: dict[str, Any]


class CheckpointFolder:
    """The `checkpoints/` of a run: `step-000400/`, the newest `keep` of them.

    A checkpoint is written under another name, flushed to disk, and renamed; older ones are removed only then. So a run
    killed at any instant leaves the previous checkpoint, and a damaged one is recognised by its hashes.

    Args:
        path: the folder; made when the first checkpoint is saved.
        keep: how many to keep.
    """

    def __init__(self, path: Path, *, keep: int = 2) -> None:
        self.path = path
        self.keep = keep

    def save(self, checkpoint: Checkpoint, step: int) -> Path:
        """Write a checkpoint, then remove the oldest beyond `keep`.

        Raises:
            RunError: it cannot be written; the checkpoints that exist stay.
        """
        final = self.path / f"step-{step:06d}"
        try:
            with replacing_folder(final) as partial:
                save_file(checkpoint.model, partial / "model.safetensors")
                save_file(checkpoint.optimizer, partial / "optimizer.safetensors")
                (partial / "progress.json").write_text(json.dumps(checkpoint.progress, indent=1), encoding="utf-8")
                hashes = {path.name: _hash(path) for path in sorted(partial.iterdir())}
                (partial / _MANIFEST).write_text(json.dumps(hashes, indent=1), encoding="utf-8")
        except (OSError, SafetensorError) as error:
            raise RunError(
                f"Cannot write the checkpoint {final}: {error}. Earlier checkpoints are untouched."
            ) from error
        for old in self._steps()[: -self.keep]:
            shutil.rmtree(old)
        return final

    def load(self) -> tuple[Checkpoint, list[str]]:
        """Return the newest checkpoint that is whole, and a warning for every newer one that is not.

        Raises:
            RunError: there is none.
        """
        warnings: list[str] = []
        for folder in reversed(self._steps()):
            problem = _problem(folder)
            if problem is None:
                progress = json.loads((folder / "progress.json").read_text(encoding="utf-8"))
                model, optimizer = (load_file(folder / f"{name}.safetensors") for name in ("model", "optimizer"))
                return Checkpoint(model, optimizer, progress), warnings
            warnings.append(f"{folder.name} is damaged ({problem}); trying the one before it.")
        details = "".join(f"\n  {warning}" for warning in warnings)
        raise RunError(
            f"{self.path} holds no usable checkpoint, so there is nothing to continue; "
            f"begin again with ssft train.{details}"
        )

    def __bool__(self) -> bool:
        return bool(self._steps())

    def _steps(self) -> list[Path]:
        folders = (path for path in self.path.glob("step-*") if path.is_dir() and path.name[5:].isdigit())
        return sorted(folders, key=lambda path: int(path.name[5:]))


def refuse_existing_run(folder: Path) -> None:
    """Raise if a run in this folder has got as far as a checkpoint.

    Raises:
        RunError: it has.
    """
    if CheckpointFolder(folder / "checkpoints"):
        raise RunError(
            f"{folder} already holds a run. Continue it with `ssft resume {folder}`, or choose another --out."
        )


@contextmanager
def replacing_folder(final: Path) -> Iterator[Path]:
    """Yield a folder to fill, then make it `final` in one rename, with everything in it flushed to disk first."""
    partial = final.with_name(final.name + _PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    umask = os.umask(0)
    os.umask(umask)
    for path in sorted(partial.iterdir()):
        path.chmod(0o666 & ~umask)  # safetensors writes files that only their owner may read
        _flush(path)
    _flush(partial)
    shutil.rmtree(final, ignore_errors=True)
    os.replace(partial, final)
    _flush(final.parent)


def write_atomically(path: Path, text: str) -> None:
    """Replace a small text file in one step, so that a reader sees the old or the new one."""
    partial = path.with_name(path.name + _PARTIAL)
    partial.write_text(text, encoding="utf-8")
    _flush(partial)
    os.replace(partial, path)


def _problem(folder: Path) -> str | None:
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        for name in _FILES:
            if _hash(folder / name) != manifest[name]:
                return f"{name} does not match its hash"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
