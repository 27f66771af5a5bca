"""How good units are: what they tell of phones and of speakers, how many bits they take, what noise does to them."""

from ssft.evaluation.unit_quality.information import JointCounts, active_units, bitrate, speaker_information
from ssft.evaluation.unit_quality.labels import FrameLabels, label_frames, segment_at_frames
from ssft.evaluation.unit_quality.measures import deduplicate, unit_edit_distance, unit_measures
from ssft.evaluation.unit_quality.task import Units

__all__ = [
    "FrameLabels",
    "JointCounts",
    "Units",
    "active_units",
    "bitrate",
    "deduplicate",
    "label_frames",
    "segment_at_frames",
    "speaker_information",
    "unit_edit_distance",
    "unit_measures",
]
