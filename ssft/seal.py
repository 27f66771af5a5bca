"""Folders that notice damage: a manifest with the size and the SHA-256 of every file, and a digest of itself."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssft.files import hash_file

MANIFEST = "manifest.json"


class DamageError(ValueError):
    """What was read is not what was written; the message names the file."""


@dataclass(frozen=True)
class SealedFolder:
    """A folder with a manifest: every bit that changes in it is noticed before it is used.

    Attributes:
        path: the folder.
        facts: what was given to `seal`.
        files: size and SHA-256 of each file by its name.

    Example:
        >>> seal(folder, step=400)
        >>> sealed = SealedFolder.open(folder)
        >>> sealed.facts["step"], sealed.read("progress.json")
        (400, b'{}')
    """

    path: Path
    facts: dict[str, Any]
    files: dict[str, dict[str, Any]]

    @staticmethod
    def open(path: Path) -> SealedFolder:
        """Read the manifest.

        Raises:
            DamageError: it is missing or damaged.
        """
        content = _read(path / MANIFEST)
        try:
            facts = json.loads(content)
            del facts["sha256"]
            # Written again, it is the same to the byte, white space and its own digest too, or it was changed.
            whole = _manifest(facts) == content
            files = facts.pop("files")
        except (ValueError, KeyError, TypeError):
            whole = False
        if not whole:
            raise DamageError(f"{MANIFEST} is not as it was written")
        return SealedFolder(path, facts, files)

    def read(self, name: str) -> bytes:
        """Return the content of a file, which is what was sealed.

        Raises:
            DamageError: it is not, or the file is missing.
        """
        if name not in self.files:
            raise DamageError(f"{name} is not in {MANIFEST}")
        content, expected = _read(self.path / name), self.files[name]
        if len(content) != expected["bytes"]:
            raise DamageError(f"{name} has {len(content):,} bytes, not {expected['bytes']:,}")
        if hashlib.sha256(content).hexdigest() != expected["sha256"]:
            raise DamageError(f"{name} does not match its hash")
        return content

    @property
    def strangers(self) -> list[str]:
        """Names of what lies in the folder and is no part of it."""
        return sorted({path.name for path in self.path.iterdir()} - {*self.files, MANIFEST})


def seal(folder: Path, **facts: Any) -> None:
    """Write a manifest for the files of a folder: name, size, SHA-256, the facts given, and a digest of itself."""
    files = {path.name: {"bytes": path.stat().st_size, "sha256": hash_file(path)} for path in folder.iterdir()}
    (folder / MANIFEST).write_bytes(_manifest({**facts, "files": files}))


def _manifest(facts: dict[str, Any]) -> bytes:
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return (json.dumps({**facts, "sha256": digest}, sort_keys=True, indent=1) + "\n").encode()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DamageError(f"{path.name} is missing") from None
    except OSError as error:
        raise DamageError(f"{path.name} cannot be read: {error.strerror}") from error
