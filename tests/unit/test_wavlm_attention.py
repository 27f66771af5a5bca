"""WavLM through its own projections: transformers' results and gradients, and adapters that take part."""

from __future__ import annotations

import copy

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from random_encoders import random_encoder, random_waves
from transformers.models.wavlm.modeling_wavlm import WavLMAttention

from ssft.encoders.wavlm_attention import ProjectedAttention, project_attention
from ssft.types import Waves

LENGTHS = {"padded": (9000, 16000, 5000), "unpadded": (8000, 8000)}


def two_encoders(norm, **settings):
    """Transformers' own attention, and ours with the same weights."""
    theirs = random_encoder("wavlm", norm, **settings)
    generator = torch.Generator().manual_seed(1)
    for layer in theirs.layers:  # a fresh model attends to all frames alike, and would hide mistakes
        for parameter in layer.attention.parameters():
            parameter.data.normal_(std=0.2, generator=generator)
    ours = copy.deepcopy(theirs)
    project_attention(ours.model)
    return theirs, ours


@pytest.mark.parametrize("padding", LENGTHS)
@pytest.mark.parametrize("norm", ["group", "layer"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 5e-6), (torch.float64, 1e-13)])
@torch.no_grad()
def test_hidden_states_are_those_of_transformers(norm, padding, dtype, tolerance):
    theirs, ours = (encoder.to(dtype) for encoder in two_encoders(norm))
    waves = random_waves(*LENGTHS[padding])
    waves = Waves(waves.samples.to(dtype), waves.lengths)
    for a, b in zip(theirs.hidden_states(waves), ours.hidden_states(waves), strict=True):
        assert float((a.valid() - b.valid()).abs().max()) <= tolerance
    assert not torch.equal(a.valid(), b.valid()), "the same kernels: nothing was replaced"


@pytest.mark.parametrize("padding", LENGTHS)
@pytest.mark.parametrize("norm", ["group", "layer"])
def test_gradients_in_training_mode_are_those_of_transformers(norm, padding):
    encoders = [encoder.double() for encoder in two_encoders(norm, dropout=0.0)]
    waves = random_waves(*LENGTHS[padding])
    waves = Waves(waves.samples.double(), waves.lengths)
    for encoder in encoders:
        for layer in encoder.layers:
            layer.train()
        encoder(waves).valid().pow(3).mean().backward()
    theirs, ours = (dict(encoder.model.encoder.named_parameters()) for encoder in encoders)
    assert list(theirs) == list(ours)
    for name, parameter in theirs.items():
        # A key's bias moves all scores of a query alike, so that its gradient is nothing but rounding.
        torch.testing.assert_close(ours[name].grad, parameter.grad, atol=1e-14, rtol=1e-8, msg=name)


@torch.no_grad()
def test_models_own_forward_takes_it():
    """The whole transformers model, which calls layers in its own way, mask and all."""
    theirs, ours = two_encoders("layer")
    samples = random_waves(8000, 12000)
    expected, found = (e.model(samples.samples, attention_mask=samples.mask.long()) for e in (theirs, ours))
    torch.testing.assert_close(found.last_hidden_state, expected.last_hidden_state, atol=5e-6, rtol=0)


@torch.no_grad()
def test_padding_is_not_attended_to():
    attention = two_encoders("layer")[1].layers[0].attention.eval()
    hidden, mask = torch.randn(1, 9, 32), torch.arange(9)[None] < 6
    output, _, bias = attention(hidden, attention_mask=mask)
    hidden[:, 6:] = 1e3
    again, _, _ = attention(hidden, attention_mask=mask, position_bias=bias)
    torch.testing.assert_close(again[:, :6], output[:, :6], atol=1e-6, rtol=0)
    alone, _, _ = attention(hidden[:, :6])
    torch.testing.assert_close(alone, output[:, :6], atol=2e-6, rtol=0)


@torch.no_grad()
def test_dropout_is_of_attention_weights_and_live_in_training_mode_only():
    theirs, ours = (encoder.layers[0].attention for encoder in two_encoders("layer", dropout=0.3))
    hidden = torch.randn(1, 7, 32, generator=torch.Generator().manual_seed(0)).repeat(4000, 1, 1)
    expected = ours.eval()(hidden)[0]
    assert torch.equal(ours(hidden)[0], expected)
    torch.manual_seed(0)
    spreads = []
    for attention in (ours.train(), theirs.train()):
        draws = attention(hidden)[0]  # each item is dropped from by itself
        # Weights are dropped before values are summed, so the mean over draws is the output without dropout.
        spread = draws.std(0)
        assert float(spread.min()) > 0
        assert float(((draws.mean(0) - expected[0]).abs() / (spread / 4000**0.5)).max()) < 5
        spreads.append(spread)
    assert float((spreads[0] / spreads[1] - 1).abs().max()) < 0.2


@torch.no_grad()
def test_position_bias_is_made_once_and_handed_up(monkeypatch):
    theirs, ours = two_encoders("group")
    expected = theirs.layers[0].attention(torch.zeros(2, 20, 32))[2]
    made = []
    original = WavLMAttention.compute_bias
    monkeypatch.setattr(WavLMAttention, "compute_bias", lambda *a: made.append(a) or original(*a))
    _, _, bias = ours.layers[0].attention(torch.zeros(2, 20, 32))
    assert torch.equal(bias, expected)
    ours(random_waves(9000, 7000))
    assert len(made) == 2


def test_parameters_and_names_stay():
    encoder = random_encoder("wavlm", "group")
    before = dict(encoder.model.named_parameters())
    digest = encoder.weights_hash()
    project_attention(encoder.model)
    after = dict(encoder.model.named_parameters())
    assert list(after) == list(before)
    assert all(after[name] is before[name] for name in before)
    assert encoder.weights_hash() == digest
    assert all(type(layer.attention) is ProjectedAttention for layer in encoder.layers)
    copied = copy.deepcopy(encoder)
    waves = random_waves(8000)
    with torch.no_grad():
        assert torch.equal(copied(waves).values, encoder(waves).values)


@torch.no_grad()
def test_a_batch_equals_its_items():
    encoder = two_encoders("layer")[1]
    waves = random_waves(9000, 16000, 5000)
    for samples, length, frames in zip(waves.samples, waves.lengths.tolist(), encoder(waves).items(), strict=True):
        alone = encoder(Waves.stack([samples[:length]])).values[0]
        assert float((alone - frames).abs().max()) <= 1e-5


@torch.no_grad()
def test_bf16_autocast_stays_near_float32():
    theirs, ours = two_encoders("layer")
    waves = random_waves(9000, 16000)
    exact = ours(waves).valid()
    cosines = []
    for encoder in (theirs, ours):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = encoder(waves).valid()
        cosines.append(float(torch.cosine_similarity(rounded.float(), exact, dim=-1).min()))
    assert cosines[1] >= 0.99, cosines
    assert cosines[1] >= cosines[0] - 1e-3, "worse than transformers' own"


def test_what_it_is_for():
    """Around transformers' own attention an adapter has no effect and no gradient; around this one it has both.

    When the first half fails, transformers calls its projections, and this class can go.
    """
    config = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    waves = random_waves(8000)
    for encoder, acts in zip(two_encoders("group"), (False, True), strict=True):
        before = encoder(waves).values.detach()
        inject_adapter_in_model(config, encoder.model)
        after = encoder.eval()(waves).values
        if acts:
            after.sum().backward()
        assert after.requires_grad == acts
        gradients = [p.grad for name, p in encoder.model.named_parameters() if ".lora_" in name]
        assert gradients
        assert all((gradient is not None) == acts for gradient in gradients)
        assert (float((after.detach() - before).abs().max()) > 1e-3) == acts
