"""`Data`: which audio a recipe uses, and the corpus of usable utterances that comes of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from ssft.data.entry import Entry
from ssft.data.formats import list_entries
from ssft.data.probe import SHORTEST, scan
from ssft.data.progress import with_progress
from ssft.data.rejects import count_reasons
from ssft.data.targets import Targets, read_targets
from ssft.data.utterances import Utterances
from ssft.errors import DataError, RecipeError, closest
from ssft.types import Reject, Utterance

Verify = Literal["auto", "audio", "header", "manifest"]


@dataclass(frozen=True)
class Corpus:
    """The utterances that can be used, in a fixed order, what was left out and why, and labels if there are any."""

    utterances: Utterances
    rejects: list[Reject] = field(default_factory=list)
    targets: Targets | None = None

    @property
    def hours(self) -> float:
        return self.utterances.hours

    def summary(self) -> str:
        """One line for people: how much there is, how much was left out, and why."""
        line = f"{len(self.utterances):,} utterances, {self.hours:.2f} h"
        return f"{line}; {len(self.rejects):,} rejected ({count_reasons(self.rejects)})" if self.rejects else line

    def held_out(self, count: int) -> tuple[Corpus, Utterances]:
        """Split off some utterances that are not to be trained on: those whose ids have the smallest hashes.

        They are the same in whatever order the corpus is, and mostly the same when it grows.

        Raises:
            DataError: nothing would be left to train on.
        """
        if not 0 <= count < len(self.utterances):
            raise DataError(f"{count:,} of {len(self.utterances):,} utterances cannot be kept from training.")
        chosen = np.zeros(len(self.utterances), dtype=bool)
        chosen[np.argsort(self.utterances.id_hashes, kind="stable")[:count]] = True
        return replace(self, utterances=self.utterances[~chosen]), self.utterances[chosen]

    def save(self, path: Path) -> None:
        """Write the utterances to a file, from which `Data.reload` has them without looking at any audio.

        Raises:
            DataError: it cannot be written.
        """
        self.utterances.save(path)


@dataclass(frozen=True)
class Data:
    """Which audio to train on.

    Args:
        root: a folder (searched recursively), a TSV, CSV or JSONL manifest, any other input of docs/data.md, or `demo`,
            the bundled speech.
        split: which part of the input to use, where its parts have names.
        min_seconds: shorter recordings are rejected.
        max_seconds: from longer ones a random part of this length is taken, another one in every epoch (or variant,
            see train.cache_variants).
        verify: what is looked at before training; the rest is found, listed and left out when its turn comes.
            `audio` decodes every file, `header` reads only headers, `manifest` only those of recordings whose length
            is not stated. `auto` decodes up to 5 hours, reads the headers of up to 100,000 recordings, and does as
            `manifest` with more.
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
    verify: Verify = "auto"
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
        if self.verify not in (modes := get_args(Verify)):
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
        """List the corpus and look at its files, several at a time.

        Raises:
            DataError: nothing there, no audio in it, none that can be used, or labels that cannot be read.
        """
        is_demo = self.root == "demo"
        split = "train" if is_demo and self.split is None else self.split
        found = list_entries(self.path if is_demo else self.root, split=split, allow_outside=self.allow_outside)
        rejects: list[Reject] = []
        listed = Utterances.of(_without_rejects(with_progress(found, "listing audio"), rejects))
        utterances, unusable = scan(listed.with_unique_ids(), min_seconds=self.min_seconds, verify=self.verify)
        rejects += unusable
        targets = read_targets(self.targets_path) if self.targets_path else None
        if targets is not None:
            labelled = np.fromiter((name in targets for name in utterances.ids), bool, count=len(utterances))
            rejects += [
                Reject(u.id, u.path, "no_labels", f"no labels in {self.targets}") for u in utterances[~labelled]
            ]
            utterances = utterances[labelled]
        if not utterances:
            examples = "\n".join(f"  {r.path}: {r.reason}, {r.detail}" for r in rejects[:5])
            raise DataError(
                f"None of the {len(rejects):,} recordings in {self.path} can be used "
                f"({count_reasons(rejects)}):\n{examples}"
            )
        return Corpus(utterances, rejects, targets)

    def reload(self, path: Path) -> Corpus:
        """Return the corpus that `Corpus.save` wrote, and labels as they are now; no audio is looked at.

        Raises:
            DataError: no such file, one that is not as it was written, or labels that cannot be read.
        """
        return Corpus(Utterances.load(path), targets=read_targets(self.targets_path) if self.targets_path else None)


def fingerprint(utterances: Sequence[Utterance]) -> str:
    """Hash of every id and length: the same on any machine that holds the same corpus."""
    return Utterances.of(utterances).fingerprint


def _without_rejects(items: Iterable[Entry | Reject], rejects: list[Reject]) -> Iterator[Entry]:
    """Give the entries, and put the rejects into a list."""
    for item in items:
        if isinstance(item, Reject):
            rejects.append(item)
        else:
            yield item
