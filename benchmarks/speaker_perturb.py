"""What `SpeakerPerturb` does to pitch, formants and duration of real speech, beside Praat's "Change gender".

    python benchmarks/speaker_perturb.py [--count 40] [--speech FOLDER ...]

Prints Markdown. Both back ends get the same waveforms and the same ratios, without an equalizer. Praat searches pitch
within 75 to 250 Hz for men and 100 to 400 Hz for women, where a speakers.tsv beside the recordings says who is one,
otherwise within the range that is estimated; native always estimates it. A folder has a manifest.tsv with the columns
path and speaker.

Everything is measured by Praat, in steps of 10 ms where it finds a voice before and after: pitch by autocorrelation,
within an octave of what was asked for; formants by Burg's method with five formants up to 5,500 Hz (5,000 for men),
times the ratio asked for. Without praat-parselmouth only pitch and duration are measured, by the tracker of `ssft`.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ssft.augment.pitch_track import track_pitch
from ssft.augment.speaker import SpeakerPerturb
from ssft.data.audio import read_audio
from ssft.randomness import derive_rng
from ssft.types import SAMPLE_RATE

SHARED = Path(__file__).resolve().parents[2] / "shared" / "speech"
HAS_PRAAT = importlib.util.find_spec("parselmouth") is not None
BOUNDS = {"m": (75.0, 250.0), "f": (100.0, 400.0)}
GROWN_UP = 16


@dataclass(frozen=True)
class Recording:
    path: Path
    speaker: str
    sex: str | None = None
    """m or f of grown-ups; None of children and where it is not known."""


@dataclass
class Outcome:
    """Of one back end: what was reached over what was asked for, and processor seconds."""

    reached: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    voiced: list[float] = field(default_factory=list)
    samples: list[int] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    folders = [SHARED / "speechocean762_train", SHARED / "ljspeech_141"]
    parser.add_argument("--speech", type=Path, nargs="+", default=folders)
    parser.add_argument("--count", type=int, default=40)
    options = parser.parse_args()

    recordings = [one for folder in options.speech for one in chosen(folder, options.count // len(options.speech))]
    backends = {"native": SpeakerPerturb(equalizer=False)}
    if HAS_PRAAT:
        backends["praat"] = SpeakerPerturb(equalizer=False, backend="praat")
    outcomes = {name: Outcome() for name in backends}
    for number, recording in enumerate(recordings):
        wave = read_audio(recording.path)
        drawn = backends["native"].draw(derive_rng("speaker perturb", number), wave)
        for name, transform in backends.items():
            bounds = BOUNDS.get(recording.sex or "") if name == "praat" else None
            known = {"min_pitch_hz": bounds[0], "max_pitch_hz": bounds[1]} if bounds else {}
            changed = transform.apply(wave, drawn | known)
            compare(wave, changed, drawn, outcomes[name], 5000.0 if recording.sex == "m" else 5500.0)
    print_outcomes(outcomes, recordings, {name: transform.fallbacks for name, transform in backends.items()})


def chosen(folder: Path, count: int) -> Iterator[Recording]:
    """Recordings evenly spaced in the manifest, of as many speakers as that gives."""
    described = folder / "speakers.tsv"
    people = {row["speaker"]: row for row in read_table(described)} if described.is_file() else {}
    rows = read_table(folder / "manifest.tsv")
    for row in rows[:: max(len(rows) // count, 1)][:count]:
        person = people.get(row["speaker"])
        sex = person["gender"] if person and int(person["age"]) >= GROWN_UP else None
        yield Recording(folder / row["path"], row["speaker"], sex)


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def compare(wave: np.ndarray, changed: np.ndarray, drawn: dict[str, Any], outcome: Outcome, ceiling: float) -> None:
    outcome.samples.append(len(changed) - len(wave))
    before = pitch_of(wave, 60.0, 500.0)
    median = float(np.median(before[before > 0]))
    wished = median * drawn["pitch_ratio"]
    after = pitch_of(changed, max(wished / 2, 30.0), min(wished * 2, 1000.0))
    size = min(len(before), len(after))
    before, after = before[:size], after[:size]
    both = (before > 0) & (after > 0)
    outcome.voiced.append(float((after > 0).mean() / (before > 0).mean()))
    outcome.reached["F0, median"].append(float(np.median(after[both])) / np.median(before[both]) / drawn["pitch_ratio"])
    spreads = [np.subtract(*np.percentile(hz[both], (80, 20))) / np.median(hz[both]) for hz in (after, before)]
    outcome.reached["F0, range about the median"].append(spreads[0] / spreads[1] / drawn["range_ratio"])
    if HAS_PRAAT:
        times = 0.01 * np.flatnonzero(both)
        formants = formants_of(wave, times, ceiling), formants_of(changed, times, ceiling * drawn["formant_ratio"])
        for number, (old, new) in enumerate(zip(*formants, strict=True), start=1):
            ratio = float(np.nanmedian(new) / np.nanmedian(old))
            outcome.reached[f"F{number}"].append(ratio / drawn["formant_ratio"])


def pitch_of(wave: np.ndarray, lowest: float, highest: float) -> np.ndarray:
    """In Hz, 0 where there is no voice, at 0, 10, 20, ... ms."""
    if not HAS_PRAAT:
        return track_pitch(wave, min_hz=lowest, max_hz=highest, sample_rate=SAMPLE_RATE).hz
    import parselmouth

    sound = parselmouth.Sound(wave.astype(np.float64), SAMPLE_RATE)
    pitch = sound.to_pitch_ac(time_step=0.01, pitch_floor=lowest, pitch_ceiling=highest)
    times = 0.01 * np.arange(len(wave) // 160)
    nearest = np.rint((times - pitch.x1) / pitch.dx).astype(int)
    found = (nearest >= 0) & (nearest < pitch.n_frames)
    hz = pitch.selected_array["frequency"][nearest.clip(0, pitch.n_frames - 1)]
    return np.where(found, hz, 0.0)


def formants_of(wave: np.ndarray, times: np.ndarray, ceiling: float) -> np.ndarray:
    """The three lowest formants [3, N] in Hz."""
    import parselmouth

    sound = parselmouth.Sound(wave.astype(np.float64), SAMPLE_RATE)
    formants = sound.to_formant_burg(time_step=0.01, max_number_of_formants=5, maximum_formant=ceiling)
    return np.array([[formants.get_value_at_time(number, at) for at in times] for number in (1, 2, 3)])


def print_outcomes(outcomes: dict[str, Outcome], recordings: list[Recording], fallbacks: dict[str, int]) -> None:
    sexes = [recording.sex for recording in recordings]
    print(
        f"{len(recordings)} utterances of {len({one.speaker for one in recordings})} speakers ({sexes.count('m')} by "
        f"men, {sexes.count('f')} by women, {sexes.count(None)} by others), {time.strftime('%Y-%m-%d')}. What was "
        "reached over what was asked for: the median (5 % to 95 % of the utterances).\n"
    )
    names = {"native": "native", "praat": 'Praat, "Change gender"'}
    print(f"| | {' | '.join(names[name] for name in outcomes)} |\n|---|{'---|' * len(outcomes)}")
    for quantity in outcomes["native"].reached:
        print(f"| {quantity} | {' | '.join(spread(one.reached[quantity]) for one in outcomes.values())} |")
    print(f"| voiced time, after over before | {' | '.join(spread(one.voiced) for one in outcomes.values())} |")
    longest = (str(max(map(abs, one.samples))) for one in outcomes.values())
    print(f"| largest change of duration, samples | {' | '.join(longest)} |")
    print(f"| fallbacks | {' | '.join(str(fallbacks[name]) for name in outcomes)} |")


def spread(values: list[float]) -> str:
    low, middle, high = np.nanpercentile(values, (5, 50, 95))
    return f"{middle:.3f} ({low:.3f} to {high:.3f})"


if __name__ == "__main__":
    main()
