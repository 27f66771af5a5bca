"""What a listening says about a pair is true: the pair itself, its steps, what was measured, the picture, the page."""

from __future__ import annotations

import re
import sys
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ssft.augment import AddNoise, Compose, OneOf, ParametricEqualizer, PitchShift, SpeedPerturb
from ssft.augment.compose import Maybe
from ssft.data import PairDataset
from ssft.randomness import derive_rng
from ssft.report.measures import Pitch, measured, pitch_of, semitones, snr_db
from ssft.report.page import page
from ssft.report.pairs import HeardPair, hear, spread
from ssft.report.pictures import picture
from ssft.report.steps import in_words, steps_of
from ssft.types import Pair, Reject, Utterance

RATE = 16_000


def tone(hz=200.0, seconds=1.0):
    phase = 2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE
    return (0.1 * sum(np.sin(k * phase) / k for k in range(1, 10))).astype(np.float32)


def steps(augmentation, wave, seed=0):
    drawn = augmentation.draw(derive_rng(seed), wave)
    return steps_of(augmentation, drawn, wave, augmentation.apply(wave, drawn))


# --- steps -----------------------------------------------------------------------------------------------------------


def test_steps_inside_of_others_are_named_in_their_order() -> None:
    pipeline = Compose(
        [
            SpeedPerturb(factors=(0.9,)),
            OneOf([PitchShift(semitones=2)]),
            Maybe(ParametricEqualizer(), probability=0.0),
            Maybe(Compose([AddNoise("white", snr_db=(5.0,))]), probability=1.0),
        ]
    )
    found = steps(pipeline, tone())
    assert [step.name for step in found] == ["speed_perturb", "pitch_shift", "add_noise"]
    assert [step.words for step in found] == [
        "speed_perturb factor 0.9",
        "pitch_shift semitones +2",
        "add_noise snr 5 dB",
    ]
    assert found[2].record()["parameters"]["seed"] > 0


@pytest.mark.parametrize("ratio", [-10.0, 0.0, 12.5, 20.0])
def test_the_ratio_to_the_noise_is_measured_wherever_in_the_pipeline_the_noise_is(ratio: float) -> None:
    noise = AddNoise("pink", snr_db=(ratio,))
    for pipeline in (
        noise,
        Compose([SpeedPerturb(factors=(1.1,)), noise]),
        Compose([noise, PitchShift(semitones=-2)]),
    ):
        (found,) = [step for step in steps(pipeline, tone()) if step.name == "add_noise"]
        assert found.snr_db == pytest.approx(ratio, abs=1e-3)


def test_what_changes_nothing_is_said_to() -> None:
    speed, noise = steps(Compose([SpeedPerturb(factors=(1.0,)), AddNoise("white", probability=0.0)]), tone())
    assert speed.words == "speed_perturb factor 1 (no change)"
    assert (noise.words, noise.snr_db) == ("add_noise (no change)", None)


class Louder(SpeedPerturb):
    """An augmentation of the user's own."""


def test_a_class_that_no_table_knows_goes_by_its_own_name() -> None:
    assert steps(Louder(factors=(0.5,)), tone())[0].words == "Louder factor 0.5"


def test_parameters_in_words() -> None:
    drawn = {
        "snr_db": 5.0,
        "start_seconds": 1.23456,
        "recording": "a_b\udcff.wav",
        "seed": 7,
        "equalizer": {"gains_db": [-3.21, 4.0, 1.0, 0.0, 11.999], "q": [2.0, 3.0]},
        "is_dry": True,
        "nothing": None,
        "steps": np.int64(-2),
    }
    assert dict(in_words(drawn)) == {
        "snr": "5 dB",
        "start": "1.23 s",
        "recording": "a_b\\udcff.wav",
        "seed": "7",
        "equalizer gains": "-3.21, +4, +1, +0, +12 dB",
        "equalizer q": "2, 3",
        "is dry": "True",
        "nothing": "None",
        "steps": "-2",
    }
    short = dict(in_words(drawn, short=True))
    assert short["equalizer gains"] == "-3.21 to +12 dB"
    assert "seed" not in short


# --- which utterances ------------------------------------------------------------------------------------------------


def corpus(*speakers: tuple[str | None, str, int], root: str = "/data") -> list[Utterance]:
    return [
        Utterance(f"{folder}/{n}", Path(root) / folder / f"{n}.wav", 1.0, speaker=speaker)
        for speaker, folder, count in speakers
        for n in range(count)
    ]


def test_one_of_each_speaker_comes_first_and_everybody_comes_once() -> None:
    utterances = corpus(("ann", "x", 50), ("bob", "x2", 3), (None, "y", 20), (None, "z", 1))
    order = spread(utterances, seed=0)
    assert sorted(order) == list(range(74))
    heard = [utterances[index].id.split("/")[0] for index in order]
    assert set(heard[:4]) == {"x", "x2", "y", "z"}
    assert set(heard[4:7]) == {"x", "x2", "y"}


def test_the_seed_decides_the_order_and_where_the_corpus_lies_does_not() -> None:
    speakers = (("ann", "x", 30), (None, "y", 30))
    orders = {seed: spread(corpus(*speakers), seed=seed) for seed in range(3)}
    assert all(one != other for one, other in pairwise(orders.values()))
    assert spread(corpus(*speakers, root="/elsewhere"), seed=2) == orders[2]


# --- pairs -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def unlike(tmp_path: Path) -> list[Utterance]:
    """Recordings of noise, no two seconds of which are equal, of which one is silent."""
    rng = np.random.default_rng(0)
    found = []
    for number in range(6):
        wave = 0.1 * rng.standard_normal(4 * RATE) if number != 3 else np.zeros(4 * RATE)
        soundfile.write(tmp_path / f"{number}.wav", wave.astype(np.float32), RATE, subtype="FLOAT")
        found.append(Utterance(str(number), tmp_path / f"{number}.wav", 3.0, start=0.5, speaker=f"s{number % 2}"))
    return found


@pytest.mark.parametrize("variants", [0, 2])
def test_what_is_heard_is_what_training_gets(unlike: list[Utterance], variants: int) -> None:
    pipeline = Compose([SpeedPerturb(factors=(0.9, 1.1)), AddNoise("white")])
    pairs = PairDataset(
        unlike,
        augment=pipeline,
        augment_original=AddNoise("pink"),
        pad_jitter=(0.02, 0.05),
        seed=5,
        max_seconds=1.0,
        swap=0.5,
        variants=variants,
    )
    heard = list(hear(pairs, epoch=3))
    assert len(heard) == 6
    (reject,) = [item for item in heard if isinstance(item, Reject)]
    assert (reject.id, reject.reason) == ("3", "silent")
    for item in heard:
        if isinstance(item, Reject):
            continue
        own = pairs[3, int(item.utterance.id)]
        assert isinstance(own, Pair)
        np.testing.assert_array_equal(item.wave("original"), own.original)
        np.testing.assert_array_equal(item.wave("augmented"), own.augmented)
        assert (item.pair.swapped, item.pair.drawn) == (own.swapped, own.drawn)

        # It begins in the file where it is said to, and what was drawn makes of that part what was heard.
        file = soundfile.read(item.utterance.path, dtype="float32")[0]
        clean = file[round(item.start * RATE) :][:RATE]
        np.testing.assert_array_equal(pipeline.apply(clean, dict(own.drawn["augmented"])), own.augmented)
        ratios = own.drawn["original"]["snr_db"], own.drawn["augmented"]["steps"][1]["snr_db"]
        assert item.steps["original"][0].snr_db == pytest.approx(ratios[0], abs=1e-3)
        assert item.steps["augmented"][1].snr_db == pytest.approx(ratios[1], abs=1e-3)
        assert item.record()["lead_seconds"] == pytest.approx(own.lead * 0.02)


def halved(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return 0.5 * wave


def test_an_augmentation_that_does_not_say_what_it_draws_is_named(unlike: list[Utterance]) -> None:
    item = next(iter(hear(PairDataset(unlike, augment=halved))))
    assert isinstance(item, HeardPair)
    assert item.words("augmented") == ["halved, which does not say what it drew"]
    assert item.record()["steps"] == {}


# --- measures --------------------------------------------------------------------------------------------------------


def test_length_level_and_pitch_are_those_of_the_signal() -> None:
    voice = 0.5 * tone(150.0) / np.sqrt(np.mean(tone(150.0) ** 2))  # then as much silence
    wave = np.r_[voice, np.zeros(RATE)].astype(np.float32)
    found = measured(wave, pitch_of(wave))
    assert (found["samples"], found["seconds"]) == (2 * RATE, 2.0)
    assert found["rms_dbfs"] == pytest.approx(20 * np.log10(0.5) - 10 * np.log10(2), abs=0.05)
    assert found["f0_median_hz"] == pytest.approx(150, rel=0.01)
    assert found["voiced_share"] == pytest.approx(0.5, abs=0.05)


def test_what_there_is_not_is_none() -> None:
    silence = np.zeros(4000, np.float32)
    found = measured(silence, pitch_of(silence))
    assert (found["rms_dbfs"], found["f0_median_hz"], found["voiced_share"]) == (None, None, 0)
    assert snr_db(silence, tone()) is None
    assert snr_db(tone(), silence) is None
    assert semitones(None, 100.0) is None
    assert semitones(100.0, 200.0) == pytest.approx(12)


# --- picture and page ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "waves",
    [
        (tone(), tone(300.0, 0.7)),
        (np.zeros(400, np.float32), np.ones(401, np.float32)),
        (np.full(16_000, 3e5, np.float32), 1e-6 * tone()),
    ],
    ids=["voices", "hardly anything", "far too loud"],
)
def test_anything_that_is_a_pair_gives_a_picture_of_one_size(waves: tuple[np.ndarray, np.ndarray]) -> None:
    by_side = dict(zip(("original", "augmented"), waves, strict=True))
    pitch = {side: pitch_of(wave) for side, wave in by_side.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        png = picture(by_side, pitch, title=["add_noise recording $x_1^2$ $\\frac \u96e8"])
    assert png.startswith(b"\x89PNG")
    assert int.from_bytes(png[16:20], "big") == 1320
    assert "matplotlib.pyplot" not in sys.modules


def test_pictures_are_functions_of_the_pair() -> None:
    waves = {"original": tone(), "augmented": tone(250.0)}
    pitch = {side: pitch_of(wave) for side, wave in waves.items()}
    assert picture(waves, pitch, title=["x"]) == picture(waves, pitch, title=["x"])
    other = {**pitch, "augmented": Pitch(pitch["augmented"].seconds, 2 * pitch["augmented"].hz)}
    assert picture(waves, pitch, title=["x"]) != picture(waves, other, title=["x"])


def test_the_page_shows_text_as_text_and_needs_no_network(unlike: list[Utterance]) -> None:
    bad = "<script>alert('x')</script> & \"quotes\""
    utterances = [
        Utterance(f"{bad}{utterance.id}", utterance.path, 2.0, speaker=bad, text=bad) for utterance in unlike[:2]
    ]
    records = []
    for item in hear(PairDataset(utterances, augment=AddNoise("white"), swap=1.0)):
        assert isinstance(item, HeardPair)
        record = {"number": 1, **item.record(), "files": {"original": bad, "augmented": bad, "picture": bad}}
        record["steps"]["augmented"][0] |= {"name": bad, "parameters": {bad: bad}}
        records.append(record)
    html = page({"recipe": bad, "corpus": bad, "seed": 0, "epoch": 0, "views": bad, "notes": [bad]}, records)
    assert html.count("<script") == 1
    assert "alert('x')</script>" not in html
    assert bad not in html
    assert '& "' not in html
    assert not re.search(r"https?:|//[a-z]", html)
    assert html.count("<article") == 2
    assert html.count("the student hears the original") == 2
