"""A folder of recordings that an augmentation draws from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile
import soxr

from ssft.errors import DataError, RecipeError

EXTENSIONS = frozenset({".wav", ".flac", ".ogg", ".opus", ".mp3"})


class Recordings:
    """The audio files of a folder and its subfolders, decoded part by part, first channel, at one rate.

    Nothing is touched before it is needed. Hidden files and folders are left out.

    Args:
        folder: may begin with `~`.
        sample_rate: of what is returned, in Hz.
        owner: the setting that names the folder, for error messages.
    """

    def __init__(self, folder: str, *, sample_rate: int, owner: str) -> None:
        self.folder = Path(folder).expanduser()
        self.sample_rate = sample_rate
        self.owner = owner
        self._names: list[str] = []
        self._last: tuple[tuple[str, float, int], np.ndarray] | None = None

    def names(self) -> list[str]:
        """The files, relative to the folder, in an order that does not depend on the file system.

        Raises:
            RecipeError: the folder is missing, or has no audio.
        """
        if not self._names:
            if not self.folder.is_dir():
                raise RecipeError(f"{self.owner}: there is no such folder. Give a folder of recordings.")
            self._names = sorted(_audio_files(self.folder))
        if not self._names:
            known = ", ".join(sorted(EXTENSIONS))
            raise RecipeError(f"{self.owner}: there is no audio in this folder. Put recordings there ({known}).")
        return self._names

    def check(self) -> None:
        """Read the header of every file.

        Raises:
            RecipeError: the folder is missing or has no audio, or a file cannot be read.
        """
        for name in self.names():
            try:
                self.seconds(name)
            except DataError as error:
                raise RecipeError(str(error)) from error

    def seconds(self, name: str) -> float:
        """The length of a file, by its header."""
        with self._opened(name) as sound:
            return float(sound.frames / sound.samplerate)

    def part(self, name: str, start_seconds: float, samples: int) -> np.ndarray:
        """Decode `samples` of a file to [samples] float32, going on from its beginning where it ends.

        Raises:
            DataError: the file cannot be read.
        """
        # Only this part is decoded: an hour costs what a minute does. It is kept, because `apply` follows `draw`.
        key = (name, start_seconds, samples)
        if self._last is None or self._last[0] != key:
            with self._opened(name) as sound:
                rate = sound.samplerate
                first = min(int(start_seconds * rate), sound.frames)
                wanted = round(samples * rate / self.sample_rate)
                part = _read(sound, first, wanted)
                if len(part) < wanted:
                    part = np.concatenate([part, _read(sound, 0, min(first, wanted - len(part)))])
            if rate != self.sample_rate:
                part = soxr.resample(part, rate, self.sample_rate)
            self._last = (key, np.resize(part, samples))  # which repeats what is too short
        return self._last[1]

    @contextmanager
    def _opened(self, name: str) -> Iterator[soundfile.SoundFile]:
        try:
            with soundfile.SoundFile(self.folder / name) as sound:
                yield sound
        except (soundfile.SoundFileError, OSError) as error:
            raise DataError(
                f"{self.owner}: '{name}' cannot be read ({error}). Remove it from the folder, or convert it."
            ) from error


def _read(sound: soundfile.SoundFile, first: int, frames: int) -> np.ndarray:
    sound.seek(first)
    samples: np.ndarray = sound.read(frames, dtype="float32", always_2d=True)[:, 0]
    return samples


def _audio_files(root: Path) -> Iterator[str]:
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith(".") and Path(name).suffix.lower() in EXTENSIONS:
                yield Path(folder, name).relative_to(root).as_posix()
