"""Soft-DTW of batches of frame sequences."""

from ssft.ops.soft_dtw.divergence import soft_dtw, soft_dtw_divergence

__all__ = ["soft_dtw", "soft_dtw_divergence"]
