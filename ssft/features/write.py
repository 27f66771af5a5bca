"""`write_features`: hidden states in shards on disk, by one process or by several, going on where it stopped."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ssft.data.rejects import write_rejects
from ssft.data.targets import write_file
from ssft.errors import DataError, RecipeError, closest
from ssft.features.batch import Transform
from ssft.features.extractor import Part
from ssft.features.folder import MANIFEST, describe, read_manifest, refuse_changes
from ssft.features.ranks import own_part, rank_and_world_size
from ssft.features.shard_writer import ShardWriter
from ssft.features.shards import HEADERS, Entry, read_entries
from ssft.features.source import FrameSource
from ssft.types import Reject, Utterance


@dataclass(frozen=True)
class WriteResult:
    """What a process wrote: a line of the index for every utterance, and how many bytes.

    `already` is how many of its utterances were there before, `rejects` those that could not be read.
    """

    entries: list[Entry]
    bytes: int
    already: int
    rejects: list[Reject]


def write_features(
    extractor: FrameSource,
    utterances: Sequence[Utterance],
    folder: Path,
    *,
    transform: Transform | None = None,
    condition: str | None = None,
    format: Literal["safetensors", "npy"] = "safetensors",
    shard_seconds: float = 1800.0,
    rejects: Sequence[Reject] = (),
    progress: str | None = None,
) -> WriteResult:
    """Extract features and write them to a folder, which `read_features` reads.

    A shard is a file for each layer, `layer-09/000-00000.safetensors`, and one index, `000-00000.jsonl` (id, shard,
    seconds, frames), which is written last: a shard counts once its index is there. So whatever ends a process, a
    second call goes on with what is missing. A part of a long recording goes to disk as soon as it is encoded.

    Processes that torchrun or accelerate started share the utterances (see `own_part`); each writes its own shards.

    Args:
        extractor: what to extract: an `Extractor`, or another source of frames.
        utterances: of what.
        folder: where to; new, or of the same encoder, layers, settings, utterances and condition.
        transform: changes each waveform, as in `Extractor.parts`.
        condition: says what the transform does, so that features of another one are told from these.
        format: `safetensors`, a tensor for each utterance by its id, or `npy`, one array of all utterances of a shard
            in the order of its index.
        shard_seconds: how much audio makes a shard full; an utterance is never divided.
        rejects: utterances known to be unusable, for the record: `rejects-000.tsv`, with those that turn out to be.
        progress: label of a progress bar.

    Raises:
        DataError: the folder holds something else, or cannot be written to.
        RecipeError: settings that do not fit, or a transform without a condition.

    Example:
        >>> write_features(Extractor(encoder, layers=[9]), corpus.utterances, Path("features")).entries[0]
        Entry(id='a.wav', shard='000-00000', seconds=2.1, frames={'9': 104})
    """
    if format not in HEADERS:
        raise RecipeError(f"write_features(format='{format}') is not known. {closest(format, HEADERS)}")
    if not shard_seconds > 0:
        raise RecipeError(f"write_features(shard_seconds={shard_seconds}): give some audio; 1800 is the default.")
    if (transform is None) != (condition is None):
        raise RecipeError("write_features: give a transform and, as condition, what it does; or neither.")
    rank, world_size = rank_and_world_size()
    _begin(utterances, folder, describe(extractor, utterances, form=format, condition=condition), rank=rank)
    written = {entry.id for entry in read_entries(folder)}
    own = own_part(utterances, rank=rank, world_size=world_size)
    left = [utterance for utterance in own if utterance.id not in written]
    try:
        shards = ShardWriter(folder, layers=extractor.layers, width=extractor.width, form=format, rank=rank)
        found = _fill(shards, extractor.parts(left, transform=transform, progress=progress), shard_seconds)
        known = [*(rejects if rank == 0 else ()), *found]
        if known:
            write_rejects(known, folder / f"rejects-{rank:03d}.tsv")
    except OSError as error:
        raise DataError(
            f"Cannot write to {folder}: {error.strerror}. What is complete is kept: make room, and the same call goes "
            "on with the rest."
        ) from error
    return WriteResult(shards.written, shards.bytes, len(own) - len(left), found)


def _fill(shards: ShardWriter, parts: Iterable[Part | Reject], shard_seconds: float) -> list[Reject]:
    """Write all parts; return what could not be read."""
    rejects = []
    try:
        for part in parts:
            if isinstance(part, Reject):
                rejects.append(part)
                shards.discard()
                continue
            shards.add(part)
            if shards.seconds >= shard_seconds:
                shards.finish()
        shards.finish()
    except OSError:
        raise
    except BaseException:
        shards.finish()  # what is complete need not be done again
        raise
    finally:
        shards.close()
    return rejects


def _begin(utterances: Sequence[Utterance], folder: Path, now: dict[str, Any], *, rank: int) -> None:
    """Write `features.json`, or make sure that the one that is there says the same."""
    twice = [name for name, count in Counter(utterance.id for utterance in utterances).items() if count > 1]
    if twice:
        raise DataError(f"{len(twice):,} ids stand for several utterances (first: {twice[0]}). Give each its own.")
    path = folder / MANIFEST
    # Listed first: what other processes write comes after the manifest.
    names = os.listdir(folder) if folder.is_dir() else []
    if path.exists():
        refuse_changes(folder, read_manifest(folder), now)
        return
    if folder.is_file() or any(not name.startswith(MANIFEST) for name in names):
        raise DataError(f"{folder} exists, holds something else, and is left as it is. Choose another --out.")
    own = path.with_name(f"{MANIFEST}.{rank}")
    write_file(own, (json.dumps(now, indent=1) + "\n").encode())
    os.replace(own, path)
