"""What differs between the families of speech encoders, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ssft.errors import EncoderError, closest


@dataclass(frozen=True)
class Family:
    """What a family's model does otherwise than HuBERT's.

    Args:
        input: `waveform`, or `log_mel` for filter banks in place of a convolutional stem (w2v-BERT).
        mask: `attention` for layers that take transformers' bidirectional attention mask, `padding` for layers that
            take the [B, F] mask of real frames.
        convolution_mask: layers take the mask of real frames beside (w2v-BERT).
        shared_position_bias: the first layer makes a position bias that all layers use (WavLM).
        relative_positions: layers take what the encoder's `embed_positions` makes of their input's size.
        final_norm: whether a norm follows the last layer: in configurations with `stable` layer norm, always, or never.
        squeezed: layers run at a fraction of the frame rate, and the result is brought back to it (SEW).
        padded_convolutions: parts, by the name of their class, whose convolutions see padding that was not zeroed.
        projections: the linear modules of a layer that adapters go around: attention, then feed-forward.
        unused_projections: attention reads the weights of its projections and never calls them (WavLM).
    """

    input: Literal["waveform", "log_mel"] = "waveform"
    mask: Literal["attention", "padding"] = "attention"
    convolution_mask: bool = False
    shared_position_bias: bool = False
    relative_positions: bool = False
    final_norm: Literal["stable", "always", "never"] = "stable"
    squeezed: bool = False
    padded_convolutions: tuple[str, ...] = ()
    projections: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "out_proj", "intermediate_dense", "output_dense")
    unused_projections: bool = False


_CONFORMER = ("linear_q", "linear_k", "linear_v", "linear_out", "intermediate_dense", "output_dense")

FAMILIES = {
    "data2vec-audio": Family(final_norm="never", padded_convolutions=("Data2VecAudioPositionalConvLayer",)),
    "hubert": Family(),
    "sew": Family(final_norm="never", squeezed=True),
    "unispeech": Family(),
    "unispeech-sat": Family(),
    "wav2vec2": Family(),
    "wav2vec2-bert": Family(
        input="log_mel",
        convolution_mask=True,
        relative_positions=True,
        final_norm="never",
        projections=_CONFORMER,
    ),
    "wav2vec2-conformer": Family(
        relative_positions=True,
        final_norm="always",
        padded_convolutions=("Wav2Vec2ConformerConvolutionModule",),
        projections=_CONFORMER,
    ),
    "wavlm": Family(mask="padding", shared_position_bias=True, unused_projections=True),
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
