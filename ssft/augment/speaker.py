"""Who speaks: another vocal tract, another voice, the same words."""

from __future__ import annotations

import numpy as np

from ssft.augment.base import Parameters, Transform
from ssft.augment.equalizer import ParametricEqualizer
from ssft.augment.period_marks import mark_periods
from ssft.augment.pitch_track import track_pitch
from ssft.augment.psola import resynthesize
from ssft.errors import RecipeError
from ssft.types import SAMPLE_RATE


class SpeakerPerturb(Transform):
    """Makes it another speaker: formants, pitch, liveliness and colour change, words and their times do not.

    With F0 the pitch in Hz at each instant and m its median over the voiced ones, formants are multiplied by r_f, and

        F0' = m * r_m * (1 + r_r * (F0 / m - 1)), at least half of `min_pitch_hz`.

    r_f is drawn from U(1, formant_ratio), r_m from U(1, pitch_ratio), r_r from U(1, range_ratio), and each is turned
    into its inverse with probability 1/2. Then comes a `ParametricEqualizer`. [T] stays [T]. Where no voice is found
    only formants and colour change.

    Args:
        formant_ratio: the largest change of the formants, as a factor; 1 leaves them.
        pitch_ratio: the largest change of the median pitch.
        range_ratio: the largest change of the distance from the median.
        equalizer: False leaves the equalizer out; one of other settings can follow in a `Compose`.
        min_pitch_hz: the lowest pitch to look for in the recordings.
        max_pitch_hz: the highest.
        sample_rate: of the waveform, in Hz.

    Source:
        NANSY (Choi et al., NeurIPS 2021) and SPIN (Chang et al., Interspeech 2023), whose ratios these are. This is an
        approximation of their procedure, Praat's "Change gender": the same steps (pitch by autocorrelation, formants by
        resampling, pitch-synchronous overlap and add) without Praat, whose licence is GPL and which never ends on some
        recordings. They search pitch within bounds known for each speaker; here one range holds for everybody, so no
        table of speakers is needed.

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
        self.formant_ratio = formant_ratio
        self.pitch_ratio = pitch_ratio
        self.range_ratio = range_ratio
        self.equalizer = equalizer
        self.min_pitch_hz = min_pitch_hz
        self.max_pitch_hz = max_pitch_hz
        self.sample_rate = sample_rate
        # Above what the rate can hold there is nothing to equalize.
        self._equalizer = ParametricEqualizer(max_hz=min(7600.0, 0.475 * sample_rate), sample_rate=sample_rate)

    def draw(self, rng: np.random.Generator, wave: np.ndarray) -> Parameters:
        drawn: Parameters = {
            "formant_ratio": _ratio(rng, self.formant_ratio),
            "pitch_ratio": _ratio(rng, self.pitch_ratio),
            "range_ratio": _ratio(rng, self.range_ratio),
        }
        if self.equalizer:
            drawn["equalizer"] = self._equalizer.draw(rng, wave)
        return drawn

    def apply(self, wave: np.ndarray, parameters: Parameters) -> np.ndarray:
        track = track_pitch(wave, min_hz=self.min_pitch_hz, max_hz=self.max_pitch_hz, sample_rate=self.sample_rate)
        marks = mark_periods(wave, track, sample_rate=self.sample_rate)
        median = track.median_hz * parameters["pitch_ratio"]
        pitch_ratios = []
        for places, part in zip(marks, track.voiced_parts(), strict=True):
            hz = np.interp(places, track.places[part], track.hz[part])
            new_hz = median * (1 + parameters["range_ratio"] * (hz / track.median_hz - 1))
            pitch_ratios.append(np.maximum(new_hz, self.min_pitch_hz / 2) / hz)
        perturbed = resynthesize(
            wave, marks, pitch_ratios, formant_ratio=parameters["formant_ratio"], sample_rate=self.sample_rate
        )
        return self._equalizer.apply(perturbed, parameters["equalizer"]) if "equalizer" in parameters else perturbed


def _ratio(rng: np.random.Generator, largest: float) -> float:
    ratio = float(rng.uniform(1, largest))
    return ratio if rng.random() < 0.5 else 1 / ratio
