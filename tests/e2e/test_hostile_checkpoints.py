"""Checkpoints of unknown origin: nothing in them is ever run, and what cannot be used is refused with what to do."""

from __future__ import annotations

import contextlib
import json
import pickle
import subprocess
import sys

import pytest
import torch
from random_encoders import random_encoder
from safetensors.torch import load_file, save_file

from ssft.cli.main import main
from ssft.encoders import Encoder, PretrainedEncoder
from ssft.errors import EncoderError

REMEDIES = ("download", "again from its publisher", "anew", "pass a folder")


@pytest.fixture
def checkpoint(tmp_path):
    """A folder with a small HuBERT, config.json, model.safetensors and preprocessor_config.json, to be spoiled."""
    folder = tmp_path / "checkpoint"
    random_encoder("hubert", "group").save(folder)
    return folder


@pytest.fixture
def bomb(tmp_path):
    """An object that, when unpickled, makes a file; and that file."""
    marker = tmp_path / "exploded"

    class Bomb:
        def __reduce__(self):
            return open, (str(marker), "w")

    pickle.loads(pickle.dumps(Bomb())).close()
    assert marker.exists(), "the bomb must be able to go off"
    marker.unlink()
    return Bomb(), marker


def edit(path, **settings):
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def refusal(folder):
    """The message with which an encoder is refused; it names the folder and a remedy."""
    with pytest.raises(EncoderError) as caught:
        PretrainedEncoder.load(str(folder))
    message = str(caught.value)
    assert str(folder) in message
    assert any(remedy in message.lower() for remedy in REMEDIES), message
    assert "\x1b" not in message
    return message


@pytest.mark.parametrize("written", ["zip", "old format", "plain pickle", "beside good tensors", "in place of one"])
def test_a_pickle_is_refused_and_never_run(checkpoint, bomb, written):
    explosive, marker = bomb
    path = checkpoint / "pytorch_model.bin"
    tensors = load_file(checkpoint / "model.safetensors")
    (checkpoint / "model.safetensors").unlink()
    if written == "plain pickle":
        path.write_bytes(pickle.dumps(explosive))
    elif written == "beside good tensors":
        torch.save({**tensors, "extra": explosive}, path)
    elif written == "in place of one":
        torch.save({**tensors, "masked_spec_embed": [explosive]}, path)
    else:
        torch.save({"masked_spec_embed": explosive}, path, _use_new_zipfile_serialization=written == "zip")
    message = refusal(checkpoint)
    assert not marker.exists()
    assert "weights_only" not in message, "how to switch the protection off is no remedy"


def test_a_pickle_beside_safetensors_is_not_even_read(checkpoint, bomb):
    explosive, marker = bomb
    torch.save({"masked_spec_embed": explosive}, checkpoint / "pytorch_model.bin")
    PretrainedEncoder.load(str(checkpoint))
    assert not marker.exists()


@pytest.fixture
def code(checkpoint, tmp_path):
    """Code that a checkpoint brings along, and the file that it makes when it is run."""
    marker = tmp_path / "ran"
    (checkpoint / "modeling_theirs.py").write_text(
        f"open({str(marker)!r}, 'w').close()\n"
        "from transformers import HubertConfig as Config, HubertModel as Model, Wav2Vec2FeatureExtractor as Extractor\n"
    )
    return marker


AUTO_MAP = {"AutoConfig": "modeling_theirs.Config", "AutoModel": "modeling_theirs.Model"}


def test_code_that_a_checkpoint_brings_is_not_run_though_the_user_says_yes_to_everything(checkpoint, code):
    """Left to itself, transformers asks at the terminal: `yes | ssft ...` would run it, and a job would wait."""
    edit(checkpoint / "config.json", model_type="theirs", auto_map=AUTO_MAP)
    result = subprocess.run(
        [sys.executable, "-m", "ssft.cli.main", "check", "score_tiny", "--encoder.model", str(checkpoint)],
        input="y\n" * 9,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert not code.exists()
    assert result.returncode == 1
    assert "[y/N]" not in result.stdout + result.stderr
    assert "brings code of its own" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("where", ["config.json", "preprocessor_config.json"])
def test_our_own_code_is_used_where_a_checkpoint_of_a_known_family_brings_some(checkpoint, code, where, monkeypatch):
    asked = []
    monkeypatch.setattr("builtins.input", lambda *prompt: asked.append(prompt) or "y")
    auto_map = AUTO_MAP if where == "config.json" else {"AutoFeatureExtractor": "modeling_theirs.Extractor"}
    edit(checkpoint / where, auto_map=auto_map)
    loaded = PretrainedEncoder.load(str(checkpoint))
    assert not code.exists()
    assert not asked
    assert type(loaded.model).__module__.startswith("transformers.models.hubert")
    assert type(loaded.extractor).__module__.startswith("transformers.models.wav2vec2")


def test_an_extractor_known_by_its_code_alone_is_not_run(checkpoint, code, monkeypatch):
    asked = []
    monkeypatch.setattr("builtins.input", lambda *prompt: asked.append(prompt) or "y")
    settings = {"feature_extractor_type": "Theirs", "auto_map": {"AutoFeatureExtractor": "modeling_theirs.Extractor"}}
    (checkpoint / "preprocessor_config.json").write_text(json.dumps(settings))
    with contextlib.suppress(EncoderError):
        PretrainedEncoder.load(str(checkpoint))
    assert not code.exists()
    assert not asked


@pytest.mark.parametrize(
    "settings",
    [
        {"hidden_size": 0},
        {"hidden_size": -8},
        {"hidden_size": "big"},
        {"hidden_size": 64},  # of another checkpoint
        {"num_hidden_layers": 0},
        {"num_hidden_layers": -1},
        {"num_hidden_layers": "three"},
        {"num_hidden_layers": 5},
        {"num_attention_heads": 0},
        {"num_attention_heads": 7},
        {"intermediate_size": None},
        {"intermediate_size": 10**12},
        {"conv_dim": []},
        {"conv_stride": [5, 2]},
        {"conv_stride": [0] * 7},
        {"conv_kernel": [0] * 7},
        {"num_conv_pos_embeddings": -3},
        {"num_conv_pos_embedding_groups": 5},
        {"hidden_act": "nonsense"},
        {"feat_extract_norm": "nonsense"},
    ],
    ids=lambda settings: " ".join(f"{name}={value}" for name, value in settings.items()),
)
def test_configurations_that_cannot_be_are_refused(checkpoint, settings):
    edit(checkpoint / "config.json", **settings)
    message = refusal(checkpoint)
    assert "Traceback" not in message
    assert "ignore_mismatched_sizes" not in message, "no setting of ours"


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"model_type": null}', '{"model_type": ["hubert"]}'])
def test_configurations_that_are_none_are_refused(checkpoint, text):
    (checkpoint / "config.json").write_text(text)
    refusal(checkpoint)
    with pytest.raises(EncoderError):
        Encoder(str(checkpoint)).check()


LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0123456789abcdef\nsize 377552352\n"


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("spoilt", ["missing", "empty", "four bytes", "half", "a huge header", "a pointer of Git LFS"])
def test_missing_and_cut_off_weights_are_refused(checkpoint, name, spoilt):
    path = checkpoint / name
    if name == "pytorch_model.bin":
        torch.save(load_file(checkpoint / "model.safetensors"), path)
        (checkpoint / "model.safetensors").unlink()
    whole = path.read_bytes()
    contents = {
        "empty": b"",
        "four bytes": whole[:4],
        "half": whole[: len(whole) // 2],
        "a huge header": (2**60).to_bytes(8, "little") + whole[8:],
        "a pointer of Git LFS": LFS_POINTER,
    }
    path.unlink()
    if spoilt != "missing":
        path.write_bytes(contents[spoilt])
    refusal(checkpoint)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_and_named(checkpoint, value):
    weights = load_file(checkpoint / "model.safetensors")
    weights["encoder.layers.2.attention.q_proj.weight"][0, 0] = value
    save_file(weights, checkpoint / "model.safetensors", metadata={"format": "pt"})
    assert "encoder.layers.2.attention.q_proj.weight" in refusal(checkpoint)


@pytest.mark.parametrize(
    "settings",
    [
        {"feature_extractor_type": "WhisperFeatureExtractor"},  # log-mel, where the encoder takes waveforms
        {"feature_extractor_type": "SeamlessM4TFeatureExtractor"},
        {"sampling_rate": 8000},
        {},
    ],
    ids=str,
)
def test_feature_extractors_that_do_not_fit_are_refused(checkpoint, settings):
    path = checkpoint / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings) if settings else "[")
    with pytest.raises(EncoderError, match=r"preprocessor_config\.json|16000 Hz"):
        PretrainedEncoder.load(str(checkpoint))


@pytest.mark.parametrize(("family", "norm"), [("wavlm", "layer"), ("wav2vec2-bert", "relative")])
def test_a_missing_preprocessor_config_is_made_up_for_the_family(family, norm, tmp_path):
    encoder = random_encoder(family, norm)
    encoder.model.save_pretrained(tmp_path)
    loaded = PretrainedEncoder.load(str(tmp_path))
    assert type(loaded.extractor) is type(encoder.extractor)
    assert getattr(loaded.extractor, "do_normalize", None) == getattr(encoder.extractor, "do_normalize", None)


def train(model, recordings, out):
    short = "--train.steps 2 --train.batch_seconds 5 --train.warmup_steps 0 --train.cache_variants 0 --data.workers 0"
    where = ["--encoder.model", str(model), "--data.root", str(recordings), "--out", str(out)]
    return ["train", "score_tiny", *where, *short.split()]


@pytest.mark.parametrize("spoilt", ["model.safetensors", "config.json"])
def test_the_command_line_says_so_and_leaves_nothing_behind(checkpoint, recordings, tmp_path, spoilt, capsys):
    (checkpoint / spoilt).write_bytes((checkpoint / spoilt).read_bytes()[:100])
    assert main(train(checkpoint, recordings, tmp_path / "run")) == 1
    error = capsys.readouterr().err
    assert error.splitlines()[-1].startswith("ssft: Cannot ")
    assert str(checkpoint) in error
    assert not (tmp_path / "run" / "adapted").exists()


@pytest.mark.parametrize(
    ("layers", "says"),
    [
        ("[7]", "tiny has layers 1 to 6, not 7"),
        ("[0]", "tiny has layers 1 to 6, not 0"),
        ("[-1]", "tiny has layers 1 to 6, not -1"),
        ("7", "tiny has 6 transformer layers. Give a count from 1 to 6"),
        ("0", "trains nothing"),
        ("-1", "trains nothing"),
        ("[]", "trains nothing"),
        ("[6,6]", "names a layer twice"),
        ("[5,top]", "encoder.trainable_layers"),
    ],
)
def test_layers_that_are_not_there_are_refused_on_the_command_line(layers, says, capsys):
    assert main(["check", "score_tiny", "--encoder.trainable_layers", layers]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert "encoder.trainable_layers" in error
