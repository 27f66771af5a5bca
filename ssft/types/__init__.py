"""The data that flows through ssft, from a recording on disk to a loss."""

from ssft.types.batches import SAMPLE_RATE, Frames, Waves
from ssft.types.pairs import Pair, PairBatch, Reject, Utterance
from ssft.types.protocols import Augmentation, DrawnAugmentation, Loss, LossOutput, Materializable

__all__ = [
    "SAMPLE_RATE",
    "Augmentation",
    "DrawnAugmentation",
    "Frames",
    "Loss",
    "LossOutput",
    "Materializable",
    "Pair",
    "PairBatch",
    "Reject",
    "Utterance",
    "Waves",
]
