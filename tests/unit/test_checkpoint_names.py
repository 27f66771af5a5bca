"""Every tensor of a checkpoint comes back bit for bit, by whichever names it was written.

transformers writes the two tensors of the weight-normed positional convolution as `parametrizations.weight.original0`
and `original1`, magnitude and direction; files from the years before PyTorch 2 call them `weight_g` and `weight_v`.
"""

from __future__ import annotations

import pytest
import torch
import transformers
from random_encoders import VARIETIES, random_encoder, random_waves
from safetensors.torch import load_file, save_file

from ssft.encoders import PretrainedEncoder
from ssft.errors import EncoderError

NEW_TO_OLD = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
WEIGHT_NORMED = [variety for variety in VARIETIES if variety[0] not in ("data2vec-audio", "wav2vec2-bert")]
BASES = [("hubert", "group"), ("wavlm", "layer")]

pytestmark = pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated")


def scrambled(family, norm):
    """An encoder none of whose tensors, norms and running statistics among them, is what a new one has."""
    encoder = random_encoder(family, norm)
    generator = torch.Generator().manual_seed(1)
    for name, tensor in encoder.model.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5, generator=generator)
        elif tensor.is_floating_point():
            tensor.add_(torch.randn(tensor.shape, generator=generator), alpha=0.02)
        else:
            tensor.fill_(7)
    return encoder


def old(name):
    for new, short in NEW_TO_OLD.items():
        name = name.replace(new, short)
    return name


def assert_same(loaded, encoder):
    found, expected = loaded.model.state_dict(), encoder.model.state_dict()
    assert found.keys() == expected.keys()
    assert [name for name in found if not torch.equal(found[name], expected[name])] == []
    with torch.no_grad():
        waves = random_waves(9000, 6000)
        assert torch.equal(loaded(waves).values, encoder(waves).values)


def rewrite(folder, rename):
    path = folder / "model.safetensors"
    save_file({rename(name): tensor for name, tensor in load_file(path).items()}, path, metadata={"format": "pt"})


@pytest.mark.parametrize(("family", "norm"), VARIETIES)
def test_saving_and_loading_keeps_every_tensor(family, norm, tmp_path):
    encoder = scrambled(family, norm)
    encoder.save(tmp_path)
    loaded = PretrainedEncoder.load(str(tmp_path))
    assert_same(loaded, encoder)
    assert loaded.weights_hash() == encoder.weights_hash()
    loaded.save(tmp_path / "again")
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (tmp_path / "model.safetensors").read_bytes()


@pytest.mark.parametrize(("family", "norm"), WEIGHT_NORMED)
def test_files_with_the_names_of_older_versions_are_read(family, norm, tmp_path):
    encoder = scrambled(family, norm)
    encoder.save(tmp_path)
    rewrite(tmp_path, old)
    names = set(load_file(tmp_path / "model.safetensors"))
    assert {f"encoder.pos_conv_embed.conv.{short}" for short in NEW_TO_OLD.values()} <= names
    assert not any("parametrizations" in name for name in names)
    assert_same(PretrainedEncoder.load(str(tmp_path)), encoder)


@pytest.mark.parametrize(("family", "norm"), WEIGHT_NORMED)
def test_what_is_written_are_the_tensors_of_older_versions_under_newer_names(family, norm, tmp_path):
    """Renamed, and without another change, they give PyTorch's older weight norm the same convolution."""
    encoder = scrambled(family, norm)
    encoder.save(tmp_path)
    prefix = "encoder.pos_conv_embed.conv."
    written = {name.removeprefix(prefix): t for name, t in load_file(tmp_path / "model.safetensors").items()}
    assert set(NEW_TO_OLD) <= set(written)
    convolution = encoder.model.encoder.pos_conv_embed.conv
    plain = torch.nn.Conv1d(
        convolution.in_channels, convolution.out_channels, convolution.kernel_size[0], groups=convolution.groups
    )
    older = torch.nn.utils.weight_norm(plain, name="weight", dim=2)
    older.load_state_dict({short: written[new] for new, short in NEW_TO_OLD.items()} | {"bias": written["bias"]})
    values = torch.randn(2, convolution.in_channels, 40)
    torch.testing.assert_close(
        older(values),
        torch.nn.functional.conv1d(values, convolution.weight, convolution.bias, groups=convolution.groups),
        atol=1e-6,
        rtol=0,
    )


@pytest.mark.parametrize("lost", NEW_TO_OLD.values())
def test_half_a_weight_norm_is_refused_and_not_made_up(lost, tmp_path):
    """Else the positions would be random numbers, and the only sign of it a line in a log."""
    random_encoder("hubert", "group").save(tmp_path)
    rewrite(tmp_path, lambda name: old(name).replace(lost, "lost"))
    with pytest.raises(EncoderError, match=r"lacks 1 weights.*encoder\.pos_conv_embed\.conv"):
        PretrainedEncoder.load(str(tmp_path))


@pytest.mark.parametrize("written", ["bin", "shards"])
def test_weights_in_a_torch_file_or_in_several_files_are_read(written, tmp_path):
    """HuBERT-base is published as pytorch_model.bin alone; XLS-R of 2 billion weights in several files."""
    encoder = scrambled("hubert", "group")
    encoder.save(tmp_path)
    if written == "bin":
        tensors = load_file(tmp_path / "model.safetensors")
        torch.save({old(name): tensor for name, tensor in tensors.items()}, tmp_path / "pytorch_model.bin")
    else:
        encoder.model.save_pretrained(tmp_path / "shards", max_shard_size="60KB")
        for path in (tmp_path / "shards").iterdir():
            path.rename(tmp_path / path.name)
        assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    (tmp_path / "model.safetensors").unlink()
    assert_same(PretrainedEncoder.load(str(tmp_path)), encoder)


HEADED = {
    "HubertForCTC": ("hubert", "group"),
    "Wav2Vec2ForPreTraining": ("wav2vec2", "layer"),
    "WavLMForSequenceClassification": ("wavlm", "group"),
    "WavLMForXVector": ("wavlm", "layer"),
    "Data2VecAudioForCTC": ("data2vec-audio", "layer"),
    "Wav2Vec2BertForCTC": ("wav2vec2-bert", "relative_key"),
}


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("kind", HEADED)
def test_the_encoder_inside_a_model_with_a_head_is_loaded_whole(kind, older, tmp_path):
    family, norm = HEADED[kind]
    encoder = scrambled(family, norm)
    config = encoder.model.config
    config.update({"vocab_size": 11})
    headed = getattr(transformers, kind)(config)
    getattr(headed, headed.base_model_prefix).load_state_dict(encoder.model.state_dict())
    headed.save_pretrained(tmp_path)
    encoder.extractor.save_pretrained(tmp_path)
    if older:
        rewrite(tmp_path, old)
    of_head = {n for n in load_file(tmp_path / "model.safetensors") if not n.startswith(headed.base_model_prefix)}
    assert of_head
    loaded = PretrainedEncoder.load(str(tmp_path))
    assert_same(loaded, encoder)
    assert not of_head & set(loaded.model.state_dict())


@pytest.mark.parametrize(("family", "norm"), BASES)
def test_a_model_with_a_head_that_lacks_a_weight_of_its_encoder_is_refused(family, norm, tmp_path):
    encoder = random_encoder(family, norm)
    kind = {"hubert": "HubertForCTC", "wavlm": "WavLMForSequenceClassification"}[family]
    getattr(transformers, kind)(encoder.model.config).save_pretrained(tmp_path)
    rewrite(tmp_path, lambda name: name.replace("layers.2.final_layer_norm.bias", "nothing"))
    with pytest.raises(EncoderError, match=r"lacks 1 weights .*layers\.2\.final_layer_norm\.bias"):
        PretrainedEncoder.load(str(tmp_path))
