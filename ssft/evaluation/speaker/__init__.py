"""How much of the speaker frames give away."""

from ssft.evaluation.speaker.halves import Halves, halve
from ssft.evaluation.speaker.probe import SpeakerProbe
from ssft.evaluation.speaker.task import Speaker

__all__ = ["Halves", "Speaker", "SpeakerProbe", "halve"]
