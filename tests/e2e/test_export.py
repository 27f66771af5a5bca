"""What is exported loads everywhere, and computes what was trained."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ssft.cli.main import main
from ssft.encoders import PretrainedEncoder
from ssft.engine.checkpoint import CheckpointFolder
from ssft.run_export import _model
from ssft.runs import recorded_recipe
from ssft.types import Waves

FRESH = """
import sys
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "ssft":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Hide())
try:
    import ssft
except ModuleNotFoundError:
    pass
else:
    sys.exit("ssft can be imported")
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoFeatureExtractor, AutoModel
folder, waves, out = sys.argv[1:]
extractor, model = AutoFeatureExtractor.from_pretrained(folder), AutoModel.from_pretrained(folder)
states = {}
for parameter in model.parameters():
    parameter.data = parameter.data.clone()  # mapped from a file it lies at an odd address, where BLAS rounds otherwise
with torch.no_grad():
    for name, wave in load_file(waves).items():
        inputs = extractor(wave.numpy(), sampling_rate=16000, return_tensors="pt")
        states[f"{name}/input"] = inputs.input_values[0]
        output = model(**inputs, output_hidden_states=True)
        for layer, values in enumerate(output.hidden_states):
            states[f"{name}/{layer}"] = values[0].contiguous()
        states[f"{name}/last"] = output.last_hidden_state[0].clone()
save_file(states, out)
"""


@pytest.fixture(scope="module", params=["tiny", "wavlm-layer"])
def run(request, recordings, tmp_path_factory) -> Path:
    """A short run of the embedded encoder, and of one with stable layer norm and relative positions."""
    folder = tmp_path_factory.mktemp("export")
    model = request.param
    if model != "tiny":
        from random_encoders import random_encoder

        encoder = random_encoder("wavlm", "layer")
        encoder.model.save_pretrained(folder / "base")
        encoder.extractor.save_pretrained(folder / "base")
        model = str(folder / "base")
    settings = "--train.steps 4 --train.batch_seconds 5 --train.warmup_steps 1 --train.cache_variants 0 --train.lr 1e-2"
    arguments = ["train", "score_tiny", "--encoder.model", model, "--data.root", str(recordings), "--data.workers", "0"]
    assert main([*arguments, *settings.split(), "--out", str(folder / "run")]) == 0
    return folder / "run"


def test_opens_in_a_fresh_process_without_ssft(run, tmp_path):
    waves = {f"{n}": torch.randn(n, generator=torch.Generator().manual_seed(n)) * 0.1 for n in (400, 7777, 20000)}
    save_file(waves, tmp_path / "waves.safetensors")
    out = tmp_path / "states.safetensors"
    command = [sys.executable, "-I", "-c", FRESH, str(run / "adapted"), str(tmp_path / "waves.safetensors"), str(out)]
    subprocess.run(command, check=True, cwd=tmp_path)

    recipe = recorded_recipe(run)
    trained = _model(recipe)
    trained.load_training_state(CheckpointFolder(run / "checkpoints").load()[0].model)
    trained.eval().requires_grad_(True)  # as in the fresh process: PyTorch picks kernels by it
    encoder, states = trained.encoder.encoder, load_file(out)
    for name in waves:
        inputs = states[f"{name}/input"][None]
        with torch.no_grad():
            ours = encoder.model(inputs, output_hidden_states=True)
            top = trained.encoder(Waves.stack([waves[name]])).values[0]
        for layer, values in enumerate(ours.hidden_states):
            assert float((values[0] - states[f"{name}/{layer}"]).abs().max()) <= 1e-6, (name, layer)
        assert float((ours.last_hidden_state[0] - states[f"{name}/last"]).abs().max()) <= 1e-6
        # What training compared is what the folder computes, up to the rounding of the input's normalisation.
        torch.testing.assert_close(top, states[f"{name}/last"], atol=2e-5, rtol=0)


def test_only_the_trained_layers_differ_from_the_base(run):
    recipe = recorded_recipe(run)
    base = PretrainedEncoder.load(recipe.encoder.model).model.state_dict()
    adapted = load_file(run / "adapted" / "model.safetensors")
    assert set(adapted) == set(base)
    changed = {name for name in base if not torch.equal(base[name], adapted[name])}
    layers = len({name.split(".")[2] for name in base if name.startswith("encoder.layers.")})
    expected = {n for n in base if n.startswith((f"encoder.layers.{layers - 1}.", f"encoder.layers.{layers - 2}."))}
    assert changed == expected


def test_the_folder_is_complete_and_says_where_it_comes_from(run):
    folder = run / "adapted"
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "README.md",
        "recipe.yaml",
        "ssft.json",
    }
    facts = json.loads((folder / "ssft.json").read_text())
    recipe = recorded_recipe(run)
    assert facts["base"]["model"] == recipe.encoder.model
    assert len(facts["base"]["sha256"]) == 64
    assert facts["steps"] == 4
    assert facts["data"]["utterances"] == 16
    assert facts["heard_hours"] > 0
    assert (folder / "recipe.yaml").read_text() == (run / "recipe.yaml").read_text()
    card = (folder / "README.md").read_text()
    for text in (
        recipe.encoder.model,
        "last_hidden_state",
        "AutoModel.from_pretrained",
        "soft_dtw",
        "speed_perturb",
        "0.00",
    ):
        assert text in card
    assert "{" not in card.split("```yaml")[0].replace("{}", ""), "an unfilled place, or a Python dict, in the card"


def test_export_again_elsewhere_is_the_same_and_refuses_foreign_folders(run, tmp_path, capsys):
    assert main(["export", str(run), "--to", str(tmp_path / "copy")]) == 0
    for name in ("model.safetensors", "config.json", "preprocessor_config.json", "ssft.json"):
        assert (tmp_path / "copy" / name).read_bytes() == (run / "adapted" / name).read_bytes()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    assert main(["export", str(run), "--to", str(tmp_path / "mine")]) == 1
    assert "is not an ssft export" in capsys.readouterr().err
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_a_base_that_changed_is_not_exported_as_if_it_had_not(run, tmp_path, capsys):
    recipe = recorded_recipe(run)
    if recipe.encoder.model == "tiny":
        pytest.skip("the embedded encoder does not change")
    weights = Path(recipe.encoder.model) / "model.safetensors"
    original = weights.read_bytes()
    tensors = load_file(weights)
    tensors["encoder.layers.0.layer_norm.bias"] = tensors["encoder.layers.0.layer_norm.bias"] + 1
    save_file(tensors, weights, metadata={"format": "pt"})
    try:
        assert main(["export", str(run), "--to", str(tmp_path / "wrong")]) == 1
        assert main(["resume", str(run)]) == 1
    finally:
        weights.write_bytes(original)
    assert capsys.readouterr().err.count("weights have changed") == 2
    assert not (tmp_path / "wrong").exists()


def test_an_adapted_encoder_can_be_adapted_again(run, recordings, tmp_path):
    settings = (
        "--train.steps 2 --train.batch_seconds 5 --train.warmup_steps 0 --train.cache_variants 0 --data.workers 0"
    )
    arguments = [
        "--encoder.model",
        str(run / "adapted"),
        "--data.root",
        str(recordings),
        "--out",
        str(tmp_path / "second"),
    ]
    assert main(["train", "score_tiny", *arguments, *settings.split()]) == 0
