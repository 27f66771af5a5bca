"""Small encoders with random weights: every family, with every kind of norm or position that it has."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModel, SeamlessM4TFeatureExtractor, Wav2Vec2FeatureExtractor

from ssft.encoders import PretrainedEncoder
from ssft.types import Waves

LAYERS = 3

VARIETIES = [
    *(
        (family, norm)
        for family in ("hubert", "unispeech", "unispeech-sat", "wav2vec2", "wavlm")
        for norm in ("group", "layer")
    ),
    ("data2vec-audio", "layer"),
    ("sew", "group"),
    ("wav2vec2-bert", "relative"),
    ("wav2vec2-bert", "relative_key"),
    ("wav2vec2-conformer", "relative"),
    ("wav2vec2-conformer", "rotary"),
]
"""Families x norms: `group` are base models (post-norm), `layer` are large ones (stable layer norm); conformers by how
they know positions."""


def norms_below_layers(family: str) -> tuple[str, ...]:
    """Names of parts between stem and layers."""
    if family == "sew":
        return ("layer_norm", "encoder.layer_norm")
    return ("feature_projection.layer_norm",) + (("encoder.layer_norm",) if family != "wav2vec2-bert" else ())


def random_encoder(family: str, norm: str, *, dropout: float = 0.1, seed: int = 0) -> PretrainedEncoder:
    large = norm == "layer"
    settings: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "conv_dim": (16,) * 7,
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 4,
        "hidden_dropout": dropout,
        "attention_dropout": dropout,
        "activation_dropout": dropout,
        # As a fresh configuration has them: training must not be disturbed by either.
        "layerdrop": 0.5,
        "mask_time_prob": 0.5,
    }
    if norm in ("group", "layer"):
        settings |= {"feat_extract_norm": norm, "do_stable_layer_norm": large}
    else:
        settings |= {
            "position_embeddings_type": norm,
            "conv_depthwise_kernel_size": 7,
            "conformer_conv_dropout": dropout,
        }
    if family == "data2vec-audio":
        settings |= {"num_conv_pos_embeddings": 3, "conv_pos_kernel_size": 5}
    if family == "sew":
        settings |= {"squeeze_factor": 2, "conv_kernel": (10, 3, 3, 3, 3, 2, 2), "conv_stride": (5, 2, 2, 2, 2, 2, 2)}
    if family == "wav2vec2-bert":
        settings |= {
            "feature_projection_input_dim": 160,
            "left_max_position_embeddings": 8,
            "right_max_position_embeddings": 4,
        }
    torch.manual_seed(seed)
    model = AutoModel.from_config(AutoConfig.for_model(family, **settings))
    if family == "wav2vec2-bert":
        extractor: Any = SeamlessM4TFeatureExtractor(feature_size=80, num_mel_bins=80, stride=2)
    else:
        extractor = Wav2Vec2FeatureExtractor(do_normalize=large, return_attention_mask=large)
    return PretrainedEncoder(model, extractor, source=f"{family}-{norm}")


def plain_model(encoder: PretrainedEncoder) -> Any:
    """An untouched transformers model with the weights of `encoder`."""
    plain = type(encoder.model)(encoder.model.config).eval()
    plain.load_state_dict(encoder.model.state_dict())
    for name, parameter in encoder.model.named_parameters():
        plain.get_parameter(name).requires_grad_(parameter.requires_grad)  # PyTorch picks kernels by it
    return plain


def model_input(encoder: PretrainedEncoder, waves: Waves) -> Tensor:
    """What a transformers model is called with."""
    is_log_mel = encoder.family.input == "log_mel"
    return encoder.features(waves).values if is_log_mel else encoder.prepare(waves).samples


def random_waves(*lengths: int, seed: int = 0) -> Waves:
    generator = torch.Generator().manual_seed(seed)
    return Waves.stack([torch.randn(length, generator=generator) * 0.1 for length in lengths])
