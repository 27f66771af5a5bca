"""Tables of what is known about speakers: the range in which the pitch of each lies."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from ssft.errors import RecipeError

_COLUMNS = ("speaker", "min_pitch_hz", "max_pitch_hz")

_PICKLES = frozenset({".dict", ".pkl", ".pickle", ".pt", ".pth"})


def read_speakers(path: str | Path) -> dict[str, tuple[float, float]]:
    """Return the lowest and the highest pitch of each speaker, in Hz.

    Args:
        path: a .tsv, or a .csv, in UTF-8, whose header line names `speaker`, `min_pitch_hz` and `max_pitch_hz`, in any
            order and among others.

    Raises:
        RecipeError: there is no such file, it is no such table, or a line of it cannot be; says which and what to do.
    """
    path = Path(path).expanduser()
    if path.suffix.lower() in _PICKLES:
        raise RecipeError(_how_to_convert(path))
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            speakers = _speakers(file, path)
    except OSError as error:
        raise RecipeError(
            f"The table of speakers {path} cannot be read ({error.strerror}). Give a TSV or CSV with the columns "
            f"{', '.join(_COLUMNS)}, or leave it out."
        ) from None
    except UnicodeDecodeError as error:
        raise RecipeError(
            f"{path} is not UTF-8 text ({error.reason} at byte {error.start}). Save it as UTF-8."
        ) from None
    except csv.Error as error:
        raise RecipeError(f"{path} is not a readable {path.suffix[1:].upper()} table: {error}.") from None
    if not speakers:
        raise RecipeError(f"{path} names no speakers. Below the header line it needs a line for each.")
    return speakers


def _speakers(file: Iterator[str], path: Path) -> dict[str, tuple[float, float]]:
    # As in manifests, a quotation mark in a TSV is a character like any other.
    if path.suffix.lower() == ".csv":
        rows = csv.DictReader(file, strict=True)
    else:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
    rows.fieldnames = names = [name.strip().lower() for name in rows.fieldnames or ()]
    missing = [name for name in _COLUMNS if name not in names]
    if missing:
        raise RecipeError(
            f"{path} has no column {', '.join(missing)}. Found: {', '.join(names) or 'nothing'}. Its header line names "
            f"{', '.join(_COLUMNS)}, with {'commas' if path.suffix.lower() == '.csv' else 'tabs'} in between."
        )
    speakers: dict[str, tuple[float, float]] = {}
    for row in rows:
        where = f"{path} line {rows.line_num}"
        speaker = (row["speaker"] or "").strip()
        if not speaker:
            raise RecipeError(f"{where}: no speaker. Name one, as the manifest of the recordings does.")
        bounds = _hz(row, "min_pitch_hz", where), _hz(row, "max_pitch_hz", where)
        if not 20 <= bounds[0] < bounds[1] <= 1000:
            raise RecipeError(
                f"{where}: min_pitch_hz {bounds[0]:g} and max_pitch_hz {bounds[1]:g} are no range of pitch. Give two "
                "numbers from 20 to 1000 Hz, the lower one first."
            )
        if speakers.setdefault(speaker, bounds) != bounds:
            raise RecipeError(f"{where}: speaker '{speaker}' had another range before. Keep one of the lines.")
    return speakers


def _hz(row: Mapping[str, str | None], column: str, where: str) -> float:
    text = (row[column] or "").strip()
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise RecipeError(f"{where}: {column} '{text}' is not a number. Give Hz.")
    return number


def _how_to_convert(path: Path) -> str:
    # As SPIN reads it: by split and speaker something, then lowest pitch, highest and something. It takes 75 Hz for 50.
    return (
        f"{path} is a pickle by its name, and reading one can run any program. If you trust it, make it a table, once, "
        "in Python (this is for the spk2info.dict of SPIN and ContentVec):\n"
        f"    import pickle; speakers = pickle.load(open({str(path)!r}, 'rb'))['train'].items()\n"
        "    rows = [(name, 75 if low == 50 else low, high) for name, (_, (low, high, _)) in speakers]\n"
        f"    lines = ['\\t'.join(map(str, row)) for row in [{_COLUMNS}, *rows]]\n"
        "    open('speakers.tsv', 'w', encoding='utf-8').write('\\n'.join(lines))"
    )
