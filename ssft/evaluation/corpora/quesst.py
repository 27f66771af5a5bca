"""QUESST 2014 as it is unpacked: spoken queries in six languages, and recordings that are searched for them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from ssft.data.audio import REASONS
from ssft.data.entry import Entry
from ssft.data.probe import SHORTEST, scan
from ssft.data.utterances import Utterances
from ssft.errors import DataError, closest
from ssft.evaluation.corpora.names import Names
from ssft.evaluation.corpus import TEST, LabelledCorpus
from ssft.evaluation.search_task import Query, SearchTask
from ssft.types import Utterance

SEARCHES = ("dev", "eval")

_NAME = "quesst14Database"
_LISTS = {TEST: "utterances", **{f"{name}_queries": name for name in SEARCHES}}
"""Splits, and how their lists of files and languages are called."""
_NOTE = "QUESST 2014 is sampled at 8 kHz: there is nothing above 4 kHz."


def quesst_root(path: Path) -> Path | None:
    """Return the folder of QUESST 2014, which is `path` or `quesst14Database` in it; None if it is not there."""
    return next((folder for folder in (path, path / _NAME) if _list(folder, TEST).is_file()), None)


def open_quesst(root: Path, *, language: str | None = "nnenglish") -> LabelledCorpus:
    """Return the recordings, as `test`, and the tasks `dev` and `eval`, whose queries are splits of their own.

    Args:
        root: the folder with Audio, dev_queries, eval_queries and scoring.
        language: of recordings and queries; the default is non-native English, as in SUPERB. None for all.

    Raises:
        DataError: a list or the answers are not there, there is no such language, or nothing can be used.

    Source: Anguera et al., QUESST2014, ICASSP 2015; Yang et al., SUPERB, Interspeech 2021.
    """
    skipped: Counter[str] = Counter()
    splits = {name: _listed(root, name, language, skipped) for name in _LISTS}
    return LabelledCorpus(
        name="QUESST 2014" if language is None else f"QUESST 2014, {language}",
        splits=splits,
        searches=tuple(_search(root, name, splits, skipped) for name in SEARCHES),
        notes=(_NOTE,),
        skipped=dict(skipped),
    )


def _list(root: Path, split: str) -> Path:
    return root / "scoring" / f"language_key_{_LISTS[split]}.lst"


def _listed(root: Path, split: str, language: str | None, skipped: Counter[str]) -> list[Utterance]:
    """The utterances of a split, whose ids are their paths below the root."""
    path = _list(root, split)
    rows = []
    for number, line in enumerate(_lines(path), start=1):
        if len(row := line.split()) != 2:
            raise DataError(f"{path}, line {number}: expected a file and a language, found {line!r}.")
        rows.append((row[0].partition("/")[2], row[1]))  # they begin with the name of the database's folder
    known = {spoken for _, spoken in rows}
    if language is not None and language not in known:
        raise DataError(f"{path} has no recordings in '{language}'. {closest(language, known)}")
    chosen = sorted({name for name, spoken in rows if language in (None, spoken)})
    listed = Utterances.of(Entry(name, root / name) for name in chosen)
    utterances, rejects = scan(listed, min_seconds=SHORTEST, verify="header")
    for reject in rejects:
        skipped[f"recordings: {REASONS[reject.reason]}"] += 1
    if not utterances:
        raise DataError(
            f"None of the {len(chosen):,} recordings that {path} lists can be used; {rejects[0].path}: "
            f"{rejects[0].detail}."
        )
    return list(utterances)


def _search(root: Path, name: str, splits: Mapping[str, list[Utterance]], skipped: Counter[str]) -> SearchTask:
    """The task whose queries are called `name`; each of them is a term by itself."""
    split = f"{name}_queries"
    queries = [Query(id=Path(u.id).stem, term=Path(u.id).stem, utterance=u.id) for u in splits[split]]
    documents = [utterance.id for utterance in splits[TEST]]
    path = root / "scoring" / f"groundtruth_quesst14_{name}" / f"quesst14_{name}.rttm"
    terms = {query.term for query in queries}
    answers = [(document, term) for document, term in _answers(path) if term in terms]
    if not answers:
        raise DataError(f"{path} has no answer to any of the {len(terms):,} queries, such as {min(terms)}.")
    ids = Names(documents).match((document for document, _ in answers), source=path)
    relevant: dict[str, set[str]] = defaultdict(set)
    for document, term in answers:
        if document in ids:
            relevant[term].add(ids[document])
        else:
            skipped["answers in recordings that are not there"] += 1
    return SearchTask(
        name=name,
        queries=queries,
        documents=documents,
        relevant={term: frozenset(found) for term, found in relevant.items()},
        query_split=split,
        document_split=TEST,
    )


def _answers(path: Path) -> Iterator[tuple[str, str]]:
    """Give recording and query of every line `LEXEME RECORDING CHANNEL BEGIN DURATION QUERY ...` of an RTTM file."""
    for number, line in enumerate(_lines(path), start=1):
        kind, *fields = line.split() or [""]
        if kind != "LEXEME":
            continue
        if len(fields) < 5:
            raise DataError(f"{path}, line {number}: expected a recording and a query, found {line!r}.")
        yield fields[0], fields[4]


def _lines(path: Path) -> Iterable[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}. Unpack quesst14Database.tgz again.") from error
