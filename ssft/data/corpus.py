"""`Data`: which audio a recipe uses, and the corpus of usable utterances that comes of it."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal

from tqdm import tqdm

from ssft.data.audio import REASONS, AudioError, read_audio, read_header
from ssft.data.manifest import MANIFEST_SUFFIXES, Entry, list_folder, read_manifest
from ssft.errors import DataError, RecipeError
from ssft.types import Reject, Utterance

SHORTEST = 0.05
"""Seconds. Twice the 400 samples that a wav2vec 2.0 stem needs for one frame, so that a speed-up leaves enough."""

_VERIFY_HOURS = 5.0
_WINDOW_SECONDS = 60.0


@dataclass(frozen=True)
class Corpus:
    """The utterances that can be used, in a fixed order, and what was left out and why."""

    utterances: list[Utterance]
    rejects: list[Reject]

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
        max_seconds: from longer ones a random part of this length is taken, another one in every epoch.
        verify: `audio` decodes every file before training, `header` reads only headers and finds bad samples when it
            comes to them, `auto` verifies the audio of up to 5 hours.
        allow_outside: let a manifest name files outside its own folder.
        workers: processes that decode and augment; the result does not depend on their number.
    """

    root: str = "demo"
    split: str | None = None
    min_seconds: float = 0.2
    max_seconds: float = 16.0
    verify: Literal["auto", "audio", "header"] = "auto"
    allow_outside: bool = False
    workers: int = 2

    def __post_init__(self) -> None:
        if self.min_seconds < SHORTEST:
            raise RecipeError(
                f"data.min_seconds={self.min_seconds} is below {SHORTEST}, less than an encoder can take."
            )
        if self.max_seconds < self.min_seconds:
            raise RecipeError(f"data.max_seconds={self.max_seconds} is below min_seconds={self.min_seconds}.")
        if self.workers < 0:
            raise RecipeError(f"data.workers={self.workers} is negative; 0 decodes in the main process.")

    @property
    def path(self) -> Path:
        """The folder or manifest on disk."""
        if self.root == "demo":
            return Path(str(files("ssft") / "assets" / "demo_speech" / "manifest.tsv"))
        return Path(self.root).expanduser()

    def load(self) -> Corpus:
        """List the corpus and look at every file, in parallel.

        Raises:
            DataError: no such folder or manifest, no audio in it, or none that can be used.
        """
        entries, rejects = self._entries()
        corpus = _probe(entries, self)
        corpus = Corpus(corpus.utterances, rejects + corpus.rejects)
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


def count_reasons(rejects: Sequence[Reject]) -> str:
    """Return e.g. `silent 3, corrupt 1`, most frequent first."""
    counts = Counter(reject.reason for reject in rejects)
    return ", ".join(f"{reason} {count}" for reason, count in counts.most_common())


def write_rejects(rejects: Sequence[Reject], path: Path) -> None:
    """Write rejects.tsv: id, path, reason, detail."""
    lines = ["id\tpath\treason\tdetail"]
    for reject in rejects:
        fields = (reject.id, str(reject.path), reject.reason, reject.detail)
        lines.append("\t".join(" ".join(field.split()) for field in fields))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _probe(entries: Sequence[Entry], data: Data) -> Corpus:
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        found = list(_with_bar(pool.map(lambda entry: _look(entry, data.min_seconds), entries), entries, "headers"))
        utterances = [item for item in found if isinstance(item, Utterance)]
        hours = sum(utterance.seconds for utterance in utterances) / 3600
        if data.verify == "audio" or (data.verify == "auto" and hours <= _VERIFY_HOURS):
            checked = iter(list(_with_bar(pool.map(_verify, utterances), utterances, "audio")))
            found = [next(checked) if isinstance(item, Utterance) else item for item in found]
    return Corpus(
        [item for item in found if isinstance(item, Utterance)], [item for item in found if isinstance(item, Reject)]
    )


def _with_bar(results, items, what):  # type: ignore[no-untyped-def]
    # Shown after two seconds and only on a terminal.
    return tqdm(results, total=len(items), desc=f"checking {what}", unit="file", delay=2.0, disable=None, leave=False)


def _look(entry: Entry, min_seconds: float) -> Utterance | Reject:
    try:
        header = read_header(entry.path)
        seconds = header.seconds - entry.start if entry.seconds is None else entry.seconds
        # A manifest rounds lengths; a tenth of a second too much is rounding, more is another file.
        if seconds <= 0 or entry.start + seconds > header.seconds + 0.1:
            raise AudioError("outside", f"{entry.start:g} s + {seconds:g} s of {header.seconds:.3f} s")
        seconds = min(seconds, header.seconds - entry.start)
        if seconds < min_seconds:
            raise AudioError("too_short", f"{seconds:.3f} s, min_seconds is {min_seconds:g}")
    except AudioError as error:
        return Reject(entry.id, entry.path, error.reason, str(error))
    return Utterance(entry.id, entry.path, seconds, entry.start, entry.speaker, entry.text)


def _verify(utterance: Utterance) -> Utterance | Reject:
    """Decode the whole utterance, a minute at a time. A silent minute is no defect; nothing but silence is."""
    start, end, signal = utterance.start, utterance.start + utterance.seconds, False
    try:
        while start < end:
            try:
                read_audio(utterance.path, start=start, seconds=min(_WINDOW_SECONDS, end - start))
                signal = True
            except AudioError as error:
                # The last window may be less than a sample long.
                if error.reason != "silent" and not (error.reason == "empty" and start > utterance.start):
                    raise
            start += _WINDOW_SECONDS
        if not signal:
            raise AudioError("silent")
    except AudioError as error:
        return Reject(utterance.id, utterance.path, error.reason, str(error))
    return utterance
