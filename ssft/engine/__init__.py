"""Training: the model that compares two views, and the loop that optimises it."""

from ssft.engine.checkpoint import Checkpoint, CheckpointFolder
from ssft.engine.model import CorrespondenceModel
from ssft.engine.settings import Train
from ssft.engine.trainer import CorrespondenceTrainer, TrainResult

__all__ = ["Checkpoint", "CheckpointFolder", "CorrespondenceModel", "CorrespondenceTrainer", "Train", "TrainResult"]
