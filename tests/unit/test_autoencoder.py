"""Autoencoder behaviour: profiles on held-out utterances, folding back, and what is recommended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as student

from ssft.analysis.autoencoder import Material, Profile
from ssft.analysis.autoencoder_page import panels, record_of, to_markdown
from ssft.analysis.fold_back import FoldBack, fold_back, recommend
from ssft.analysis.held_out import Estimate, draw_folds, held_out_likeness
from ssft.analysis.moments import JointMoments
from ssft.analysis.similarity.cca import pwcca
from ssft.errors import DataError, EncoderError, RecipeError
from ssft.evaluation.corpus import LabelledCorpus
from ssft.evaluation.frames import CLEAN, FramesById
from ssft.evaluation.items import Segment
from ssft.evaluation.systems import LogMel, LogMelFrames, Mfcc
from ssft.types import Utterance
from tests.frame_stores import GivenFrames

WIDTH, UTTERANCES, SECONDS = 48, 20, 3.0
PHONES = ("AA", "B", "CH", "D", "EH", "F", "G", "HH")
FOLDS_BACK = (1.0, 0.6, 0.4, 0.25, 0.15, 0.3, 0.6)
FALLS = (1.0, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> LabelledCorpus:
    """A minute of noise that changes all the time, with phones of 100 ms and words of two of them."""
    folder = tmp_path_factory.mktemp("noise")
    rng = np.random.default_rng(0)
    utterances, phones, words = [], {}, {}
    for number in range(UTTERANCES):
        name = f"{number:02d}.wav"
        samples = round(16_000 * SECONDS)
        soundfile.write(folder / name, 0.1 * rng.standard_normal(samples), 16_000, subtype="FLOAT")
        utterances.append(Utterance(name, folder / name, SECONDS))
        drawn = [PHONES[index] for index in rng.integers(len(PHONES), size=28)]
        labels = ["SIL", *drawn, "SIL"]
        phones[name] = [Segment(name, 0.1 * i, 0.1 * (i + 1), label) for i, label in enumerate(labels)]
        pairs = zip(labels[1:-1:2], labels[2:-1:2], strict=True)
        words[name] = [Segment(name, 0.1 + 0.2 * i, 0.3 + 0.2 * i, f"{a}{b}") for i, (a, b) in enumerate(pairs)]
    return LabelledCorpus("noise", {"test": utterances}, phones=phones, words=words)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("frames")


@pytest.fixture(scope="module")
def log_mel(corpus: LabelledCorpus, cache: Path) -> FramesById:
    return LogMelFrames(corpus, cache=cache).frames(layer=0)


def unlabelled(corpus: LabelledCorpus) -> LabelledCorpus:
    return replace(corpus, phones={}, words={})


def encoder(
    corpus: LabelledCorpus,
    log_mel: FramesById,
    acoustics: Sequence[float],
    phones: Sequence[float] = (0.0,) * 7,
    *,
    name: str = "made up",
) -> GivenFrames:
    """Layers that are a sum of log-mel, of the phone and of noise of their own, so much of each, turned at random."""
    rng = np.random.default_rng(1)
    to_mel, to_phones = rng.standard_normal((40, WIDTH)) / 40, rng.standard_normal((len(PHONES), WIDTH))
    frames: dict[tuple[str, int, str], dict[str, np.ndarray]] = {}
    for layer, (mel_share, phone_share) in enumerate(zip(acoustics, phones, strict=True)):
        own = frames[("test", layer, CLEAN)] = {}
        for utterance in log_mel:
            mel = np.asarray(log_mel[utterance])
            times = (np.arange(len(mel)) + 0.5) / 50
            said = [corpus.phones[utterance][min(int(time / 0.1), 29)].label if corpus.phones else "" for time in times]
            hot = np.array([[label == phone for phone in PHONES] for label in said], dtype=np.float64)
            noise = rng.standard_normal((len(mel), WIDTH))
            own[utterance] = mel_share * (mel - mel.mean()) @ to_mel + phone_share * hot @ to_phones + 0.3 * noise
    return GivenFrames(frames, name=name)


def profile_of(corpus: LabelledCorpus, cache: Path, store: GivenFrames, **options: int) -> Profile:
    return Material(corpus, [store], cache=cache, **options).profile(store)


def curve(means: Sequence[float], *, spread: float = 0.001, seed: int = 0) -> dict[int, Estimate]:
    rng = np.random.default_rng(seed)
    return {layer: Estimate(tuple(mean + spread * rng.standard_normal(5))) for layer, mean in enumerate(means)}


# --- estimates, against their formulas ---


def test_an_interval_over_folds_is_students_with_the_corrected_variance() -> None:
    folds = (0.81, 0.84, 0.79, 0.90, 0.86)
    estimate = Estimate(folds)
    error = np.sqrt(np.var(folds, ddof=1) * (1 / 5 + 0.2 / 0.8))
    low, high = student.interval(0.95, df=4, loc=np.mean(folds), scale=error)
    assert (estimate.mean, estimate.low, estimate.high) == pytest.approx((np.mean(folds), low, high))
    assert (estimate - estimate).folds == (0.0,) * 5


def test_held_out_likeness_agrees_with_numpy() -> None:
    rng = np.random.default_rng(3)
    target = rng.standard_normal((900, 6)) @ rng.standard_normal((6, 6))
    frames = target @ rng.standard_normal((6, 9)) + 2 * rng.standard_normal((900, 9)) + 5
    fold = rng.integers(3, size=900)
    found = held_out_likeness(frames, {"target": target}, fold, name="layer 1")["target"]

    expected = []
    for number in range(3):
        x, y = target[fold != number], frames[fold != number]
        (ux, sx, vx), (uy, sy, vy) = (np.linalg.svd(own - own.mean(0), full_matrices=False) for own in (x, y))
        left, _, right = np.linalg.svd(ux.T @ uy)
        weights = np.abs((ux @ left).T @ (x - x.mean(0))).sum(1)
        held_x, held_y = target[fold == number], frames[fold == number]
        variates_x = (held_x - held_x.mean(0)) @ vx.T / sx @ left
        variates_y = (held_y - held_y.mean(0)) @ vy.T / sy @ right.T[:, :6]
        each = [np.corrcoef(variates_x[:, k], variates_y[:, k])[0, 1] for k in range(6)]
        expected.append(np.average(each, weights=weights))
    assert found.pwcca.folds == pytest.approx(expected, abs=1e-8)

    x, y = target - target.mean(0), frames - frames.mean(0)
    cka = np.linalg.norm(x.T @ y) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))
    assert found.cka == pytest.approx(cka, abs=1e-10)


def test_chance_looks_like_nothing_on_held_out_utterances() -> None:
    rng = np.random.default_rng(4)
    frames, target = rng.standard_normal((600, 40)), rng.standard_normal((600, 40))
    moments: JointMoments[str] = JointMoments()
    moments.update({"x": target, "y": frames})
    assert pwcca(moments, "x", "y") > 0.2
    found = held_out_likeness(frames, {"x": target}, np.arange(600) % 5, name="y")["x"].pwcca
    assert abs(found.mean) < 0.05
    assert found.low < 0 < found.high


def test_merged_moments_are_those_of_all_frames() -> None:
    rng = np.random.default_rng(5)
    frames = {"x": rng.standard_normal((50, 4)) + 1e4, "y": rng.standard_normal((50, 3))}
    whole: JointMoments[str] = JointMoments([("x", "y")])
    whole.update(frames)
    merged: JointMoments[str] = JointMoments()
    for own in (slice(0, 7), slice(7, 7), slice(7, 50)):
        part: JointMoments[str] = JointMoments([("x", "y")])
        part.update({key: values[own] for key, values in frames.items()})
        merged.merge(part)
    assert merged.count == 50
    for x, y in (("x", "x"), ("x", "y"), ("y", "y")):
        np.testing.assert_allclose(merged.covariance(x, y), whole.covariance(x, y), rtol=1e-8)
    other: JointMoments[str] = JointMoments()
    other.update({"x": frames["x"]})
    with pytest.raises(DataError, match="same representations"):
        merged.merge(other)


def test_folds_are_of_equal_size_and_follow_from_the_seed() -> None:
    names = [f"{number}.wav" for number in range(13)]
    folds = draw_folds(names, 5)
    assert sorted(np.bincount(list(folds.values()))) == [2, 2, 3, 3, 3]
    assert draw_folds(names[::-1], 5) == folds != draw_folds(names, 5, seed=1)


# --- folding back ---


def test_a_turn_is_where_the_curve_is_lowest_and_counts_from_there() -> None:
    turn = fold_back("log-mel", curve([0.9, 0.7, 0.5, 0.4, 0.45, 0.55]), rises=True)
    assert turn.is_shown
    assert (turn.layer, turn.last) == (3, 5)
    assert turn.after.mean == pytest.approx(0.15, abs=0.003)
    assert turn.share == pytest.approx(0.3, abs=0.01)
    assert "from layer 3 to 5" in str(turn)


@pytest.mark.parametrize(
    "means",
    [
        pytest.param([0.9, 0.8, 0.7, 0.6, 0.5], id="falls to the end"),
        pytest.param([0.5, 0.6, 0.7, 0.8, 0.9], id="never fell"),
        pytest.param([0.9, 0.7, 0.5, 0.3, 0.34], id="rises by less than a tenth of the fall"),
    ],
)
def test_what_is_no_turn_is_not_shown(means: list[float]) -> None:
    turn = fold_back("log-mel", curve(means), rises=True)
    assert not turn.is_shown
    assert "is not shown" in str(turn)


def test_a_rise_within_the_uncertainty_is_not_shown() -> None:
    means = [0.9, 0.6, 0.5, 0.56]
    assert fold_back("log-mel", curve(means, spread=0.002), rises=True).is_shown
    assert not fold_back("log-mel", curve(means, spread=0.05), rises=True).is_shown


def test_the_lowest_of_equal_layers_is_no_evidence_of_a_rise() -> None:
    means = [0.9, *[0.5] * 12]
    shown = [fold_back("log-mel", curve(means, spread=0.01, seed=seed), rises=True).is_shown for seed in range(300)]
    assert np.mean(shown) <= 0.05


def test_a_fall_is_a_rise_upside_down() -> None:
    means = [0.1, 0.2, 0.4, 0.3]
    fall = fold_back("phones", curve(means), rises=False)
    rise = fold_back("phones", {n: Estimate(tuple(-v for v in e.folds)) for n, e in curve(means).items()}, rises=True)
    assert (fall.layer, fall.after, fall.before) == (rise.layer, rise.after, rise.before)
    assert fall.is_shown


# --- recommendations ---


def turns_of(**means: Sequence[float]) -> dict[str, FoldBack]:
    names = {"mel": "log-mel", "layer_0": "layer 0", "phones": "phones"}
    return {names[k]: fold_back(names[k], curve(own), rises=k != "phones") for k, own in means.items()}


UP, DOWN = [0.9, 0.7, 0.5, 0.3, 0.35, 0.5], [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
PHONES_FALL, PHONES_RISE = [0.1, 0.2, 0.3, 0.4, 0.5, 0.3], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]


def test_layers_above_both_turns_are_reset_and_above_either_trained() -> None:
    found = recommend(turns_of(mel=UP, layer_0=DOWN, phones=PHONES_FALL), last=5)
    assert (found.has_symptom, found.trainable_layers, found.reset_layers) == (True, 2, 1)
    assert found.settings == "--encoder.trainable_layers 2 --encoder.reset_layers 1"
    assert "acoustics turn at layer 3, phones at layer 4" in found.evidence


def test_layer_0_counts_where_log_mel_does_not() -> None:
    found = recommend(turns_of(mel=DOWN, layer_0=UP), last=5)
    assert (found.has_symptom, found.trainable_layers, found.reset_layers) == (True, 2, 2)


@pytest.mark.parametrize(
    "means",
    [
        pytest.param({"mel": DOWN, "layer_0": DOWN, "phones": PHONES_FALL}, id="no fold-back"),
        pytest.param({"mel": UP, "layer_0": UP, "phones": PHONES_RISE}, id="phones do not fall"),
        pytest.param({"mel": DOWN, "layer_0": DOWN}, id="no labels"),
    ],
)
def test_without_the_symptom_the_usual_layers_are_trained_and_none_reset(means: Mapping[str, list[float]]) -> None:
    found = recommend(turns_of(**means), last=5)
    assert (found.has_symptom, found.settings) == (False, "--encoder.trainable_layers 2")
    assert "not shown" in found.evidence


@given(
    st.lists(st.tuples(*[st.floats(0, 1)] * 3), min_size=4, max_size=14),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_at_least_one_layer_is_trained_and_never_all(rows: list[tuple[float, ...]], has_phones: bool) -> None:
    mel, layer_0, phones = zip(*rows, strict=True)
    means = {"mel": mel, "layer_0": layer_0, **({"phones": phones} if has_phones else {})}
    found = recommend(turns_of(**means), last=len(rows) - 1)
    assert 1 <= found.trainable_layers < len(rows) - 1
    assert 0 <= found.reset_layers <= found.trainable_layers
    assert (found.reset_layers > 0) == found.has_symptom


# --- profiles of encoders ---


def test_an_encoder_whose_top_folds_back_is_found_out(corpus, cache, log_mel) -> None:
    store = encoder(corpus, log_mel, FOLDS_BACK, (0.05, 0.1, 0.2, 0.5, 0.4, 0.2, 0.1))
    profile = profile_of(corpus, cache, store)
    turns = profile.fold_backs()
    assert (turns["log-mel"].layer, turns["phones"].layer) == (4, 3)
    found = recommend(turns, last=6)
    assert (found.has_symptom, found.trainable_layers, found.reset_layers) == (True, 3, 2)
    page = to_markdown([profile], found, corpus=corpus.name)
    assert "--encoder.trainable_layers 3 --encoder.reset_layers 2" in page
    assert record_of(profile)["fold_backs"]["log-mel"]["is_shown"]
    assert panels([profile])[0].title == "similarity to log-mel"


def test_an_encoder_whose_top_goes_on_is_left_alone(corpus, cache, log_mel) -> None:
    store = encoder(corpus, log_mel, FALLS, (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6))
    found = recommend(profile_of(corpus, cache, store).fold_backs(), last=6)
    assert (found.has_symptom, found.trainable_layers, found.reset_layers) == (False, 2, 0)


def test_without_labels_acoustics_decide(corpus, cache, log_mel) -> None:
    store = encoder(unlabelled(corpus), log_mel, FOLDS_BACK)
    profile = profile_of(unlabelled(corpus), cache, store)
    assert set(profile.pwcca) == {"log-mel", "MFCC", "layer 0"}
    assert profile.missing["phones"] == "noise has no phones with times."
    found = recommend(profile.fold_backs(), last=6)
    assert (found.has_symptom, found.trainable_layers, found.reset_layers) == (True, 2, 2)


def test_no_linear_map_of_the_neurons_changes_a_profile(corpus, cache, log_mel) -> None:
    store = encoder(corpus, log_mel, FOLDS_BACK, FALLS)
    rng = np.random.default_rng(6)
    turned, mapped = {}, {}
    for key, frames in store.given.items():
        rotation = np.linalg.qr(rng.standard_normal((WIDTH, WIDTH)))[0][rng.permutation(WIDTH)]
        scaled = rotation * rng.uniform(0.2, 5, WIDTH)
        turned[key] = {name: values @ rotation for name, values in frames.items()}
        mapped[key] = {name: values @ scaled + 3 for name, values in frames.items()}
    expected = profile_of(corpus, cache, store)
    of_turned, of_mapped = (profile_of(corpus, cache, GivenFrames(own)) for own in (turned, mapped))
    for target in ("log-mel", "MFCC", "phones"):
        for layer in range(7):
            folds = expected.pwcca[target][layer].folds
            assert of_turned.pwcca[target][layer].folds == pytest.approx(folds, abs=1e-4)
            assert of_mapped.pwcca[target][layer].folds == pytest.approx(folds, abs=1e-4)
            assert of_turned.cka[target][layer] == pytest.approx(expected.cka[target][layer], abs=1e-5)


def test_layer_0_is_itself_and_a_model_against_itself_differs_by_nothing(corpus, cache, log_mel) -> None:
    store = encoder(corpus, log_mel, FALLS, name="a")
    profile = profile_of(corpus, cache, store)
    assert profile.pwcca["layer 0"][0].folds == pytest.approx([1.0] * 5)
    assert profile.cka["layer 0"][0] == pytest.approx(1.0)
    page = to_markdown([profile, replace(profile, name="b")], recommend(profile.fold_backs(), last=6), corpus="noise")
    assert "## a minus b" in page
    assert "+0.000 [+0.000, +0.000]" in page


def test_words_are_the_means_of_their_frames(corpus, cache, log_mel) -> None:
    store = encoder(corpus, log_mel, FALLS)
    material = Material(corpus, [store], cache=cache)
    words = material.labelled["words"]
    often: dict[str, int] = {}
    for own in corpus.words.values():
        for word in own:
            often[word.label] = often.get(word.label, 0) + 1
    kept = {word for word, count in often.items() if count >= 10}
    assert 0 < len(kept) < len(often)
    assert words.values["words"].shape == (sum(often[word] for word in kept), len(kept))
    frames = store.frames(layer=2)
    first = next(word for name in sorted(corpus.words) for word in corpus.words[name] if word.label in kept)
    begin = round(first.start * 50)
    np.testing.assert_allclose(
        words.frames_of(frames)[0], frames[first.utterance][begin : begin + 10].mean(axis=0), rtol=1e-5
    )
    profile = material.profile(store)
    assert "words outside of the held-out fold are too few" in profile.missing["words"]


# --- what cannot be looked at ---


def test_one_utterance_is_refused_with_what_to_do(corpus, cache, log_mel) -> None:
    alone = replace(corpus, splits={"test": corpus.splits["test"][:1]})
    store = encoder(corpus, {"00.wav": log_mel["00.wav"]}, FALLS)
    with pytest.raises(DataError, match=r"1 utterances, too few for 5 folds.*Give more audio"):
        Material(alone, [store], cache=cache)
    with pytest.raises(RecipeError, match="folds=1"):
        draw_folds(["a", "b"], 1)


def test_too_few_frames_are_refused_with_how_many_are_needed(corpus, cache, log_mel) -> None:
    store = encoder(corpus, log_mel, FALLS)
    with pytest.raises(DataError, match=r"too few for 48 dimensions.*At least 480 are needed"):
        profile_of(corpus, cache, store, most_frames=300)


def test_a_constant_layer_and_nan_are_named(corpus, cache, log_mel) -> None:
    store = encoder(corpus, log_mel, FALLS)
    key = ("test", 3, CLEAN)
    store.given = {**store.given, key: {name: np.ones_like(own) for name, own in store.given[key].items()}}
    with pytest.raises(DataError, match="All features of layer 3 of made up are constant"):
        profile_of(corpus, cache, store)
    store.given = {**store.given, key: {name: own * np.nan for name, own in store.given[key].items()}}
    with pytest.raises(DataError, match="NaN"):
        profile_of(corpus, cache, store)


def test_too_few_layers_are_refused(corpus, cache, log_mel) -> None:
    store = encoder(corpus, log_mel, FALLS[:2], (0.0, 0.0))
    with pytest.raises(EncoderError, match="at least two others"):
        Material(corpus, [store], cache=cache)


# --- log-mel frames ---


def test_mfcc_is_the_cosine_transform_of_log_mel() -> None:
    from scipy.fft import dct

    wave = np.random.default_rng(7).standard_normal(16_000).astype(np.float32)
    log_mel, mfcc = LogMel().frames(wave).numpy(), Mfcc().frames(wave).numpy()
    assert log_mel.shape == (49, 40)
    np.testing.assert_allclose(dct(log_mel, norm="ortho", axis=1)[:, :13], mfcc[:, :13], atol=1e-3)
