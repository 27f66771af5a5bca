"""Checkpoints that are there whole or not at all: safetensors and JSON, a manifest of hashes, and a rename."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor

from ssft.errors import RunError
from ssft.files import REPLACED, free_bytes, remove_folder, remove_leftovers, replacing_folder, size, write_atomically
from ssft.seal import DamageError, SealedFolder, seal

_FORMAT = 1
_LAST = "last"
_NAME = re.compile(rf"step-(\d+)({re.escape(REPLACED)})?")
# Bytes that a checkpoint takes besides its tensors: headers of safetensors, the manifest, blocks that are not full.
_PER_TENSOR, _PER_CHECKPOINT = 256, 32_768


@dataclass(frozen=True)
class Checkpoint:
    """What a run needs to go on: trained weights, optimizer state, and how far it has come."""

    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    progress: dict[str, Any]

    @property
    def nbytes(self) -> int:
        """How many bytes it takes on disk, rounded up."""
        tensors = [*self.model.values(), *self.optimizer.values()]
        return sum(tensor.nbytes + _PER_TENSOR for tensor in tensors) + len(_text(self.progress)) + _PER_CHECKPOINT


class CheckpointFolder:
    """The `checkpoints/` of a run: `step-000400/`, the newest of them and the best, and `last`, the name of one.

    A checkpoint is written under another name, flushed to disk, and renamed; then `last` names it; older ones are
    removed only after that. So a run killed at any instant leaves a checkpoint to go on from. Every file is sealed by
    its SHA-256: one that has changed by a bit is noticed, and the checkpoint before it is used.

    Args:
        path: the folder; made when the first checkpoint is saved.
        keep: how many of the newest to keep.

    Example:
        >>> checkpoints = CheckpointFolder(Path("runs/x/checkpoints"), keep=2)
        >>> path = checkpoints.save(checkpoint, 400, protect=[100])
        >>> checkpoints.steps()
        [100, 300, 400]
    """

    def __init__(self, path: Path, *, keep: int = 2) -> None:
        self.path = path
        self.keep = keep
        self._damaged: set[int] = set()

    def save(self, checkpoint: Checkpoint, step: int, *, protect: Collection[int] = ()) -> Path:
        """Write a checkpoint; then remove the older ones beyond `keep`, and what lies beyond this step.

        Later steps are there if the run has gone back: to an earlier checkpoint because the newest was damaged. They
        are not its future any more.

        Args:
            checkpoint: what to write.
            step: how many steps the run has made.
            protect: steps whose checkpoints stay, however old.

        Raises:
            RunError: it does not fit on the disk or cannot be written; the checkpoints that exist stay.
        """
        final = self.path / _name(step)
        try:
            remove_leftovers(self.path)
            if free_bytes(self.path) < checkpoint.nbytes:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            with replacing_folder(final) as partial:
                save_file(checkpoint.model, partial / "model.safetensors")
                save_file(checkpoint.optimizer, partial / "optimizer.safetensors")
                (partial / "progress.json").write_text(_text(checkpoint.progress), encoding="utf-8")
                seal(partial, format=_FORMAT, step=step)
            write_atomically(self.path / _LAST, _line(step))
        except (OSError, SafetensorError) as error:
            raise RunError(
                f"Cannot write the checkpoint {final}: {getattr(error, 'strerror', None) or error}. It needs "
                f"{size(checkpoint.nbytes)}, and {size(free_bytes(self.path))} are free there. Earlier checkpoints "
                "are untouched: mend it, and ssft resume goes on from them."
            ) from error
        self._prune(step, protect)
        return final

    def load(self, step: int | None = None) -> tuple[Checkpoint, list[str]]:
        """Return a checkpoint, and warnings: what is damaged and was passed over, what does not belong there.

        Args:
            step: the checkpoint of this step and no other; None takes the one that `last` names or, should it be
                damaged, the newest that is whole.

        Raises:
            RunError: there is none, or another version of ssft wrote it.
        """
        warnings: list[str] = []
        for candidate in self._newest_first(warnings) if step is None else [step]:
            if (checkpoint := self._read(candidate, warnings)) is not None:
                return checkpoint, warnings
        details = "".join(f"\n  {warning}" for warning in warnings)
        if step is not None:
            there = ", ".join(map(str, self.steps())) or "none"
            raise RunError(f"{self.path} holds no usable checkpoint of step {step}. There are: {there}.{details}")
        raise RunError(
            f"{self.path} holds no usable checkpoint, so there is nothing to continue; "
            f"begin again with ssft train.{details}"
        )

    def steps(self) -> list[int]:
        """Return the steps of which there are checkpoints, in order."""
        return list(self._folders())

    def refuse_if_full(self, needed_bytes: int) -> None:
        """Raise unless two checkpoints of this size fit on the disk: a new one is written before an old one goes.

        Raises:
            RunError: they do not fit.
        """
        free = free_bytes(self.path)
        if free < 2 * needed_bytes:
            raise RunError(
                f"The disk is too full to begin: a checkpoint needs {size(needed_bytes)}, two of them must fit, and "
                f"{size(free)} are free at {self.path}. Delete something there, or choose another --out."
            )

    def __bool__(self) -> bool:
        return bool(self._folders())

    def _read(self, step: int, warnings: list[str]) -> Checkpoint | None:
        """Read a checkpoint; None if there is none or it is damaged. The bytes that are hashed are those used."""
        folder = self._folders().get(step)
        if folder is None:
            return None
        try:
            sealed = SealedFolder.open(folder)
            if sealed.facts.get("format") != _FORMAT:
                raise RunError(f"{folder} was written by another version of ssft, which alone can read it.")
            if sealed.facts.get("step") != step:
                raise DamageError(f"it is of step {sealed.facts.get('step')}")
            model, optimizer = (load(sealed.read(f"{name}.safetensors")) for name in ("model", "optimizer"))
            checkpoint = Checkpoint(model, optimizer, json.loads(sealed.read("progress.json")))
            strangers = ", ".join(sealed.strangers)
        except (DamageError, OSError, SafetensorError) as error:
            self._damaged.add(step)
            warnings.append(f"{folder.name} is damaged ({error}) and passed over.")
            return None
        if strangers:
            warnings.append(f"{folder} also holds {strangers}, no part of it; ignored.")
        return checkpoint

    def _newest_first(self, warnings: list[str]) -> Iterator[int]:
        """Yield what `last` names, then the others; looking anew each time, for a running training removes some."""
        tried: set[int] = set()
        last = self._last(warnings)
        if last is not None:
            tried.add(last)
            yield last
        while left := [step for step in self.steps() if step not in tried]:
            tried.add(left[-1])
            yield left[-1]

    def _last(self, warnings: list[str]) -> int | None:
        try:
            content = (self.path / _LAST).read_bytes()
        except FileNotFoundError:
            return None  # killed before the first was named
        except OSError as error:
            warnings.append(f"{self.path / _LAST} cannot be read ({error.strerror}); taking the newest checkpoint.")
            return None
        named = [step for step in self.steps() if _line(step).encode() == content]
        if not named:
            warnings.append(f"{self.path / _LAST} names no checkpoint that is there; taking the newest.")
        return named[0] if named else None

    def _folders(self) -> dict[int, Path]:
        """The folder of each step; one that was being replaced when the process ended is under its other name."""
        found: dict[int, Path] = {}
        for path in sorted(self.path.glob("step-*")):
            if (match := _NAME.fullmatch(path.name)) and path.is_dir():
                found.setdefault(int(match[1]), path)
        return dict(sorted(found.items()))

    def _prune(self, step: int, protect: Collection[int]) -> None:
        """Remove what is not needed now that the checkpoint of `step` is there; damaged ones do not count."""
        self._damaged.discard(step)
        whole = [saved for saved in self.steps() if saved <= step and saved not in self._damaged]
        wanted = {*whole[-self.keep :], *(saved for saved in whole if saved in protect)}
        for saved, folder in self._folders().items():
            if saved not in wanted:
                remove_folder(folder)


def refuse_existing_run(folder: Path) -> None:
    """Raise if a run in this folder has got as far as a checkpoint.

    Raises:
        RunError: it has.
    """
    if CheckpointFolder(folder / "checkpoints"):
        raise RunError(
            f"{folder} already holds a run. Continue it with `ssft resume {folder}`, or choose another --out."
        )


def _text(progress: dict[str, Any]) -> str:
    return json.dumps(progress, indent=1)


def _name(step: int) -> str:
    return f"step-{step:06d}"


def _line(step: int) -> str:
    return f"{_name(step)}\n"
