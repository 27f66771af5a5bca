"""Hidden states of any encoder over any list of utterances: streamed, or in shards on disk."""

from ssft.features.batch import Batch, Transform
from ssft.features.extractor import Extractor, Part
from ssft.features.folder import FeatureFolder, read_features
from ssft.features.ranks import own_part, rank_and_world_size
from ssft.features.read_ahead import read_ahead
from ssft.features.source import FrameSource
from ssft.features.stream import stream_features
from ssft.features.write import WriteResult, write_features

__all__ = [
    "Batch",
    "Extractor",
    "FeatureFolder",
    "FrameSource",
    "Part",
    "Transform",
    "WriteResult",
    "own_part",
    "rank_and_world_size",
    "read_ahead",
    "read_features",
    "stream_features",
    "write_features",
]
