"""Layers that begin afresh, layers that are computed twice, and a compiled bottom."""

from __future__ import annotations

from functools import partialmethod

import pytest
import torch
from random_encoders import LAYERS, VARIETIES, random_encoder, random_waves

from ssft.encoders import Encoder, FrozenReference, Lora, SplitEncoder
from ssft.engine import CorrespondenceModel
from ssft.engine.anchors import Distillation
from ssft.errors import RecipeError
from ssft.heads import Identity
from ssft.losses import SoftDTW
from ssft.types import Pair, PairBatch


def batch(*lengths):
    waves = list(random_waves(*lengths).items())
    return PairBatch.collate([Pair(str(i), w, w[:-640], 0.5) for i, w in enumerate(waves)])


# ---------------------------------------------------------------------------------------------------- reset layers


@pytest.mark.parametrize(("family", "norm"), VARIETIES)
def test_reset_layers_are_as_before_pretraining_and_no_other(family, norm):
    start = random_encoder(family, norm, seed=1).model.state_dict()
    split = SplitEncoder(random_encoder(family, norm, seed=1), 2, reset_layers=1)
    again = SplitEncoder(random_encoder(family, norm, seed=1), 2, reset_layers=1)
    std = split.encoder.model.config.initializer_range
    for name, tensor in split.encoder.model.state_dict().items():
        assert torch.equal(tensor, again.encoder.model.state_dict()[name])
        if not name.startswith(f"encoder.layers.{LAYERS - 1}."):
            assert torch.equal(tensor, start[name]), name
        elif "norm" in name.split(".")[-2]:
            assert set(tensor.flatten().tolist()) <= {0.0, 1.0}
        elif name.endswith(".bias"):
            assert not tensor.any()
        elif tensor.numel() > 500:
            assert not torch.equal(tensor, start[name])
            assert float(tensor.std()) == pytest.approx(std, rel=0.2), name
            assert abs(float(tensor.mean())) < 0.2 * std
    assert torch.isfinite(split(random_waves(8000, 6000)).valid()).all()


def test_the_reference_and_the_anchor_are_the_encoder_before_its_reset():
    plain = SplitEncoder(random_encoder("wavlm", "group", dropout=0.0), 2).eval()
    split = SplitEncoder(random_encoder("wavlm", "group", dropout=0.0), 2, reset_layers=2).eval()
    waves = random_waves(8000, 6000)
    with torch.no_grad():
        hidden = split.bottom(waves)
        (told,) = FrozenReference(split)(split, hidden, [LAYERS])
        torch.testing.assert_close(told.values, plain(waves).values, atol=2e-6, rtol=0)
        assert float((split(waves).values - told.values).abs().max()) > 1e-2
    model = CorrespondenceModel(split, Identity(False), SoftDTW(), reference="moving_average", anchor=Distillation())
    model.after_step()  # must not move what the anchor compares with
    (again,) = model.unadapted(split, hidden, [LAYERS])
    assert torch.equal(again.values, told.values)


def test_layers_that_would_stay_random_are_refused():
    with pytest.raises(RecipeError, match=r"reset_layers=2 would leave random layers .*trainable_layers is \[3\]"):
        SplitEncoder(random_encoder("hubert", "group"), 1, reset_layers=2)
    with pytest.raises(RecipeError, match=r"encoder.reset_layers=9, but .* has 3 transformer layers"):
        SplitEncoder(random_encoder("hubert", "group"), 3, reset_layers=9)
    with pytest.raises(RecipeError, match=r"encoder.reset_layers=-1"):
        Encoder(reset_layers=-1)


# ------------------------------------------------------------------------------------------- computing layers twice


@pytest.mark.parametrize("also", [(), ("encoder",)], ids=["layers", "all"])
@pytest.mark.parametrize(("family", "norm"), VARIETIES)
def test_gradients_are_the_same_when_layers_are_computed_twice(family, norm, also):
    results = []
    for checkpoint in (False, True):
        split = SplitEncoder(
            random_encoder(family, norm, dropout=0.2), 2, train_also=also, checkpoint_layers=checkpoint
        ).train()
        torch.manual_seed(3)
        split(random_waves(9000, 6000)).valid().square().mean().backward()
        results.append({name: p.grad for name, p in split.named_parameters() if p.grad is not None})
    assert results[0].keys() == results[1].keys()
    for name, gradient in results[0].items():
        torch.testing.assert_close(results[1][name], gradient, atol=1e-6, rtol=1e-4, msg=name)


def test_less_is_kept_for_the_backward_pass():
    saved = []
    for checkpoint in (False, True):
        split = SplitEncoder(random_encoder("hubert", "group"), 3, checkpoint_layers=checkpoint).train()
        sizes = {}

        def pack(tensor, sizes=sizes):
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        hidden = split.bottom(random_waves(32000, 32000))
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            split.top(hidden)
        saved.append(sum(sizes.values()))
    assert saved[1] < 0.3 * saved[0]


def test_adapters_and_several_loss_layers_go_with_it():
    split = SplitEncoder(random_encoder("wavlm", "group", dropout=0.0), 3, adapter=Lora(rank=2), checkpoint_layers=True)
    model = CorrespondenceModel(split, Identity(False), SoftDTW(), loss_layers=[1, 3])
    model(batch(9000, 7000))["loss"].backward()
    assert all(p.grad is not None for p in split.parameters() if p.requires_grad)


# ---------------------------------------------------------------------------------------------------- compiled bottom


def test_a_compiled_bottom_says_the_same(monkeypatch):
    """As traced; what the code generator makes of it takes minutes on a CPU: benchmarks/adaptation.py compares it."""
    monkeypatch.setattr(torch.nn.Module, "compile", partialmethod(torch.nn.Module.compile, backend="eager"))
    plain = SplitEncoder(random_encoder("hubert", "group"), 2)
    compiled = SplitEncoder(random_encoder("hubert", "group"), 2, compile_bottom=True)
    for lengths in ((9000, 6000), (12000,)):
        one, other = plain.bottom(random_waves(*lengths)), compiled.bottom(random_waves(*lengths))
        torch.testing.assert_close(one.values, other.values, atol=1e-5, rtol=1e-4)
    assert set(compiled.encoder.model.state_dict()) == set(plain.encoder.model.state_dict())
    with pytest.raises(RecipeError, match="the bottom has none"):
        SplitEncoder(random_encoder("hubert", "group"), 3, compile_bottom=True)
