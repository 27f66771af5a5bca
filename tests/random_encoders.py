"""Small encoders with random weights: every family, with both kinds of norm in the stem."""

from __future__ import annotations

from itertools import product

import torch
from transformers import (
    HubertConfig,
    HubertModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
)

from ssft.encoders import PretrainedEncoder
from ssft.types import Waves

CLASSES = {
    "hubert": (HubertConfig, HubertModel),
    "wav2vec2": (Wav2Vec2Config, Wav2Vec2Model),
    "wavlm": (WavLMConfig, WavLMModel),
}
LAYERS = 3
VARIETIES = list(product(CLASSES, ("group", "layer")))
"""Families x norms: `group` are base models (post-norm), `layer` are large ones (stable layer norm)."""


def random_encoder(family: str, norm: str, *, dropout: float = 0.1, seed: int = 0) -> PretrainedEncoder:
    config_class, model_class = CLASSES[family]
    config = config_class(
        hidden_size=32,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        intermediate_size=64,
        conv_dim=(16,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        feat_extract_norm=norm,
        do_stable_layer_norm=norm == "layer",
        hidden_dropout=dropout,
        attention_dropout=dropout,
        activation_dropout=dropout,
        # As a fresh configuration has them: training must not be disturbed by either.
        layerdrop=0.5,
        mask_time_prob=0.5,
    )
    torch.manual_seed(seed)
    extractor = Wav2Vec2FeatureExtractor(do_normalize=norm == "layer", return_attention_mask=norm == "layer")
    return PretrainedEncoder(model_class(config), extractor, source=f"{family}-{norm}")


def random_waves(*lengths: int, seed: int = 0) -> Waves:
    generator = torch.Generator().manual_seed(seed)
    return Waves.stack([torch.randn(length, generator=generator) * 0.1 for length in lengths])
