"""The transforms of audiomentations, all that can be made here: functions of the key, which disturb nothing."""

from __future__ import annotations

import inspect
import json
import pickle
import random
import re
from importlib.util import find_spec

import audiomentations as library
import numpy as np
import pytest
import soundfile
from audiomentations.core.transforms_interface import BaseWaveformTransform

from ssft.augment.audiomentations import Audiomentations
from ssft.augment.compose import Compose
from ssft.augment.speed import SpeedPerturb
from ssft.components import build, describe
from ssft.errors import RecipeError
from ssft.randomness import derive_rng

RATE = 16_000
TABLE = {"audiomentations": Audiomentations, "compose": Compose, "speed_perturb": SpeedPerturb}

NAMES = sorted(
    name
    for name, cls in vars(library).items()
    if inspect.isclass(cls) and issubclass(cls, BaseWaveformTransform) and name != "Lambda"  # which is a function
)
NEEDS = {
    "Limiter": "numpy_audio_limiter",
    "LoudnessNormalization": "loudness",
    "Mp3Compression": "fast_mp3_augment",
    "RoomSimulator": "pyroomacoustics",
}
SETTINGS = {
    "AdjustDuration": {"duration_seconds": 0.3},
    "ApplyImpulseResponse": {"ir_path": "FOLDER"},
    "AddBackgroundNoise": {"sounds_path": "FOLDER"},
    "AddShortNoises": {"sounds_path": "FOLDER", "max_time_between_sounds": 2.1},
    "RoomSimulator": {"use_ray_tracing": False},
}
OTHER_LENGTHS = {"AdjustDuration", "RepeatPart", "Resample", "RoomSimulator", "Trim"}


def speech(seconds=1.0, seed=0):
    time = np.arange(round(seconds * RATE)) / RATE
    wave = sum(np.sin(2 * np.pi * 140 * k * time) / k for k in range(1, 12)) * (np.sin(2 * np.pi * 1.5 * time) > -0.6)
    return (0.1 * wave + 0.01 * np.random.default_rng(seed).standard_normal(len(time))).astype(np.float32)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sounds")
    rng = np.random.default_rng(0)
    for number in range(5):
        sound = rng.standard_normal(9_000) * np.exp(-np.arange(9_000) / 2_000)
        (folder / f"{4 - number}").mkdir()
        soundfile.write(folder / f"{4 - number}" / "sound.wav", 0.1 * sound, RATE)
    return folder


@pytest.fixture(params=NAMES)
def name(request):
    package = NEEDS.get(request.param)
    if package and find_spec(package) is None:
        pytest.skip(f"{request.param} needs {package}, which is not installed")
    return request.param


def settings_for(name, sounds, **others):
    settings = {key: str(sounds) if value == "FOLDER" else value for key, value in SETTINGS.get(name, {}).items()}
    return {"p": 1.0, **settings, **others}


def made(name, sounds, **others):
    return Audiomentations(name, settings_for(name, sounds, **others), changes_length=name in OTHER_LENGTHS)


def rng_of(*key):
    return derive_rng("test", *key)


def global_state():
    return json.dumps([random.getstate(), [np.asarray(part).tolist() for part in np.random.get_state()]])


def test_the_list_of_transforms_is_not_empty():
    assert len(NAMES) > 30
    assert set(SETTINGS) | set(NEEDS) | OTHER_LENGTHS <= set(NAMES)


# ---------------------------------------------------------------------------------------- all transforms of the library


def test_equal_keys_give_equal_samples(name, sounds):
    wave = speech(3.0)
    one, other = made(name, sounds), made(name, sounds)
    results = []
    for seed in range(4):
        drawn = one.draw(rng_of(seed), wave)
        assert json.loads(json.dumps(drawn)) == drawn
        results.append(one.apply(wave, drawn))
        assert results[-1].dtype == np.float32
        assert results[-1].ndim == 1
        assert np.isfinite(results[-1]).all()
        random.random(), np.random.random()  # what others draw in between does not matter
        # Nor does what the object was used for before.
        assert other.draw(rng_of(seed), wave) == drawn
        other.apply(speech(0.4, seed), other.draw(rng_of("before", seed), speech(0.4, seed)))
        assert np.array_equal(other.apply(wave.copy(), json.loads(json.dumps(drawn))), results[-1])
    assert len({one.draw(rng_of(seed), wave)["seed"] for seed in range(50)}) == 50


def test_what_is_shown_is_what_is_applied(name, sounds):
    wave, transform = speech(3.0), made(name, sounds, p=0.5)
    for seed in range(6):
        drawn = transform.draw(rng_of(seed), wave)
        result = transform.apply(wave, drawn)
        assert transform._transform.serialize_parameters()["should_apply"] == drawn["drawn"]["should_apply"]
        if drawn["drawn"]["should_apply"]:
            shown = {key: value for key, value in drawn["drawn"].items() if key in transform._transform.parameters}
            assert json.loads(json.dumps(transform._transform.serialize_parameters(), default=float)) == shown
        else:
            assert np.array_equal(result, wave)


def test_it_is_what_the_library_does(name, sounds):
    wave, transform = speech(3.0), made(name, sounds)
    drawn = transform.draw(rng_of(1), wave)
    expected = getattr(library, name)(**settings_for(name, sounds))
    for files in ("sound_file_paths", "ir_files"):
        getattr(expected, files, []).sort()
    before = random.getstate(), np.random.get_state()
    random.seed(drawn["seed"])
    np.random.seed([drawn["seed"] & 0xFFFFFFFF, drawn["seed"] >> 32])
    try:
        assert np.array_equal(expected(wave.copy(), RATE), transform.apply(wave, drawn))
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])


def test_the_global_generators_and_the_input_are_left_alone(name, sounds):
    wave, transform = speech(), made(name, sounds)
    kept = wave.copy()
    random.seed(3), random.gauss(0, 1)  # which keeps a second number for later
    np.random.seed(3), np.random.standard_normal()
    before = global_state()
    transform(wave, rng_of(1))
    made(name, sounds)
    transform.check()
    assert global_state() == before
    assert np.array_equal(wave, kept)


@pytest.mark.parametrize("kind", ["silence", "one sample", "400 samples", "dc", "square", "impulse"])
def test_any_waveform_survives(name, sounds, kind):
    wave = {
        "silence": np.zeros(8_000),
        "one sample": np.ones(1),
        "400 samples": 0.1 * np.sin(np.arange(400)),
        "dc": np.full(8_000, 0.5),
        "square": np.sign(np.sin(2 * np.pi * 100.1 * np.arange(8_000) / RATE)),
        "impulse": np.eye(1, 5_000, 2_500)[0],
    }[kind].astype(np.float32)
    transform = made(name, sounds)
    for seed in range(2):
        result = transform(wave.copy(), rng_of(seed))
        assert np.isfinite(result).all()
        assert len(result) == len(wave) or (transform.changes_length and len(result) >= 1)


def test_it_is_described_and_built_again(name, sounds):
    transform, wave = made(name, sounds), speech(1.5)
    described = describe(transform, [TABLE])
    assert described["transform"] == name
    assert described["changes_length"] == (name in OTHER_LENGTHS)
    again = build(TABLE, json.loads(json.dumps(described)), where="test")
    copied = pickle.loads(pickle.dumps(transform))  # as workers do that are not forked
    for other in (again, copied):
        assert describe(other, [TABLE]) == described
        assert np.array_equal(other(wave, rng_of(2)), transform(wave, rng_of(2)))
    assert repr(transform).startswith(f"Audiomentations(transform='{name}', settings={{'p': 1.0")


def test_the_settings_of_an_object_are_read_back(name, sounds):
    if name == "AdjustDuration":
        pytest.skip("AdjustDuration keeps something else than it was given; it is tested below")
    cls, settings = getattr(library, name), settings_for(name, sounds)
    # Every number a little off its default, where the library allows that.
    for key, parameter in inspect.signature(cls).parameters.items():
        if key in settings or type(parameter.default) not in (int, float) or key == "p":
            continue
        other = parameter.default + 1 if isinstance(parameter.default, int) else 0.97 * parameter.default
        try:
            cls(**settings, **{key: other})
        except (ValueError, AssertionError):
            continue
        settings[key] = other
    original = cls(**{**settings, "p": 0.75})
    transform = Audiomentations(original, changes_length=name in OTHER_LENGTHS)
    assert transform.transform == name
    assert {key: transform.settings[key] for key in settings} == {**settings, "p": 0.75}
    assert transform._transform is not original
    named = Audiomentations(name, {**settings, "p": 0.75}, changes_length=name in OTHER_LENGTHS)
    for seed in range(5):
        assert np.array_equal(transform(speech(2.5), rng_of(seed)), named(speech(2.5), rng_of(seed)))


# ------------------------------------------------------------------------------------------------------- by examples


def test_the_two_forms_are_the_same():
    by_object = Audiomentations(library.TanhDistortion(min_distortion=0.02, max_distortion=0.3, p=1.0))
    by_name = Audiomentations("TanhDistortion", {"min_distortion": 0.02, "max_distortion": 0.3, "p": 1.0})
    assert by_object.settings == by_name.settings
    assert np.array_equal(by_object(speech(), rng_of(1)), by_name(speech(), rng_of(1)))
    assert not np.array_equal(by_object(speech(), rng_of(1)), by_object(speech(), rng_of(2)))
    assert 0.02 <= by_name.draw(rng_of(1), speech())["drawn"]["distortion_amount"] <= 0.3


def test_the_library_leaves_half_of_the_waveforms_unless_told_otherwise():
    transform = Audiomentations("PolarityInversion")
    applied = [transform.draw(rng_of(seed), speech(0.1))["drawn"]["should_apply"] for seed in range(400)]
    assert 150 < sum(applied) < 250


def test_an_object_that_was_used_or_frozen_is_taken_as_new():
    used = library.Gain(p=1.0)
    used(speech(), RATE)
    used.freeze_parameters()
    transform = Audiomentations(used)
    gains = {transform.draw(rng_of(seed), speech())["drawn"]["amplitude_ratio"] for seed in range(5)}
    assert len(gains) == 5
    assert used.are_parameters_frozen


def test_what_is_inside_a_transform_is_shown_too():
    drawn = Audiomentations("SevenBandParametricEQ", {"p": 1.0}).draw(rng_of(1), speech())["drawn"]
    assert len(drawn["peaking_filters"]) == 5
    assert -12 <= drawn["peaking_filters"][4]["gain_db"] <= 12


def test_settings_of_a_recipe_are_converted_and_checked():
    transform = Audiomentations("Gain", {"min_gain_db": "-3", "max_gain_db": "-2.9", "p": "1"})  # YAML has its ways
    assert np.abs(transform(speech(), rng_of(1))).max() / np.abs(speech()).max() == pytest.approx(0.71, abs=0.01)


def test_it_is_a_part_of_a_pipeline_that_changes_the_length():
    pipeline = Compose([SpeedPerturb((0.8, 1.25)), Audiomentations("TimeMask", {"p": 1.0})])
    described = describe(pipeline, [TABLE])
    again = build(TABLE, described, where="test")
    for seed in range(4):
        assert np.array_equal(pipeline(speech(), rng_of(seed)), again(speech(), rng_of(seed)))
    assert pipeline.changes_length
    assert Audiomentations("Trim", {"p": 1.0}, changes_length=True).changes_length


def test_where_the_library_fails_the_waveform_stays_and_is_counted(monkeypatch):
    transform, wave = Audiomentations("Gain", {"p": 1.0}), speech()
    drawn = transform.draw(rng_of(1), wave)
    transform.apply(wave, drawn)
    before = global_state()

    def fail(*_):
        random.random(), np.random.random()
        raise ZeroDivisionError("no way")

    with monkeypatch.context() as patch:
        patch.setattr(library.Gain, "apply", fail)
        assert np.array_equal(transform.apply(wave, drawn), wave)
        with pytest.raises(RecipeError, match=r"cannot be applied to a second of noise \(ZeroDivisionError: no way\)"):
            transform.check()
    with monkeypatch.context() as patch:
        patch.setattr(library.Gain, "apply", lambda self, samples, rate: samples * np.float32(np.inf))
        assert np.array_equal(transform.apply(wave, drawn), wave)
    with monkeypatch.context() as patch:
        patch.setattr(library.Gain, "randomize_parameters", fail)
        failed = transform.draw(rng_of(1), wave)
        assert failed == {"seed": drawn["seed"], "drawn": {"error": "ZeroDivisionError: no way"}}
        assert np.array_equal(transform.apply(wave, failed), wave)
    assert transform.fallbacks == 3
    assert not np.array_equal(transform.apply(wave, drawn), wave)
    assert global_state() == before


def test_a_change_of_length_that_was_not_announced_is_refused():
    wave = speech()
    transform = Audiomentations("Resample", {"min_sample_rate": 8_000, "max_sample_rate": 8_000, "p": 1.0})
    with pytest.raises(RecipeError, match=r"16000 samples became 8000\. Set changes_length=True"):
        transform(wave, rng_of(0))
    with pytest.raises(RecipeError, match="changes_length=True"):
        Audiomentations("Resample", {"max_sample_rate": 9_000, "p": 0.0}).check()


def test_a_generator_of_its_own_is_found(monkeypatch):
    own = np.random.default_rng(0)
    monkeypatch.setattr(library.Gain, "apply", lambda self, samples, rate: samples * np.float32(own.random()))
    with pytest.raises(RecipeError, match="a generator of its own"):
        Audiomentations("Gain").check()


def test_a_package_that_is_missing_is_named(monkeypatch):
    def fail(*_):
        raise ImportError("No module named 'loudness'")

    monkeypatch.setattr(library.LoudnessNormalization, "randomize_parameters", fail)
    with pytest.raises(RecipeError, match=r"needs more: No module.*pip install 'audiomentations\[extras\]'"):
        Audiomentations("LoudnessNormalization").check()


class Mine(BaseWaveformTransform):
    pass


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Audiomentations("TanhDistorsion"), "Did you mean 'TanhDistortion'?"),
        (lambda: Audiomentations("Gain", {"min_gain": -3}), "has no setting 'min_gain'. Did you mean 'min_gain_db'?"),
        (lambda: Audiomentations("Gain", {"min_gain_db": "soft"}), "'soft' is not a number"),
        (lambda: Audiomentations("Gain", {"min_gain_db": 3, "max_gain_db": -3}), "Audiomentations('Gain'"),
        (lambda: Audiomentations("Gain", {"p": 2}), "the library refuses these settings"),
        (lambda: Audiomentations("AddBackgroundNoise"), "needs a value for sounds_path"),
        (lambda: Audiomentations("AddBackgroundNoise", {"sounds_path": "nowhere"}), "refuses these settings"),
        (lambda: Audiomentations("Compose", {"transforms": []}), "Compose, OneOf and Maybe of ssft.augment"),
        (lambda: Audiomentations(library.OneOf([library.Gain()])), "Compose, OneOf and Maybe of ssft.augment"),
        (lambda: Audiomentations(library.SomeOf(1, [library.Gain()])), "Compose, OneOf and Maybe of ssft.augment"),
        (lambda: Audiomentations(Mine()), "derive a class of your own from ssft.augment.Transform"),
        (lambda: Audiomentations(speech), "this is no transform of audiomentations"),
        (lambda: Audiomentations(library.Lambda(transform=speech)), "a recipe cannot hold <function speech"),
        (lambda: Audiomentations("RepeatPart", {"part_transform": library.Reverse()}), "a recipe cannot hold"),
        (lambda: Audiomentations(library.AdjustDuration(100)), "settings instead, as in"),
        (lambda: Audiomentations(library.Gain(), {"p": 1.0}), "has its settings already"),
        (lambda: Audiomentations("Gain", sample_rate=0), "Audiomentations(sample_rate=0)"),
    ],
)
def test_what_cannot_be_is_refused(make, says):
    with pytest.raises(RecipeError, match=re.escape(says)):
        make()


def test_an_object_that_cannot_be_read_back_can_be_named():
    transform = Audiomentations("AdjustDuration", {"duration_samples": 100, "p": 1.0}, changes_length=True)
    assert len(transform(speech(), rng_of(0))) == 100


def test_subfolders_are_taken_in_the_same_order_everywhere(sounds):
    transform = made("AddBackgroundNoise", sounds)
    assert transform._transform.sound_file_paths == [str(sounds / f"{number}" / "sound.wav") for number in range(5)]
