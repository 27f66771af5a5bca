"""Audio on disk to batches of pairs."""

from ssft.data.audio import read_audio
from ssft.data.collate import Collate, StepBatch
from ssft.data.corpus import Corpus, Data
from ssft.data.manifest import list_folder, read_manifest
from ssft.data.pairs import PairDataset
from ssft.data.sampler import DurationBatchSampler, Position, batches_by_length
from ssft.data.utterances import Utterances

__all__ = [
    "Collate",
    "Corpus",
    "Data",
    "DurationBatchSampler",
    "PairDataset",
    "Position",
    "StepBatch",
    "Utterances",
    "batches_by_length",
    "list_folder",
    "read_audio",
    "read_manifest",
]
