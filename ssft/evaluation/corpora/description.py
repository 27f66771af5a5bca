"""`Description`: where the audio and the labels of a corpus are, as a YAML file says it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from ssft.components import construct
from ssft.errors import DataError, RecipeError

TABLES = {"phones": "alignments.tsv", "words": "words.tsv", "pronunciations": "phones.tsv"}
"""What tables of labels are called that lie beside the audio."""
WHOLE = "transcripts"
"""As `words` of a description: each recording is one word, or one command, and its transcript says which."""

_OWN = "corpus.yaml"
_MANIFEST = "manifest.tsv"
_SHIPPED = "descriptions"


@dataclass(frozen=True)
class Part:
    """Which utterances are a split: a split of the audio, some speakers of it, audio of its own, or all of that."""

    split: str | None = None
    speakers: tuple[str, ...] = ()
    audio: str | None = None


@dataclass(frozen=True)
class Source:
    """A table of labels, or a folder of TextGrids, and the column of the labels; None for the usual one."""

    file: str
    column: str | None = None


@dataclass(frozen=True)
class Description:
    """Audio, its splits and its labels; paths are relative to the folder of the description.

    All fields are plain, so that `dataclasses.asdict` gives what the YAML file says.

    Args:
        name: of the corpus, for results.
        audio: a folder, a manifest, or whatever else `data.root` takes; see docs/data.md.
        splits: for each of `train`, `dev` and `test`, and others, the name of a split of the audio, or the settings of
            a `Part`. Without it they follow from the splits that the audio has.
        phones: aligned phones: a TSV or a folder of TextGrids, or {file: ..., column: ...}.
        words: aligned words, the same; or `transcripts`: each recording is one word. Without it, that is so if every
            transcript is a single word.
        pronunciations: a TSV of phones without times.
        transcripts: a TSV of texts; without it, those that come with the audio.
        lexicon: a file of words and their phones, which makes pronunciations of transcripts.
        items: ABX item files.
        notes: what must be said beside every figure.
        allow_outside: let a manifest name files outside its own folder.
    """

    name: str
    audio: str | None = None
    splits: Mapping[str, str | Mapping[str, Any]] = field(default_factory=dict)
    phones: str | Mapping[str, str] | None = None
    words: str | Mapping[str, str] | None = None
    pronunciations: str | Mapping[str, str] | None = None
    transcripts: str | Mapping[str, str] | None = None
    lexicon: str | None = None
    items: Sequence[str] = ()
    notes: Sequence[str] = ()
    allow_outside: bool = False

    def __post_init__(self) -> None:
        if self.lexicon and self.pronunciations:
            raise ValueError("give pronunciations or a lexicon, not both")
        parts = self.parts()
        if self.audio is None and (not parts or any(part.audio is None for part in parts.values())):
            raise ValueError("give audio, or splits each of which has its own")
        for kind in (*TABLES, "transcripts"):
            self.source(kind)

    def parts(self) -> dict[str, Part]:
        """Return what each split is; empty if that follows from the audio.

        Raises:
            RecipeError: unknown settings, with the nearest name.
        """
        return {
            name: Part(split=part) if isinstance(part, str) else construct(Part, part, where=f"splits.{name}")
            for name, part in self.splits.items()
        }

    def source(self, kind: str) -> Source | None:
        """Return where labels of a kind are: `phones`, `words`, `pronunciations` or `transcripts`.

        Raises:
            RecipeError: unknown settings, with the nearest name.
        """
        given: str | Mapping[str, str] | None = getattr(self, kind)
        if given is None or (kind == "words" and given == WHOLE):
            return None
        return Source(given) if isinstance(given, str) else construct(Source, given, where=kind)


def read_description(path: Path) -> Description:
    """Read a description.

    Raises:
        DataError: it cannot be read, or is no YAML mapping.
        RecipeError: unknown keys, with the nearest name, missing ones, or values of the wrong type.
    """
    return _described(_settings(path), where=str(path))


def describe_folder(folder: Path, *, audio: str | None = None) -> Description:
    """Return the description that lies in a folder, as corpus.yaml, or the one that follows from what lies in it.

    The latter has the manifest and the tables of labels beside it, under their usual names; and if the package has a
    description of a corpus of this name, what that says.

    Args:
        folder: where it is.
        audio: what in it is the audio; None for manifest.tsv or, without one, all audio files.

    Raises:
        DataError: a description that cannot be read.
    """
    if audio is None and (folder / _OWN).is_file():
        return read_description(folder / _OWN)
    audio = audio or (_MANIFEST if (folder / _MANIFEST).is_file() else ".")
    name = _corpus_of(folder / audio) or folder.resolve().name
    settings: dict[str, Any] = {"name": name, "audio": audio}
    settings |= tables_in(folder)
    shipped = shipped_descriptions()
    return _described(settings | (_settings(shipped[name]) if name in shipped else {}), where=str(folder))


def tables_in(folder: Path) -> dict[str, str]:
    """Return the tables of labels that lie in a folder under their usual names, by kind."""
    return {kind: table for kind, table in TABLES.items() if (folder / table).is_file()}


def shipped_descriptions() -> dict[str, Path]:
    """Return the descriptions of the package by the names of corpora; what they do not say follows from the folder."""
    folder = Path(str(files("ssft"))) / "evaluation" / "corpora" / _SHIPPED
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def _settings(path: Path) -> dict[str, Any]:
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"{path} cannot be read: {error}.") from error
    if not isinstance(settings, dict):
        raise DataError(f"{path} is no description of a corpus. It begins with `name: ...` and `audio: ...`.")
    return settings


def _described(settings: Mapping[str, Any], *, where: str) -> Description:
    try:
        return construct(Description, settings, where=where)
    except RecipeError as error:
        raise error if where in str(error) else RecipeError(f"{where}: {error}") from error


def _corpus_of(manifest: Path) -> str | None:
    """The name in the column `corpus` of the first row, if it is a TSV that has one."""
    if manifest.suffix.lower() != ".tsv" or not manifest.is_file():
        return None
    with manifest.open(encoding="utf-8-sig", errors="replace") as file:
        header, row = (file.readline().rstrip("\r\n").split("\t") for _ in range(2))
    return dict(zip(header, row, strict=False)).get("corpus")
