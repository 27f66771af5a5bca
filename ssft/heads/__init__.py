"""Frames to frames, during training only."""

from ssft.heads.identity import Identity
from ssft.heads.projection import Projection

HEADS = {"identity": Identity, "projection": Projection}

__all__ = ["HEADS", "Identity", "Projection"]
