"""Where frames come from: made once, found again by what they depend on, and heard alike by every system."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from frame_stores import one_layer
from random_encoders import LAYERS, random_encoder

from ssft.augment import AddNoise, PitchShift, Reverb, SpeedPerturb, Transform
from ssft.data import read_audio
from ssft.encoders import PretrainedEncoder
from ssft.errors import DataError, EncoderError, RecipeError
from ssft.evaluation.corpus import LabelledCorpus
from ssft.evaluation.systems import (
    Babble,
    Condition,
    EncoderFrames,
    MeanRemoved,
    Mfcc,
    MfccFrames,
    Smoothed,
    Whitened,
    cached,
    open_system,
    parse_conditions,
)
from ssft.evaluation.systems import random_encoder as untrained
from ssft.features import Extractor, stream_features
from ssft.types import Utterance, Waves

RATE = 16_000


@pytest.fixture(scope="module")
def encoder() -> PretrainedEncoder:
    return random_encoder("hubert", "group")


@pytest.fixture
def corpus(tmp_path: Path) -> LabelledCorpus:
    """Nine short recordings of noise, by four speakers; those of `test` are not those of `train`."""
    utterances = []
    for number in range(9):
        rng, samples = np.random.default_rng(number), 5_000 + 1_237 * number
        wave = 0.1 * rng.standard_normal(samples) * np.sin(np.arange(samples) / 900)
        path = tmp_path / "audio" / f"{number}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, wave.astype(np.float32), RATE, subtype="FLOAT")
        utterances.append(Utterance(f"u{number}", path, samples / RATE, speaker=f"s{number // 3}"))
    return LabelledCorpus("tones", {"train": utterances[:6], "test": utterances[6:]})


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """Every waveform that an encoder is given, from now on."""
    heard: list[np.ndarray] = []
    encode = Extractor._encode

    def listening(self: Extractor, waves: list[np.ndarray]):
        heard.extend(waves)
        return encode(self, waves)

    monkeypatch.setattr(Extractor, "_encode", listening)
    return heard


def pink(snr_db: float, seed: int = 0) -> Condition:
    return Condition(f"pink noise {snr_db:g} dB", AddNoise("pink", snr_db=[snr_db]), seed)


def same(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> bool:
    return set(one) == set(other) and all(np.array_equal(one[name], other[name]) for name in one)


def power(wave: np.ndarray) -> float:
    return float(np.mean(wave.astype(np.float64) ** 2))


# --- the cache -----------------------------------------------------------------------------------------------------


def test_frames_are_what_is_streamed_bit_for_bit(encoder, corpus, tmp_path) -> None:
    noisy = pink(5)
    store = EncoderFrames(encoder, corpus, name="mine", cache=tmp_path / "c", conditions=[noisy])
    assert (store.layers, store.conditions) == ((0, 1, 2, 3), ("clean", "pink noise 5 dB"))
    assert store.layers_in("pink noise 5 dB") == (3,)
    for split in ("train", "test"):
        for condition, transform in (("clean", None), (noisy.name, noisy)):
            streamed = stream_features(encoder, corpus.splits[split], layers=range(4), transform=transform)
            expected = {utterance.id: states for utterance, states in streamed}
            for layer in store.layers_in(condition):
                own = {name: states[layer].numpy() for name, states in expected.items()}
                assert same(store.frames(split, layer=layer, condition=condition), own)
    assert store.frame_rate(2) == 50.0
    assert store.describe()["weights"] == encoder.weights_hash()


def test_all_layers_are_made_at_once_and_later_calls_read(encoder, corpus, tmp_path, encoded) -> None:
    noisy = pink(5)

    def store() -> EncoderFrames:
        return EncoderFrames(encoder, corpus, name="mine", cache=tmp_path / "c", conditions=[noisy])

    first, one = store(), {}
    for layer in first.layers:
        one[layer] = dict(first.frames(layer=layer))
    in_noise = dict(first.frames(layer=LAYERS, condition=noisy.name))
    assert len(encoded) == 2 * len(corpus.splits["test"])
    encoded.clear()
    again = store()
    assert all(same(again.frames(layer=layer), one[layer]) for layer in again.layers)
    assert same(again.frames(layer=LAYERS, condition=noisy.name), in_noise)
    assert isinstance(again.frames(layer=1)["u6"].base, np.memmap)
    assert encoded == []


def test_the_same_weights_by_another_name_are_found(encoder, corpus, tmp_path, encoded) -> None:
    EncoderFrames(encoder, corpus, name="mine", cache=tmp_path / "c").frames(layer=1)
    encoded.clear()
    copy = random_encoder("hubert", "group")
    copy.source = "elsewhere"
    EncoderFrames(copy, corpus, name="other", cache=tmp_path / "c").frames(layer=1)
    assert encoded == []


def test_several_models_share_a_cache(encoder, corpus, tmp_path) -> None:
    other = random_encoder("hubert", "group", seed=1)
    stores = [EncoderFrames(e, corpus, name="x", cache=tmp_path / "c") for e in (encoder, other)]
    stores.append(MfccFrames(corpus, cache=tmp_path / "c"))
    apart = [
        EncoderFrames(encoder, corpus, name="x", cache=tmp_path / "1"),
        EncoderFrames(other, corpus, name="x", cache=tmp_path / "2"),
        MfccFrames(corpus, cache=tmp_path / "3"),
    ]
    for together, alone in zip(stores, apart, strict=True):
        assert same(together.frames(layer=0), alone.frames(layer=0))
    assert not same(stores[0].frames(layer=3), stores[1].frames(layer=3))


def test_what_frames_depend_on_is_not_mixed_up(encoder, corpus, tmp_path, encoded) -> None:
    """Layers, splits, settings of a condition, recordings of noise, and audio that was changed in place."""
    noise = tmp_path / "noise"
    noise.mkdir()
    soundfile.write(noise / "a.wav", np.random.default_rng(0).standard_normal(RATE) / 10, RATE)

    def made(condition: Condition | None = None, **settings) -> int:
        encoded.clear()
        conditions = [condition] if condition else []
        store = EncoderFrames(encoder, corpus, name="x", cache=tmp_path / "c", conditions=conditions, **settings)
        store.frames(layer=LAYERS, condition=condition.name if condition else "clean")
        return len(encoded)

    def in_noise() -> Condition:
        return Condition("noise", AddNoise(str(noise), snr_db=[0.0]))

    for expected in (3, 0):
        assert made() == expected
        assert made(layers=[1, LAYERS]) == expected
        assert made(dtype="bfloat16") == expected
        assert made(pink(5)) == expected
        assert made(pink(5, seed=1)) == expected
        assert made(Condition("pink noise 5 dB", AddNoise("white", snr_db=[5.0]))) == expected
        assert made(in_noise()) == expected
    soundfile.write(noise / "b.wav", np.random.default_rng(1).standard_normal(RATE) / 10, RATE)
    assert made(in_noise()) == 3
    path = corpus.splits["test"][0].path
    soundfile.write(path, soundfile.read(path)[0][::-1], RATE, subtype="FLOAT")
    assert made() == 3


def test_what_cannot_be_read_is_left_out_and_counted(encoder, corpus, tmp_path, encoded) -> None:
    gone = Utterance("gone", tmp_path / "gone.wav", 1.0)
    silent = tmp_path / "silent.wav"
    soundfile.write(silent, np.zeros(RATE), RATE)
    test = [*corpus.splits["test"], gone, Utterance("silent", silent, 1.0)]
    corpus = replace(corpus, splits={**corpus.splits, "test": test, "lost": [gone]})
    for _ in range(2):
        store = EncoderFrames(encoder, corpus, name="x", cache=tmp_path / "c", conditions=[pink(5)])
        mfcc = MfccFrames(corpus, cache=tmp_path / "c")
        for system, condition in ((store, "clean"), (store, "pink noise 5 dB"), (mfcc, "clean")):
            frames = system.frames(layer=max(system.layers), condition=condition)
            assert set(frames) == {"u6", "u7", "u8"}
            reasons = {reject.id: reject.reason for reject in system.rejects["test", condition]}
            assert reasons == {"gone": "missing", "silent": "silent"}
        with pytest.raises(DataError, match=r"None of the 1 utterances of tones, lost, can be encoded .missing 1."):
            store.frames("lost", layer=1)
    assert len(encoded) == 6


def test_a_disk_that_is_too_small_is_refused_before(encoder, corpus, tmp_path, encoded, monkeypatch) -> None:
    store = EncoderFrames(encoder, corpus, name="big", cache=tmp_path / "c")
    seconds = sum(utterance.seconds for utterance in corpus.splits["test"])
    needed = round(2 * seconds * 50 * 32 * 4 * (LAYERS + 1))
    monkeypatch.setattr(cached, "free_bytes", lambda path: needed - 1)
    with pytest.raises(DataError, match=r"big \(test, clean: 0.00 h, 4 layers\).* are free\. .*fewer layers.*--cache"):
        store.frames(layer=1)
    assert not (tmp_path / "c").exists()
    assert encoded == []
    monkeypatch.setattr(cached, "free_bytes", lambda path: needed)
    assert len(store.frames(layer=1)) == 3
    monkeypatch.setattr(cached, "free_bytes", lambda path: 0)
    assert len(EncoderFrames(encoder, corpus, name="big", cache=tmp_path / "c").frames(layer=1)) == 3


@pytest.mark.parametrize("damage", ["cut", "gone", "index", "manifest", "empty"])
def test_what_is_damaged_is_made_again(damage: str, encoder, corpus, tmp_path, encoded) -> None:
    def store() -> EncoderFrames:
        return EncoderFrames(encoder, corpus, name="x", cache=tmp_path / "c", layers=[1, 2])

    before = {name: frames.copy() for name, frames in store().frames(layer=2).items()}
    (folder,) = (tmp_path / "c").glob("*/*")
    shard = folder / "layer-02" / "000-00000.safetensors"
    if damage == "cut":
        shard.write_bytes(shard.read_bytes()[:-4])
    elif damage == "gone":
        shard.unlink()
    elif damage == "index":
        (folder / "000-00000.jsonl").write_text('{"id": "u6", ')
    elif damage == "manifest":
        (folder / "features.json").write_text("{}")
    else:
        for path in sorted(folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
    encoded.clear()
    # The other layer is asked for: damage is found wherever it is.
    store().frames(layer=1)
    assert len(encoded) == 3
    assert same(store().frames(layer=2), before)


def test_what_was_interrupted_goes_on(encoder, corpus, tmp_path, encoded, monkeypatch) -> None:
    listening, parts = Extractor._encode, Extractor.parts

    def one_by_one(self: Extractor, *given, **named):
        self.batch_seconds = 0.1
        return parts(self, *given, **named)

    def stops(self: Extractor, waves: list[np.ndarray]):
        if len(encoded) == 2:
            raise KeyboardInterrupt
        return listening(self, waves)

    def frames(cache: str) -> dict[str, np.ndarray]:
        return dict(EncoderFrames(encoder, corpus, name="x", cache=tmp_path / cache, layers=[1]).frames(layer=1))

    monkeypatch.setattr(Extractor, "parts", one_by_one)
    with monkeypatch.context() as broken:
        broken.setattr(Extractor, "_encode", stops)
        with pytest.raises(KeyboardInterrupt):
            frames("c")
    encoded.clear()
    found = frames("c")
    assert len(encoded) == 1
    assert same(found, frames("d"))


def test_what_is_not_there_is_refused_with_what_is(encoder, corpus, tmp_path) -> None:
    store = EncoderFrames(encoder, corpus, name="mine", cache=tmp_path / "c", layers=[1, 3], conditions=[pink(5)])
    with pytest.raises(EncoderError, match=r"layer=2: of mine, layers 1, 3 are measured in clean"):
        store.frames(layer=2)
    with pytest.raises(EncoderError, match=r"layer=1: of mine, layers 3 are measured in pink noise 5 dB"):
        store.frames(layer=1, condition="pink noise 5 dB")
    with pytest.raises(DataError, match=r"no split 'dev'\. .*Known: test, train"):
        store.frames("dev", layer=1)
    with pytest.raises(DataError, match="Did you mean 'pink noise 5 dB'"):
        store.frames(layer=1, condition="pink noise 50 dB")
    assert not (tmp_path / "c").exists()
    make = lambda **settings: EncoderFrames(encoder, corpus, name="mine", cache=tmp_path / "c", **settings)  # noqa: E731
    with pytest.raises(EncoderError, match="hubert-group has layers 0 to 3"):
        make(layers=[1, 4])
    with pytest.raises(RecipeError, match="Two conditions have the same name"):
        make(conditions=[pink(5), pink(5, seed=1)])
    with pytest.raises(RecipeError, match=r"condition_layers=\[2\]: of mine, only layers 1, 3"):
        make(layers=[1, 3], condition_layers=[2])
    assert make(condition_layers=[3, 1], conditions=[pink(5)]).layers_in("pink noise 5 dB") == (1, 3)


# --- conditions ----------------------------------------------------------------------------------------------------


def test_two_systems_hear_the_same(encoder, corpus, tmp_path, encoded, monkeypatch) -> None:
    conditions = [
        *parse_conditions(snrs_db=[5], reverb="rooms"),
        Condition("shift", PitchShift(min_semitones=-3, max_semitones=3)),
    ]
    other, heard = random_encoder("wavlm", "group", seed=1), []
    monkeypatch.setattr(Mfcc, "frames", lambda self, wave: (heard.append(wave), torch.zeros(1, 39))[1])
    for condition in conditions:
        settings = {"cache": tmp_path / "c", "name": "x", "conditions": [condition]}
        for system in (EncoderFrames(encoder, corpus, **settings), EncoderFrames(other, corpus, **settings)):
            system.frames(layer=LAYERS, condition=condition.name)
        backwards = replace(corpus, splits={"test": corpus.splits["test"][::-1]})
        MfccFrames(backwards, **settings).frames(layer=0, condition=condition.name)
        assert all(np.array_equal(one, two) for one, two in zip(encoded[:3], encoded[3:], strict=True))
        assert all(np.array_equal(one, two) for one, two in zip(encoded[:3], heard[::-1], strict=True))
        clean = [read_audio(utterance.path) for utterance in corpus.splits["test"]]
        assert not any(np.array_equal(one, two) for one, two in zip(encoded, clean, strict=False))
        encoded.clear()
        heard.clear()


@pytest.mark.parametrize("source", ["white", "pink", "babble", "folder"])
@pytest.mark.parametrize("snr_db", [20.0, 5.0, -5.0])
def test_the_ratio_of_signal_to_noise_is_as_stated(source: str, snr_db: float, corpus, tmp_path) -> None:
    if source == "folder":
        source = str(tmp_path / "audio")
    (condition,) = parse_conditions(noise=source, snrs_db=[snr_db], corpus=corpus_of(corpus, talkers=6))
    for utterance in corpus.splits["test"]:
        wave = read_audio(utterance.path)
        noise = condition(wave, utterance).astype(np.float64) - wave
        assert 10 * np.log10(power(wave) / power(noise)) == pytest.approx(snr_db, abs=1e-3)


def corpus_of(corpus: LabelledCorpus, *, talkers: int) -> LabelledCorpus:
    return replace(corpus, splits={**corpus.splits, "train": corpus.splits["train"][:talkers]})


def test_babble_is_of_others(corpus) -> None:
    everybody = [*corpus.splits["train"], *corpus.splits["test"]]
    babble = Babble(everybody, snr_db=0.0, talkers=3)
    voices = {number: voice.speaker for number, voice in enumerate(babble._voices)}
    for utterance in everybody:
        for seed in range(20):
            drawn = babble.for_speaker(utterance.speaker).draw(np.random.default_rng(seed), np.ones(9))
            speakers = [voices[number] for number, _ in drawn["voices"]]
            assert len(speakers) == 3
            assert utterance.speaker not in speakers
    backwards = Condition("babble", Babble(everybody[::-1], snr_db=0.0, talkers=3))
    wave = read_audio(everybody[0].path)
    assert np.array_equal(backwards(wave, everybody[0]), Condition("babble", babble)(wave, everybody[0]))
    with pytest.raises(DataError, match="Babble needs 7 other voices, and the corpus has 6"):
        Condition("babble", Babble(everybody, snr_db=0.0, talkers=7))(wave, everybody[0])
    broken = Utterance("broken", Path("nowhere.wav"), 1.0)
    assert len(Babble([broken, *everybody], snr_db=0.0)._voices) == 9
    with pytest.raises(RecipeError, match="Babble is made of a corpus, and none is given"):
        parse_conditions(noise="babble", snrs_db=[0])


def test_reverberation_keeps_everything_in_place(shared_speech: Path) -> None:
    """A click stays where it was, in simulated rooms and in recorded ones, and so does speech."""
    for source in ("rooms", str(shared_speech / "rir" / "manifest.tsv")):
        (condition,) = parse_conditions(reverb=source)
        clicks = 0
        for number in range(12):
            wave = np.zeros(RATE, np.float32)
            wave[6_000] = 1.0
            heard = condition(wave, Utterance(f"{number}", Path("a"), 1.0))
            assert heard.shape == wave.shape
            assert power(heard[: 6_000 - 100]) < 1e-4 * power(heard)
            clicks += abs(int(np.abs(heard).argmax()) - 6_000) <= 1
        assert clicks >= 9  # in some recorded rooms a reflection is higher than the direct sound


def test_long_recordings_are_heard_whole_in_conditions(encoder, tmp_path) -> None:
    path = tmp_path / "long.wav"
    soundfile.write(path, np.random.default_rng(0).standard_normal(41 * RATE) / 10, RATE)
    corpus = LabelledCorpus("long", {"test": [Utterance("long", path, 41.0)]})
    store = EncoderFrames(encoder, corpus, name="x", cache=tmp_path / "c", layers=[1], conditions=[pink(0)])
    lengths = [len(store.frames(layer=1, condition=condition)["long"]) for condition in store.conditions]
    assert lengths == [2049, 2049]


def test_what_moves_words_is_no_condition() -> None:
    with pytest.raises(RecipeError, match=r"SpeedPerturb.*changes lengths, and words would not be where"):
        Condition("slow", SpeedPerturb(factors=(0.9,)))


def test_names_of_conditions(tmp_path, corpus) -> None:
    folder = tmp_path / "street"
    folder.mkdir()
    soundfile.write(folder / "a.wav", np.random.default_rng(0).standard_normal(RATE), RATE)
    (folder / "manifest.tsv").write_text("path\na.wav\n")

    def names(**settings) -> list[str]:
        return [condition.name for condition in parse_conditions(**settings)]

    assert names() == []
    assert names(snrs_db=[10, 2.5], reverb="rooms") == ["pink noise 10 dB", "pink noise 2.5 dB", "reverberation"]
    assert names(noise="none", snrs_db=[5], augmentations=["pitch_shift", "spin"]) == ["pitch_shift", "spin"]
    assert names(noise=str(folder), snrs_db=[5]) == ["street noise 5 dB"]
    assert names(noise=str(folder / "manifest.tsv"), snrs_db=[5]) == ["street noise 5 dB"]
    assert names(noise="babble", snrs_db=[5], corpus=corpus) == ["babble 5 dB"]
    (spec,) = parse_conditions(augmentations=[{"name": "speed_perturb", "factors": [1.0]}])
    assert json.loads(json.dumps(spec.describe())) == spec.describe()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"noise": "punk", "snrs_db": [5]}, "no such folder or list"),
        ({"reverb": "room"}, "no such folder or list"),
        ({"snrs_db": [500]}, "between -60 and 100 dB"),
        ({"augmentations": ["pitch_shft"]}, "Did you mean 'pitch_shift'"),
        ({"augmentations": ["add_noise"]}, "needs a value for source"),
    ],
)
def test_conditions_that_cannot_be_are_refused_at_once(settings, message) -> None:
    with pytest.raises(RecipeError, match=message):
        parse_conditions(**settings)


class Broken(Transform):
    def draw(self, rng, wave):
        return {}

    def apply(self, wave, parameters):
        return wave[:-1]


class Failing(Broken):
    def apply(self, wave, parameters):
        raise ZeroDivisionError


def test_augmentations_that_break_their_word_are_named(encoder, corpus, tmp_path) -> None:
    for broken, message in ((Broken(), "says that it keeps lengths"), (Failing(), "Failing.. failed on u6")):
        settings = {"name": "x", "cache": tmp_path / "c", "conditions": [Condition("broken", broken)]}
        with pytest.raises(DataError, match=message):
            EncoderFrames(encoder, corpus, **settings).frames(layer=LAYERS, condition="broken")
    with pytest.raises(RecipeError, match="cannot be called 'clean'"):
        Condition("clean", Reverb())


# --- MFCC ----------------------------------------------------------------------------------------------------------


def test_frames_of_mfcc_are_where_those_of_encoders_are(encoder) -> None:
    mfcc = Mfcc()
    for frame in (3, 10, 31):
        click = np.full(16_000, 1e-4, np.float32) * np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
        click[round((frame + 0.5) * 0.02 * RATE)] = 1.0
        assert int(mfcc.frames(click)[:, 0].argmax()) == frame
    onset = 0.4
    time = np.arange(RATE) / RATE
    tone = (np.where(time >= onset, np.sin(2 * np.pi * 440 * time), 0) + 1e-4).astype(np.float32)
    loud = mfcc.frames(tone)[:, 0]
    rise = int(loud.diff().argmax()) + 1
    centres = (np.arange(len(loud)) + 0.5) * 0.02
    assert abs(centres[rise] - onset) <= 0.0125  # half a window
    for samples in (400, 719, 720, 16_000, 23_456):
        wave = np.random.default_rng(samples).standard_normal(samples).astype(np.float32)
        frames = mfcc.frames(wave)
        assert len(frames) == encoder(Waves.stack([torch.from_numpy(wave)])).values.shape[1]
        assert bool(frames.isfinite().all())


def test_mfcc_are_those_of_torchaudio_with_slopes() -> None:
    import torchaudio

    wave = torch.randn(8_000, generator=torch.Generator().manual_seed(0))
    melkwargs = {"n_fft": 400, "hop_length": 160, "n_mels": 40}
    cepstrum = torchaudio.transforms.MFCC(RATE, n_mfcc=13, melkwargs=melkwargs)(wave).numpy()
    padded = np.pad(cepstrum, ((0, 0), (2, 2)), mode="edge")
    slopes = sum(k * (padded[:, 2 + k : 53 + k] - padded[:, 2 - k : 53 - k]) for k in (1, 2)) / 10
    frames = Mfcc().frames(wave.numpy()).numpy()
    assert np.allclose(frames[:, :13], cepstrum[:, 1:49:2].T, atol=1e-5)
    assert np.allclose(frames[:, 13:26], slopes[:, 1:49:2].T, atol=1e-4)


# --- free controls -------------------------------------------------------------------------------------------------


@pytest.fixture
def given() -> dict[str, dict[str, np.ndarray]]:
    """Frames of correlated dimensions, the last of which moves in `test` only."""
    rng, mixing = np.random.default_rng(0), np.random.default_rng(1).standard_normal((6, 6))
    splits = {}
    for split, last in (("train", 0.0), ("test", 0.01)):
        mixing[:, 5] = last
        splits[split] = {
            f"{split}{n}": (rng.standard_normal((40 + n, 6)) @ mixing + 3).astype(np.float32) for n in range(50)
        }
    return splits


def test_the_mean_of_each_utterance_is_removed(given) -> None:
    system = MeanRemoved(one_layer(given))
    assert system.name == "given+mean-removed"
    for name, frames in given["test"].items():
        own = np.float64(frames) - np.float64(frames).mean(0)
        np.testing.assert_array_equal(system.frames(layer=0)[name], own.astype(np.float32))
    assert given["test"]["test0"].mean() > 1  # what is below is as it was


@pytest.mark.parametrize("window", [1, 5, 99])
def test_smoothing_is_the_mean_of_the_neighbours(window: int, given) -> None:
    system = Smoothed(one_layer(given), window=window)
    for name in ("test0", "test9"):
        frames, reach = given["test"][name], window // 2
        expected = [np.float64(frames[max(i - reach, 0) : i + reach + 1]).mean(0) for i in range(len(frames))]
        np.testing.assert_allclose(system.frames(layer=0)[name], expected, rtol=1e-6, atol=1e-6)
    with pytest.raises(RecipeError, match="odd number"):
        Smoothed(one_layer(given), window=4)


def test_whitening_is_by_train_and_bounded(given) -> None:
    system = Whitened(one_layer(given), shrinkage=1e-6)
    whole = np.concatenate(list(given["train"].values())).astype(np.float64)
    covariance = np.cov(whole.T, bias=True)
    shrunk = covariance + 1e-6 * np.trace(covariance) / 6 * np.eye(6)
    values, axes = np.linalg.eigh(shrunk)
    for name, frames in given["test"].items():
        expected = (frames - whole.mean(0)) @ axes @ np.diag(values**-0.5) @ axes.T
        np.testing.assert_allclose(system.frames(layer=0)[name], expected, rtol=1e-3, atol=1e-3)
    train = np.concatenate([system.frames("train", layer=0)[name] for name in given["train"]])
    np.testing.assert_allclose(np.cov(train[:, :5].T, bias=True), np.eye(5), atol=1e-2)
    bound = 0.03 / np.sqrt(1e-6 * np.trace(covariance) / 6)
    assert 1 < max(np.abs(system.frames(layer=0)[name][:, 5]).max() for name in given["test"]) < 5 * bound
    few = Whitened(one_layer(given), most_frames=100)
    assert np.isfinite(few.frames(layer=0)["test3"]).all()
    with pytest.raises(DataError, match=r"given\+whitened: there are no frames of train"):
        Whitened(one_layer({"test": given["test"]})).frames(layer=0)
    with pytest.raises(DataError, match="all frames of layer 0 of train are the same"):
        Whitened(one_layer({"train": {"a": np.ones((9, 3))}})).frames("train", layer=0)
    with pytest.raises(RecipeError, match="shrinkage above 0"):
        Whitened(one_layer(given), shrinkage=0)


def test_controls_copy_nothing_and_look_at_nothing_before(given) -> None:
    looked_at = []

    class Watched(dict):
        def __getitem__(self, name):
            looked_at.append(name)
            return super().__getitem__(name)

    below = one_layer(given)
    watched = Watched(given["test"])
    below.frames = lambda split="test", *, layer, condition="clean": watched
    frames = MeanRemoved(Smoothed(below)).frames(layer=0)
    assert "test3" in frames
    assert "nobody" not in frames
    assert (len(frames), list(frames)) == (50, list(given["test"]))
    assert looked_at == []
    assert frames["test3"].dtype == np.float32
    assert looked_at == ["test3"]
    with pytest.raises(KeyError):
        frames["nobody"]
    assert MeanRemoved(Smoothed(below)).describe()["controls"] == ["smoothed", "mean-removed"]


# --- by name -------------------------------------------------------------------------------------------------------


def test_systems_by_what_users_call_them(corpus, tmp_path) -> None:
    settings = {"corpus": corpus, "cache": tmp_path / "c"}
    tiny = open_system("tiny", **settings)
    assert (tiny.name, tiny.layers, tiny.describe()["model"]) == ("tiny", tuple(range(7)), "tiny")
    assert open_system("tiny", layers="last", **settings).layers == (6,)
    assert open_system("tiny", layers=[2, 4], **settings).layers == (2, 4)
    run = tmp_path / "runs" / "a+b"
    PretrainedEncoder.load("tiny").save(run / "adapted")
    adapted = open_system(f"{run}+mean-removed+smoothed", layers=[1], **settings)
    assert adapted.name == f"{run}+mean-removed+smoothed"
    assert adapted.describe()["weights"] == tiny.describe()["weights"]
    assert adapted.describe()["model"] == str(run / "adapted")
    assert isinstance(adapted, Smoothed)
    assert isinstance(adapted.store, MeanRemoved)
    mfcc = open_system("mfcc", layers=[3], conditions=[pink(5)], **settings)
    assert (mfcc.name, mfcc.layers, mfcc.layers_in("pink noise 5 dB")) == ("mfcc", (0,), (0,))
    assert open_system("random:tiny", layers=[3], **settings).name == "random:tiny"


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("tyny", EncoderError, "Did you mean 'tiny'"),
        ("mfccs", EncoderError, "Did you mean 'mfcc'"),
        ("tiny+smothed", RecipeError, "no control 'smothed'. Did you mean 'smoothed'"),
        ("run", EncoderError, "is a run without an adapted model. Make it with `ssft export"),
        ("./nowhere", EncoderError, "does not exist"),
    ],
)
def test_names_that_are_not_known(spec, error, message, corpus, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.yaml").write_text("name: x\n")
    with pytest.raises(error, match=message):
        open_system(spec, corpus=corpus, cache=tmp_path / "c")


def test_an_untrained_encoder_depends_on_its_seed_alone(encoder: PretrainedEncoder) -> None:
    state = torch.get_rng_state()
    one, same_seed, other = untrained("tiny"), untrained("tiny"), untrained("tiny", seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    trained = PretrainedEncoder.load("tiny")
    assert one.weights_hash() == same_seed.weights_hash() != other.weights_hash()
    shapes = {name: tensor.shape for name, tensor in trained.model.state_dict().items()}
    assert {name: tensor.shape for name, tensor in one.model.state_dict().items()} == shapes
    changed = {name for name, tensor in one.model.named_parameters() if tensor.std() > 0}
    assert all(not torch.equal(one.model.get_parameter(n), trained.model.get_parameter(n)) for n in changed)
    frames = one(Waves.stack([torch.randn(8_000)])).values.detach()
    assert bool(frames.isfinite().all())
    assert float(frames.std()) > 0.1


def test_on_real_speech_systems_agree_with_their_corpus(shared_speech: Path, tmp_path: Path) -> None:
    folder = shared_speech / "ljspeech_141"
    with (folder / "manifest.tsv").open() as file:
        header, *rows = (line.rstrip("\n").split("\t") for line in file)
    utterances = [
        Utterance(row[header.index("path")], folder / row[header.index("path")], float(row[header.index("duration_s")]))
        for row in rows[:3]
    ]
    corpus = LabelledCorpus("lj", {"test": utterances})
    noise = str(shared_speech / "noise" / "manifest.tsv")
    conditions = parse_conditions(noise=noise, snrs_db=[5], reverb="rooms")
    for spec in ("tiny", "mfcc"):
        store = open_system(spec, corpus=corpus, cache=tmp_path, layers="last", conditions=conditions)
        for condition in store.conditions:
            frames = store.frames(layer=max(store.layers), condition=condition)
            for utterance in utterances:
                assert abs(len(frames[utterance.id]) - 50 * utterance.seconds) < 2
