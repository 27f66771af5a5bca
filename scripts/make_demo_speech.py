"""Makes the bundled demo speech: short synthetic recordings by several voices, with exact phone and word times.

    pip install -e '.[speech]' && python scripts/make_demo_speech.py

eSpeak NG (through `espeakng-loader`) reads the sentences of `demo_sentences.py`; running this again with the same
versions of eSpeak NG, libsndfile and soxr gives the same bytes. The training part has no labels, on purpose.
"""

from __future__ import annotations

import argparse
import ctypes
import io
import multiprocessing
import re
import shutil
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import espeakng_loader
import numpy as np
import soundfile
import soxr
from demo_sentences import HELDOUT, TRAIN

SAMPLE_RATE = 16_000
PEAK = 10 ** (-3 / 20)  # -3 dBFS
COMPRESSION_LEVEL = 0.94  # about 20 kbit/s: good for 16 kHz speech, and small enough to ship
VOLUME = 60  # of 100; the louder voices clip above this
SENTENCES_PER_VOICE = 22  # of the training sentences
SILENCE = "SIL"
EDGE_SILENCE = 0.1  # seconds added at either end, as in a cut recording
SHORTEST_PHONE = 0.002  # seconds


@dataclass(frozen=True)
class Voice:
    """An en-us voice variant of eSpeak NG with its own reading style."""

    variant: str
    rate: int  # words per minute
    pitch: int  # 0 to 100, 50 is the variant's own
    pitch_range: int  # 0 (monotone) to 100, 50 is the variant's own

    @property
    def speaker(self) -> str:
        return self.variant.lower()


# No variant with breath noise (f2, f3, f5, ...): those differ from run to run.
TRAIN_VOICES = (
    Voice("f4", 175, 48, 50),
    Voice("steph", 190, 55, 65),
    Voice("anika", 165, 42, 35),
    Voice("Annie", 180, 50, 45),
    Voice("Andrea", 170, 40, 55),
    Voice("aunty", 160, 52, 70),
    Voice("shelby", 195, 58, 40),
    Voice("m2", 175, 50, 60),
    Voice("m3", 185, 60, 50),
    Voice("m4", 165, 42, 40),
    Voice("m6", 200, 55, 75),
    Voice("m8", 160, 45, 55),
    Voice("edward", 170, 50, 30),
    Voice("Alex", 180, 65, 70),
)
# These voices have no echo, so the silence in front of a burst is exact zeros, which `start_of_silence` relies on.
HELDOUT_VOICES = (
    Voice("f1", 180, 45, 60),
    Voice("grandma", 165, 50, 40),
    Voice("linda", 190, 55, 50),
    Voice("m1", 195, 45, 55),
    Voice("m5", 165, 58, 75),
    Voice("m7", 180, 50, 35),
)

# Reduced and positional variants that sound nearly alike share one label. What is left are eSpeak NG's mnemonics.
MERGED = {
    "@2": "@",
    "a#": "@",
    "I#": "I",
    "I2": "I",
    "i": "i:",
    "aa": "a",
    "o@": "O@",
    "3:": "3",
    "t2": "t",
    "r-": "r",
}
STRESS_MARKS = "',"
GLIDE = ";"  # a weak j between two vowels; its time goes to the vowel in front


class Event(NamedTuple):
    """What eSpeak NG reports while it speaks: the start of a word or of a phone, at a sample."""

    sample: int
    phone: str | None = None
    word: str | None = None


class Segment(NamedTuple):
    """A labelled stretch of audio, in seconds."""

    start: float
    end: float
    label: str


class Utterance(NamedTuple):
    """One sentence as read by one voice, at the synthesiser's own sample rate."""

    text: str
    samples: np.ndarray
    sample_rate: int
    events: list[Event]


class _EventId(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class Synthesiser:
    """eSpeak NG through ctypes, reading with one voice."""

    # Numbers from espeak-ng/speak_lib.h.
    SYNCHRONOUS = 2
    PHONEME_EVENTS = 0x0001
    DONT_EXIT = 0x8000
    EVENT_LIST_TERMINATED, EVENT_WORD, EVENT_PHONEME = 0, 1, 7
    RATE, VOLUME, PITCH, RANGE = 1, 2, 3, 4
    POS_CHARACTER = 1
    CHARS_UTF8 = 1

    def __init__(self, voice: Voice) -> None:
        data = Path(espeakng_loader.get_data_path())
        # eSpeak NG itself would silently read with its default voice.
        if not (data / "voices" / "!v" / voice.variant).is_file():
            raise ValueError(f"eSpeak NG has no voice variant {voice.variant!r}")
        self._library = ctypes.CDLL(str(espeakng_loader.get_library_path()))
        self._library.espeak_Synth.argtypes = (
            ctypes.c_char_p,
            ctypes.c_size_t,
            ctypes.c_uint,
            ctypes.c_int,
            ctypes.c_uint,
            ctypes.c_uint,
            ctypes.POINTER(ctypes.c_uint),
            ctypes.c_void_p,
        )
        options = self.PHONEME_EVENTS | self.DONT_EXIT
        self.sample_rate = self._library.espeak_Initialize(self.SYNCHRONOUS, 0, str(data).encode(), options)
        if self.sample_rate <= 0:
            raise RuntimeError("eSpeak NG did not start")
        self._callback = _Callback(self._receive)  # kept: the library holds only a bare pointer to it
        self._library.espeak_SetSynthCallback(self._callback)
        if self._library.espeak_SetVoiceByName(f"en-us+{voice.variant}".encode()) != 0:
            raise ValueError(f"eSpeak NG refused the voice variant {voice.variant!r}")
        for parameter, value in (
            (self.RATE, voice.rate),
            (self.VOLUME, VOLUME),
            (self.PITCH, voice.pitch),
            (self.RANGE, voice.pitch_range),
        ):
            self._library.espeak_SetParameter(parameter, value, 0)

    def read(self, text: str) -> Utterance:
        self._text = text
        self._chunks: list[np.ndarray] = []
        self._events: list[Event] = []
        encoded = text.encode()
        status = self._library.espeak_Synth(
            encoded, len(encoded) + 1, 0, self.POS_CHARACTER, 0, self.CHARS_UTF8, None, None
        )
        if status != 0 or not self._chunks:
            raise RuntimeError(f"eSpeak NG could not read {text!r}")
        edge = round(EDGE_SILENCE * self.sample_rate)
        events = [event._replace(sample=event.sample + edge) for event in self._events]
        return Utterance(text, np.pad(np.concatenate(self._chunks), edge), self.sample_rate, events)

    def _receive(self, wav: Any, count: int, events: Any) -> int:
        if wav and count:
            self._chunks.append(np.ctypeslib.as_array(wav, shape=(count,)).copy())
        for event in _until_terminated(events, self.EVENT_LIST_TERMINATED):
            if event.type == self.EVENT_PHONEME:
                self._events.append(Event(event.sample, phone=event.id.string.decode()))
            elif event.type == self.EVENT_WORD:
                start = event.text_position - 1
                self._events.append(Event(event.sample, word=self._text[start : start + event.length]))
        return 0


def _until_terminated(events: Any, terminator: int) -> Iterator[Any]:
    index = 0
    while events[index].type != terminator:
        yield events[index]
        index += 1


def read_all(job: tuple[Voice, list[str]]) -> list[Utterance]:
    """Read the sentences in order; must run in a fresh process, as eSpeak NG's noise depends on what it read before."""
    voice, sentences = job
    synthesiser = Synthesiser(voice)
    return [synthesiser.read(sentence) for sentence in sentences]


def label(utterance: Utterance) -> tuple[list[Segment], list[Segment]]:
    """Phone and word segments of an utterance: phones without gaps, words from first to last phone."""
    phones = [(0, SILENCE)]  # start sample, label
    words: list[tuple[int, str]] = []  # index of the first phone, word
    word_start = 0
    for event in utterance.events:
        if event.word is not None:
            words.append((len(phones), event.word.lower()))
            word_start = event.sample
            continue
        name = (event.phone or "").strip(STRESS_MARKS)
        if name == GLIDE:
            continue
        name = SILENCE if name.startswith("_") else MERGED.get(name, name)
        start, previous = phones[-1]
        if previous != SILENCE:
            # eSpeak NG reports a word before the closure of its first phone (the short silence in front of a burst),
            # but a phone after its closure, which belongs to it.
            earliest = max(start, word_start)
            start = event.sample if name == SILENCE else start_of_silence(utterance.samples, earliest, event.sample)
            phones.append((start, name))
        elif name != SILENCE:
            phones.append((event.sample, name))

    read = [word for _, word in words]
    if read != re.findall(r"[\w']+", utterance.text.lower()):
        raise ValueError(f"eSpeak NG joined words of {utterance.text!r}: {read}")

    times = [start / utterance.sample_rate for start, _ in phones] + [len(utterance.samples) / utterance.sample_rate]
    for i in reversed(range(len(phones))):
        # An l after a vowel lasts no time: eSpeak NG has made it as the end of the vowel. It gets no label.
        if times[i + 1] - times[i] < SHORTEST_PHONE:
            times[i] = times[i + 1]
    segments = [Segment(times[i], times[i + 1], name) for i, (_, name) in enumerate(phones)]
    word_segments = []
    for (first, word), (following, _) in zip(words, [*words[1:], (len(phones), "")], strict=True):
        spoken = [segment for segment in segments[first:following] if segment.label != SILENCE]
        word_segments.append(Segment(spoken[0].start, spoken[-1].end, word))
    return [segment for segment in segments if segment.end > segment.start], word_segments


def start_of_silence(samples: np.ndarray, earliest: int, end: int) -> int:
    """Where the silence that ends at `end` begins; `end` itself if there is none."""
    loud = np.flatnonzero(np.abs(samples[earliest:end].astype(np.int32)) > 10)  # 10 of 32,768: -70 dBFS
    return earliest + int(loud[-1]) + 1 if loud.size else earliest


def encode(utterance: Utterance) -> tuple[bytes, int]:
    """The utterance as Ogg Opus at 16 kHz, and its number of samples."""
    audio = soxr.resample(utterance.samples / 32768.0, utterance.sample_rate, SAMPLE_RATE, quality="VHQ")
    audio *= PEAK / np.abs(audio).max()
    file = io.BytesIO()
    soundfile.write(file, audio, SAMPLE_RATE, format="OGG", subtype="OPUS", compression_level=COMPRESSION_LEVEL)
    return normalise_ogg(file.getvalue()), len(audio)


def normalise_ogg(data: bytes) -> bytes:
    """Give an Ogg Opus file a constant serial number and no padded tags: libsndfile draws the number from the clock."""
    pages = []
    offset = 0
    while offset < len(data):
        header, segments = data[offset : offset + 27], data[offset + 27 : offset + 27 + data[offset + 26]]
        offset += 27 + len(segments)
        body = data[offset : offset + sum(segments)]
        offset += len(body)
        if body.startswith(b"OpusTags"):
            vendor_length = int.from_bytes(body[8:12], "little")
            body = body[: 12 + vendor_length] + bytes(4)  # no comments
            segments = bytes([len(body)])
        page = bytearray(header[:14] + struct.pack("<I", 1) + header[18:22] + bytes(4))
        page += bytes([len(segments)]) + segments + body
        page[22:26] = struct.pack("<I", ogg_checksum(page))
        pages.append(bytes(page))
    return b"".join(pages)


def ogg_checksum(page: bytes | bytearray) -> int:
    table = ogg_checksum_table()
    checksum = 0
    for byte in page:
        checksum = (checksum << 8) & 0xFFFFFFFF ^ table[checksum >> 24 ^ byte]
    return checksum


@cache
def ogg_checksum_table() -> list[int]:
    table = []
    for value in range(256):
        value <<= 24
        for _ in range(8):
            value = value << 1 ^ (0x104C11DB7 if value & 0x80000000 else 0)
        table.append(value)
    return table


def write_table(path: Path, header: str, rows: Iterable[tuple[str | float, ...]]) -> None:
    cells = ([f"{cell:.3f}" if isinstance(cell, float) else cell for cell in row] for row in rows)
    lines = [header.replace(" ", "\t"), *("\t".join(row) for row in cells)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def training_sentences(voice_index: int) -> list[int]:
    """Every voice reads another part of the sentences; the steps are chosen so that together they read all of them."""
    return sorted((8 * voice_index + 5 * i) % len(TRAIN) for i in range(SENTENCES_PER_VOICE))


def main() -> None:
    """Read everything and write the folder."""
    parser = argparse.ArgumentParser(description="Make the bundled demo speech.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "ssft" / "assets" / "demo_speech")
    out: Path = parser.parse_args().out

    parts = [("train", voice, TRAIN, training_sentences(i)) for i, voice in enumerate(TRAIN_VOICES)]
    parts += [("heldout", voice, HELDOUT, list(range(len(HELDOUT)))) for voice in HELDOUT_VOICES]
    for split in ("train", "heldout"):
        shutil.rmtree(out / split, ignore_errors=True)

    manifest: list[tuple[str | float, ...]] = []
    words: list[tuple[str | float, ...]] = []
    alignments: list[tuple[str | float, ...]] = []
    jobs = [(voice, [texts[number] for number in numbers]) for _, voice, texts, numbers in parts]
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        readings = pool.imap(read_all, jobs, chunksize=1)
        for (split, voice, _, numbers), reading in zip(parts, readings, strict=True):
            (out / split / voice.speaker).mkdir(parents=True)
            for number, utterance in zip(numbers, reading, strict=True):
                path = f"{split}/{voice.speaker}/{number:03d}.opus"
                data, count = encode(utterance)
                (out / path).write_bytes(data)
                manifest.append((path, voice.speaker, count / SAMPLE_RATE, utterance.text, split))
                if split == "heldout":
                    phone_segments, word_segments = label(utterance)
                    alignments += [(path, *segment) for segment in phone_segments]
                    words += [(path, *segment) for segment in word_segments]

    write_table(out / "manifest.tsv", "path speaker duration_s text split", manifest)
    write_table(out / "words.tsv", "path start_s end_s word", words)
    write_table(out / "alignments.tsv", "path start_s end_s phone", alignments)


if __name__ == "__main__":
    main()
