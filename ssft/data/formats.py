"""What kind of input a root is, and the reader of that kind."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

from ssft.data.entry import Entry
from ssft.data.fairseq_tsv import is_fairseq_tsv, read_fairseq_tsv
from ssft.data.huggingface import HUB_PREFIX, is_saved_dataset, read_hub, read_saved
from ssft.data.kaldi import read_kaldi
from ssft.data.lhotse_cuts import is_lhotse, read_lhotse
from ssft.data.manifest import list_folder, read_manifest
from ssft.data.tables import MANIFEST_SUFFIXES
from ssft.data.tar_shards import COMPRESSED_SUFFIXES, expand_braces, read_tars
from ssft.errors import DataError
from ssft.types import Reject

Found = Iterator[Entry | Reject]

_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.tsv")
_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+:/|pipe:")


def list_entries(root: Path | str, *, split: str | None = None, allow_outside: bool = False) -> Found:
    """List what a corpus holds, whatever kind of input it is.

    Args:
        root: a folder of audio, a Kaldi folder, a saved dataset of Hugging Face or `hf:OWNER/NAME`, a manifest, a list
            of Kaldi, fairseq or lhotse, or tar files, also as `shards-{000..009}.tar`.
        split: the part of it to use, where there are parts with names.
        allow_outside: let lists name files outside their own folder.

    Returns:
        Entries and rejects, in the order of the input. Ids need not be unique.

    Raises:
        DataError: nothing there, nothing in it, a kind that cannot be read, or no such split.
    """
    text = root if isinstance(root, str) else root.as_posix()
    found = _listed(text, split, allow_outside)
    first = next(found, None)
    if first is None:
        raise DataError(f"{root} holds no audio. Looked for wav, flac, mp3, ogg, opus and aiff, in all subfolders.")
    yield first
    yield from found


def is_missing(root: str) -> bool:
    """Whether there is nothing at `root`, a `data.root`. What would have to be downloaded to know is not missing."""
    path = Path(root).expanduser()
    if root.startswith(HUB_PREFIX) or path.exists():
        return False
    return "{" not in path.name or not any(shard.exists() for shard in expand_braces(root))


def _listed(root: str, split: str | None, allow_outside: bool) -> Found:
    if root.startswith(HUB_PREFIX):
        return read_hub(root, split=split, allow_outside=allow_outside)
    if _URL.match(root):
        raise DataError(f"{root} is a URL or a command, which is never followed or run. Download it first.")
    path = Path(root).expanduser()
    if "{" in path.name and not path.exists():
        _refuse_split(split, path, "a set of tar files")
        return read_tars(_existing(expand_braces(root), root))
    if not path.exists():
        raise DataError(f"{path} does not exist. Pass a folder of audio or a manifest: --data.root DIR.")
    return (_of_folder if path.is_dir() else _of_file)(path, split, allow_outside)


def _of_file(path: Path, split: str | None, allow_outside: bool) -> Found:
    name = path.name.lower()
    if name.endswith((".tar", *COMPRESSED_SUFFIXES)):
        _refuse_split(split, path, "a tar file")
        return read_tars([path])
    if name.endswith(".scp"):
        _refuse_split(split, path, "a Kaldi list")
        return read_kaldi(path, allow_outside=allow_outside)
    if name.endswith(".tsv") and is_fairseq_tsv(path):
        _refuse_split(split, path, "a fairseq list, which holds one split")
        return read_fairseq_tsv(path, allow_outside=allow_outside)
    if name.endswith((".jsonl", ".jsonl.gz")) and is_lhotse(path):
        _refuse_split(split, path, "a list of lhotse")
        return read_lhotse(path, allow_outside=allow_outside)
    if path.suffix.lower() not in MANIFEST_SUFFIXES:
        kinds = ", ".join(sorted({*MANIFEST_SUFFIXES, ".scp", ".tar", ".jsonl.gz of lhotse"}))
        raise DataError(f"{path} is neither a folder nor a manifest ({kinds}). Pass the folder that it is in.")
    return read_manifest(path, split=split, allow_outside=allow_outside)


def _of_folder(root: Path, split: str | None, allow_outside: bool) -> Found:
    if is_saved_dataset(root):
        return read_saved(root, split=split, allow_outside=allow_outside)
    if (root / "wav.scp").is_file():
        _refuse_split(split, root, "a Kaldi folder")
        return read_kaldi(root / "wav.scp", allow_outside=allow_outside)
    if manifest := _metadata(root):
        return read_manifest(manifest, split=split, allow_outside=allow_outside)
    if parts := {folder.name: found for folder in _folders(root) if (found := _metadata(folder))}:
        return chain.from_iterable(
            _below(name, read_manifest(manifest, allow_outside=allow_outside))
            for name, manifest in _chosen(parts, split, root).items()
        )
    _refuse_split(split, root, "a folder")
    files = sorted(path for path in root.iterdir() if not path.name.startswith("."))
    if files and all(path.name.lower().endswith((".tar", *COMPRESSED_SUFFIXES)) for path in files):
        return read_tars(files)
    return list_folder(root)


def _metadata(folder: Path) -> Path | None:
    """The table that makes an audiofolder of a folder."""
    if (folder / "metadata.parquet").is_file():
        raise DataError(f"{folder / 'metadata.parquet'} is not read. Write it as metadata.csv instead.")
    return next((folder / name for name in _METADATA if (folder / name).is_file()), None)


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _chosen(parts: dict[str, Path], split: str | None, root: Path) -> dict[str, Path]:
    """The tables of one split, or of all."""
    if split is not None and split not in parts:
        raise DataError(f"{root} has no folder '{split}' with a table of metadata. There are: {', '.join(parts)}.")
    return parts if split is None else {split: parts[split]}


def _below(folder: str, found: Iterable[Entry | Reject]) -> Found:
    """What the table of a folder lists, under names that tell the folders apart."""
    return (replace(item, id=f"{folder}/{item.id}") for item in found)


def _existing(paths: list[Path], pattern: str) -> list[Path]:
    if not any(path.exists() for path in paths):
        raise DataError(f"{pattern} does not exist: there is none of the {len(paths):,} files, as {paths[0]}.")
    return paths


def _refuse_split(split: str | None, path: Path, what: str) -> None:
    if split is not None:
        raise DataError(f"data.split='{split}' needs a manifest with a split column, but {path} is {what}.")
