"""What an adapted encoder should become blind to."""

from ssft.augment.base import Transform
from ssft.augment.compose import Compose, Maybe, OneOf
from ssft.augment.equalizer import ParametricEqualizer
from ssft.augment.noise import AddNoise
from ssft.augment.pitch import PitchShift
from ssft.augment.presets import PRESETS
from ssft.augment.speaker import SpeakerPerturb
from ssft.augment.speed import SpeedPerturb

AUGMENTATIONS = {
    "add_noise": AddNoise,
    "compose": Compose,
    "maybe": Maybe,
    "one_of": OneOf,
    "parametric_equalizer": ParametricEqualizer,
    "pitch_shift": PitchShift,
    "speaker_perturb": SpeakerPerturb,
    "speed_perturb": SpeedPerturb,
}

__all__ = [
    "AUGMENTATIONS",
    "PRESETS",
    "AddNoise",
    "Compose",
    "Maybe",
    "OneOf",
    "ParametricEqualizer",
    "PitchShift",
    "SpeakerPerturb",
    "SpeedPerturb",
    "Transform",
]
