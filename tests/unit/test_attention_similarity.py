"""Similarity of attention: by hand on small maps, and on encoders of every family."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from random_encoders import VARIETIES, random_encoder
from scipy.spatial.distance import jensenshannon

from ssft.analysis.similarity.attention import (
    QUERIES,
    attention_rows,
    attention_similarity,
    eager_attention,
    head_similarities,
)
from ssft.encoders import PretrainedEncoder
from ssft.errors import DataError, EncoderError
from ssft.randomness import derive_rng
from ssft.types import Utterance, Waves


def maps(heads: int, frames: int = 9, *, seed: int = 0) -> torch.Tensor:
    values = np.random.default_rng(seed).dirichlet(np.full(frames, 0.5), size=(heads, frames))
    return torch.from_numpy(values)


@pytest.fixture(scope="module")
def utterances(tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    folder, made = tmp_path_factory.mktemp("attention"), []
    for number, seconds in enumerate((0.5, 0.7, 1.1)):
        path = folder / f"{number}.wav"
        wave = np.random.default_rng(number).normal(scale=0.1, size=round(16_000 * seconds))
        sf.write(path, wave, 16_000)
        made.append(Utterance(id=path.name, path=path, seconds=seconds))
    return made


def wave_of(utterance: Utterance) -> np.ndarray:
    return sf.read(utterance.path, dtype="float32")[0]


def every(count: int) -> torch.Tensor:
    return torch.arange(count)


def test_similarities_of_maps_are_what_scipy_and_numpy_say() -> None:
    p, q = maps(1)[0], maps(1, seed=1)[0]
    frobenius, pearson, jensen_shannon = head_similarities(p, q).tolist()
    assert frobenius == pytest.approx(1 - np.linalg.norm(p - q) / np.sqrt(2 * 9))
    assert pearson == pytest.approx(np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(p, q, strict=True)]))
    divergences = [jensenshannon(a, b, base=2) ** 2 for a, b in zip(p, q, strict=True)]
    assert jensen_shannon == pytest.approx(1 - np.mean(divergences))


def test_similarities_are_1_of_the_same_maps_and_0_of_maps_that_look_elsewhere() -> None:
    p = maps(3)
    np.testing.assert_allclose(head_similarities(p, p), 1, atol=1e-12)
    looks_left, looks_right = torch.zeros(4, 6), torch.zeros(4, 6)
    looks_left[:, 0] = looks_right[:, 5] = 1
    frobenius, pearson, jensen_shannon = head_similarities(looks_left, looks_right).tolist()
    assert (frobenius, jensen_shannon) == (0, 0)
    assert pearson == pytest.approx(-1 / 5)


def test_a_uniform_row_correlates_with_nothing() -> None:
    uniform = torch.full((2, 5), 0.2, dtype=torch.float64)
    assert head_similarities(uniform, maps(1, 5)[0, :2])[1] == 0


@pytest.mark.parametrize("seed", range(5))
def test_similarities_stay_within_their_bounds(seed: int) -> None:
    found = head_similarities(maps(4, seed=seed)[:, None], maps(3, seed=seed + 50)[None])
    assert found.shape == (3, 4, 3)
    assert (found[0] >= 0).all()
    assert (found[1].abs() <= 1).all()
    assert (found[2] >= 0).all()
    assert (found <= 1).all()


@pytest.mark.parametrize(("family", "norm"), [pair for pair in VARIETIES if pair[0] != "wavlm"])
def test_rows_are_those_of_the_model_s_own_attentions(family: str, norm: str, utterances) -> None:
    encoder, wave = random_encoder(family, norm), wave_of(utterances[0])
    with eager_attention(encoder):
        found = attention_rows(encoder, wave, every)
        name = "input_features" if family == "wav2vec2-bert" else "input_values"
        inputs = encoder.extractor(wave, sampling_rate=16_000, return_tensors="pt")[name]
        with torch.no_grad():
            expected = encoder.model(inputs, output_attentions=True).attentions
    assert len(found) == len(expected) == encoder.num_layers
    for own, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(own, other[0], atol=1e-5)
        np.testing.assert_allclose(own.sum(-1), 1, atol=1e-5)


@pytest.mark.parametrize(("family", "norm"), [pair for pair in VARIETIES if pair[0] != "wavlm"])
def test_an_encoder_has_1_with_itself_and_keeps_its_fast_attention(family: str, norm: str, utterances) -> None:
    encoder = random_encoder(family, norm)
    assert encoder.model.config._attn_implementation == "sdpa"
    before = encoder(Waves.stack([torch.from_numpy(wave_of(utterances[0]))])).values
    found = attention_similarity(encoder, encoder, utterances)
    for values in (found.frobenius, found.pearson, found.jensen_shannon):
        np.testing.assert_allclose(np.diagonal(values), 1, atol=1e-9)
        assert values.shape == (3, 3)
        assert values.max() <= 1 + 1e-9
    assert found.utterances == 3
    assert encoder.model.config._attn_implementation == "sdpa"
    assert not any(module._forward_hooks for module in encoder.modules())
    torch.testing.assert_close(encoder(Waves.stack([torch.from_numpy(wave_of(utterances[0]))])).values, before)


def test_layers_are_compared_by_the_best_head_of_the_other_then_the_mean_over_own_heads(utterances) -> None:
    x, y = random_encoder("hubert", "group"), random_encoder("wav2vec2", "layer", seed=1)
    found = attention_similarity(x, y, utterances[:2], layers_x=[1, 3], layers_y=[2])
    assert (found.layers_x, found.layers_y) == ((1, 3), (2,))
    assert max(len(wave_of(one)) for one in utterances[:2]) / 320 > QUERIES  # so that rows are drawn
    sums = np.zeros((3, 2, 4, 4))
    for utterance in utterances[:2]:
        count = int(x.frame_lengths(torch.tensor([len(wave_of(utterance))])))
        drawn = derive_rng(0, "attention queries", utterance.id).choice(count, size=min(QUERIES, count), replace=False)
        with eager_attention(x), eager_attention(y):
            rows_x = attention_rows(x, wave_of(utterance), every)
            rows_y = attention_rows(y, wave_of(utterance), every)
        for place, layer in enumerate((1, 3)):
            for h in range(4):
                for g in range(4):
                    p, q = rows_x[layer - 1][h][drawn], rows_y[1][g][drawn]
                    sums[:, place, h, g] += head_similarities(p, q).numpy()
    expected = (sums / 2).max(axis=-1).mean(axis=-1)
    for own, values in zip(expected, (found.frobenius, found.pearson, found.jensen_shannon), strict=True):
        np.testing.assert_allclose(values[:, 0], own, atol=1e-12)


def test_only_so_many_utterances_are_drawn_and_the_draw_is_the_seed_s(utterances) -> None:
    x, y = random_encoder("hubert", "group"), random_encoder("hubert", "group", seed=1)
    found = [attention_similarity(x, y, order, most_utterances=1, seed=3) for order in (utterances, utterances[::-1])]
    assert found[0].utterances == 1
    np.testing.assert_array_equal(found[0].pearson, found[1].pearson)


def test_an_encoder_is_put_back_also_when_something_fails(utterances) -> None:
    x, wavlm = random_encoder("hubert", "group"), random_encoder("wavlm", "group")
    with pytest.raises(EncoderError, match=r"\(wavlm\) gives no attention weights of single heads.*Leave out"):
        attention_similarity(x, wavlm, utterances)
    assert x.model.config._attn_implementation == "sdpa"
    assert not any(module._forward_hooks for encoder in (x, wavlm) for module in encoder.modules())


def test_what_cannot_be_compared_is_refused(utterances, tmp_path: Path) -> None:
    x = random_encoder("hubert", "group")
    with pytest.raises(DataError, match=r"No utterance of 3 .* same number of frames"):
        attention_similarity(x, random_encoder("sew", "group"), utterances)  # whose layers have half of the frames
    with pytest.raises(EncoderError, match=r"layer=4: .* attention in layers 1 to 3"):
        attention_similarity(x, x, utterances, layers_x=[4])
    with pytest.raises(EncoderError, match=r"No layer .* counted from 1"):
        attention_similarity(x, x, utterances, layers_y=[])
    slow = random_encoder("hubert", "group")
    slow.stem.frame_rate = 25.0
    with pytest.raises(EncoderError, match=r"50 frames a second and .* 25"):
        attention_similarity(x, slow, utterances)
    with pytest.raises(DataError, match="No utterance of 1"):
        attention_similarity(x, x, [Utterance(id="gone.wav", path=tmp_path / "gone.wav", seconds=1.0)])


def test_one_utterance_of_one_frame_is_enough(tmp_path: Path) -> None:
    sf.write(tmp_path / "a.wav", np.random.default_rng(0).normal(scale=0.1, size=400), 16_000)
    x = PretrainedEncoder.load("tiny")
    found = attention_similarity(x, x, [Utterance(id="a.wav", path=tmp_path / "a.wav", seconds=0.025)])
    assert (found.jensen_shannon == 1).all()
    assert (found.pearson == 0).all()  # a row of one frame is uniform
