"""What an adapted encoder should become blind to."""

from ssft.augment.base import Transform
from ssft.augment.compose import Compose, OneOf
from ssft.augment.equalizer import ParametricEqualizer
from ssft.augment.noise import AddNoise
from ssft.augment.pitch import PitchShift
from ssft.augment.speaker import SpeakerPerturb
from ssft.augment.speed import SpeedPerturb

AUGMENTATIONS = {
    "add_noise": AddNoise,
    "compose": Compose,
    "one_of": OneOf,
    "parametric_equalizer": ParametricEqualizer,
    "pitch_shift": PitchShift,
    "speaker_perturb": SpeakerPerturb,
    "speed_perturb": SpeedPerturb,
}

__all__ = [
    "AUGMENTATIONS",
    "AddNoise",
    "Compose",
    "OneOf",
    "ParametricEqualizer",
    "PitchShift",
    "SpeakerPerturb",
    "SpeedPerturb",
    "Transform",
]
