"""`Data`: which audio a recipe uses, and the corpus of usable utterances that comes of it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal

from ssft.data.entry import Entry
from ssft.data.manifest import list_folder, read_manifest
from ssft.data.probe import SHORTEST, probe
from ssft.data.rejects import count_reasons
from ssft.data.tables import MANIFEST_SUFFIXES
from ssft.data.targets import Targets, read_targets
from ssft.errors import DataError, RecipeError, closest
from ssft.types import Reject, Utterance


@dataclass(frozen=True)
class Corpus:
    """The utterances that can be used, in a fixed order, what was left out and why, and labels if there are any."""

    utterances: list[Utterance]
    rejects: list[Reject]
    targets: Targets | None = None

    @property
    def hours(self) -> float:
        return sum(utterance.seconds for utterance in self.utterances) / 3600

    def summary(self) -> str:
        """One line for people: how much there is, how much was left out, and why."""
        line = f"{len(self.utterances):,} utterances, {self.hours:.2f} h"
        return f"{line}; {len(self.rejects):,} rejected ({count_reasons(self.rejects)})" if self.rejects else line


@dataclass(frozen=True)
class Data:
    """Which audio to train on.

    Args:
        root: a folder (searched recursively), a TSV, CSV or JSONL manifest, or `demo`, the bundled speech.
        split: with a manifest, only the rows of this split.
        min_seconds: shorter recordings are rejected.
        max_seconds: from longer ones a random part of this length is taken, another one in every epoch (or variant,
            see train.cache_variants).
        verify: `audio` decodes every file before training, `header` reads only headers and finds bad samples when it
            comes to them, `auto` verifies the audio of up to 5 hours.
        targets: a file with labels of the frames, for losses that need them, which `ssft units encode` makes; `demo`
            names those of the bundled speech.
        max_rejects: share of the recordings that may be unusable; above it the run stops with a table of them. What is
            only shorter than min_seconds does not count.
        held_out: how many utterances are kept from training, to choose a checkpoint by; null is one in twenty, at most
            64, where train.select is label_free, and none elsewhere.
        allow_outside: let a manifest name files outside its own folder.
        workers: processes that decode and augment; the result does not depend on their number.
    """

    root: str = "demo"
    split: str | None = None
    min_seconds: float = 0.2
    max_seconds: float = 16.0
    verify: Literal["auto", "audio", "header"] = "auto"
    targets: str | None = None
    max_rejects: float = 0.05
    held_out: int | None = None
    allow_outside: bool = False
    workers: int = 2

    def __post_init__(self) -> None:
        if not self.root:
            raise RecipeError("data.root is empty. Pass a folder of audio or a manifest: --data.root DIR.")
        if not self.min_seconds >= SHORTEST:
            raise RecipeError(
                f"data.min_seconds={self.min_seconds} is below {SHORTEST}, less than an encoder can take."
            )
        if not self.max_seconds >= self.min_seconds:
            raise RecipeError(f"data.max_seconds={self.max_seconds} is below min_seconds={self.min_seconds}.")
        if self.verify not in (modes := ("auto", "audio", "header")):
            raise RecipeError(f"data.verify='{self.verify}' is not known. {closest(self.verify, modes)}")
        if not 0 <= self.max_rejects <= 1:
            raise RecipeError(f"data.max_rejects={self.max_rejects} is a share; give a number from 0 to 1.")
        if self.held_out is not None and self.held_out < 0:
            raise RecipeError(f"data.held_out={self.held_out} is negative; 0 keeps nothing from training.")
        if self.workers < 0:
            raise RecipeError(f"data.workers={self.workers} is negative; 0 decodes in the main process.")

    @property
    def path(self) -> Path:
        """The folder or manifest on disk."""
        if self.root == "demo":
            return Path(str(files("ssft") / "assets" / "demo_speech" / "manifest.tsv"))
        return Path(self.root).expanduser()

    @property
    def targets_path(self) -> Path | None:
        """The file of labels on disk; `demo` names those of the bundled speech."""
        if self.targets == "demo":
            return Path(str(files("ssft") / "assets" / "demo_speech" / "pieces.safetensors"))
        return Path(self.targets).expanduser() if self.targets else None

    def load(self) -> Corpus:
        """List the corpus and look at every file, in parallel.

        Raises:
            DataError: no such folder or manifest, no audio in it, none that can be used, or labels that cannot be read.
        """
        entries, rejects = self._entries()
        found = probe(entries, min_seconds=self.min_seconds, verify=self.verify)
        rejects += [item for item in found if isinstance(item, Reject)]
        utterances = [item for item in found if isinstance(item, Utterance)]
        targets = read_targets(self.targets_path) if self.targets_path else None
        if targets is not None:
            unlabelled = [utterance for utterance in utterances if utterance.id not in targets]
            rejects += [Reject(u.id, u.path, "no_labels", f"no labels in {self.targets}") for u in unlabelled]
            utterances = [utterance for utterance in utterances if utterance.id in targets]
        corpus = Corpus(utterances, rejects, targets)
        if not corpus.utterances:
            examples = "\n".join(f"  {r.path}: {r.reason}, {r.detail}" for r in corpus.rejects[:5])
            raise DataError(
                f"None of the {len(corpus.rejects):,} recordings in {self.path} can be used "
                f"({count_reasons(corpus.rejects)}):\n{examples}"
            )
        return corpus

    def _entries(self) -> tuple[list[Entry], list[Reject]]:
        path = self.path
        if not path.exists():
            raise DataError(f"{path} does not exist. Pass a folder of audio or a manifest: --data.root DIR.")
        if path.is_file():
            if path.suffix.lower() not in MANIFEST_SUFFIXES:
                kinds = ", ".join(sorted(MANIFEST_SUFFIXES))
                raise DataError(f"{path} is neither a folder nor a manifest ({kinds}). Pass the folder that it is in.")
            split = "train" if self.root == "demo" and self.split is None else self.split
            return read_manifest(path, split=split, allow_outside=self.allow_outside)
        if self.split is not None:
            raise DataError(f"data.split='{self.split}' needs a manifest with a split column, but {path} is a folder.")
        entries = list_folder(path)
        if not entries:
            raise DataError(f"{path} holds no audio. Looked for wav, flac, mp3, ogg, opus and aiff, in all subfolders.")
        return entries, []


def fingerprint(utterances: Sequence[Utterance]) -> str:
    """Hash of every id and length: the same on any machine that holds the same corpus."""
    digest = hashlib.sha256()
    for utterance in sorted(utterances, key=lambda u: u.id):
        digest.update(f"{utterance.id}\t{utterance.start:.3f}\t{utterance.seconds:.3f}\n".encode())
    return digest.hexdigest()[:16]
