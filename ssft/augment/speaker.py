"""Who speaks: another vocal tract, another voice, the same words."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ssft.augment.base import BatchTransform, Parameters
from ssft.augment.equalizer import ParametricEqualizer
from ssft.augment.pitch_track import pitch_range
from ssft.augment.praat import change_gender, ensure_praat
from ssft.augment.speaker_table import read_speakers
from ssft.errors import RecipeError
from ssft.ops.overlap_add import resynthesize
from ssft.ops.period_marks import mark_periods
from ssft.ops.pitch import STEP_SECONDS, median_pitch, pitch_candidates, usual_range
from ssft.types import SAMPLE_RATE, Waves

_RATIOS = ("formant_ratio", "pitch_ratio", "range_ratio")
_BOUNDS = ("min_pitch_hz", "max_pitch_hz")


class SpeakerPerturb(BatchTransform):
    """Makes it another speaker: formants, pitch, liveliness and colour change, words and their times do not.

    With F0 the pitch in Hz at each instant and m its median over the voiced ones, formants are multiplied by r_f, and

        F0' = m * r_m * (1 + r_r * (F0 / m - 1)), at least half of `min_pitch_hz`.

    r_f is drawn from U(1, formant_ratio), r_m from U(1, pitch_ratio), r_r from U(1, range_ratio), and each is turned
    into its inverse with probability 1/2. Then comes a `ParametricEqualizer`. [T] stays [T]. Where no voice is found
    only formants and colour change.

    F0 is looked for twice: within wide bounds, and then within an octave of the median that was found, unless a table
    of speakers has the bounds. Where F0 or a mark of a period is as good one way as another, rounding decides, in a
    batch not always as alone; there, for some periods, the results differ, elsewhere by 1e-4 of full scale at most.

    Args:
        formant_ratio: the largest change of the formants, as a factor; 1 leaves them.
        pitch_ratio: the largest change of the median pitch.
        range_ratio: the largest change of the distance from the median.
        equalizer: False leaves the equalizer out; one of other settings can follow in a `Compose`.
        min_pitch_hz: the lowest pitch to look for in the recordings.
        max_pitch_hz: the highest.
        sample_rate: of the waveform, in Hz.
        backend: "native", or "praat", which runs Praat's own "Change gender" for one waveform at a time. What Praat
            cannot change, and what it finds no voice in, gets the equalizer alone and is counted in `fallbacks`.
        speakers: a table (TSV or CSV with the columns speaker, min_pitch_hz and max_pitch_hz) of the bounds of speakers
            whose names the corpus knows; those of others are estimated.
        timeout_seconds: processing time after which Praat is given up for a waveform.

    Source:
        NANSY (Choi et al., NeurIPS 2021) and SPIN (Chang et al., Interspeech 2023), whose ratios these are. The native
        back end is an approximation of their procedure, Praat's "Change gender": the same steps (pitch by
        autocorrelation, formants by resampling, pitch-synchronous overlap and add) without Praat, whose licence is GPL
        and which never ends on some recordings. They search pitch within bounds known for each speaker, and leave a
        waveform as it is before the equalizer where Praat fails.

    Requirements:
        For the praat back end: pip install 'ssft[praat]'.

    Relations:
        `PitchShift` and `SpeedPerturb` move pitch and formants together, as no other speaker would.

    Example:
        >>> somebody_else = SpeakerPerturb()(wave, rng)
    """

    def __init__(
        self,
        formant_ratio: float = 1.4,
        pitch_ratio: float = 2.0,
        range_ratio: float = 1.5,
        equalizer: bool = True,
        min_pitch_hz: float = 60.0,
        max_pitch_hz: float = 500.0,
        sample_rate: int = SAMPLE_RATE,
        backend: Literal["native", "praat"] = "native",
        speakers: str | None = None,
        timeout_seconds: float = 20.0,
    ) -> None:
        published = {"formant_ratio": 1.4, "pitch_ratio": 2.0, "range_ratio": 1.5}
        for name, ratio in zip(published, (formant_ratio, pitch_ratio, range_ratio), strict=True):
            if not 1 <= ratio <= 4:
                raise RecipeError(
                    f"SpeakerPerturb({name}={ratio}): give the largest factor, 1 to 4, whose inverse is drawn as well; "
                    f"{published[name]} is the published value."
                )
        if sample_rate < 8000:
            raise RecipeError(
                f"SpeakerPerturb(sample_rate={sample_rate}): give the waveforms' rate in Hz, 8000 or more."
            )
        if not 20 <= min_pitch_hz < max_pitch_hz <= 1000:
            raise RecipeError(
                f"SpeakerPerturb(min_pitch_hz={min_pitch_hz}, max_pitch_hz={max_pitch_hz}): give a range within 20 to "
                "1000 Hz; 60 to 500 holds men, women and children."
            )
        if backend not in ("native", "praat"):
            raise RecipeError(f"SpeakerPerturb(backend={backend!r}): give 'native' or 'praat'.")
        if not timeout_seconds > 0:
            raise RecipeError(
                f"SpeakerPerturb(timeout_seconds={timeout_seconds}): give how long Praat may work on a waveform; it "
                "needs about a second for a minute of speech."
            )
        self.formant_ratio = formant_ratio
        self.pitch_ratio = pitch_ratio
        self.range_ratio = range_ratio
        self.equalizer = equalizer
        self.min_pitch_hz = min_pitch_hz
        self.max_pitch_hz = max_pitch_hz
        self.sample_rate = sample_rate
        self.backend = backend
        self.speakers = speakers
        self.timeout_seconds = timeout_seconds
        # Above what the rate can hold there is nothing to equalize.
        self._equalizer = ParametricEqualizer(max_hz=min(7600.0, 0.475 * sample_rate), sample_rate=sample_rate)
        self._table: dict[str, tuple[float, float]] | None = None
        self._bounds: tuple[float, float] | None = None
        self._problems: Counter[str] = Counter()  # one for all copies

    @property
    def runs_on_device(self) -> bool:
        return self.backend == "native"

    @property
    def fallbacks(self) -> int:
        return self._problems.total()

    def check(self) -> None:
        if self.backend == "praat":
            ensure_praat()
        self._read_table()

    def for_speaker(self, speaker: str | None) -> SpeakerPerturb:
        bounds = self._read_table().get(speaker or "")
        if bounds == self._bounds:
            return self
        own = copy.copy(self)
        own._bounds = bounds
        return own

    def draw(self, rng: np.random.Generator, wave: np.ndarray) -> Parameters:
        drawn: Parameters = {name: _ratio(rng, getattr(self, name)) for name in _RATIOS}
        if self.equalizer:
            drawn["equalizer"] = self._equalizer.draw(rng, wave)
        if self._bounds is not None:
            drawn.update(zip(_BOUNDS, self._bounds, strict=True))
        return drawn

    def apply(self, wave: np.ndarray, parameters: Parameters) -> np.ndarray:
        voice = {name: value for name, value in parameters.items() if name != "equalizer"}
        changed = super().apply(wave, voice) if self.backend == "native" else self._ask_praat(wave, voice)
        # Of a single waveform it is quicker than of a batch of one.
        return self._equalizer.apply(changed, parameters["equalizer"]) if "equalizer" in parameters else changed

    def apply_batch(self, waves: Waves, parameters: Sequence[Parameters]) -> Waves:
        clean = Waves(waves.samples.masked_fill(~waves.mask, 0), waves.lengths)
        changed = Waves(self._resynthesize(clean, parameters), waves.lengths)
        rows = [row for row, drawn in enumerate(parameters) if "equalizer" in drawn]
        settings = [parameters[row]["equalizer"] for row in rows]
        if len(rows) == len(parameters):
            return self._equalizer.apply_batch(changed, settings)
        return changed.replaced(rows, self._equalizer.apply_batch(changed.select(rows), settings)) if rows else changed

    def _resynthesize(self, waves: Waves, parameters: Sequence[Parameters]) -> Tensor:
        samples, lengths = waves.samples, waves.lengths
        drawn = [[each.get(name, torch.nan) for each in parameters] for name in (*_RATIOS, *_BOUNDS)]
        formants, pitch, spread, *bounds = torch.tensor(drawn, dtype=torch.float64).to(samples.device)
        candidates = pitch_candidates(
            samples, lengths, min_hz=self.min_pitch_hz, max_hz=self.max_pitch_hz, sample_rate=self.sample_rate
        )
        estimated = usual_range(median_pitch(candidates.track()))
        lowest, highest = (torch.where(known.isnan(), one, known) for known, one in zip(bounds, estimated, strict=True))
        hz = candidates.track(lowest=lowest, highest=highest)
        step = round(STEP_SECONDS * self.sample_rate)
        marks = mark_periods(samples, lengths, hz, step=step, sample_rate=self.sample_rate)
        median = median_pitch(hz)[marks.rows]
        new_hz = median * pitch[marks.rows] * (1 + spread[marks.rows] * (marks.hz / median - 1))
        pitch_ratios = new_hz.clamp_min(self.min_pitch_hz / 2) / marks.hz
        return resynthesize(
            samples, lengths, marks, pitch_ratios, formant_ratios=formants, sample_rate=self.sample_rate
        )

    def _ask_praat(self, wave: np.ndarray, parameters: Parameters) -> np.ndarray:
        bounds: tuple[float, float] | None
        if _BOUNDS[0] in parameters:
            bounds = parameters[_BOUNDS[0]], parameters[_BOUNDS[1]]
        else:
            bounds = pitch_range(wave, min_hz=self.min_pitch_hz, max_hz=self.max_pitch_hz, sample_rate=self.sample_rate)
        if bounds is None:
            self._problems["unvoiced"] += 1
            return wave.astype(np.float32)
        changed = change_gender(
            wave,
            **{name: parameters[name] for name in _RATIOS},
            min_pitch_hz=bounds[0],
            max_pitch_hz=bounds[1],
            sample_rate=self.sample_rate,
            timeout_seconds=self.timeout_seconds,
            problems=self._problems,
        )
        return wave.astype(np.float32) if changed is None else changed

    def _read_table(self) -> dict[str, tuple[float, float]]:
        if self._table is None:
            table = {} if self.speakers is None else read_speakers(self.speakers)
            for speaker, (low, high) in table.items():
                if low < self.min_pitch_hz or high > self.max_pitch_hz:
                    raise RecipeError(
                        f"SpeakerPerturb(speakers={self.speakers!r}): speaker '{speaker}' has {low:g} to {high:g} Hz, "
                        f"but pitch is looked for from {self.min_pitch_hz:g} to {self.max_pitch_hz:g} only. Widen "
                        "min_pitch_hz and max_pitch_hz."
                    )
            self._table = table
        return self._table


def _ratio(rng: np.random.Generator, largest: float) -> float:
    ratio = float(rng.uniform(1, largest))
    return ratio if rng.random() < 0.5 else 1 / ratio
