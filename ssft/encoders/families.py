"""What differs between the families of speech encoders, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ssft.errors import EncoderError, closest


@dataclass(frozen=True)
class Family:
    """How the transformer layers of a family want to be called.

    Args:
        mask: `attention` for layers that take transformers' bidirectional attention mask, `padding` for layers that
            take the [B, F] mask of real frames.
        shared_position_bias: the first layer makes a position bias that all layers use (WavLM).
    """

    mask: Literal["attention", "padding"] = "attention"
    shared_position_bias: bool = False


FAMILIES = {
    "hubert": Family(),
    "wav2vec2": Family(),
    "wavlm": Family(mask="padding", shared_position_bias=True),
}
"""By `config.model_type`. A new family is an entry here and its name in the parity tests."""


def family_of(model_type: str) -> Family:
    """Return the family of a Hugging Face `model_type`.

    Raises:
        EncoderError: the family is not supported.
    """
    if model_type not in FAMILIES:
        raise EncoderError(f"Encoders of type '{model_type}' are not supported. {closest(model_type, FAMILIES)}")
    return FAMILIES[model_type]
