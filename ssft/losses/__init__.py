"""What pulls the two views together."""

from ssft.losses.base import FrameLoss
from ssft.losses.soft_dtw import SoftDTW

LOSSES = {"soft_dtw": SoftDTW}

__all__ = ["LOSSES", "FrameLoss", "SoftDTW"]
