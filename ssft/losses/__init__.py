"""What pulls the two views together."""

from ssft.losses.barlow_twins import BarlowTwins
from ssft.losses.base import FrameLoss
from ssft.losses.frame_regression import FrameRegression
from ssft.losses.info_nce import FrameInfoNCE
from ssft.losses.laser import Laser
from ssft.losses.masked_prediction import MaskedPrediction
from ssft.losses.pseudo_label import PseudoLabel
from ssft.losses.soft_dtw import SoftDTW
from ssft.losses.swapped_prediction import SwappedPrediction
from ssft.losses.temporal_contrast import TemporalContrast
from ssft.losses.vicreg import VICReg
from ssft.losses.weighted import Weighted

LOSSES = {
    "barlow_twins": BarlowTwins,
    "frame_info_nce": FrameInfoNCE,
    "frame_regression": FrameRegression,
    "laser": Laser,
    "masked_prediction": MaskedPrediction,
    "pseudo_label": PseudoLabel,
    "soft_dtw": SoftDTW,
    "swapped_prediction": SwappedPrediction,
    "temporal_contrast": TemporalContrast,
    "vicreg": VICReg,
    "weighted": Weighted,
}

__all__ = [
    "LOSSES",
    "BarlowTwins",
    "FrameInfoNCE",
    "FrameLoss",
    "FrameRegression",
    "Laser",
    "MaskedPrediction",
    "PseudoLabel",
    "SoftDTW",
    "SwappedPrediction",
    "TemporalContrast",
    "VICReg",
    "Weighted",
]
