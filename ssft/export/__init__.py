"""An adapted encoder as files that other tools load."""

from ssft.export.card import model_card
from ssft.export.huggingface import export_encoder

__all__ = ["export_encoder", "model_card"]
