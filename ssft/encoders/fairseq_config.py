"""The Hugging Face configuration of a fairseq encoder, from its settings and the shapes of its tensors."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ssft.errors import EncoderError

_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_accurate": "gelu_new",
    "gelu_fast": "gelu_new",
    "relu": "relu",
    "tanh": "tanh",
}
"""fairseq's names and those of transformers; both of its other GELUs are the approximation by a hyperbolic tangent."""

_RATES = {
    "dropout": "hidden_dropout",
    "attention_dropout": "attention_dropout",
    "activation_dropout": "activation_dropout",
    "dropout_input": "feat_proj_dropout",
    "encoder_layerdrop": "layerdrop",
}

_ONLY: dict[str, Any] = {
    "layer_type": "transformer",
    "structure_type": "transformer",
    "attention_type": "original",
    "quantize_input": False,
    "streaming": False,
    "conv_pos_batch_norm": False,
    "expand_attention_head_size": -1,
}
"""Settings that change what is computed but not always what tensors there are, and the value that can be read."""

_OWN_LAYERS = {"encoder.layers.0.self_attn.grep_a": "wavlm", "encoder.pos_conv.0.0.weight": "data2vec-audio"}
_MODELS = {
    "data2vec_audio": "data2vec-audio",
    "hubert": "hubert",
    "ils_hubert": "hubert",
    "unispeech": "unispeech",
    "unispeech_sat": "unispeech-sat",
    "wav2vec2": "wav2vec2",
    "wavlm": "wavlm",
}
_OWN_HEADS = {"spk_proj.weight": "unispeech-sat", "label_embs_concat": "hubert"}

_POSITIONS = ("encoder.pos_conv.0.weight_v", "encoder.pos_conv.0.parametrizations.weight.original1")
_USUAL_STRIDES = {(10, 3, 3, 3, 3, 2, 2): (5, 2, 2, 2, 2, 2, 2), (10, 8, 4, 4, 4, 1): (5, 4, 2, 2, 2, 1)}
_HEAD_WIDTH = 64
_MAX_WIDTH = 1024  # wider published encoders have heads of 80 or 120
_MAX_CONVOLUTIONS = 100


def make_config(weights: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Any:
    """Return a transformers configuration.

    Sizes are those of the tensors. What tensors cannot show comes from the settings and, where they are silent: heads
    are 64 wide (refused beyond a width of 1,024, where published encoders differ); layers are pre-norm exactly if the
    convolutions have layer norms, in data2vec never; the activation is GELU; strides are those of wav2vec 2.0.

    Args:
        weights: tensors by their fairseq names.
        settings: of model and task in one, by their fairseq names; may be empty.

    Raises:
        EncoderError: something cannot be known, or cannot be expressed in transformers.
    """
    from transformers import AutoConfig

    for name, value in _ONLY.items():
        if settings.get(name, value) not in (value, None):
            raise EncoderError(f"{name}={settings[name]!r} cannot be read; encoders with {name}={value!r} can.")
    family = _family(weights, settings)
    norm = _norm(weights)
    width = _shape(weights, "encoder.layer_norm.weight", 1)[0]
    stable = settings.get("layer_norm_first")
    if not isinstance(stable, bool):
        stable = norm == "layer" and family != "data2vec-audio"
    sizes = {
        "hidden_size": width,
        "num_hidden_layers": _layers(weights, settings),
        "num_attention_heads": _heads(weights, settings, width),
        "intermediate_size": _shape(weights, "encoder.layers.0.fc1.weight", 2)[0],
        "hidden_act": _activation(settings.get("activation_fn") or "gelu"),
        "feat_extract_norm": norm,
        "do_stable_layer_norm": stable,
        **_convolutions(weights, settings),
        **{hf: settings[name] for name, hf in _RATES.items() if isinstance(settings.get(name), (int, float))},
    }
    if family == "data2vec-audio":
        if stable or norm != "layer":
            raise EncoderError(
                "data2vec-audio with layer_norm_first, or without layer norms in its convolutions, is unknown to "
                "transformers. Use a published data2vec checkpoint."
            )
        positions = _shape(weights, "encoder.pos_conv.0.0.weight", 3)
        depth = _count(weights, r"encoder\.pos_conv\.(\d+)\.0\.weight")
        sizes |= {"num_conv_pos_embeddings": depth, "conv_pos_kernel_size": positions[2]}
    else:
        positions = _shape(weights, _POSITIONS[0] if _POSITIONS[0] in weights else _POSITIONS[1], 3)
        sizes["num_conv_pos_embeddings"] = positions[2]
    sizes["num_conv_pos_embedding_groups"] = width // positions[1]
    if family == "wavlm":
        sizes["num_buckets"] = _shape(weights, "encoder.layers.0.self_attn.relative_attention_bias.weight", 2)[0]
        sizes["max_bucket_distance"] = settings.get("max_distance") or 800
    if family == "hubert":
        sizes["feat_proj_layer_norm"] = not settings.get("distilled")
    try:
        return AutoConfig.for_model(family, **sizes)
    except Exception as error:  # whatever transformers has to say about settings that contradict each other
        raise EncoderError(f"Its settings make no configuration of a {family} encoder: {error}") from error


def normalizes(weights: Mapping[str, Tensor], settings: Mapping[str, Any]) -> bool:
    """Whether waveforms are brought to zero mean and unit variance.

    As in pre-training, by the settings of its task; where these are lost, if the convolutions have layer norms, as all
    published encoders were trained.
    """
    normalize = settings.get("normalize")
    return normalize if isinstance(normalize, bool) else _norm(weights) == "layer"


def convolution_layers(description: Any) -> list[tuple[int, int, int]]:
    """Return (width, kernel, stride) of every convolution, from fairseq's expression for them, which is not evaluated.

    Raises:
        EncoderError: another expression than sums and multiples of lists of three numbers.

    Example:
        >>> convolution_layers("[(512, 10, 5)] + [(512, 2, 2)] * 2")
        [(512, 10, 5), (512, 2, 2), (512, 2, 2)]
    """
    try:
        if isinstance(description, str):
            description = _value(ast.parse(description.strip(), mode="eval").body)
        layers = [(int(width), int(kernel), int(stride)) for width, kernel, stride in description]
    except (SyntaxError, TypeError, ValueError, RecursionError, MemoryError):
        layers = []
    if not layers:
        raise EncoderError(
            f"conv_feature_layers={str(description)[:80]!r} is not a list of (width, kernel, stride); it is damaged."
        )
    return layers


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return node.value
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_value(item) for item in node.elts]
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Mult)):
        left, right = _value(node.left), _value(node.right)
        if isinstance(node.op, ast.Add) and isinstance(left, list) and isinstance(right, list):
            return left + right
        if isinstance(left, int):
            left, right = right, left
        if isinstance(left, list) and isinstance(right, int) and len(left) * right <= _MAX_CONVOLUTIONS:
            return left * right
    raise ValueError("not a list of convolutions")


def _family(weights: Mapping[str, Tensor], settings: Mapping[str, Any]) -> str:
    """By layers that only one family has, else by the model's name, else by its pre-training heads.

    The last two matter little: HuBERT, UniSpeech, UniSpeech-SAT and wav2vec 2.0 compute the same.
    """
    for tensor, family in _OWN_LAYERS.items():
        if tensor in weights:
            return family
    name = str(settings.get("_name") or settings.get("arch"))
    if name in _MODELS:
        return _MODELS[name]
    for tensor, family in _OWN_HEADS.items():
        if tensor in weights:
            return family
    return "hubert" if settings.get("distilled") else "wav2vec2"


def _norm(weights: Mapping[str, Tensor]) -> str:
    if "feature_extractor.conv_layers.0.2.1.weight" in weights:
        return "layer"
    _shape(weights, "feature_extractor.conv_layers.0.2.weight", 1)
    return "group"


def _layers(weights: Mapping[str, Tensor], settings: Mapping[str, Any]) -> int:
    found, said = _count(weights, r"encoder\.layers\.(\d+)\..*"), settings.get("encoder_layers")
    if isinstance(said, int) and said != found:
        raise EncoderError(f"It holds {found} layers of the {said} that its settings speak of. The file is incomplete.")
    return found


def _heads(weights: Mapping[str, Tensor], settings: Mapping[str, Any], width: int) -> int:
    gate = weights.get("encoder.layers.0.self_attn.grep_a")
    heads = gate.shape[1] if gate is not None and gate.dim() == 4 else settings.get("encoder_attention_heads")
    if not isinstance(heads, int):
        if width > _MAX_WIDTH or width % _HEAD_WIDTH:
            raise EncoderError(
                f"The file does not say how many attention heads there are, and a width of {width} does not tell. Add "
                "{'cfg': {'encoder_attention_heads': NUMBER}} to it."
            )
        heads = width // _HEAD_WIDTH
    if heads < 1 or width % heads:
        raise EncoderError(f"{heads} attention heads cannot share a width of {width}; the settings are damaged.")
    return heads


def _convolutions(weights: Mapping[str, Tensor], settings: Mapping[str, Any]) -> dict[str, Any]:
    stem = "feature_extractor.conv_layers"
    if settings.get("conv_feature_layers"):
        widths, kernels, strides = zip(*convolution_layers(settings["conv_feature_layers"]), strict=True)
    else:
        number = _count(weights, rf"{re.escape(stem)}\.(\d+)\.0\.weight")
        shapes = [_shape(weights, f"{stem}.{index}.0.weight", 3) for index in range(number)]
        widths, _, kernels = zip(*shapes, strict=True)
        if kernels not in _USUAL_STRIDES:
            raise EncoderError(
                f"The file does not say the strides of its convolutions, whose kernels are {kernels}. Add "
                "{'cfg': {'conv_feature_layers': '[(WIDTH, KERNEL, STRIDE), ...]'}} to it."
            )
        strides = _USUAL_STRIDES[kernels]
    bias = f"{stem}.0.0.bias" in weights
    return {"conv_dim": widths, "conv_kernel": kernels, "conv_stride": strides, "conv_bias": bias}


def _activation(name: str) -> str:
    if name not in _ACTIVATIONS:
        raise EncoderError(f"activation_fn={name!r} is not known. Known: {', '.join(sorted(_ACTIVATIONS))}.")
    return _ACTIVATIONS[name]


def _count(weights: Mapping[str, Tensor], pattern: str) -> int:
    return len({match[1] for match in (re.fullmatch(pattern, name) for name in weights) if match})


def _shape(weights: Mapping[str, Tensor], name: str, dimensions: int) -> tuple[int, ...]:
    if name not in weights:
        raise EncoderError(f"It lacks {name}, which every encoder of its kind has. The file is incomplete.")
    shape = tuple(weights[name].shape)
    if len(shape) != dimensions or 0 in shape:
        raise EncoderError(f"{name} is {shape}, which has not {dimensions} dimensions. The file is damaged.")
    return shape
