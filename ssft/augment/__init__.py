"""What an adapted encoder should become blind to."""

from ssft.augment.audiomentations import Audiomentations
from ssft.augment.bandwidth import Bandwidth
from ssft.augment.base import Transform
from ssft.augment.codec import Codec
from ssft.augment.compose import Compose, Maybe, OneOf
from ssft.augment.equalizer import ParametricEqualizer
from ssft.augment.gain import Gain
from ssft.augment.noise import AddNoise
from ssft.augment.pitch import PitchShift
from ssft.augment.presets import PRESETS
from ssft.augment.reverb import Reverb
from ssft.augment.speaker import SpeakerPerturb
from ssft.augment.speed import SpeedPerturb
from ssft.augment.time_mask import TimeMask

AUGMENTATIONS = {
    "add_noise": AddNoise,
    "audiomentations": Audiomentations,
    "bandwidth": Bandwidth,
    "codec": Codec,
    "compose": Compose,
    "gain": Gain,
    "maybe": Maybe,
    "one_of": OneOf,
    "parametric_equalizer": ParametricEqualizer,
    "pitch_shift": PitchShift,
    "reverb": Reverb,
    "speaker_perturb": SpeakerPerturb,
    "speed_perturb": SpeedPerturb,
    "time_mask": TimeMask,
}

__all__ = [
    "AUGMENTATIONS",
    "PRESETS",
    "AddNoise",
    "Audiomentations",
    "Bandwidth",
    "Codec",
    "Compose",
    "Gain",
    "Maybe",
    "OneOf",
    "ParametricEqualizer",
    "PitchShift",
    "Reverb",
    "SpeakerPerturb",
    "SpeedPerturb",
    "TimeMask",
    "Transform",
]
