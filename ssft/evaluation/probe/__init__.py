"""Probes: how well phones and letters can be read from frozen frames."""

from ssft.evaluation.probe.phone_recognition import PhoneRecognition
from ssft.evaluation.probe.speech_recognition import SpeechRecognition

__all__ = ["PhoneRecognition", "SpeechRecognition"]
