"""`open_corpus`: a labelled corpus from whatever lies on disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ssft.data import Data
from ssft.errors import DataError
from ssft.evaluation.corpora.description import (
    TABLES,
    WHOLE,
    Description,
    describe_folder,
    read_description,
    tables_in,
)
from ssft.evaluation.corpora.item_files import read_item_file
from ssft.evaluation.corpora.librispeech import describe_librispeech, librispeech_root
from ssft.evaluation.corpora.names import Names
from ssft.evaluation.corpora.pronunciations import look_up, phones_of, read_texts
from ssft.evaluation.corpora.quesst import open_quesst, quesst_root
from ssft.evaluation.corpora.segments import in_order, read_segments
from ssft.evaluation.corpora.splits import list_splits
from ssft.evaluation.corpora.text_grids import read_text_grids
from ssft.evaluation.corpus import LabelledCorpus
from ssft.evaluation.items import Item, Segment

ONE_WORD = "Each recording is taken for one word, from its beginning to its end."

_ALIGNED = ("phones", "words")
_YAML = (".yaml", ".yml")


def open_corpus(
    source: str | Path,
    *,
    lexicon: Path | None = None,
    alignments: Path | None = None,
    items: Sequence[Path] = (),
    splits: Mapping[str, Any] | None = None,
    language: str | None = "nnenglish",
) -> LabelledCorpus:
    """Return the labelled corpus at `source`; docs/corpora.md shows what each kind looks like.

    Args:
        source: `demo`; a description (.yaml); LibriSpeech or QUESST 2014, as unpacked; a folder with a manifest and
            tables of labels; or other audio on disk that `data.root` takes, all of which is `test`.
        lexicon: words and their phones, for pronunciations of the transcripts.
        alignments: a folder of TextGrids, or one with alignments.tsv and words.tsv, instead of what the source has.
        items: ABX item files, besides those of the source.
        splits: what is `train`, `dev` and `test`, as in a description: `{"test": "dev-clean"}`.
        language: which part of QUESST 2014; None for all of it.

    Raises:
        DataError: nothing there, nothing to test on, or labels that cannot be read or belong to other audio.
        RecipeError: a description with unknown keys.

    Example:
        >>> corpus = open_corpus("demo")
        >>> len(corpus.splits["test"]), corpus.words["heldout/f1/000.opus"][0].label
        (180, 'the')
    """
    path = Data().path.parent if str(source) == "demo" else Path(source).expanduser()
    if root := quesst_root(path):
        if lexicon or alignments or items or splits:
            raise DataError(f"{root} is QUESST 2014, which takes no lexicon, alignments, items or splits.")
        return open_quesst(root, language=language)
    description, folder = _described(path, splits or {})
    changes: dict[str, Any] = {"items": [*description.items, *(str(item.expanduser().resolve()) for item in items)]}
    if lexicon:
        changes |= {"lexicon": str(lexicon.expanduser().resolve()), "pronunciations": None}
    if alignments:
        changes |= _tables_in(alignments.expanduser().resolve())
    return _corpus(replace(description, **changes), folder)


def _described(path: Path, splits: Mapping[str, Any]) -> tuple[Description, Path]:
    """What is at a path, and the folder that the paths in this are relative to."""
    if root := librispeech_root(path):
        return describe_librispeech(root, splits), root
    if path.suffix.lower() in _YAML:
        found, folder = read_description(path), path.parent
    else:
        folder = path if path.is_dir() else path.parent
        found = describe_folder(folder, audio=None if path.is_dir() else path.name)
    return replace(found, splits=splits or found.splits), folder


def _tables_in(folder: Path) -> dict[str, str | None]:
    tables = {kind: str(folder / table) for kind, table in tables_in(folder).items() if kind in _ALIGNED}
    if not tables and not folder.is_dir():
        raise DataError(f"{folder} is no folder. Alignments are a folder of TextGrids, or of {TABLES['phones']}.")
    return {kind: tables.get(kind) if tables else str(folder) for kind in _ALIGNED}


def _corpus(description: Description, folder: Path) -> LabelledCorpus:
    skipped: Counter[str] = Counter()
    splits, notes = list_splits(description, folder, skipped)
    utterances = [utterance for split in splits.values() for utterance in split]
    seconds = {utterance.id: utterance.seconds for utterance in utterances}
    names = Names(seconds)

    transcripts = {utterance.id: utterance.text for utterance in utterances if utterance.text}
    if source := description.source("transcripts"):
        transcripts = read_texts(folder / source.file, source.column, "transcripts", names, skipped)
    aligned = {
        kind: in_order(segments, kind, seconds, skipped)
        for kind, segments in _segments(description, folder, names, skipped).items()
    }
    single = bool(transcripts) and all(len(text.split()) == 1 for text in transcripts.values())
    if description.words == WHOLE or (description.words is None and single):
        aligned["words"] = {name: [Segment(name, 0.0, seconds[name], text)] for name, text in transcripts.items()}
        notes.append(ONE_WORD)
    pronunciations = {}
    if source := description.source("pronunciations"):
        texts = read_texts(folder / source.file, source.column, "pronunciations", names, skipped)
        pronunciations = {name: phones_of(text) for name, text in texts.items()}
    elif description.lexicon:
        pronunciations = look_up(transcripts, folder / description.lexicon, skipped)
    items: dict[str, list[Item]] = {}
    for path in (folder / item for item in description.items):
        if path.stem in items:
            raise DataError(f"{path}: another file of items is called {path.stem} too. Rename one of them.")
        items[path.stem] = read_item_file(path, names, seconds, skipped)
    return LabelledCorpus(
        name=description.name,
        splits=splits,
        phones=aligned.get("phones", {}),
        words=aligned.get("words", {}),
        transcripts=transcripts,
        pronunciations=pronunciations,
        items=items,
        notes=(*description.notes, *notes),
        skipped=dict(skipped),
    )


def _segments(description: Description, folder: Path, names: Names, skipped: Counter[str]) -> dict[str, list[Segment]]:
    """Aligned phones and words, in any order; a folder of TextGrids that has both is read once."""
    found: dict[str, list[Segment]] = {}
    grids: dict[Path, list[str]] = {}
    for kind in _ALIGNED:
        if source := description.source(kind):
            found[kind] = []
            if (folder / source.file).is_dir():
                grids.setdefault(folder / source.file, []).append(kind)
            else:
                found[kind] += read_segments(folder / source.file, source.column, kind, names, skipped)
    for path, kinds in grids.items():
        for kind, segment in read_text_grids(path, kinds, names, skipped):
            found[kind].append(segment)
    return found
