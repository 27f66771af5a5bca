"""The pipelines of the papers, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from ssft.augment.base import Transform
from ssft.augment.compose import Compose, OneOf
from ssft.augment.noise import AddNoise
from ssft.augment.pitch import PitchShift
from ssft.augment.speaker import SpeakerPerturb
from ssft.augment.speed import SpeedPerturb

_DEMAND_SNR_DB = (20.0, 10.0, 5.0)


def score_hubert() -> Compose:
    """SCORE on HuBERT (Meghanani and Hain, 2024): one of three speeds, then two semitones up or down."""
    return _speed_and_pitch(0.9, 1.0, 1.1)


def score_wavlm() -> Compose:
    """SCORE on WavLM (Meghanani and Hain, 2024): five speeds."""
    return _speed_and_pitch(0.85, 0.9, 1.0, 1.1, 1.15)


def laser_hubert() -> Compose:
    """LASER on HuBERT (Meghanani and Hain, 2024): what SCORE takes."""
    return score_hubert()


def laser_wavlm() -> Compose:
    """LASER on WavLM (Meghanani and Hain, 2024): seven speeds."""
    return _speed_and_pitch(0.8, 0.85, 0.9, 1.0, 1.1, 1.15, 1.2)


def spin() -> SpeakerPerturb:
    """SPIN (Chang et al., Interspeech 2023): another voice of the same length, then an equalizer."""
    return SpeakerPerturb()


def noise_robust_softdtw(source: str) -> Compose:
    """nr-ssft with soft-DTW (Meghanani and Hain): nine speeds, then noise at 20, 10 or 5 dB.

    Args:
        source: noise, as of `AddNoise`; the authors take the first channel of 12 indoor environments of DEMAND.
    """
    speeds = SpeedPerturb((0.8, 0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.15, 1.2))
    return Compose([speeds, AddNoise(source, snr_db=_DEMAND_SNR_DB)])


def noise_robust_mse(source: str) -> AddNoise:
    """nr-ssft with a mean squared error (Meghanani and Hain): the noise alone, so that frames pair by index.

    Args:
        source: noise, as of `AddNoise`.
    """
    return AddNoise(source, snr_db=_DEMAND_SNR_DB)


def rspin(source: str) -> Compose:
    """R-Spin (Chang and Glass, NAACL 2024): another voice, then noise between -10 and 10 dB.

    The other waveform gets noise too: `views.original` is an `AddNoise` of the same settings.

    Args:
        source: noise, as of `AddNoise`; the authors take MUSAN and the backgrounds of CHiME-4.
    """
    return Compose([SpeakerPerturb(), AddNoise(source, min_snr_db=-10.0, max_snr_db=10.0)])


def _speed_and_pitch(*factors: float) -> Compose:
    return Compose([SpeedPerturb(factors), OneOf([PitchShift(semitones=2.0), PitchShift(semitones=-2.0)])])


PRESETS: Mapping[str, Callable[..., Transform]] = MappingProxyType(
    {
        preset.__name__: preset
        for preset in (
            score_hubert,
            score_wavlm,
            laser_hubert,
            laser_wavlm,
            spin,
            noise_robust_softdtw,
            noise_robust_mse,
            rspin,
        )
    }
)
"""By name, as `--views.augmented NAME` and a recipe.yaml take them."""
