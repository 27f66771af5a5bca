"""Augmentations beside other libraries: times real time, of one waveform on a CPU core, of a batch, and of an hour.

    python benchmarks/augment.py [--rounds 9] [--seconds 3 10 17] [--only spin gain]     one waveform on one core
    python benchmarks/augment.py --batch 32 [--device cuda]                               batches of 10 s
    python benchmarks/augment.py --hour                                                   one hour, once
    pip install 'audiomentations[extras]' torch-audiomentations praat-parselmouth         the peers

Prints Markdown. Peers that are not installed are named and left out. `--speech`, `--noise` and `--rir` name folders of
recordings; utterances that follow each other are joined and cut to the length asked for.

Rounds are interleaved: in each everybody augments the same waveforms, other ones than in the last; the mean of up to 10
calls counts, or of as many as take 50 ms. Draw and apply are timed together, except for batches, where ours draws
beforehand, in the workers. Times on a CPU are of the processor's own clock, for one thread, with those of the processes
started (Praat may have one of its own). Who needs over 2 s for a call gets two rounds only. A figure stands before its
quartiles over the rounds; a peer's is followed by how many times faster ours is, the median over the rounds of both.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import importlib
import importlib.metadata
import inspect
import itertools
import json
import os
import platform
import random
import re
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from ssft.augment import AUGMENTATIONS, PRESETS, ParametricEqualizer, Transform
from ssft.components import build
from ssft.data.audio import read_audio
from ssft.errors import SsftError
from ssft.randomness import derive_rng, derive_seed
from ssft.types import SAMPLE_RATE, Waves

SHARED = Path(__file__).resolve().parents[2] / "shared" / "speech"
CORPORA = ("librivox_bits", "ljspeech_141", "speechocean762_train")
AUDIO = {".flac", ".mp3", ".ogg", ".opus", ".wav"}
BATCH_SECONDS = 10
SLOW_SECONDS, SLOW_ROUNDS = 2.0, 2
REPEATS, ENOUGH_SECONDS = 10, 0.05
HOUR_LIMIT_SECONDS = 1800
GROUPS = ("compose", "maybe", "one_of")
OURS, PRAAT = "ssft", "Praat"
WATCHED = "speaker_perturb: praat"
SNR_DB = (20.0, 10.0, 5.0)
DISTRIBUTIONS = """
torch numpy scipy soxr numba python-stretch audiomentations pyroomacoustics fast-mp3-augment torch-audiomentations
torchaudio praat-parselmouth
"""

Single = Callable[[np.ndarray, np.random.Generator], object]
"""Augments a waveform."""
TensorAugmentation = Callable[[Tensor, np.random.Generator], Tensor]
"""Augments a batch [B, T] of equally long waveforms."""
Prepared = Callable[[Waves], object]
Batched = Callable[[Waves, Sequence[np.random.Generator]], Prepared]
"""Draws for a batch that lies in memory, and returns what augments it where it then lies."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--speech", type=Path, nargs="+", default=[SHARED / name for name in CORPORA])
    parser.add_argument("--noise", type=Path, default=SHARED / "noise" / "audio")
    parser.add_argument("--rir", type=Path, default=SHARED / "rir" / "audio")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, nargs="+", default=[3.0, 10.0, 17.0])
    parser.add_argument("--only", nargs="+", default=[], help="rows, such as pitch_shift, spin or 'reverb: simulated'")
    parser.add_argument("--batch", type=int, help="measure batches of so many waveforms")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--hour", action="store_true", help="measure one hour of audio")
    parser.add_argument("--hour-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not settings(options):
        parser.error(f"--only: nothing is called {', '.join(options.only)}")
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    importlib.import_module("numba").set_num_threads(1)
    with threadpool_limits(1):
        if options.hour_of:
            print(json.dumps(one_hour(options.hour_of, options)))
            return
        print_machine(torch.device(options.device))
        measured = Measured()
        if options.hour:
            hours(options)
        elif options.batch:
            batches(options, measured)
        else:
            single_waveforms(options, measured)
    goals(options, measured)


# ------------------------------------------------------------------------------------------------------------ material


class Recordings:
    """The audio files of folders."""

    def __init__(self, *folders: Path) -> None:
        found = (path for folder in folders for path in folder.rglob("*") if path.suffix.lower() in AUDIO)
        self.files = sorted(found)
        if not self.files:
            raise SystemExit(f"No audio in {', '.join(map(str, folders))}: name others by --speech, --noise, --rir.")

    def cut(self, seconds: float, *key: int | str) -> np.ndarray:
        """A waveform of this length that depends on the key: files that follow each other, mostly of one speaker."""
        rng = derive_rng("benchmark", round(seconds * SAMPLE_RATE), *key)
        size, parts, have = round(seconds * SAMPLE_RATE), [], 0
        first = int(rng.integers(len(self.files)))
        for path in itertools.islice(itertools.cycle(self.files), first, None):
            parts.append(read_audio(path))
            have += len(parts[-1])
            if have >= size:
                return np.concatenate(parts)[:size]
        raise AssertionError("an endless iterator ended")

    def in_memory(self) -> list[Tensor]:
        return [torch.from_numpy(read_audio(path)) for path in self.files]


# ---------------------------------------------------------------------------------------------------------- contenders


@dataclass(frozen=True)
class Contender:
    row: str
    package: str
    what: str
    single: Single
    batched: Batched | None = None
    transform: Transform | None = None


Peers = dict[str, tuple[str, Callable[[], Any]]]
"""By row: what it is, where its settings differ from ours, and what makes it."""


def settings(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Of our augmentations, by row; what is before a colon is the name."""
    noise, rir = str(options.noise), str(options.rir)
    rows = {
        "speed_perturb": {"factors": [0.9, 1.1]},
        "pitch_shift": {"semitones": 2.0},
        "gain": {"min_gain_db": -12.0, "max_gain_db": 6.0},
        "parametric_equalizer": {},
        "bandwidth": {"min_hz": 2000.0, "max_hz": 7500.0},
        "time_mask": {},
        "add_noise: recordings": {"source": noise, "snr_db": SNR_DB},
        "add_noise: white": {"source": "white", "snr_db": SNR_DB},
        "add_noise: pink": {"source": "pink", "snr_db": SNR_DB},
        "reverb: recordings": {"source": rir},
        "reverb: simulated": {},
        "codec: telephone": {"formats": ["telephone"]},
        "codec: mp3": {"formats": ["mp3"], "min_kbps": 16.0, "max_kbps": 64.0},
        "codec: opus": {"formats": ["opus"]},
        "speaker_perturb": {},
        WATCHED: {"backend": "praat"},
    }
    named = {row.split(":")[0] for row in rows}
    rows |= {name: {} for name in AUGMENTATIONS if name not in named and name not in GROUPS}
    if "audiomentations" in rows:
        rows["audiomentations"] = {"transform": distortion()}
    for name, preset in PRESETS.items():
        rows[name] = {"source": noise} if "source" in inspect.signature(preset).parameters else {}
    return {row: each for row, each in rows.items() if wanted(row, options.only)}


def distortion() -> Any:
    library = importlib.import_module("audiomentations")
    return library.TanhDistortion(min_distortion=0.01, max_distortion=0.3, p=1.0)


def wanted(row: str, only: Sequence[str]) -> bool:
    return not only or row in only or row.split(":")[0] in only


def ours(row: str, options: argparse.Namespace) -> Transform:
    spec = {"name": row.split(":")[0], **settings(options)[row]}
    transform: Transform = build({**AUGMENTATIONS, **PRESETS}, spec, where=row)
    return transform


def contenders(options: argparse.Namespace) -> list[Contender]:
    """Everybody who can be built, row by row; who cannot is named."""
    found, rows = [], settings(options)
    for row, chosen in rows.items():
        try:
            transform = ours(row, options)
        except SsftError as error:
            print(f"- {row} is left out: {brief(error)}")
            continue
        what = ", ".join(f"{name} {shown(value)}" for name, value in chosen.items() if name != "source")
        batched = batch_of_ours(transform) if transform.runs_on_device else None
        found.append(Contender(row, OURS, what, transform, batched, transform))
    for library, (module, peers) in LIBRARIES.items():
        try:
            importlib.import_module(module)
        except ImportError as error:
            print(f"- {library} is left out: {brief(error)}")
            continue
        for row, (what, make) in peers(options).items():
            if row not in rows:
                continue
            try:
                made = make()
            except Exception as error:  # an extra that is not installed, or settings of another version
                print(f"- {row} of {library} is left out: {brief(error)}")
                continue
            if library in OF_TENSORS:
                found.append(Contender(row, library, what, one_of_batch(made), batch_of_peer(made)))
            else:
                found.append(Contender(row, library, what, made))
    places = list(rows)
    return sorted(found, key=lambda each: places.index(each.row))


def batch_of_ours(transform: Transform) -> Batched:
    def prepare(waves: Waves, rngs: Sequence[np.random.Generator]) -> Prepared:
        pairs = zip(rngs, waves.items(), strict=True)
        parameters = [transform.draw(rng, wave.numpy()) for rng, wave in pairs]
        return lambda on_device: transform.apply_batch(on_device, parameters)

    return prepare


def batch_of_peer(augment: TensorAugmentation) -> Batched:
    return lambda _, rngs: lambda on_device: augment(on_device.samples, rngs[0])


def one_of_batch(augment: TensorAugmentation) -> Single:
    return lambda wave, rng: augment(torch.from_numpy(wave)[None], rng)


def audiomentations(options: argparse.Namespace) -> Peers:
    library = importlib.import_module("audiomentations")

    def speed(*factors: float) -> Any:
        rates = [round(SAMPLE_RATE / factor) for factor in factors if factor != 1]
        faster = [library.Resample(min_sample_rate=rate, max_sample_rate=rate, p=1.0) for rate in rates]
        same = [library.Lambda(transform=lambda samples, sample_rate: samples, p=1.0)] * (1.0 in factors)
        return library.OneOf(faster + same)

    def pitch(semitones: float) -> Any:
        return library.PitchShift(min_semitones=semitones, max_semitones=semitones, p=1.0)

    def noise() -> Any:
        return library.AddBackgroundNoise(str(options.noise), min_snr_db=SNR_DB[-1], max_snr_db=SNR_DB[0], p=1.0)

    def score(*factors: float) -> Any:
        return library.Compose([speed(*factors), library.OneOf([pitch(2.0), pitch(-2.0)])])

    def equalizer() -> Any:
        hz = [float(each) for each in np.geomspace(60, 7600, 10)]
        shared = {"min_gain_db": -12.0, "max_gain_db": 12.0, "p": 1.0}
        peaks = [library.PeakingFilter(each, each, min_q=2.0, max_q=5.0, **shared) for each in hz[1:-1]]
        low, high = library.LowShelfFilter(hz[0], hz[0], **shared), library.HighShelfFilter(hz[-1], hz[-1], **shared)
        return library.Compose([low, *peaks, high])

    def called(make: Callable[[], Any]) -> Callable[[], Single]:
        def made() -> Single:
            transform = make()
            return lambda wave, _: transform(wave, sample_rate=SAMPLE_RATE)

        return made

    snr = {"min_snr_db": SNR_DB[-1], "max_snr_db": SNR_DB[0], "p": 1.0}
    peers: Peers = {
        "speed_perturb": ("Resample to one of two rates", lambda: speed(0.9, 1.1)),
        "pitch_shift": ("PitchShift, signalsmith_stretch", lambda: pitch(2.0)),
        "gain": ("Gain", lambda: library.Gain(min_gain_db=-12.0, max_gain_db=6.0, p=1.0)),
        "parametric_equalizer": ("LowShelf, 8 PeakingFilter, HighShelf; shelves of a quality below 1", equalizer),
        "bandwidth": (
            "LowPassFilter, 12 to 24 dB an octave",
            lambda: library.LowPassFilter(min_cutoff_freq=2000.0, max_cutoff_freq=7500.0, p=1.0),
        ),
        "time_mask": ("TimeMask, one span of up to 0.1", lambda: library.TimeMask(max_band_part=0.1, p=1.0)),
        "add_noise: recordings": ("AddBackgroundNoise, 5 to 20 dB", noise),
        "add_noise: white": ("AddGaussianSNR, 5 to 20 dB", lambda: library.AddGaussianSNR(**snr)),
        "add_noise: pink": (
            "AddColorNoise, 5 to 20 dB",
            lambda: library.AddColorNoise(min_f_decay=-3.01, max_f_decay=-3.01, **snr),
        ),
        "reverb: recordings": ("ApplyImpulseResponse", lambda: library.ApplyImpulseResponse(str(options.rir), p=1.0)),
        "reverb: simulated": (
            "RoomSimulator, as it comes: order 1 and ray tracing",
            lambda: library.RoomSimulator(leave_length_unchanged=True, p=1.0),
        ),
        "codec: mp3": (
            "Mp3Compression, quality 7",
            lambda: library.Mp3Compression(min_bitrate=16, max_bitrate=64, p=1.0),
        ),
        "audiomentations": ("the same by itself", distortion),
        "score_hubert": ("Resample, PitchShift", lambda: score(0.9, 1.0, 1.1)),
        "score_wavlm": ("Resample, PitchShift", lambda: score(0.85, 0.9, 1.0, 1.1, 1.15)),
        "noise_robust_softdtw": (
            "Resample, AddBackgroundNoise",
            lambda: library.Compose([speed(0.8, 0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.15, 1.2), noise()]),
        ),
        "noise_robust_mse": ("AddBackgroundNoise, 5 to 20 dB", noise),
    }
    return {row: (what, called(make)) for row, (what, make) in peers.items()}


def torch_audiomentations(options: argparse.Namespace) -> Peers:
    """Recordings are held in memory: it reads them by functions that torchaudio no longer has."""
    library = importlib.import_module("torch_audiomentations")

    def called(kind: str, **chosen: Any) -> Callable[[], TensorAugmentation]:
        def made() -> TensorAugmentation:
            paths = {name: each for name, each in chosen.items() if isinstance(each, Path)}
            settings = chosen | dict.fromkeys(paths, "held.wav")
            transform = getattr(library, kind)(p=1.0, sample_rate=SAMPLE_RATE, output_type="tensor", **settings)
            for name, path in paths.items():
                held = [{"samples": each[None], "sample_rate": SAMPLE_RATE} for each in Recordings(path).in_memory()]
                setattr(transform, name, held)
            return lambda samples, _: transform(samples[:, None])[:, 0]

        return made

    snr = {"min_snr_in_db": SNR_DB[-1], "max_snr_in_db": SNR_DB[0]}
    noise = called("AddBackgroundNoise", background_paths=options.noise, **snr)
    return {
        "pitch_shift": (
            "PitchShift by 3.5 to 4.5 semitones, the fast ratios nearest to 2",
            called("PitchShift", min_transpose_semitones=3.5, max_transpose_semitones=4.5),
        ),
        "gain": ("Gain", called("Gain", min_gain_in_db=-12.0, max_gain_in_db=6.0)),
        "bandwidth": ("LowPassFilter", called("LowPassFilter", min_cutoff_freq=2000.0, max_cutoff_freq=7500.0)),
        "add_noise: recordings": ("AddBackgroundNoise, 5 to 20 dB, recordings in memory", noise),
        "add_noise: white": (
            "AddColoredNoise, 5 to 20 dB",
            called("AddColoredNoise", min_f_decay=0.0, max_f_decay=0.0, **snr),
        ),
        "add_noise: pink": (
            "AddColoredNoise, 5 to 20 dB",
            called("AddColoredNoise", min_f_decay=1.0, max_f_decay=1.0, **snr),
        ),
        "reverb: recordings": (
            "ApplyImpulseResponse, recordings in memory",
            called("ApplyImpulseResponse", ir_paths=options.rir),
        ),
        "noise_robust_mse": ("AddBackgroundNoise, 5 to 20 dB, recordings in memory", noise),
    }


def torchaudio(options: argparse.Namespace) -> Peers:
    """Recordings are held in memory; a batch has one draw, but for the ratios of noise."""
    library = importlib.import_module("torchaudio.functional")

    def speed(*factors: float) -> TensorAugmentation:
        return lambda samples, rng: library.speed(samples, SAMPLE_RATE, float(rng.choice(factors)))[0]

    def pitch(samples: Tensor, rng: np.random.Generator) -> Tensor:
        return library.pitch_shift(samples, SAMPLE_RATE, int(rng.choice((2, -2))))

    def equalize(samples: Tensor, rng: np.random.Generator) -> Tensor:
        hz = [float(each) for each in np.geomspace(60, 7600, 10)]
        gains, qualities = rng.uniform(-12, 12, 10).tolist(), (2 * 2.5 ** rng.uniform(0, 1, 10)).tolist()
        samples = library.bass_biquad(samples, SAMPLE_RATE, gains[0], hz[0], qualities[0])
        for centre, gain, quality in zip(hz[1:-1], gains[1:-1], qualities[1:-1], strict=True):
            samples = library.equalizer_biquad(samples, SAMPLE_RATE, centre, gain, quality)
        return library.treble_biquad(samples, SAMPLE_RATE, gains[-1], hz[-1], qualities[-1])

    def add(samples: Tensor, noise: Tensor, rng: np.random.Generator) -> Tensor:
        ratios = torch.from_numpy(rng.choice(SNR_DB, len(samples)).astype(np.float32)).to(samples.device)
        return library.add_noise(samples, noise.to(samples.device, samples.dtype), ratios)

    def with_recordings() -> TensorAugmentation:
        recordings = Recordings(options.noise).in_memory()

        def part(size: int, rng: np.random.Generator) -> Tensor:
            noise = recordings[int(rng.integers(len(recordings)))]
            noise = noise.repeat(-(-size // len(noise)))
            start = int(rng.integers(len(noise) - size + 1))
            return noise[start : start + size]

        def noisy(samples: Tensor, rng: np.random.Generator) -> Tensor:
            return add(samples, torch.stack([part(samples.shape[1], rng) for _ in samples]), rng)

        return noisy

    def in_rooms() -> TensorAugmentation:
        rooms = Recordings(options.rir).in_memory()

        def reverberant(samples: Tensor, rng: np.random.Generator) -> Tensor:
            room = rooms[int(rng.integers(len(rooms)))].to(samples.device)
            return library.fftconvolve(samples, room[None])[:, : samples.shape[1]]

        return reverberant

    def telephone(samples: Tensor, rng: np.random.Generator) -> Tensor:
        narrow = library.resample(samples, SAMPLE_RATE, 8000)
        decoded = library.mu_law_decoding(library.mu_law_encoding(narrow, 256), 256)
        return library.resample(decoded, 8000, SAMPLE_RATE)

    def chain(*steps: TensorAugmentation) -> Any:
        def chained(samples: Tensor, rng: np.random.Generator) -> Tensor:
            for step in steps:
                samples = step(samples, rng)
            return samples

        return chained

    speeds = (0.8, 0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.15, 1.2)
    return {
        "speed_perturb": ("speed", lambda: speed(0.9, 1.1)),
        "pitch_shift": ("pitch_shift", lambda: pitch),
        "gain": ("gain", lambda: lambda samples, rng: library.gain(samples, rng.uniform(-12, 6))),
        "parametric_equalizer": ("bass_biquad, 8 equalizer_biquad, treble_biquad", lambda: equalize),
        "bandwidth": (
            "lowpass_biquad, 12 dB an octave",
            lambda: lambda samples, rng: library.lowpass_biquad(samples, SAMPLE_RATE, rng.uniform(2000, 7500)),
        ),
        "time_mask": (
            "mask_along_axis_iid, one span of up to 0.5 s",
            lambda: lambda samples, _: library.mask_along_axis_iid(samples[:, None, None], 8000, 0.0, 3)[:, 0, 0],
        ),
        "add_noise: recordings": ("add_noise, recordings in memory", with_recordings),
        "add_noise: white": (
            "randn, add_noise",
            lambda: lambda samples, rng: add(samples, torch.randn_like(samples), rng),
        ),
        "reverb: recordings": ("fftconvolve, recordings in memory", in_rooms),
        "codec: telephone": ("resample, mu_law_encoding and back", lambda: telephone),
        "score_hubert": ("speed, pitch_shift", lambda: chain(speed(0.9, 1.0, 1.1), pitch)),
        "noise_robust_softdtw": ("speed, add_noise in memory", lambda: chain(speed(*speeds), with_recordings())),
        "noise_robust_mse": ("add_noise, recordings in memory", with_recordings),
    }


def praat(options: argparse.Namespace) -> Peers:
    """SPIN's own steps, in this process and without a watchdog, as its authors run them; the equalizer is ours."""
    parselmouth = importlib.import_module("parselmouth")
    call = importlib.import_module("parselmouth.praat").call
    equalize = ParametricEqualizer()

    def either(rng: np.random.Generator, largest: float) -> float:
        return float(rng.uniform(1, largest)) ** float(rng.choice((-1, 1)))

    def perturb(wave: np.ndarray, rng: np.random.Generator, low: float = 75.0, high: float = 400.0) -> np.ndarray:
        sound = parselmouth.Sound(wave.astype(np.float64), SAMPLE_RATE)
        pitch = call(sound, "To Pitch", 0.8 / low, low, high)
        hz = pitch.selected_array["frequency"]
        if hz.any():
            median = float(np.median(hz[hz > 0])) * either(rng, 2.0)
            sound = call((sound, pitch), "Change gender", either(rng, 1.4), median, either(rng, 1.5), 1.0)
        return equalize(sound.values[0].astype(np.float32), rng)

    what = "To Pitch and Change gender in this process, 75 to 400 Hz; our equalizer"
    return {row: (what, lambda: perturb) for row in ("speaker_perturb", "spin")}


LIBRARIES = {
    "audiomentations": ("audiomentations", audiomentations),
    "torch-audiomentations": ("torch_audiomentations", torch_audiomentations),
    "torchaudio": ("torchaudio", torchaudio),
    PRAAT: ("parselmouth", praat),
}
OF_TENSORS = ("torch-audiomentations", "torchaudio")
# ------------------------------------------------------------------------------------------------------------- measure


@dataclass
class Measured:
    """Seconds by (row, library, seconds of audio) and round; memory added and what failed by (row, library)."""

    seconds: dict[tuple[str, str, float], dict[int, float]] = field(default_factory=lambda: defaultdict(dict))
    mebibytes: dict[tuple[str, str], float] = field(default_factory=dict)
    errors: dict[tuple[str, str], str] = field(default_factory=dict)

    def speeds(self, row: str, library: str, size: float) -> list[float]:
        """Times real time, as lower quartile, median and upper quartile; nothing where nothing was measured."""
        speeds = [size / each for each in self.seconds.get((row, library, size), {}).values()]
        return statistics.quantiles(speeds, n=4, method="inclusive") if speeds[1:] else speeds * 3

    def times_slower(self, than: tuple[str, str], row: str, library: str, size: float) -> float | None:
        """Than another row and library, the median over the rounds that both did."""
        base, other = self.seconds.get((*than, size), {}), self.seconds.get((row, library, size), {})
        ratios = [other[turn] / base[turn] for turn in other if turn in base]
        return statistics.median(ratios) if ratios else None

    def cell(self, each: Contender, size: float) -> str:
        speeds = self.speeds(each.row, each.package, size)
        if not speeds:
            return "fails"
        low, middle, high = map(number, speeds)
        ratio = each.package != OURS and self.times_slower((each.row, OURS), each.row, each.package, size)
        return f"{middle} [{low}, {high}]" + (f" ({times(ratio)})" if ratio else "")


def others_seconds() -> float:
    """Processor time of the processes started from here, those that have ended included."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = ended.ru_utime + ended.ru_stime
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(OSError, psutil.Error):  # it ended just now
            if sys.platform == "linux":
                total += time.clock_gettime((~process.pid << 3) | 2)  # what clock_getcpuclockid(3) gives
            else:
                total += sum(process.cpu_times()[:2])
    return total


def processor_seconds(work: Callable[[], object]) -> float:
    others, own = others_seconds(), time.process_time()
    work()
    own = time.process_time() - own
    return own + others_seconds() - others


def elapsed_seconds(work: Callable[[], object]) -> float:
    torch.cuda.synchronize()
    began = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - began


def seed_everything(*key: int | str) -> None:
    """For the peers, which draw from the process-wide generators."""
    seed = derive_seed(*key) % 2**32
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def race(
    everybody: Sequence[Contender],
    sizes: Sequence[float],
    measured: Measured,
    attempt: Callable[[Contender, float, int], float],
    *,
    rounds: int,
    warm_ups: int,
) -> None:
    """Let everybody make an attempt (of a size, in a round) that returns its seconds, round by round."""
    slow: set[tuple[str, str, float]] = set()
    for turn, size in itertools.product(range(1 - warm_ups, rounds + 1), sizes):
        print(f"round {turn} of {rounds}, {size:g} s", file=sys.stderr)
        for each in everybody:
            key = (each.row, each.package, size)
            if key[:2] in measured.errors or (key in slow and turn > SLOW_ROUNDS):
                continue
            seed_everything(each.row, turn)
            try:
                seconds = attempt(each, size, turn)
            except Exception as error:  # said below the table
                measured.errors[key[:2]] = brief(error)
                continue
            if turn >= 1:  # before that they compile, import, plan and reserve
                measured.seconds[key][turn] = seconds
                if seconds > SLOW_SECONDS:
                    slow.add(key)


def single_waveforms(options: argparse.Namespace, measured: Measured) -> None:
    speech, everybody = Recordings(*options.speech), contenders(options)

    @lru_cache(maxsize=1)
    def waves(seconds: float, turn: int) -> list[np.ndarray]:
        return [speech.cut(seconds, turn, item) for item in range(REPEATS)]

    def attempt(each: Contender, seconds: float, turn: int) -> float:
        """The mean of some calls, as a call after others' is slower than in a worker, who makes no others."""
        took = []
        for item, wave in enumerate(waves(seconds, turn)):
            rng, own = derive_rng("draws", turn, item), wave.copy()
            took.append(processor_seconds(lambda rng=rng, own=own: each.single(own, rng)))
            if sum(took) > ENOUGH_SECONDS:
                break
        return statistics.mean(took)

    race(everybody, options.seconds, measured, attempt, rounds=options.rounds, warm_ups=1)
    print("\n### One waveform on one core, draw and apply: times real time\n")
    table(
        ["augmentation", "of", "what", *(f"{seconds:g} s" for seconds in options.seconds)],
        (
            [each.row, each.package, each.what, *(measured.cell(each, seconds) for seconds in options.seconds)]
            for each in everybody
        ),
    )
    print_failures(measured, everybody)


def batches(options: argparse.Namespace, measured: Measured) -> None:
    device = torch.device(options.device)
    on_gpu = device.type == "cuda"
    if on_gpu and not torch.cuda.is_available():
        print("\nBatches on a GPU: not measured, as there is none.")
        return
    everyone = contenders(options)
    for each in everyone:
        if each.package == OURS and each.batched is None:
            print(f"- {each.row} has no form for batches")
    speech, everybody = Recordings(*options.speech), [each for each in everyone if each.batched]

    @lru_cache(maxsize=1)
    def waves(turn: int) -> Waves:
        items = (speech.cut(BATCH_SECONDS, turn, item) for item in range(options.batch))
        return Waves.stack([torch.from_numpy(item) for item in items])

    def attempt(each: Contender, _: float, turn: int) -> float:
        batch = waves(turn)
        work = each.batched(batch, [derive_rng("draws", turn, item) for item in range(options.batch)])
        own = Waves(batch.samples.clone(), batch.lengths.clone()).to(device)
        if not on_gpu:
            return processor_seconds(lambda: work(own))
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        seconds = elapsed_seconds(lambda: work(own))
        added = (torch.cuda.max_memory_allocated() - before) / 2**20
        measured.mebibytes[each.row, each.package] = max(added, measured.mebibytes.get((each.row, each.package), 0.0))
        return seconds

    size = float(options.batch * BATCH_SECONDS)
    race(everybody, [size], measured, attempt, rounds=options.rounds, warm_ups=3 if on_gpu else 1)
    where = torch.cuda.get_device_name() if on_gpu else "one core"
    print(f"\n### Batches of {options.batch} x {BATCH_SECONDS} s on {where}, apply alone: times real time\n")
    added = {key: number(each) for key, each in measured.mebibytes.items()}
    table(
        ["augmentation", "of", "what", "times real time", *["MiB added at the peak"] * on_gpu],
        (
            [each.row, each.package, each.what, measured.cell(each, size)]
            + [added.get((each.row, each.package), "")] * on_gpu
            for each in everybody
        ),
    )
    print_failures(measured, everybody)


def print_failures(measured: Measured, everybody: Iterable[Contender]) -> None:
    for (row, library), error in measured.errors.items():
        print(f"- {row} of {library} fails: {error}")
    for each in everybody:
        if each.transform is not None and each.transform.fallbacks:
            print(f"- {each.row} of {each.package} could not do as it should {each.transform.fallbacks} times")


def hours(options: argparse.Namespace) -> None:
    """Each in a process of its own, so that nobody inherits another's memory."""
    print("\n### One hour, once, on one core: processor seconds, and MB added at the peak\n")
    places = ["--speech", *map(str, options.speech), "--noise", str(options.noise), "--rir", str(options.rir)]

    def cells(row: str) -> list[str]:
        command = [sys.executable, __file__, "--hour-of", row, *places]
        try:
            run = subprocess.run(command, capture_output=True, text=True, timeout=HOUR_LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            return [row, "", "", f"ended after {HOUR_LIMIT_SECONDS} s"]
        if run.returncode:
            return [row, "", "", f"ends with {run.returncode}: {run.stderr.strip().rpartition(chr(10))[2]}"]
        result = json.loads(run.stdout.rstrip().rpartition("\n")[2])
        return [row, *(result.get(name, "") for name in ("seconds", "megabytes", "error"))]

    table(["augmentation", "seconds", "MB", "refused with"], map(cells, settings(options)))


def one_hour(row: str, options: argparse.Namespace) -> dict[str, str]:
    try:
        transform, speech = ours(row, options), Recordings(*options.speech)
        transform(speech.cut(3, 0), derive_rng("draws", 0))  # compiles and imports
    except (SsftError, ImportError) as error:
        return {"error": brief(error)}
    wave = np.tile(speech.cut(60, 1), 60)
    # Who asks for more memory than there is gets an error, before the machine ends something else.
    limit = psutil.Process().memory_info().vms + int(0.8 * psutil.virtual_memory().available)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    before, outcome, result = reset_high_water_mark(), [], {}
    try:
        seconds = processor_seconds(lambda: outcome.append(transform(wave, derive_rng("draws", 1))))
        result["seconds"] = f"{number(seconds)} ({number(3600 / seconds)} x real time)"
        if transform.fallbacks or not np.isfinite(outcome[0]).all():
            result["error"] = f"nothing, but {transform.fallbacks} fallbacks, finite: {np.isfinite(outcome[0]).all()}"
    except Exception as error:  # this is what is asked
        result["error"] = brief(error)
    result["megabytes"] = "not measured" if before is None else number((high_water_mark() - before) / 1000)
    return result


def reset_high_water_mark() -> int | None:
    """Let Linux's mark of resident memory start again from what is in use, and return it, in kilobytes."""
    try:
        ctypes.CDLL(None).malloc_trim(0)  # what was freed is given back, so that using it again counts
        Path("/proc/self/clear_refs").write_text("5")
        return high_water_mark()
    except (OSError, AttributeError):
        return None


def high_water_mark() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


# --------------------------------------------------------------------------------------------------------------- print


def goals(options: argparse.Namespace, measured: Measured) -> None:
    on_core = [] if options.batch or options.hour else options.seconds
    on_gpu = [float(options.batch * BATCH_SECONDS)] if options.batch and options.device.startswith("cuda") else []
    why_not = "not measured here" if torch.cuda.is_available() else "not measured: no GPU"

    def line(what: str, wish: float, values: Iterable[float | None], reason: str = "not measured here") -> list[str]:
        least = min((value for value in values if value is not None), default=None)
        if least is None:
            return [what, f">= {wish:,.0f}", reason, ""]
        return [what, f">= {wish:,.0f}", number(least), "yes" if least >= wish else "no"]

    def speeds(row: str, sizes: Iterable[float]) -> list[float]:
        return [speed for size in sizes for speed in measured.speeds(row, OURS, size)[1:2]]

    rows = [
        line(f"{row}, times real time on a core", wish, speeds(row, on_core))
        for row, wish in (("score_hubert", 150), ("score_wavlm", 150), ("spin", 60))
    ]
    for what, row, library in (("Praat alone", "spin", PRAAT), (f"`{WATCHED}`", WATCHED, OURS)):
        ratios = [measured.times_slower(("spin", OURS), row, library, size) for size in on_core]
        rows.append(line(f"spin, times faster than {what}", 3, ratios))
    rows += [line(f"{row}, times real time in batches on a GPU", 2e4, speeds(row, on_gpu), why_not) for row in PRESETS]
    print("\n### Goals, at the length where it is least\n")
    table(["", "goal", "measured", "met"], rows)


def print_machine(device: torch.device) -> None:
    processor, described = platform.processor() or platform.machine(), Path("/proc/cpuinfo")
    if described.is_file():
        processor = re.search(r"model name\s*: (.*)|$", described.read_text())[1] or processor
    gpu = torch.cuda.get_device_name() if device.type == "cuda" and torch.cuda.is_available() else "no GPU"
    versions = []
    for distribution in DISTRIBUTIONS.split():
        try:
            versions.append(f"{distribution} {importlib.metadata.version(distribution)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"no {distribution}")
    print(f"`python {' '.join(sys.argv)}`, {time.strftime('%Y-%m-%d')}.")
    print(f"{processor}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start, {gpu}.")
    print(f"Python {platform.python_version()}, {', '.join(versions)}.\n")


def brief(error: BaseException) -> str:
    """Its first sentence."""
    return f"{type(error).__name__}: {re.split(r'[.] |[.]?' + chr(10), str(error).strip())[0][:160]}"


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def shown(setting: Any) -> str:
    """As in a table: the numbers of a list, the class of what is no number."""
    if isinstance(setting, list | tuple):
        return " or ".join(map(shown, setting))
    if isinstance(setting, float):
        return f"{setting:g}"
    return setting if isinstance(setting, str) else type(setting).__name__


def times(ratio: float) -> str:
    return f"{ratio:,.0f}x" if ratio >= 10 else f"{ratio:.1f}x" if ratio >= 1 else f"{ratio:.2f}x"


def table(header: list[str], rows: Iterable[list[str]]) -> None:
    for cells in (header, ["---"] * len(header), *rows):
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
