"""Official checkpoints, `.pt` files of fairseq, s3prl and their kin, as Hugging Face models; without fairseq."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ssft.encoders.fairseq_config import make_config, normalizes
from ssft.encoders.tensor_reader import plain, read_torch_file
from ssft.errors import EncoderError

_FIRST = "feature_extractor.conv_layers.0.0.weight"
"""The one name that all have in common; what stands before it is the prefix of the encoder."""

_HEADS = re.compile(
    r"(final_proj|project_q|quantizer|target_glu|label_embs_concat|spk_proj|post_layer_norm|weights|output_layer"
    r"|encoder\.layer_norm_for_extract)(\..*)?"
)
"""What serves pre-training alone, in this order: predictions, targets (wav2vec 2.0, HuBERT), speakers (UniSpeech-SAT),
losses at several layers (ILS-SSL), other layers' outputs (DistilHuBERT)."""

_NAMES = [
    (re.compile(pattern), name)
    for pattern, name in (
        (r"mask_emb", r"masked_spec_embed"),
        (r"layer_norm\.(\w+)", r"feature_projection.layer_norm.\1"),
        (r"post_extract_proj\.(\w+)", r"feature_projection.projection.\1"),
        (r"feature_extractor\.conv_layers\.(\d+)\.0\.(\w+)", r"feature_extractor.conv_layers.\1.conv.\2"),
        # A group norm is a part of its block; a layer norm stands between two transpositions.
        (r"feature_extractor\.conv_layers\.(\d+)\.2(?:\.1)?\.(\w+)", r"feature_extractor.conv_layers.\1.layer_norm.\2"),
        (r"encoder\.pos_conv\.0\.bias", r"encoder.pos_conv_embed.conv.bias"),
        (r"encoder\.pos_conv\.0\.weight_g", r"encoder.pos_conv_embed.conv.parametrizations.weight.original0"),
        (r"encoder\.pos_conv\.0\.weight_v", r"encoder.pos_conv_embed.conv.parametrizations.weight.original1"),
        (r"encoder\.pos_conv\.0\.(parametrizations\..*)", r"encoder.pos_conv_embed.conv.\1"),
        (r"encoder\.pos_conv\.(\d+)\.0\.(\w+)", r"encoder.pos_conv_embed.layers.\1.conv.\2"),  # data2vec
        (r"encoder\.layer_norm\.(\w+)", r"encoder.layer_norm.\1"),
        (r"(encoder\.layers\.\d+)\.self_attn\.([qkv]|out)_proj\.(\w+)", r"\1.attention.\2_proj.\3"),
        (r"(encoder\.layers\.\d+)\.self_attn\.grep_linear\.(\w+)", r"\1.attention.gru_rel_pos_linear.\2"),
        (r"(encoder\.layers\.\d+)\.self_attn\.grep_a", r"\1.attention.gru_rel_pos_const"),
        (r"(encoder\.layers\.\d+)\.self_attn\.relative_attention_bias\.weight", r"\1.attention.rel_attn_embed.weight"),
        (r"(encoder\.layers\.\d+)\.self_attn_layer_norm\.(\w+)", r"\1.layer_norm.\2"),
        (r"(encoder\.layers\.\d+)\.fc1\.(\w+)", r"\1.feed_forward.intermediate_dense.\2"),
        (r"(encoder\.layers\.\d+)\.fc2\.(\w+)", r"\1.feed_forward.output_dense.\2"),
        (r"(encoder\.layers\.\d+)\.final_layer_norm\.(\w+)", r"\1.final_layer_norm.\2"),
    )
]


@dataclass(frozen=True)
class OfficialCheckpoint:
    """The encoder in a file: its tensors by their fairseq names, and its settings.

    Attributes:
        path: the file.
        weights: tensors of the encoder and of pre-training heads, without what names them in a larger model.
        settings: what the configurations of model and task say; `distilled` for DistilHuBERT.
        prefix: what stood before every name, such as `w2v_encoder.w2v_model.` in models trained with labels.
    """

    path: Path
    weights: dict[str, Tensor]
    settings: dict[str, Any]
    prefix: str

    @staticmethod
    def read(path: Path) -> OfficialCheckpoint:
        """Read a file of fairseq (`cfg` or `args`, `model`), s3prl (`model_cfg`, `model_weight`), Microsoft's WavLM,
        DistilHuBERT, Spin or R-Spin; or a dictionary of tensors under fairseq's names.

        Raises:
            EncoderError: unreadable, or without a convolutional encoder of this kind.
        """
        content = read_torch_file(path)
        if not isinstance(content, dict):
            raise EncoderError(f"{path} holds no dictionary of tensors. Pass the checkpoint that pre-training wrote.")
        homes = [content.get(key) for key in ("model", "model_weight", "Distiller", "state_dict")]
        tensors = next((home for home in homes if isinstance(home, dict)), content)
        weights = {
            name: value for name, value in tensors.items() if isinstance(name, str) and isinstance(value, Tensor)
        }
        prefixes = [name.removesuffix(_FIRST) for name in weights if name.endswith(_FIRST)]
        if len(prefixes) != 1:
            raise EncoderError(
                f"{path} holds {len(prefixes) or 'no'} encoders of the kinds that can be read: HuBERT, wav2vec 2.0, "
                f"XLS-R, data2vec-audio, WavLM, UniSpeech or DistilHuBERT, each with one {_FIRST}. Pass the checkpoint "
                "that pre-training wrote; for a Hugging Face model, pass its folder."
            )
        prefix = prefixes[0]
        own = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
        return OfficialCheckpoint(path, own, _settings(content), prefix)

    def config(self) -> Any:
        """Return the Hugging Face configuration of the encoder."""
        try:
            return make_config(self.weights, self.settings)
        except EncoderError as error:
            raise EncoderError(f"{self.path}: {error}") from None

    def load(self) -> tuple[Any, Any]:
        """Return the Hugging Face model, in float32, and its feature extractor.

        Raises:
            EncoderError: a tensor is missing, of another shape, or left over.
        """
        from transformers import AutoModel, Wav2Vec2FeatureExtractor

        config = self.config()
        with torch.device("meta"):
            model = AutoModel.from_config(config).eval()
        model.load_state_dict(self._renamed(model, config), assign=True)
        model.config.dtype = torch.float32
        if "w2v_model." in self.prefix:
            warnings.warn(f"{self.path} was trained with labels as well; only its encoder is used.", stacklevel=3)
        layer_norm = getattr(config, "feat_extract_norm", "layer") == "layer"
        extractor = Wav2Vec2FeatureExtractor(
            do_normalize=normalizes(self.weights, self.settings), return_attention_mask=layer_norm
        )
        return model, extractor

    def _renamed(self, model: Any, config: Any) -> dict[str, Tensor]:
        """The model's tensors, all of them and no others, as float32 copies under Hugging Face names."""
        expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
        found: dict[str, Tensor] = {}
        left_over = []
        for name, tensor in self.weights.items():
            if _HEADS.fullmatch(name):
                continue
            new = renamed(name)
            if new is None or new not in expected:
                left_over.append(name)
            else:
                found[new] = tensor
        width, features = config.hidden_size, config.conv_dim[-1]
        if width == features and "post_extract_proj.weight" not in self.weights:  # fairseq does not project then
            found["feature_projection.projection.weight"] = torch.eye(width)
            found["feature_projection.projection.bias"] = torch.zeros(width)
        if "mask_emb" not in self.weights:  # unused, but every export shall have the same
            noise = torch.Generator().manual_seed(0)
            found["masked_spec_embed"] = torch.rand(width, generator=noise)
        misfits = [
            f"{name} is {tuple(found[name].shape)}, not {shape}"
            for name, shape in expected.items()
            if name in found and (tuple(found[name].shape) != shape or not found[name].is_floating_point())
        ]
        kind = type(model).__name__
        self._refuse([name for name in expected if name not in found], f"of a {kind} are missing")
        self._refuse(left_over, f"have no place in a {kind}")
        self._refuse(misfits, f"do not fit a {kind}")
        return {name: tensor.to(torch.float32, copy=True).contiguous() for name, tensor in found.items()}

    def _refuse(self, names: list[str], problem: str) -> None:
        if names:
            shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
            raise EncoderError(
                f"{self.path}: {len(names)} tensors {problem}: {shown}. The file is incomplete, or its encoder differs "
                "from the published ones; use one that is published for transformers."
            )


def renamed(name: str) -> str | None:
    """Return the Hugging Face name of an encoder's tensor; None if fairseq's encoders have none of this name.

    Example:
        >>> renamed("encoder.layers.3.fc1.weight")
        'encoder.layers.3.feed_forward.intermediate_dense.weight'
    """
    for pattern, new in _NAMES:
        match = pattern.fullmatch(name)
        if match:
            return match.expand(new)
    return None


def _settings(content: dict[str, Any]) -> dict[str, Any]:
    """What a file says of its encoder, as one flat dictionary; empty if it says nothing."""
    if "model_cfg" in content:
        return _flat({"model": plain(content["model_cfg"]), "task": plain(content.get("task_cfg"))})
    if "Distiller" in content:
        distiller = _at(plain(content.get("Config")), "distiller")
        return {**distiller, "conv_feature_layers": distiller.get("extractor_conv_feature_layers"), "distilled": True}
    if "hyper_parameters" in content:  # Spin: how the encoder is built is known to the code alone
        kind = _at(_at(plain(content["hyper_parameters"]), "model"), "encoder").get("type")
        return {"_name": str(kind).lower()}
    said = [_flat(plain(content.get(key))) for key in ("cfg", "args")]  # old files have the latter
    return said[0] or said[1]


def _flat(config: Any) -> dict[str, Any]:
    if not isinstance(config, dict):
        return {}
    settings = dict(config["model"]) if isinstance(config.get("model"), dict) else dict(config)
    settings.update({key: value for key, value in _at(config, "task").items() if key == "normalize"})
    inner = _flat(settings.get("w2v_args"))  # in a model trained with labels, the encoder's own
    return {"normalize": settings.get("normalize"), **inner} if inner else settings


def _at(config: Any, key: str) -> dict[str, Any]:
    """A dictionary in a dictionary; an empty one where there is none."""
    value = config.get(key) if isinstance(config, dict) else None
    return value if isinstance(value, dict) else {}
