"""Hugging Face datasets: saved on disk, or on the Hub. Recordings are read where they lie, in the Arrow files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssft.data.arrow import Rows, read_rows
from ssft.data.entry import Entry
from ssft.data.manifest import UNLABELLED
from ssft.data.sources import Member, local_path
from ssft.data.tables import COLUMNS
from ssft.errors import DataError
from ssft.types import Reject

HUB_PREFIX = "hf:"


def is_saved_dataset(root: Path) -> bool:
    """Whether a folder was written by `save_to_disk`."""
    is_single = (root / "state.json").is_file() and (root / "dataset_info.json").is_file()
    return is_single or (root / "dataset_dict.json").is_file()


def read_saved(root: Path, *, split: str | None, allow_outside: bool) -> Iterator[Entry | Reject]:
    """List a dataset that was written by `save_to_disk`.

    Args:
        root: its folder.
        split: one of its splits; without one, `train`, or the only one there is.
        allow_outside: accept recordings that are files outside the folder.

    Raises:
        DataError: `datasets` is not installed, no such split, no column of audio, or a folder that cannot be read.
    """
    datasets = _library(root)
    saved = _called(root, lambda: datasets.load_from_disk(str(root)))
    if isinstance(saved, datasets.DatasetDict):
        name = split or (next(iter(saved)) if len(saved) == 1 else "train")
        if name not in saved:
            raise DataError(f"{root} has no split '{name}'. Its splits: {', '.join(saved)}. Choose with data.split.")
        saved = saved[name]
    else:
        name = str(saved.split or split or "train")
        if split is not None and name != split:
            raise DataError(f"{root} holds only the split '{name}', but data.split is '{split}'. Leave data.split out.")
    dataset = _Split.of(saved, root, name)
    elsewhere = [file for file in dataset.files if not _is_below(file, root)]
    if elsewhere and not allow_outside:
        raise DataError(f"{root} consists of files elsewhere, as {elsewhere[0]}; pass --data.allow_outside true.")
    yield from dataset.entries([root], allow_outside=allow_outside)


def read_hub(address: str, *, split: str | None, allow_outside: bool) -> Iterator[Entry | Reject]:
    """List a dataset of the Hub, after downloading what is not there yet.

    Args:
        address: `hf:OWNER/NAME` or `hf:OWNER/NAME/CONFIG`.
        split: one of its splits; `train` if None.
        allow_outside: accept recordings that are files outside the library's caches.

    Raises:
        DataError: another address, `datasets` is not installed, no such dataset or split, or no column of audio.
    """
    owner_and_name = address.removeprefix(HUB_PREFIX).split("/")
    config = owner_and_name.pop() if len(owner_and_name) == 3 else None
    if len(owner_and_name) != 2 or config == "" or not all(owner_and_name):
        raise DataError(f"'{address}' names no dataset; expected hf:OWNER/NAME or hf:OWNER/NAME/CONFIG.")
    name = split or "train"
    if set(name) & set("[+"):
        raise DataError(f"data.split='{name}': give the name of a split; parts and sums of splits are not read.")
    datasets = _library(address)
    loaded = _called(address, lambda: datasets.load_dataset("/".join(owner_and_name), config, split=name))
    from huggingface_hub.constants import HF_HUB_CACHE

    caches = (datasets.config.HF_DATASETS_CACHE, datasets.config.DOWNLOADED_DATASETS_PATH, HF_HUB_CACHE)
    yield from _Split.of(loaded, address, name).entries([Path(cache) for cache in caches], allow_outside=allow_outside)


@dataclass(frozen=True)
class _Split:
    """A split of a dataset: its Arrow files, and the columns that mean something to us.

    `columns` are by our name: id, speaker, text. `labels` are the names that numbers in a column stand for.
    """

    what: str
    name: str
    files: list[Path]
    rows: int
    audio: str
    columns: dict[str, str]
    labels: dict[str, list[str]]

    @staticmethod
    def of(dataset: Any, what: object, name: str) -> _Split:
        features = dataset.features
        audio = [column for column, feature in features.items() if type(feature).__name__ == "Audio"]
        audio = audio if len(audio) == 1 else [column for column in audio if column in COLUMNS["path"]]
        if len(audio) != 1:
            raise DataError(f"{what} has no column of audio, or several. Its columns: {', '.join(features)}.")
        columns = {
            ours: next(alias for alias in COLUMNS[ours] if alias in features)
            for ours in ("id", "speaker", "text")
            if not set(COLUMNS[ours]).isdisjoint(features)
        }
        labels = {ours: features[own].names for ours, own in columns.items() if hasattr(features[own], "names")}
        files = [Path(file["filename"]) for file in dataset.cache_files]
        return _Split(str(what), name, files, len(dataset), audio[0], columns, labels)

    def entries(self, folders: list[Path], *, allow_outside: bool) -> Iterator[Entry | Reject]:
        """List every row; a recording that is a file of its own must be below one of `folders`."""
        count = 0
        for file in self.files:
            for rows in read_rows(file, audio=self.audio):
                columns = {ours: rows.batch.column(own).to_pylist() for ours, own in self.columns.items()}
                for place in range(len(rows.names)):
                    facts = {ours: self._text(ours, values[place]) for ours, values in columns.items()}
                    name = f"{self.name}:{count}"
                    count += 1
                    try:
                        path, member = _source(rows, place, name, file, folders, allow_outside)
                    except ValueError as error:
                        yield Reject(facts.get("id") or name, file, "bad_row", f"{name}: {error}")
                        continue
                    yield Entry(
                        id=facts.get("id") or name,
                        path=path,
                        speaker=facts.get("speaker"),
                        text=facts.get("text"),
                        member=member,
                    )
        if count != self.rows:
            raise DataError(
                f"{self.what}: its Arrow files hold {count:,} rows and the dataset {self.rows:,}, so it is a selection "
                "of them. Write it again, with save_to_disk of the present version."
            )

    def _text(self, ours: str, value: Any) -> str | None:
        if ours in self.labels and isinstance(value, int):
            # -1 is how datasets says that there is no label.
            value = self.labels[ours][value] if 0 <= value < len(self.labels[ours]) else None
        text = "" if value is None else str(value).strip()
        return None if not text or (ours == "speaker" and text in UNLABELLED) else text


def _source(
    rows: Rows, place: int, name: str, file: Path, folders: list[Path], allow_outside: bool
) -> tuple[Path, str]:
    """Return the file that a row's recording is in, and which part of it that is."""
    own_name = rows.names[place] or ""
    if rows.is_inside[place]:
        label = f"{name}/{Path(own_name).name}" if own_name else name
        return file, str(Member(label, int(rows.begins[place]), int(rows.sizes[place])))
    if not own_name:
        raise ValueError("the row holds neither a recording nor the name of one")
    is_known = any(_is_below(Path(own_name), folder) for folder in folders)
    return local_path(own_name, folders[0], allow_outside=allow_outside or is_known), ""


def _is_below(path: Path, folder: Path) -> bool:
    return folder.resolve() in path.resolve().parents


def _library(what: object) -> Any:
    try:
        import datasets
    except ImportError:
        raise DataError(
            f"{what} is a Hugging Face dataset, which needs the package datasets: pip install 'ssft[datasets]'."
        ) from None
    return datasets


def _called(what: object, load: Callable[[], Any]) -> Any:
    """Call the library, which raises whatever its parts raise."""
    try:
        return load()
    except Exception as error:
        cause = f" ({error.__cause__})" if error.__cause__ else ""
        raise DataError(f"{what} cannot be read by datasets: {error}{cause}") from error
