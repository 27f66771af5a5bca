"""Speech encoders: any Hugging Face checkpoint of a known family, split into a frozen bottom and a trained top."""

from ssft.encoders.encoder import Encoder
from ssft.encoders.families import FAMILIES
from ssft.encoders.lora import ADAPTERS, Lora
from ssft.encoders.mask import MASKS, SpanMask
from ssft.encoders.pretrained import PretrainedEncoder
from ssft.encoders.reference import REFERENCES, FrozenReference, MovingAverage, StudentReference, make_reference
from ssft.encoders.split import SplitEncoder

__all__ = [
    "ADAPTERS",
    "FAMILIES",
    "MASKS",
    "REFERENCES",
    "Encoder",
    "FrozenReference",
    "Lora",
    "MovingAverage",
    "PretrainedEncoder",
    "SpanMask",
    "SplitEncoder",
    "StudentReference",
    "make_reference",
]
