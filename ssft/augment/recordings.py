"""Recordings that an augmentation draws from, decoded part by part."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import numpy as np
import soundfile
import soxr

from ssft.augment.recording_list import LISTS, Recording, list_recordings
from ssft.errors import DataError, RecipeError

_FADE_SECONDS = 0.01

# Samples. Resampling rings where it begins and ends: so much more is decoded on either side. At all usual rates it is a
# whole number of the file's own samples.
_CONTEXT = 160

# Samples. An MP3 frame borrows bits from up to nine frames before it: what follows a seek is noise for 50 ms.
_MP3_LEAD = 10 * 1152


class Recordings:
    """The recordings of a folder or of a list, decoded part by part, first channel, at one rate.

    Nothing is touched before it is needed. `list_recordings` says what folders and lists may hold. Several threads may
    decode at once.

    Args:
        source: a folder, or a list (.tsv, .csv or .txt); may begin with `~`.
        sample_rate: of what is returned, in Hz.
        owner: the setting that names the source, for error messages.
    """

    def __init__(self, source: str, *, sample_rate: int, owner: str) -> None:
        self.source = Path(source).expanduser()
        self.sample_rate = sample_rate
        self.owner = owner
        self._headers: dict[Path, tuple[int, int]] = {}
        self._last: tuple[tuple[str, float, int], np.ndarray] | None = None

    def names(self) -> list[str]:
        """The recordings, each as often as it is listed, in an order that does not depend on the file system.

        Raises:
            RecipeError: there is no such folder or list, nothing is in it, or a line of it cannot be read.
        """
        return self._names

    def check(self) -> None:
        """Read the header of every file.

        Raises:
            RecipeError: there is nothing to draw from, a file cannot be read, or a segment lies outside its file.
        """
        for name in self.names():
            try:
                self.seconds(name)
            except DataError as error:
                raise RecipeError(str(error)) from error

    def seconds(self, name: str) -> float:
        """The length of a recording, by its header: a whole number of samples at `sample_rate`.

        Raises:
            DataError: the file cannot be read, or the segment lies outside it.
        """
        recording = self._recording(name)
        if recording.path not in self._headers:
            with self._opened(recording) as sound:
                self._headers[recording.path] = (sound.frames, sound.samplerate)
        frames, rate = self._headers[recording.path]
        return self._resampled_length(self._span(recording, frames, rate)[1], rate) / self.sample_rate

    def whole(self, name: str) -> np.ndarray:
        """Decode all of a recording to [T] float32.

        Raises:
            DataError: the file cannot be read, or the segment lies outside it.
        """
        return self.part(name, 0.0, round(self.seconds(name) * self.sample_rate))

    def part(self, name: str, start_seconds: float, samples: int) -> np.ndarray:
        """Decode `samples` of a recording to [samples] float32, going on from its beginning where it ends.

        There its end is faded out and its beginning in, over 10 ms and with equal power, so that no joint clicks: a
        recording that is repeated has a period of its length less 10 ms (less half of it, if it is shorter than 20).

        Raises:
            DataError: the file cannot be read, or the segment lies outside it.
        """
        # Only this part is decoded: an hour costs what a minute does. It is kept, because `apply` follows `draw`.
        key, last = (name, start_seconds, samples), self._last
        if last is not None and last[0] == key:
            return last[1]
        recording = self._recording(name)
        with self._opened(recording) as sound:
            begin, frames = self._span(recording, sound.frames, sound.samplerate)
            rate, ratio = sound.samplerate, sound.samplerate / self.sample_rate
            context = 0 if ratio == 1 else _CONTEXT

            def read(first: int, count: int) -> np.ndarray:
                lead = min(first, context)
                offset = int((first - lead) * ratio)
                wanted = min(math.ceil((lead + count + context) * ratio), frames - offset)
                decoded = _decode(sound, begin + offset, wanted)
                if ratio != 1:
                    decoded = soxr.resample(decoded, rate, self.sample_rate)
                return decoded[lead : lead + count]

            length = self._resampled_length(frames, rate)
            part = _looped(read, length, int(start_seconds * self.sample_rate), samples, self.sample_rate)
        self._last = (key, part)
        return part

    @cached_property
    def _recordings(self) -> list[Recording]:
        return list_recordings(self.source, owner=self.owner)

    @cached_property
    def _names(self) -> list[str]:
        return [recording.name for recording in self._recordings]

    @cached_property
    def _by_name(self) -> dict[str, Recording]:
        return {recording.name: recording for recording in self._recordings}

    def _recording(self, name: str) -> Recording:
        if self.source.suffix.lower() not in LISTS or self.source.is_dir():
            return Recording(name, self.source / name)
        if name not in self._by_name:
            raise DataError(
                f"{self.owner}: the list has no '{name}', which was drawn. Give the list that it was drawn from."
            )
        return self._by_name[name]

    def _span(self, recording: Recording, frames: int, rate: int) -> tuple[int, int]:
        """Where a recording begins in its file of so many `frames`, and how many of them are its own."""
        first = round(recording.start * rate)
        if first >= frames > 0:
            raise DataError(
                f"{self.owner}: {recording.line}'{recording.name}' begins at {recording.start:g} s, but the file has "
                f"{frames / rate:.3f} s. Correct the line, or take it out."
            )
        left = max(frames - first, 0)
        return first, left if recording.seconds is None else min(round(recording.seconds * rate), left)

    def _resampled_length(self, frames: int, rate: int) -> int:
        return int(frames * self.sample_rate / rate + 0.5)  # soxr's own rule

    @contextmanager
    def _opened(self, recording: Recording) -> Iterator[soundfile.SoundFile]:
        # As bytes, because a name that is not UTF-8 is a name too. Windows has no such names and wants text.
        path = str(recording.path) if os.name == "nt" else os.fsencode(recording.path)
        try:
            with soundfile.SoundFile(path) as sound:
                yield sound
        except (soundfile.SoundFileError, OSError, TypeError) as error:  # TypeError: what has no header at all
            if not recording.path.is_file():
                problem = "is not there. Put the file there, or correct the line."
            else:
                said = getattr(error, "error_string", str(error)).rstrip(".")
                problem = f"cannot be read ({said}). Convert it to wav or flac, or take it out."
            raise DataError(f"{self.owner}: {recording.line}'{recording.name}' {problem}") from error


def _decode(sound: soundfile.SoundFile, first: int, frames: int) -> np.ndarray:
    lead = min(first, _MP3_LEAD) if sound.format == "MP3" else 0
    sound.seek(first - lead)
    decoded: np.ndarray = sound.read(lead + frames, dtype="float32", always_2d=True)[lead:, 0]
    # A header may promise more than there is: an MP3's is an estimate.
    return decoded if len(decoded) == frames else np.resize(decoded, frames)


def _looped(read: Callable[[int, int], np.ndarray], length: int, first: int, samples: int, rate: int) -> np.ndarray:
    """Read from `first` on, of `length` samples that `read(first, count)` reads, and round again."""
    if length == 0:
        return np.zeros(samples, np.float32)
    fade = min(round(_FADE_SECONDS * rate), length // 2)
    period = length - fade
    if first + samples > length:
        first %= period
    if first + samples <= length:
        return read(first, samples)
    before, rest = read(first, length - first), samples - (period - first)
    after = read(0, min(rest, period))
    angle = np.pi / 2 * (np.arange(fade, dtype=np.float32) + 0.5) / fade
    after[:fade] = np.sin(angle) * after[:fade] + np.cos(angle) * before[period - first :]
    return np.concatenate([before[: period - first], np.resize(after, rest)])
