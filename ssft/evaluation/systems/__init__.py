"""Where frames come from: encoders, MFCC and free controls, in clean audio and in other conditions."""

from ssft.evaluation.systems.babble import Babble
from ssft.evaluation.systems.cached import CachedFrames
from ssft.evaluation.systems.condition import Condition
from ssft.evaluation.systems.conditions import parse_conditions
from ssft.evaluation.systems.controls import CONTROLS, MeanRemoved, Smoothed, Whitened
from ssft.evaluation.systems.encoder import EncoderFrames, random_encoder
from ssft.evaluation.systems.last_layer import LastLayer
from ssft.evaluation.systems.mfcc import LogMel, LogMelFrames, Mfcc, MfccFrames
from ssft.evaluation.systems.opening import open_encoder, open_system

__all__ = [
    "CONTROLS",
    "Babble",
    "CachedFrames",
    "Condition",
    "EncoderFrames",
    "LastLayer",
    "LogMel",
    "LogMelFrames",
    "MeanRemoved",
    "Mfcc",
    "MfccFrames",
    "Smoothed",
    "Whitened",
    "open_encoder",
    "open_system",
    "parse_conditions",
    "random_encoder",
]
