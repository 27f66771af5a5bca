"""Discrete units of speech: found by k-means or learned by SPIN, joined to pieces, used as labels of frames."""

from ssft.units.codebook import codebook_of_run, codebook_quantizer
from ssft.units.kmeans import draw_utterances, fit_kmeans
from ssft.units.pieces import Pieces, acoustic_pieces
from ssft.units.quantizer import Origin, Quantizer
from ssft.units.windows import windows

__all__ = [
    "Origin",
    "Pieces",
    "Quantizer",
    "acoustic_pieces",
    "codebook_of_run",
    "codebook_quantizer",
    "draw_utterances",
    "fit_kmeans",
    "windows",
]
