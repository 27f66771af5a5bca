"""Official `.pt` files become Hugging Face models, bit for bit, and nothing in them is ever run."""

from __future__ import annotations

import argparse
import contextlib
import enum
import math
import os
import subprocess
import sys
import types
import zipfile
from pathlib import Path

import pytest
import torch
from random_encoders import LAYERS, random_encoder, random_waves
from torch import nn
from torch.nn import functional

from ssft.encoders import Encoder, PretrainedEncoder
from ssft.encoders.fairseq import OfficialCheckpoint, renamed
from ssft.encoders.fairseq_config import convolution_layers
from ssft.encoders.tensor_reader import plain, read_torch_file
from ssft.errors import EncoderError

VARIETIES = [
    *((family, norm) for family in ("hubert", "unispeech", "unispeech-sat", "wav2vec2") for norm in ("group", "layer")),
    ("wavlm", "group"),
    ("wavlm", "layer"),
    ("data2vec-audio", "layer"),
]
NAMES = {"data2vec-audio": "data2vec_audio", "unispeech-sat": "unispeech_sat"}
CONVOLUTIONS = "[(16, 10, 5)] + [(16, 3, 2)] * 4 + [(16,2,2)] * 2"


def fairseq_weights(model):
    """The tensors of a Hugging Face model under fairseq's names, module by module: the way back, written on its own."""
    weights = {"mask_emb": model.masked_spec_embed}

    def put(name, module):
        for kind in ("weight", "bias"):
            if getattr(module, kind, None) is not None:
                weights[f"{name}.{kind}"] = getattr(module, kind)

    for index, block in enumerate(model.feature_extractor.conv_layers):
        put(f"feature_extractor.conv_layers.{index}.0", block.conv)
        norm = getattr(block, "layer_norm", None)
        if isinstance(norm, nn.GroupNorm):
            put(f"feature_extractor.conv_layers.{index}.2", norm)
        elif norm is not None:
            put(f"feature_extractor.conv_layers.{index}.2.1", norm)
    if hasattr(model.feature_projection, "layer_norm"):
        put("layer_norm", model.feature_projection.layer_norm)
    put("post_extract_proj", model.feature_projection.projection)
    positions = model.encoder.pos_conv_embed
    if hasattr(positions, "layers"):
        for index, layer in enumerate(positions.layers):
            put(f"encoder.pos_conv.{index}.0", layer.conv)
    else:
        weights["encoder.pos_conv.0.weight_g"] = positions.conv.parametrizations.weight.original0
        weights["encoder.pos_conv.0.weight_v"] = positions.conv.parametrizations.weight.original1
        weights["encoder.pos_conv.0.bias"] = positions.conv.bias
    put("encoder.layer_norm", model.encoder.layer_norm)
    for index, layer in enumerate(model.encoder.layers):
        to = f"encoder.layers.{index}"
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            put(f"{to}.self_attn.{part}", getattr(layer.attention, part))
        put(f"{to}.self_attn_layer_norm", layer.layer_norm)
        put(f"{to}.fc1", layer.feed_forward.intermediate_dense)
        put(f"{to}.fc2", layer.feed_forward.output_dense)
        put(f"{to}.final_layer_norm", layer.final_layer_norm)
        if hasattr(layer.attention, "gru_rel_pos_const"):
            weights[f"{to}.self_attn.grep_a"] = layer.attention.gru_rel_pos_const
            put(f"{to}.self_attn.grep_linear", layer.attention.gru_rel_pos_linear)
        if hasattr(layer.attention, "rel_attn_embed"):
            put(f"{to}.self_attn.relative_attention_bias", layer.attention.rel_attn_embed)
    return {name: tensor.detach().clone() for name, tensor in weights.items()}


def settings_of(family, norm, **more):
    large = norm == "layer"
    return {
        "_name": NAMES.get(family, family),
        "extractor_mode": "layer_norm" if large else "default",
        "encoder_layers": LAYERS,
        "encoder_embed_dim": 32,
        "encoder_attention_heads": 4,
        "activation_fn": "gelu",
        "layer_norm_first": large and family != "data2vec-audio",
        "conv_feature_layers": CONVOLUTIONS,
        "dropout": 0.1,
        "attention_dropout": 0.1,
        "activation_dropout": 0.0,
        "encoder_layerdrop": 0.05,
        "max_distance": 800,
        **more,
    }


def pretrained(family="hubert", norm="group", *, seed=0):
    """A Hugging Face model whose every tensor is its own, so that no two can be mixed up."""
    encoder = random_encoder(family, norm, seed=seed)
    if family == "data2vec-audio":  # unlike random_encoder's, as fairseq has it: pre-norm is not known
        encoder.model.config.do_stable_layer_norm = False
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in encoder.model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return encoder


def checkpoint_of(encoder, family="hubert", norm="group", **more):
    heads = {
        "final_proj.weight": torch.zeros(2, 2),
        "label_embs_concat": torch.zeros(3),
        "quantizer.vars": torch.zeros(1),
    }
    return {
        "args": None,
        "cfg": {"model": settings_of(family, norm, **more), "task": {"normalize": norm == "layer", "data": "/x"}},
        "model": {**fairseq_weights(encoder.model), **heads, "_ema": {"layers.0.fc1.weight": torch.zeros(1)}},
        "last_optimizer_state": {"state": {0: {"exp_avg": torch.zeros(3)}}},
    }


def same_weights(model, other):
    first, second = model.state_dict(), other.state_dict()
    assert first.keys() == second.keys()
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(("family", "norm"), VARIETIES)
@torch.no_grad()
def test_every_family_comes_back_bit_for_bit(family, norm, tmp_path):
    encoder = pretrained(family, norm)
    path = tmp_path / "official.pt"
    torch.save(checkpoint_of(encoder, family, norm), path)
    loaded = PretrainedEncoder.load(str(path))
    assert loaded.model.config.model_type == family
    assert loaded.extractor.do_normalize is (norm == "layer")
    assert same_weights(loaded.model, encoder.model)
    assert {tensor.dtype for tensor in loaded.model.state_dict().values()} == {torch.float32}
    assert not any(tensor.is_meta for tensor in (*loaded.model.parameters(), *loaded.model.buffers()))
    waves = random_waves(8000, 5000)
    for one, other in zip(loaded.hidden_states(waves), encoder.hidden_states(waves), strict=True):
        assert torch.equal(one.valid(), other.valid())
    config = Encoder(str(path), trainable_layers=[LAYERS])
    assert config.check() == (LAYERS,)


@torch.no_grad()
def fairseq_forward(weights, wave, *, heads, pre_norm):
    """fairseq's encoder in float64, from the equations of wav2vec 2.0 and of the transformer, on its own names."""
    w = {name: tensor.double() for name, tensor in weights.items() if name != "_ema"}

    def norm(x, name):
        mean, variance = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, unbiased=False)
        return (x - mean) / torch.sqrt(variance + 1e-5) * w[f"{name}.weight"] + w[f"{name}.bias"]

    def linear(x, name):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def gelu(x):
        return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))

    x = wave.double()[None]
    for index, (_, kernel, stride) in enumerate(convolution_layers(CONVOLUTIONS)):
        windows = x.unfold(1, kernel, stride)
        x = torch.einsum("ctk,dck->dt", windows, w[f"feature_extractor.conv_layers.{index}.0.weight"])
        if f"feature_extractor.conv_layers.{index}.2.weight" in w:  # one group per channel: over time
            scale, shift = (
                w[f"feature_extractor.conv_layers.{index}.2.{kind}"][:, None] for kind in ("weight", "bias")
            )
            mean, variance = x.mean(1, keepdim=True), x.var(1, keepdim=True, unbiased=False)
            x = (x - mean) / torch.sqrt(variance + 1e-5) * scale + shift
        elif f"feature_extractor.conv_layers.{index}.2.1.weight" in w:
            x = norm(x.T, f"feature_extractor.conv_layers.{index}.2.1").T
        x = gelu(x)
    x = linear(norm(x.T, "layer_norm"), "post_extract_proj")
    frames, width = x.shape

    direction = w["encoder.pos_conv.0.weight_v"]  # [D, D / groups, K], of norm 1 at every offset times its gain
    kernel = direction / direction.square().sum((0, 1), keepdim=True).sqrt() * w["encoder.pos_conv.0.weight_g"]
    group, size = kernel.shape[1], kernel.shape[2]
    padded = functional.pad(x.T, (size // 2, size // 2))
    positions = torch.empty(width, frames, dtype=torch.float64)
    for channel in range(width):
        first = channel // group * group
        windows = padded[first : first + group].unfold(1, size, 1)[:, :frames]  # the one frame too many is dropped
        positions[channel] = (windows * kernel[channel][:, None]).sum((0, 2)) + w["encoder.pos_conv.0.bias"][channel]
    x = x + gelu(positions.T)
    if not pre_norm:
        x = norm(x, "encoder.layer_norm")

    def attend(x, layer):
        q, k, v = (
            linear(x, f"{layer}.self_attn.{part}_proj").view(frames, heads, -1).transpose(0, 1) for part in "qkv"
        )
        shares = torch.softmax(q @ k.transpose(1, 2) / math.sqrt(width // heads), -1)
        return linear((shares @ v).transpose(0, 1).reshape(frames, width), f"{layer}.self_attn.out_proj")

    def transform(x, layer):
        return linear(gelu(linear(x, f"{layer}.fc1")), f"{layer}.fc2")

    for index in range(LAYERS):
        layer = f"encoder.layers.{index}"
        if pre_norm:
            x = x + attend(norm(x, f"{layer}.self_attn_layer_norm"), layer)
            x = x + transform(norm(x, f"{layer}.final_layer_norm"), layer)
        else:
            x = norm(x + attend(x, layer), f"{layer}.self_attn_layer_norm")
            x = norm(x + transform(x, layer), f"{layer}.final_layer_norm")
    return norm(x, "encoder.layer_norm") if pre_norm else x


@pytest.mark.parametrize("norm", ["group", "layer"])
@torch.no_grad()
def test_it_computes_what_fairseqs_equations_say(norm, tmp_path):
    content = checkpoint_of(pretrained("wav2vec2", norm), "wav2vec2", norm)
    torch.save(content, tmp_path / "x.pt")
    loaded = PretrainedEncoder.load(str(tmp_path / "x.pt"))
    waves = random_waves(6000)
    expected = fairseq_forward(content["model"], loaded.prepare(waves).samples[0], heads=4, pre_norm=norm == "layer")
    torch.testing.assert_close(loaded(waves).values[0].double(), expected, atol=2e-4, rtol=0)


def test_layouts_of_s3prl_microsoft_spin_and_bare_tensors(tmp_path):
    encoder = pretrained("wavlm", "group")
    weights = fairseq_weights(encoder.model)
    settings = settings_of("wavlm", "group", normalize=True, relative_position_embedding=True, gru_rel_pos=True)
    del settings["_name"]
    inner = {f"encoder.model.{name}": tensor for name, tensor in weights.items()}
    layouts = {
        "microsoft": {"cfg": settings, "model": weights},
        "s3prl": {"model_cfg": settings, "task_cfg": {"normalize": True}, "model_weight": weights},
        "spin": {
            "state_dict": {**inner, "pred_head.weight": torch.zeros(2), "loss_module.codebook": torch.zeros(1)},
            "hyper_parameters": {"model": {"encoder": {"type": "WavLM"}}},
        },
        "bare": weights,
    }
    for name, content in layouts.items():
        torch.save(content, tmp_path / f"{name}.pt")
        loaded = PretrainedEncoder.load(str(tmp_path / f"{name}.pt"))
        assert same_weights(loaded.model, encoder.model), name
        assert loaded.model.config.num_attention_heads == 4, name  # the gates say it
        assert loaded.extractor.do_normalize is (name in ("microsoft", "s3prl")), name


def test_distilhubert_has_no_norm_before_its_projection(tmp_path):
    from transformers import HubertConfig, HubertModel

    model = HubertModel(
        HubertConfig(
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=64,
            conv_dim=(16,) * 7,
            num_conv_pos_embeddings=16,
            num_conv_pos_embedding_groups=4,
            feat_proj_layer_norm=False,
        )
    )
    weights = fairseq_weights(model)
    del weights["mask_emb"]
    settings = settings_of("hubert", "group", encoder_layers=2, extractor_conv_feature_layers=CONVOLUTIONS)
    del settings["conv_feature_layers"]
    content = {"Distiller": {**weights, "output_layer.0.weight": torch.zeros(2)}, "Config": {"distiller": settings}}
    torch.save(content, tmp_path / "distil.ckpt")
    loaded = PretrainedEncoder.load(str(tmp_path / "distil.ckpt"))
    assert not hasattr(loaded.model.feature_projection, "layer_norm")
    again = PretrainedEncoder.load(str(tmp_path / "distil.ckpt"))
    assert loaded.weights_hash() == again.weights_hash()  # although it has no mask embedding of its own
    model.masked_spec_embed.data = loaded.model.masked_spec_embed.data
    assert same_weights(loaded.model, model)


def test_a_model_trained_with_labels_gives_its_encoder_and_says_so(tmp_path):
    encoder = pretrained("wav2vec2", "layer")
    inner = checkpoint_of(encoder, "wav2vec2", "layer")
    content = {
        "cfg": {
            "model": {"_name": "wav2vec_ctc", "dropout": 0.0, "normalize": True, "w2v_args": inner["cfg"]},
            "task": {"normalize": True},
        },
        "model": {
            **{f"w2v_encoder.w2v_model.{name}": tensor for name, tensor in inner["model"].items() if name != "_ema"},
            "w2v_encoder.proj.weight": torch.zeros(5, 32),
        },
    }
    torch.save(content, tmp_path / "ctc.pt")
    with pytest.warns(UserWarning, match="trained with labels"):
        loaded = PretrainedEncoder.load(str(tmp_path / "ctc.pt"))
    assert same_weights(loaded.model, encoder.model)
    assert loaded.model.config.hidden_dropout == 0.1  # that of pre-training


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_old_files_with_a_namespace_and_foreign_objects(legacy, tmp_path, monkeypatch):
    """As fairseq writes them: settings in a Namespace, a Dictionary of labels, enums, all of absent modules."""
    for name in ("fairseq", "fairseq.data", "fairseq.data.dictionary"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    home = sys.modules["fairseq.data.dictionary"]
    dictionary = type("Dictionary", (), {"__module__": home.__name__})
    home.Dictionary = dictionary
    home.Mode = enum.Enum("Mode", {"default": "default"}, module=home.__name__)
    labels = dictionary()
    labels.symbols, labels.indices = ["a", "b"], {"a": 0, "b": 1}
    encoder = pretrained("wav2vec2", "group")
    content = checkpoint_of(encoder, "wav2vec2", "group")
    settings = settings_of("wav2vec2", "group", arch="wav2vec2", normalize=True, extractor_mode=home.Mode.default)
    content |= {"args": argparse.Namespace(task="audio_pretraining", where=Path("x"), **settings), "cfg": None}
    content["task_state"] = {"dictionaries": [labels]}
    torch.save(content, tmp_path / "old.pt", _use_new_zipfile_serialization=not legacy)
    monkeypatch.undo()
    loaded = PretrainedEncoder.load(str(tmp_path / "old.pt"))
    assert same_weights(loaded.model, encoder.model)
    assert loaded.extractor.do_normalize is True
    read = read_torch_file(tmp_path / "old.pt")
    assert plain(read["args"])["extractor_mode"] == "default"
    assert plain(read["task_state"]) == {"dictionaries": [{"symbols": ["a", "b"], "indices": {"a": 0, "b": 1}}]}


def test_settings_in_omegaconf_are_read_without_it(tmp_path, monkeypatch):
    """Containers keep their content in `_content`, leaves in `_val`, and all of them point back to where they hang."""
    monkeypatch.setitem(sys.modules, "omegaconf", types.ModuleType("omegaconf"))
    home = sys.modules["omegaconf"]
    home.Node = type("Node", (), {"__module__": "omegaconf"})

    def node(value, parent=None):
        made = home.Node()
        made._parent, made._metadata = parent, {"ref_type": dict, "optional": True}
        if isinstance(value, dict):
            made._content = {key: node(item, made) for key, item in value.items()}
        elif isinstance(value, list):
            made._content = [node(item, made) for item in value]
        else:
            made._val = value
        return made

    config = {"model": {"_name": "hubert", "layers": [1, 2], "none": None}, "task": {"normalize": False}}
    torch.save({"cfg": node(config)}, tmp_path / "cfg.pt")
    monkeypatch.undo()
    assert plain(read_torch_file(tmp_path / "cfg.pt")["cfg"]) == config


def test_half_precision_becomes_float32(tmp_path):
    content = checkpoint_of(pretrained())
    content["model"] = {
        key: value.half() if torch.is_tensor(value) else value for key, value in content["model"].items()
    }
    torch.save(content, tmp_path / "half.pt")
    model = PretrainedEncoder.load(str(tmp_path / "half.pt")).model
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float32}


@torch.no_grad()
def test_no_projection_where_widths_agree_is_the_identity(tmp_path):
    """fairseq leaves the projection out where convolutions are as wide as layers; transformers always has one."""
    from transformers import HubertConfig, HubertModel

    model = HubertModel(
        HubertConfig(
            hidden_size=64,
            num_hidden_layers=1,
            num_attention_heads=1,
            intermediate_size=64,
            conv_dim=(64,) * 7,
            num_conv_pos_embeddings=16,
            num_conv_pos_embedding_groups=4,
        )
    ).eval()
    model.feature_projection.projection.weight.copy_(torch.eye(64))
    model.feature_projection.projection.bias.zero_()
    weights = {name: tensor for name, tensor in fairseq_weights(model).items() if "post_extract" not in name}
    torch.save({"model": weights, "cfg": {"_name": "hubert"}}, tmp_path / "x.pt")
    assert same_weights(PretrainedEncoder.load(str(tmp_path / "x.pt")).model, model)


def test_what_settings_do_not_say_is_inferred_or_asked_for(tmp_path):
    """Heads are 64 wide up to a width of 1,024; strides are known by their kernels."""
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    def saved(width, **settings):
        torch.manual_seed(0)
        model = Wav2Vec2Model(
            Wav2Vec2Config(
                hidden_size=width,
                num_hidden_layers=1,
                num_attention_heads=width // 64,
                intermediate_size=8,
                conv_dim=(16,) * 7,
                num_conv_pos_embeddings=4,
                num_conv_pos_embedding_groups=16,
                feat_extract_norm="layer",
                do_stable_layer_norm=True,
                conv_bias=True,
            )
        )
        torch.save({"model": fairseq_weights(model), **settings}, tmp_path / "x.pt")
        return OfficialCheckpoint.read(tmp_path / "x.pt")

    config = saved(128).config()
    assert (config.num_attention_heads, config.do_stable_layer_norm, config.conv_bias) == (2, True, True)
    assert (config.conv_stride[0], config.num_hidden_layers, config.num_conv_pos_embedding_groups) == (5, 1, 16)
    with pytest.raises(EncoderError, match=r"attention heads.*1280.*encoder_attention_heads"):
        saved(1280).config()
    assert saved(1280, cfg={"encoder_attention_heads": 16}).config().num_attention_heads == 16


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda w: w.pop("encoder.layers.2.fc1.bias"),
            r"1 tensors of a HubertModel are missing.*intermediate_dense.bias",
        ),
        (
            lambda w: [w.pop(name) for name in list(w) if "encoder.layers.2." in name],
            r"holds 2 layers of the 3",
        ),
        (lambda w: w.update({"encoder.layers.0.extra.weight": torch.zeros(1)}), r"have no place.*layers\.0\.extra"),
        (lambda w: w.update({"project_inp.weight": torch.zeros(1)}), r"have no place.*project_inp"),
        (lambda w: w.update({"encoder.layers.1.fc2.bias": torch.zeros(7)}), r"do not fit.*is \(7,\), not \(32,\)"),
        (lambda w: w.update({"encoder.layers.1.fc2.bias": torch.zeros(32).int()}), r"do not fit"),
        (lambda w: w.update({"encoder.layer_norm.weight": torch.zeros(2, 2)}), r"has not 1 dimensions"),
        (
            lambda w: [w.pop(name) for name in list(w) if "layers.2.fc" in name],
            r"4 tensors.*missing: .*, .*, .*, \.\.\.\. The file",
        ),
        (lambda w: w.pop("encoder.layer_norm.weight"), r"lacks encoder\.layer_norm\.weight"),
        (lambda w: w.pop("feature_extractor.conv_layers.0.0.weight"), r"holds no encoders.*pass its folder"),
    ],
)
def test_incomplete_and_foreign_encoders_are_refused_by_name(change, message, tmp_path):
    content = checkpoint_of(pretrained())
    change(content["model"])
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(EncoderError, match=message):
        PretrainedEncoder.load(str(tmp_path / "x.pt"))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"layer_type": "conformer"}, "layer_type='conformer' cannot be read"),
        ({"activation_fn": "sine"}, r"'sine' is not known.*gelu"),
        ({"conv_feature_layers": "__import__('os').system('x')"}, "is not a list of"),
        ({"conv_feature_layers": "[(16, 10, 5)] * 999999999"}, "is not a list of"),
        ({"conv_feature_layers": "[(16, 10)]"}, "is not a list of"),
        ({"encoder_attention_heads": 5}, "5 attention heads cannot share a width of 32"),
    ],
)
def test_settings_that_cannot_be_are_refused(setting, message, tmp_path):
    torch.save(checkpoint_of(pretrained(), **setting), tmp_path / "x.pt")
    with pytest.raises(EncoderError, match=message):
        PretrainedEncoder.load(str(tmp_path / "x.pt"))


class Call:
    """Pickled, it is a call of a function."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def bombs(marker):
    write = f"open({str(marker)!r}, 'w').close()"
    return {
        "os.system": Call(os.system, f"touch {marker}"),
        "eval": Call(eval, write),
        "exec": Call(exec, write),
        "open": Call(open, str(marker), "w"),
        "subprocess.Popen": Call(subprocess.Popen, ["touch", str(marker)]),
        "torch.hub.load": Call(torch.hub.load, str(marker.parent), "hubconf"),
        "torch.load": Call(torch.load, str(marker)),
        "getattr": Call(getattr, Call(__import__, "os"), "system"),
        "nested": Call(list, Call(eval, write)),
        "in a namespace": argparse.Namespace(model=argparse.Namespace(arch=Call(eval, write))),
    }


@pytest.mark.parametrize("where", ["zip", "legacy", "transformers"])
@pytest.mark.parametrize("kind", list(bombs(Path("x"))))
def test_programs_in_checkpoints_are_never_run(kind, where, tmp_path):
    marker = tmp_path / "exploded"
    (tmp_path / "hubconf.py").write_text(f"open({str(marker)!r}, 'w').close()")
    bomb = bombs(marker)[kind]
    if where == "transformers":
        source = tmp_path
        encoder = random_encoder("hubert", "group")
        encoder.model.config.save_pretrained(tmp_path)
        torch.save({**encoder.model.state_dict(), "bomb": bomb}, tmp_path / "pytorch_model.bin")
        remedy = "publisher"
    else:
        source = tmp_path / "x.pt"
        content = checkpoint_of(pretrained()) | {"args": bomb}
        torch.save(content, source, _use_new_zipfile_serialization=where == "zip")
        remedy = r"asks for '.*Nothing in it was run.*publisher.*torch\.save"
    with pytest.raises(EncoderError, match=remedy):
        PretrainedEncoder.load(str(source))
    if where != "transformers":
        with pytest.raises(EncoderError, match=remedy):
            Encoder(str(source)).check()
    assert not marker.exists()


def test_functions_of_other_packages_are_never_run_either(tmp_path, monkeypatch):
    """Their names are not refused, since a Dictionary is made by such a call too; what they become does nothing."""
    monkeypatch.setitem(sys.modules, "their_package", types.ModuleType("their_package"))
    calls = []

    def explode(*arguments):
        calls.append(arguments)
        return "exploded"

    explode.__module__ = explode.__qualname__ = "their_package"
    explode.__qualname__ = "explode"
    sys.modules["their_package"].explode = explode
    torch.save(checkpoint_of(pretrained()) | {"args": Call(explode, "now")}, tmp_path / "x.pt")
    torch.load(tmp_path / "x.pt", weights_only=False)
    assert calls.pop() == ("now",)  # it is live
    PretrainedEncoder.load(str(tmp_path / "x.pt"))
    assert not calls


def test_the_bombs_are_live(tmp_path):
    """Else the test above would show nothing."""
    marker = tmp_path / "exploded"
    for kind in ("os.system", "eval", "exec", "open", "nested", "in a namespace"):
        torch.save(bombs(marker)[kind], tmp_path / "x.pt")
        with contextlib.suppress(TypeError):  # what the call gives need not fit where it stands
            torch.load(tmp_path / "x.pt", weights_only=False)
        assert marker.exists(), kind
        marker.unlink()


def test_files_that_are_no_checkpoints(tmp_path):
    whole = tmp_path / "whole.pt"
    torch.save(checkpoint_of(pretrained()), whole)
    content = whole.read_bytes()
    for name, data in {
        "empty.pt": b"",
        "text.pt": b"<!DOCTYPE html><html>404</html>",
        "cut.pt": content[: len(content) // 2],
        "head.pt": content[:4],
    }.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(EncoderError, match=r"not a checkpoint.*download it again.*folder"):
            PretrainedEncoder.load(str(tmp_path / name))
    old = tmp_path / "old.pt"
    torch.save(checkpoint_of(pretrained()), old, _use_new_zipfile_serialization=False)
    old.write_bytes(old.read_bytes()[:-1000])
    with pytest.raises(EncoderError, match=r"cannot be read.*Download it again"):
        PretrainedEncoder.load(str(old))
    with zipfile.ZipFile(tmp_path / "other.pt", "w") as archive:
        archive.writestr("readme", "nothing")
    with pytest.raises(EncoderError, match="not a checkpoint"):
        PretrainedEncoder.load(str(tmp_path / "other.pt"))
    torch.save([torch.zeros(1)], tmp_path / "list.pt")
    with pytest.raises(EncoderError, match="no dictionary"):
        PretrainedEncoder.load(str(tmp_path / "list.pt"))
    torch.save({"hubert.encoder.layer_norm.weight": torch.zeros(1)}, tmp_path / "hf.pt")
    with pytest.raises(EncoderError, match="pass its folder"):
        PretrainedEncoder.load(str(tmp_path / "hf.pt"))
    with pytest.raises(EncoderError, match=r"absent\.pt does not exist"):
        Encoder("absent.pt").check()


def test_settings_that_contain_themselves_end(tmp_path):
    settings = settings_of("hubert", "group")
    settings["w2v_args"] = settings
    torch.save({"model": fairseq_weights(pretrained().model), "cfg": {"model": settings}}, tmp_path / "x.pt")
    with pytest.raises(EncoderError, match="contain themselves"):
        Encoder(str(tmp_path / "x.pt")).check()


def test_an_export_is_what_was_read(tmp_path):
    """The base is found again by its path and known by its weights; what is exported loads in transformers."""
    from transformers import AutoModel

    torch.save(checkpoint_of(pretrained("wavlm", "layer"), "wavlm", "layer"), tmp_path / "x.pt")
    encoder = Encoder(str(tmp_path / "x.pt"), trainable_layers=1)
    assert encoder.pinned() == encoder
    split = encoder.load().eval()
    assert split.encoder.source == str(tmp_path / "x.pt")
    assert split.encoder.weights_hash() == PretrainedEncoder.load(str(tmp_path / "x.pt")).weights_hash()
    split.encoder.save(tmp_path / "out")
    assert same_weights(AutoModel.from_pretrained(tmp_path / "out"), split.encoder.model)
    again = PretrainedEncoder.load(str(tmp_path / "out"))
    waves = random_waves(6000)
    assert torch.equal(again(waves).values, split.encoder(waves).values)


def test_a_run_on_an_official_file_is_exported_again_from_its_checkpoint(recordings, tmp_path):
    from safetensors.torch import load_file

    from ssft.cli.main import main

    base = tmp_path / "official.pt"
    torch.save(checkpoint_of(pretrained("hubert", "layer"), "hubert", "layer"), base)
    settings = (
        "--train.steps 2 --train.batch_seconds 5 --train.warmup_steps 1 --train.cache_variants 0 --data.workers 0"
    )
    arguments = ["train", "score_tiny", "--encoder.model", str(base), "--data.root", str(recordings)]
    assert main([*arguments, *settings.split(), "--out", str(tmp_path / "run")]) == 0
    assert main(["export", str(tmp_path / "run"), "--to", str(tmp_path / "out")]) == 0
    assert f"`{base}` after self-supervised" in (tmp_path / "out" / "README.md").read_text()
    found, first = (load_file(tmp_path / name / "model.safetensors") for name in ("out", "run/adapted"))
    assert all(torch.equal(found[name], first[name]) for name in first)
    original = PretrainedEncoder.load(str(base)).model.state_dict()
    changed = {name for name in original if not torch.equal(found[name], original[name])}
    assert changed
    assert all(name.startswith(("encoder.layers.1.", "encoder.layers.2.")) for name in changed)

    torch.save(
        checkpoint_of(pretrained("hubert", "layer", seed=1), "hubert", "layer"), base
    )  # other weights, same path
    assert main(["export", str(tmp_path / "run"), "--to", str(tmp_path / "other")]) == 1


@pytest.mark.parametrize(
    ("description", "layers"),
    [
        (CONVOLUTIONS, [(16, 10, 5), *[(16, 3, 2)] * 4, *[(16, 2, 2)] * 2]),
        (
            "[(512, 10, 5), (512, 8, 4)] + 3 * [(512, 4, 2)] + [(512, 1, 1)]",
            [(512, 10, 5), (512, 8, 4), *[(512, 4, 2)] * 3, (512, 1, 1)],
        ),
        ([[4, 3, 2]], [(4, 3, 2)]),
    ],
)
def test_convolution_layers(description, layers):
    assert convolution_layers(description) == layers


def test_names_that_no_encoder_has():
    assert renamed("encoder.layers.0.self_attn.in_proj_weight") is None
    assert renamed("xencoder.layer_norm.weight") is None
