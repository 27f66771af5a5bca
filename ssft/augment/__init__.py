"""What an adapted encoder should become blind to."""

from ssft.augment.base import Transform
from ssft.augment.compose import Compose, OneOf
from ssft.augment.pitch import PitchShift
from ssft.augment.speed import SpeedPerturb

AUGMENTATIONS = {
    "compose": Compose,
    "one_of": OneOf,
    "pitch_shift": PitchShift,
    "speed_perturb": SpeedPerturb,
}

__all__ = ["AUGMENTATIONS", "Compose", "OneOf", "PitchShift", "SpeedPerturb", "Transform"]
