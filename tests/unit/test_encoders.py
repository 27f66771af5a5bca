"""The seam is the model, batching changes nothing, and only what was asked for is trainable."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from random_encoders import LAYERS, VARIETIES, model_input, plain_model, random_encoder, random_waves

from ssft.encoders import Encoder, PretrainedEncoder, SplitEncoder
from ssft.encoders.padding import MaskedGroupNorm
from ssft.encoders.reference import FrozenReference
from ssft.encoders.selection import layer_numbers
from ssft.errors import EncoderError, RecipeError
from ssft.types import Waves

LENGTHS = {"padded": (9000, 16000, 5000), "unpadded": (8000, 8000)}


def differences(a, b):
    return max((x - y).detach().abs().max().item() for x, y in zip(a.items(), b.items(), strict=True))


@pytest.mark.parametrize("padding", LENGTHS)
@pytest.mark.parametrize(("family", "norm"), VARIETIES)
@torch.no_grad()
def test_seam_is_exact_at_every_cut(family, norm, padding):
    encoder = random_encoder(family, norm)
    waves = random_waves(*LENGTHS[padding])
    for count in range(1, LAYERS + 1):
        split = SplitEncoder(encoder, count).eval()
        assert differences(split.top(split.bottom(waves)), encoder(waves)) == 0.0
        assert differences(split.bottom(waves), encoder.hidden_states(waves)[LAYERS - count]) == 0.0
        assert differences(split(waves), encoder.hidden_states(waves)[-1]) == 0.0


@pytest.mark.parametrize(("family", "norm"), VARIETIES)
@torch.no_grad()
def test_seam_is_transformers_own_forward(family, norm):
    """Against an untouched transformers model with the same weights: one utterance, so no padding is involved."""
    split = SplitEncoder(random_encoder(family, norm), 2).eval()
    encoder = split.encoder
    waves = random_waves(12000)
    expected = plain_model(encoder)(model_input(encoder, waves), output_hidden_states=True)
    found = split(waves).values
    assert float((found - expected.last_hidden_state[:, : found.shape[1]]).abs().max()) == 0.0
    states = encoder.hidden_states(waves)
    assert len(states) == len(expected.hidden_states) == LAYERS + 1
    for state, other in zip(states[:-1], expected.hidden_states[:-1], strict=True):
        assert float((state.values - other[:, : state.values.shape[1]]).abs().max()) == 0.0


@pytest.mark.parametrize(("family", "norm"), VARIETIES)
@torch.no_grad()
def test_encoding_in_a_batch_equals_encoding_alone(family, norm):
    encoder = random_encoder(family, norm)
    waves = random_waves(9000, 16000, 5000, encoder.min_samples)
    together = encoder(waves).items()
    tolerance = 1e-5 if norm == "layer" else 1e-4
    for samples, length, frames in zip(waves.samples, waves.lengths.tolist(), together, strict=True):
        alone = encoder(Waves.stack([samples[:length]])).values[0]
        assert alone.shape == frames.shape
        assert float((alone - frames).abs().max()) <= tolerance


@torch.no_grad()
def test_plain_group_norm_would_see_the_padding():
    """What the masked norm is for: without it the same comparison fails by orders of magnitude."""
    encoder = random_encoder("hubert", "group")
    wave = random_waves(6000)
    padded = Waves.stack([wave.samples[0], random_waves(12000, seed=1).samples[0]])
    samples = encoder.prepare(padded).samples
    naive = encoder.model(samples, attention_mask=padded.mask).last_hidden_state[0]
    naive = naive[: encoder.frame_lengths(wave.lengths)[0]]
    assert float((naive - encoder(wave).values[0]).abs().max()) > 1e-2


def test_masked_group_norm_equals_group_norm_on_each_item():
    torch.manual_seed(0)
    norm = torch.nn.GroupNorm(4, 4)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    masked = MaskedGroupNorm.replacing(norm)
    values, lengths = torch.randn(3, 4, 50) * 3 + 1, torch.tensor([50, 20, 2])
    values[1, :, 20:] = float("nan")  # padding is never read
    masked.lengths = lengths
    for item, length, out in zip(values, lengths.tolist(), masked(values.nan_to_num(1e6)), strict=True):
        torch.testing.assert_close(out[:, :length], norm(item[None, :, :length])[0], atol=1e-6, rtol=0)


@torch.no_grad()
def test_input_is_normalised_as_the_feature_extractor_does_it():
    encoder = random_encoder("hubert", "layer")
    items = [wave[:length].numpy() for wave, length in zip(*_parts(random_waves(3000, 5000)), strict=True)]
    expected = encoder.extractor(items, sampling_rate=16000, padding=True, return_tensors="pt")
    prepared = encoder.prepare(Waves.stack([torch.from_numpy(item) for item in items]))
    torch.testing.assert_close(prepared.samples, expected.input_values, atol=1e-5, rtol=0)
    assert torch.equal(prepared.mask.long(), expected.attention_mask.long())


def _parts(waves):
    return waves.samples, waves.lengths.tolist()


@pytest.mark.parametrize(("family", "norm"), VARIETIES)
def test_only_the_chosen_layers_train_and_frozen_parts_stay_in_eval_mode(family, norm):
    split = SplitEncoder(random_encoder(family, norm), [1, 3]).train()
    trained = {name for name, parameter in split.encoder.model.named_parameters() if parameter.requires_grad}
    assert trained == {
        name
        for name, _ in split.encoder.model.named_parameters()
        if name.startswith(("encoder.layers.0.", "encoder.layers.2."))
    }
    training = {name for name, module in split.encoder.model.named_modules() if module.training}
    assert training
    assert all(name.startswith(("encoder.layers.0", "encoder.layers.2")) for name in training)
    assert not any(module.training for module in split.eval().modules())


def test_bottom_is_deterministic_and_without_gradient_while_training():
    """Layer drop, SpecAugment and dropout of the configuration must not reach the frozen part."""
    split = SplitEncoder(random_encoder("hubert", "group", dropout=0.5), 1).train()
    waves = random_waves(16000, 12000)
    first, second = split.bottom(waves), split.bottom(waves)
    assert torch.equal(first.values, second.values)
    assert first.values.grad_fn is None
    assert not torch.equal(split.top(first).values, split.top(first).values)  # the student's own dropout is live


def test_gradients_pass_through_frozen_layers_above_a_trained_one():
    split = SplitEncoder(random_encoder("wavlm", "group", dropout=0.0), [2])
    split(random_waves(8000)).values.sum().backward()
    layers = split.encoder.model.encoder.layers
    assert all(p.grad is not None for p in layers[1].parameters())
    assert all(p.grad is None for layer in (layers[0], layers[2]) for p in layer.parameters())


def test_reference_is_a_frozen_copy_of_the_top_alone():
    split = SplitEncoder(random_encoder("wavlm", "layer"), 2)
    reference = FrozenReference(split).train()
    hidden = split.bottom(random_waves(8000, 6000))
    before = reference(split, hidden, [LAYERS])[0].values
    # PyTorch picks other kernels where gradients are wanted, so equal to rounding here.
    torch.testing.assert_close(before, split.eval().top(hidden).values.detach(), atol=2e-6, rtol=0)
    with torch.no_grad():
        for parameter in split.parameters():
            if parameter.requires_grad:
                parameter.add_(1.0)
    assert torch.equal(reference(split, hidden, [LAYERS])[0].values, before)
    assert not any(parameter.requires_grad for parameter in reference.parameters())
    copied = sum(parameter.numel() for parameter in reference.parameters())
    assert copied == sum(parameter.numel() for parameter in split.own_top().parameters())


@pytest.mark.parametrize(
    ("layers", "expected"),
    [(1, (12,)), (2, (11, 12)), (12, tuple(range(1, 13))), ([7, 9, 12], (7, 9, 12)), ([12, 7], (7, 12))],
)
def test_layer_numbers(layers, expected):
    assert layer_numbers(layers, 12, "base") == expected


@pytest.mark.parametrize("layers", [0, -1, 13, [0], [-1], [13], [7, 7], []])
def test_wrong_layers_are_refused_with_the_valid_range(layers):
    with pytest.raises(RecipeError, match=r"12 transformer layers|layers 1 to 12|twice|trains nothing"):
        layer_numbers(layers, 12, "base")


def test_tiny_encoder_is_the_shipped_hubert():
    split = Encoder("tiny", trainable_layers=2).load()
    assert split.trainable_layers == (5, 6)
    assert split.encoder.width == 192
    assert split.encoder.frame_rate == 50.0
    assert split.encoder.min_samples == 400
    assert len(split.encoder.model.config.conv_kernel) == 6  # nothing may assume seven
    frames = split(random_waves(400, 16000, 32000))
    assert frames.lengths.tolist() == [1, 49, 99]
    assert torch.isfinite(frames.valid()).all()


def test_a_second_load_is_bit_identical():
    first, second = (PretrainedEncoder.load("tiny").model.state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert {value.dtype for value in first.values()} == {torch.float32}


def test_weights_are_told_apart():
    encoder = random_encoder("hubert", "group")
    before = encoder.weights_hash()
    assert before == random_encoder("hubert", "group").weights_hash()
    with torch.no_grad():
        encoder.model.encoder.layers[0].layer_norm.weight[0] += 1e-6
    assert encoder.weights_hash() != before


def test_too_short_audio_is_named():
    with pytest.raises(EncoderError, match=r"399 samples are too few.*400"):
        random_encoder("hubert", "group")(random_waves(399))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("/no/such/folder", "does not exist"),
        ("./nowhere", "does not exist"),
        ("no-such/encoder-on-the-hub", "Cannot find the encoder"),
    ],
)
def test_missing_encoders_are_named(source, message):
    with pytest.raises(EncoderError, match=message):
        Encoder(source).check()


def test_folder_without_config_and_unknown_family(tmp_path):
    with pytest.raises(EncoderError, match=r"no config\.json"):
        Encoder(str(tmp_path)).check()
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(EncoderError, match=r"'bert' are not supported.*hubert"):
        Encoder(str(tmp_path)).check()


def test_an_encoder_with_convolutions_on_top_is_refused(tmp_path):
    """Its output is not that of its last layer, so the seam would not be the model."""
    config = random_encoder("wav2vec2", "group").model.config
    config.add_adapter = True
    config.save_pretrained(tmp_path)
    with pytest.raises(EncoderError, match="add_adapter"):
        Encoder(str(tmp_path)).check()


def test_incomplete_checkpoints_are_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    random_encoder("hubert", "group").model.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["encoder.layers.1.attention.q_proj.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EncoderError, match="lacks 1 weights"):
        PretrainedEncoder.load(str(tmp_path))


def test_pickle_in_a_checkpoint_is_not_executed(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    random_encoder("hubert", "group").model.config.save_pretrained(tmp_path)
    torch.save({"encoder.layers.0.attention.q_proj.weight": Bomb()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(EncoderError):
        PretrainedEncoder.load(str(tmp_path))
    assert not (tmp_path / "exploded").exists()


def test_real_speech_in_a_batch_equals_alone(shared_speech):
    from ssft.data import read_audio

    files = sorted((shared_speech / "speechocean762_train" / "audio").glob("*.opus"))[:4]
    waves = [torch.from_numpy(read_audio(path)) for path in files]
    encoder = PretrainedEncoder.load("tiny")
    with torch.no_grad():
        together = encoder(Waves.stack(waves)).items()
        alone = [encoder(Waves.stack([wave])).values[0] for wave in waves]
    worst = max(float((a - b).abs().max()) for a, b in zip(together, alone, strict=True))
    assert worst <= 1e-4, worst
    assert len({len(wave) for wave in waves}) > 1


def test_split_encoder_survives_being_moved_and_copied():
    """The bottom is a second view of the same modules; it must see what happens to them."""
    split = SplitEncoder(random_encoder("hubert", "group"), 1)
    waves = random_waves(8000)
    split.to(torch.float64).to(torch.float32)
    with torch.no_grad():
        split.encoder.model.encoder.layers[0].feed_forward.output_dense.bias.add_(1.0)
    assert differences(split.eval()(waves), split.encoder(waves)) == 0.0
    other = copy.deepcopy(split)
    with torch.no_grad():
        other.encoder.model.encoder.layers[0].feed_forward.output_dense.bias.add_(1.0)
    assert differences(other(waves), other.encoder(waves)) == 0.0
    assert differences(other(waves), split(waves)) > 0
    assert np.isfinite(differences(other(waves), split(waves)))
