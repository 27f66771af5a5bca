"""Adapters: nothing at first, then only they move, and what they learned becomes plain weights."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from random_encoders import LAYERS, VARIETIES, model_input, random_encoder, random_waves
from torch import nn

from ssft.cli.main import main
from ssft.encoders import Encoder, FrozenReference, Lora, MovingAverage, PretrainedEncoder, SplitEncoder
from ssft.encoders.lora import base_weights, copy_sharing_base, merged
from ssft.engine import CorrespondenceModel
from ssft.engine.optim import layer_depths, trainable
from ssft.errors import RecipeError, RunError
from ssft.export import export_encoder
from ssft.heads import Identity
from ssft.losses import SoftDTW
from ssft.recipe import Recipe, load_recipe
from ssft.runs import trainable_table, with_overrides
from ssft.types import Pair, PairBatch

SOME = [("hubert", "group"), ("wavlm", "layer"), ("wav2vec2-bert", "relative")]
CASES = [*((*variety, False) for variety in VARIETIES), *((*variety, True) for variety in SOME)]
WAVES = random_waves(6000, 9000, 4000)


def adapted(family, norm, layers=2, *, dropout=0.0, train_also=(), **settings):
    encoder = random_encoder(family, norm, dropout=dropout)
    return SplitEncoder(encoder, layers, train_also=train_also, adapter=Lora(**settings))


@torch.no_grad()
def train_somehow(module, seed=0, size=0.1):
    """Move every adapter, as training would but farther."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        if ".lora_" in name:
            scale = size * parameter.abs().mean() if "magnitude" in name else size
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))


def difference(a, b):
    return float((a.valid() - b.valid()).detach().abs().max())


def batch():
    waves = list(random_waves(9000, 7000).items())
    return PairBatch.collate([Pair(str(i), w, w[:-640], 0.5) for i, w in enumerate(waves)])


@pytest.mark.parametrize("dora", [False, True])
def test_the_formula(dora):
    """A slow reading of it, in float64, for every projection that is adapted."""
    split = adapted("hubert", "group", 1, rank=3, alpha=5.0, dora=dora)
    before = copy.deepcopy(base_weights(split.encoder.model))
    train_somehow(split)
    split.double().eval()
    for name, layer in split.encoder.model.named_modules():
        if not hasattr(layer, "base_layer"):
            continue
        a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        weight, bias = (before[f"{name}.{part}"].double() for part in ("weight", "bias"))
        corrected = weight + 5.0 / 3 * b @ a
        if dora:
            length = torch.tensor([sum(w**2 for w in row.tolist()) ** 0.5 for row in corrected]).double()
            corrected = layer.lora_magnitude_vector["default"].weight[:, None] * corrected / length[:, None]
        x = torch.randn(4, weight.shape[1]).double()
        torch.testing.assert_close(layer(x), x @ corrected.T + bias, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(("family", "norm", "dora"), CASES)
@torch.no_grad()
def test_training_begins_at_the_encoder_as_it_was(family, norm, dora):
    plain = random_encoder(family, norm)
    split = adapted(family, norm, dora=dora)
    assert split.encoder.weights_hash() == plain.weights_hash()
    if family == "wavlm":  # attends through its projections then, which is equal to rounding
        assert difference(split(WAVES), plain(WAVES)) <= 2e-6
        from ssft.encoders.wavlm_attention import project_attention

        project_attention(plain.model)
    assert difference(split.eval()(WAVES), plain(WAVES)) == 0.0


@pytest.mark.parametrize(("family", "norm", "dora"), CASES)
@torch.no_grad()
def test_the_seam_is_exact_and_the_reference_is_the_encoder_without_adapters(family, norm, dora):
    for count in (1, LAYERS):
        split = adapted(family, norm, count, dora=dora).eval()
        hidden, before = split.bottom(WAVES), split(WAVES)
        reference = FrozenReference(split)
        train_somehow(split)
        after = split.top(hidden)
        assert difference(after, split.encoder(WAVES)) == 0.0
        assert difference(after, before) > 1e-3
        assert difference(reference(split, hidden, [LAYERS])[0], before) == 0.0


@pytest.mark.parametrize(("family", "norm"), VARIETIES)
def test_every_linear_module_of_a_layer_can_be_adapted(family, norm):
    """None is read by its raw weights, which an adapter would not change: each alone changes the output and learns."""
    layer = random_encoder(family, norm).layers[1]
    names = [name for name, module in layer.named_modules() if isinstance(module, nn.Linear)]
    assert len(names) >= 6
    for name in names:
        split = adapted(family, norm, [2], targets=[name])
        before = split.eval()(WAVES)
        train_somehow(split, size=1.0)
        after = split(WAVES)
        after.valid().pow(3).sum().backward()
        gradients = {n: p.grad for n, p in trainable(split).items()}
        assert len(gradients) == 2
        assert all(n.startswith(f"encoder.model.encoder.layers.1.{name}.lora_") for n in gradients)
        assert all(torch.isfinite(g).all() for g in gradients.values())
        if not name.endswith(("k_proj", "linear_k", "q_proj", "linear_q", "linear_pos", "gru_rel_pos_linear")):
            assert difference(after, before) > 1e-3, name
        else:  # a fresh encoder attends to all frames nearly alike, whatever its scores
            assert difference(after, before) > 1e-6, name
        assert all(g.abs().max() > 0 for g in gradients.values()), name


@pytest.mark.parametrize(("family", "norm"), VARIETIES)
def test_without_targets_attention_and_feed_forward_are_adapted(family, norm):
    split = adapted(family, norm, [1, 3])
    found = {name.split(".lora_")[0] for name in trainable(split)}
    if family in ("wav2vec2-bert", "wav2vec2-conformer"):
        parts = {f"self_attn.linear_{kind}" for kind in ("q", "k", "v", "out")}
        parts |= {f"ffn{n}.{name}" for n in (1, 2) for name in ("intermediate_dense", "output_dense")}
    else:
        parts = {f"attention.{name}" for name in ("q_proj", "k_proj", "v_proj", "out_proj")}
        parts |= {"feed_forward.intermediate_dense", "feed_forward.output_dense"}
    assert found == {f"encoder.model.encoder.layers.{layer}.{part}" for layer in (0, 2) for part in parts}


def test_targets_may_be_longer_ends_of_names():
    split = adapted("wav2vec2-bert", "relative", [2], targets=("ffn1.output_dense", "linear_pos"))
    found = {name.split(".lora_")[0].rpartition("layers.1.")[2] for name in trainable(split)}
    assert found == {"ffn1.output_dense", "self_attn.linear_pos"}


@pytest.mark.parametrize(("family", "norm", "dora"), CASES)
def test_a_step_moves_the_adapters_and_nothing_else(family, norm, dora):
    split = adapted(family, norm, dora=dora, dropout=0.1)
    model = CorrespondenceModel(split, Identity(), SoftDTW())
    optimizer = torch.optim.AdamW(trainable(model).values(), lr=1e-2)
    before = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    for step in range(2):
        optimizer.zero_grad()
        model.train()(batch())["loss"].backward()
        for name, parameter in trainable(model).items():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
            assert parameter.dtype == torch.float32
            # B is zero at first, so A does not matter yet.
            assert (float(parameter.grad.abs().max()) > 0) == (step == 1 or "lora_A" not in name), name
        optimizer.step()
    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == set(trainable(model))
    assert all(".lora_" in name for name in moved)
    assert all(p.grad is None for name, p in model.named_parameters() if name not in moved)


def test_norms_beside_adapters_train_too():
    split = adapted("hubert", "group", train_also=["encoder.layers.2.final_layer_norm", "encoder.layers.0.*"])
    names = set(trainable(split))
    assert "encoder.model.encoder.layers.2.final_layer_norm.weight" in names
    assert "encoder.model.encoder.layers.0.attention.q_proj.weight" in names
    assert sum(".lora_" in name for name in names) == 24
    assert split.cut == 0


@pytest.mark.parametrize("train_also", ["encoder.layers.2", "encoder.layers.1.attention.q_proj.weight", "*.bias"])
def test_training_in_full_what_is_adapted_is_refused(train_also):
    encoder = random_encoder("hubert", "group")
    with pytest.raises(RecipeError, match=r"in full, and encoder\.adapter adapts it\. Leave"):
        SplitEncoder(encoder, 2, train_also=[train_also], adapter=Lora())
    assert not any(".lora_" in name for name in encoder.model.state_dict())


@pytest.mark.parametrize(
    ("family", "target", "message"),
    [
        ("hubert", "q_prj", r"layers 2, 3 of hubert-.*'q_prj'. Did you mean 'q_proj'\? Known: .*output_dense"),
        ("hubert", "linear_q", r"'linear_q'\. .*Known: intermediate_dense, k_proj"),
        ("hubert", "layer_norm", "no linear module .*'layer_norm'"),
        ("hubert", "proj", "'proj'"),
        ("hubert", "encoder.layers.0.attention.q_proj", "'encoder.layers.0.attention.q_proj'"),
        ("wavlm", "rel_attn_embed", "no linear module"),
        ("wav2vec2-conformer", "depthwise_conv", "no linear module"),
        ("wav2vec2-bert", "q_proj", "Known: intermediate_dense, linear_k"),
    ],
)
def test_targets_that_match_nothing_linear_are_refused(family, target, message):
    norm = dict(VARIETIES[::-1])[family]
    encoder = random_encoder(family, norm)
    with pytest.raises(RecipeError, match=message):
        SplitEncoder(encoder, 2, adapter=Lora(targets=("output_dense", target)))
    assert not any(".lora_" in name for name in encoder.model.state_dict())


def test_all_of_it_is_refused_before_weights_are_loaded(monkeypatch):
    monkeypatch.setattr(PretrainedEncoder, "load", None)
    Encoder("tiny", adapter=Lora()).check()
    with pytest.raises(RecipeError, match="layers 5, 6 of tiny"):
        Encoder("tiny", adapter=Lora(targets=["queries"])).check()
    with pytest.raises(RecipeError, match="in full"):
        Encoder("tiny", adapter=Lora(), train_also=["encoder.layers.5"]).check()


def test_adapters_on_adapters_are_refused():
    split = adapted("hubert", "group")
    with pytest.raises(RecipeError, match="has adapters already"):
        SplitEncoder(split.encoder, 1, adapter=Lora())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank": 0}, r"Lora\(rank=0\): .*at least 1"),
        ({"alpha": 0}, r"Lora\(alpha=0\): .*above 0"),
        ({"alpha": float("nan")}, r"Lora\(alpha=nan\)"),
        ({"dropout": 1.0}, r"Lora\(dropout=1.0\): .*below 1"),
        ({"dropout": -0.1}, "from 0"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(RecipeError, match=message):
        Lora(**settings)
    with pytest.raises(RecipeError, match=r"is no adapter\. Give Lora"):
        Encoder("tiny", adapter="lora")


def test_adapters_begin_the_same_for_a_seed_whatever_else_is_random():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    encoders = [random_encoder("hubert", "group") for _ in range(3)]
    torch.manual_seed(5)
    splits = [
        SplitEncoder(encoder, 1, adapter=Lora(seed=seed)) for encoder, seed in zip(encoders, (0, 0, 1), strict=True)
    ]
    assert torch.rand(1) == expected
    first, second, other = ([p for name, p in trainable(s).items() if "lora_A" in name] for s in splits)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize(("family", "norm"), VARIETIES)
def test_merged_is_a_plain_checkpoint_that_computes_the_same(family, norm, dora, tmp_path):
    from transformers import AutoModel

    split = adapted(family, norm, dora=dora).eval()
    before = {name: tensor.clone() for name, tensor in base_weights(split.encoder.model).items()}
    train_somehow(split)
    with torch.no_grad():
        trained = split(WAVES)
        plain = merged(split.encoder)
        assert difference(plain(WAVES), trained) <= 1e-5
        assert difference(split(WAVES), trained) == 0.0
    assert all(torch.equal(before[name], tensor) for name, tensor in base_weights(split.encoder.model).items())
    export_encoder(split.encoder, tmp_path / "out", card="", recipe="", provenance={})
    reloaded = AutoModel.from_pretrained(tmp_path / "out", dtype=torch.float32).eval()
    fresh = random_encoder(family, norm).model
    assert type(reloaded) is type(fresh)
    assert set(reloaded.state_dict()) == set(before)
    changed = {name for name, tensor in reloaded.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {f"{name.split('encoder.model.')[1].split('.lora_')[0]}.weight" for name in trainable(split)}
    again = PretrainedEncoder.load(str(tmp_path / "out"))
    with torch.no_grad():
        assert difference(again(WAVES), trained) <= 1e-5


@pytest.mark.parametrize(("family", "norm", "dora"), CASES)
def test_the_adapter_alone_goes_onto_the_base_with_peft(family, norm, dora, tmp_path):
    from peft import PeftModel
    from transformers import AutoModel

    split = adapted(family, norm, [1, 3], dora=dora, rank=4).eval()
    random_encoder(family, norm).save(tmp_path / "base")
    train_somehow(split)
    export_encoder(
        split.encoder,
        tmp_path / "adapter",
        card="",
        recipe="",
        provenance={"base": {"revision": "abc"}},
        adapter_only=True,
    )
    names = {path.name for path in (tmp_path / "adapter").iterdir()}
    assert names == {"adapter_config.json", "adapter_model.safetensors", "README.md", "recipe.yaml", "ssft.json"}
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == f"{family}-{norm}"
    assert config["revision"] == "abc"
    assert config["target_modules"] == sorted(config["target_modules"])
    assert config["layers_to_transform"] == [0, 2]
    wave = random_waves(12000)
    with torch.no_grad():
        expected = split(wave).values
        model = PeftModel.from_pretrained(AutoModel.from_pretrained(tmp_path / "base"), tmp_path / "adapter").eval()
        samples = model_input(split.encoder, wave)
        found = [model(samples).last_hidden_state]
        found.append(model.merge_and_unload()(samples).last_hidden_state)
    close = [float((values[:, : expected.shape[1]] - expected).abs().max()) <= 1e-5 for values in found]
    # transformers' WavLM ignores adapters that have not been merged, as the card says.
    assert close == [family != "wavlm", True]


def test_an_adapter_alone_is_refused_where_more_was_trained(tmp_path):
    more = adapted("hubert", "group", train_also=["encoder.layers.2.final_layer_norm"])
    for split in (more, SplitEncoder(random_encoder("hubert", "group"), 1)):
        with pytest.raises(RunError, match=r"layer_norm.*Export without --adapter|q_proj|k_proj"):
            export_encoder(split.encoder, tmp_path / "x", card="", recipe="", provenance={}, adapter_only=True)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("dora", [False, True])
def test_training_state_holds_adapters_and_loads_again(dora):
    def model(seed):
        return CorrespondenceModel(adapted("wavlm", "group", dora=dora, seed=seed), Identity(), SoftDTW())

    first, second = model(0), model(1)
    train_somehow(first.encoder)
    state = {name: tensor.clone() for name, tensor in first.training_state().items()}
    assert set(state) == set(trainable(first))
    assert len(state) == 2 * 6 * (3 if dora else 2)
    second.load_training_state(state)
    with torch.no_grad():
        assert difference(second.encoder.eval()(WAVES), first.encoder.eval()(WAVES)) == 0.0
        views = [m.reference(m.encoder, m.encoder.bottom(WAVES), [LAYERS])[0] for m in (first, second)]
    assert difference(*views) == 0.0
    assert set(layer_depths(state).values()) == {0, 1}  # layer-wise rates see adapters as parts of their layers


@pytest.mark.parametrize(("family", "norm"), SOME)
def test_the_reference_shares_what_is_never_trained(family, norm):
    split = adapted(family, norm)
    reference = FrozenReference(split)
    own = dict(split.own_top().named_parameters())
    shared = {name for name, p in reference.top.named_parameters() if p.data_ptr() == own[name].data_ptr()}
    assert shared == {name for name in own if ".base_layer." in name}
    copied = sum(p.numel() for name, p in own.items() if name not in shared)
    assert copied < 0.5 * sum(p.numel() for p in own.values())
    assert not any(p.requires_grad for p in reference.parameters())
    plain = copy_sharing_base(SplitEncoder(random_encoder(family, norm), 2))
    assert plain.encoder.layers[0] is not split.encoder.layers[0]


def test_a_moving_average_of_adapters():
    split = adapted("hubert", "group")
    average = MovingAverage(0.5, 0.5, rise_steps=0)
    model = CorrespondenceModel(split, Identity(), SoftDTW(), reference=average)
    start = {name: p.detach().clone() for name, p in split.own_top().named_parameters() if p.requires_grad}
    train_somehow(split)
    model.after_step()
    for name, p in model.reference.top.named_parameters():
        if name in start:
            torch.testing.assert_close(p, (start[name] + split.own_top().get_parameter(name).detach()) / 2)
    assert len(start) == 24


@pytest.mark.parametrize(("family", "norm", "dora"), CASES)
def test_bf16_autocast(family, norm, dora):
    split = adapted(family, norm, dora=dora)
    train_somehow(split)
    exact = split.eval()(WAVES).valid().detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = split(WAVES).valid().float()
        rounded.pow(3).mean().backward()
    assert float(torch.cosine_similarity(rounded, exact, dim=-1).min()) >= 0.99
    for parameter in trainable(split).values():
        assert parameter.dtype == parameter.grad.dtype == torch.float32
        assert torch.isfinite(parameter.grad).all()


def test_dropout_is_live_in_training_mode_only():
    split = adapted("hubert", "group", dropout=0.0)
    own = SplitEncoder(random_encoder("hubert", "group", dropout=0.0), 2, adapter=Lora(dropout=0.5))
    for each, changes in ((split, False), (own, True)):
        train_somehow(each)
        hidden = each.bottom(WAVES)
        assert difference(each.train().top(hidden), each.top(hidden)) > 0 or not changes
        assert difference(each.eval().top(hidden), each.top(hidden)) == 0.0


def test_the_table_lists_adapters_with_shapes():
    model = CorrespondenceModel(adapted("hubert", "group", 1, rank=2, dora=True), Identity(), SoftDTW())
    lines = [line.split() for line in trainable_table(model).splitlines()[1:-1]]
    shapes = {name: shape for name, shape, _ in lines}
    assert len(shapes) == 18
    prefix = "encoder.layers.2.attention.q_proj.lora_"
    assert shapes[f"{prefix}A.default.weight"] == "2x32"
    assert shapes[f"{prefix}B.default.weight"] == "32x2"
    assert shapes[f"{prefix}magnitude_vector.default.weight"] == "32"


def test_recipes_hold_it_in_yaml_and_on_the_command_line():
    recipe = Recipe(name="r", encoder=Encoder("tiny", adapter=Lora(rank=4, targets=["q_proj"], dora=True)))
    again = Recipe.from_yaml(recipe.to_yaml())
    assert again.encoder.adapter == recipe.encoder.adapter
    assert again.describe()["encoder"]["adapter"] == {
        "name": "lora",
        "rank": 4,
        "alpha": 16.0,
        "dropout": 0.0,
        "targets": ["q_proj"],
        "dora": True,
        "seed": 0,
    }
    assert with_overrides(recipe, ["--encoder.adapter.rank", "2"]).encoder.adapter.rank == 2
    assert with_overrides(recipe, ["--encoder.adapter", "null"]).encoder.adapter is None
    plain = load_recipe("score_tiny")
    assert plain.encoder.adapter is None
    assert with_overrides(plain, ["--encoder.adapter", "lora"]).encoder.adapter == Lora()
    both = with_overrides(plain, ["--encoder.adapter", "lora", "--encoder.adapter.alpha", "1e1"])
    assert both.encoder.adapter == Lora(alpha=10.0)
    with pytest.raises(RecipeError, match=r"encoder\.adapter: 'lore' is not known\. Did you mean 'lora'"):
        with_overrides(plain, ["--encoder.adapter", "lore"])
    with pytest.raises(RecipeError, match=r"no setting 'r'"):
        with_overrides(recipe, ["--encoder.adapter.r", "2"])


def test_a_run_trains_resumes_and_exports(recordings, tmp_path, capsys):
    run = tmp_path / "run"
    settings = "--encoder.adapter lora --encoder.adapter.rank 2 --train.steps 3 --train.save_every 2"
    settings += " --train.batch_seconds 5 --train.warmup_steps 0 --train.lr 1e-2 --data.workers 0"
    assert main(["train", "score_tiny", "--data.root", str(recordings), *settings.split(), "--out", str(run)]) == 0
    printed = capsys.readouterr().out
    assert "lora_A.default.weight" in printed
    assert "q_proj.weight " not in printed

    import shutil

    last = run / "checkpoints" / "step-000003"
    weights = (last / "model.safetensors").read_bytes()
    shutil.rmtree(last)
    assert main(["resume", str(run)]) == 0
    assert (last / "model.safetensors").read_bytes() == weights

    from ssft.engine.checkpoint import CheckpointFolder
    from ssft.run_export import _model
    from ssft.runs import recorded_recipe

    trained = _model(recorded_recipe(run))
    trained.load_training_state(CheckpointFolder(run / "checkpoints").load()[0].model)
    base, exported = PretrainedEncoder.load("tiny"), PretrainedEncoder.load(str(run / "adapted"))
    assert json.loads((run / "adapted" / "ssft.json").read_text())["base"]["sha256"] == base.weights_hash()
    with torch.no_grad():
        expected = trained.encoder.eval()(WAVES)
        assert difference(exported(WAVES), expected) <= 1e-5
        assert difference(base(WAVES), expected) > 1e-2
    assert set(exported.model.state_dict()) == set(base.model.state_dict())
    assert "lora(rank=2" in (run / "adapted" / "README.md").read_text()

    assert main(["export", str(run), "--adapter"]) == 0
    assert "adapter: " in capsys.readouterr().out
    card = (run / "adapter" / "README.md").read_text()
    assert "PeftModel.from_pretrained" in card
    assert main(["export", str(run), "--adapter", "--to", str(tmp_path / "again")]) == 0
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (run / "adapter" / name).read_bytes()
