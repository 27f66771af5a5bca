"""Reverberation: words stay where they are, rooms reverberate as long as was drawn, recordings are taken as they are.

Early reflections are held against a slow image-source method written from the paper, decays against Schroeder's
backward integration.
"""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import soundfile
import soxr
import torch

from ssft.augment.reverb import Reverb
from ssft.augment.rooms import EARLY_SECONDS, WALL_DISTANCE_METERS, room_responses
from ssft.errors import DataError, RecipeError
from ssft.ops.image_source import SPEED_OF_SOUND, reflections, render
from ssft.randomness import derive_rng
from ssft.types import Waves

RATE = 16_000
LEAD = 80
ROOM = {
    "room_meters": [5.2, 4.1, 2.7],
    "source_meters": [1.4, 2.9, 1.6],
    "microphone_meters": [3.3, 1.2, 1.1],
    "rt60_seconds": 0.4,
    "seed": 3,
}


def rng_of(*key):
    return derive_rng("test", *key)


def noise(samples=RATE, seed=0):
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def write(path, samples, rate=RATE, **how):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype="FLOAT", **how)
    return path


def response(room):
    return room_responses([room], lead=LEAD, sample_rate=RATE)[0].double().numpy()


def decay_db(samples):
    """Schroeder's curve: the energy that is still to come, in dB."""
    left = np.cumsum(samples[::-1] ** 2)[::-1]
    return 10 * np.log10(left / left[0] + 1e-30)


def measured_rt60(samples, begin=-5.0, end=-35.0):
    curve = decay_db(samples)
    part = slice(int(np.argmax(curve < begin)), int(np.argmax(curve < end)))
    return -60 / np.polyfit(np.arange(len(curve))[part] / RATE, curve[part], 1)[0]


@pytest.fixture
def folder(tmp_path):
    """A direct sound and an echo of half its height after 500 samples; noise that dies away, at another rate."""
    echo = np.zeros(4_000)
    echo[100], echo[600] = 0.8, -0.4
    write(tmp_path / "echo.wav", echo)
    time = np.arange(24_000) / 48_000
    decay = 0.1 * np.random.default_rng(0).standard_normal(24_000) * np.exp(-12 * time)
    decay[0] = 1
    both = np.stack([np.r_[np.zeros(700), decay], np.random.default_rng(1).uniform(-1, 1, 24_700)], 1)
    write(tmp_path / "halls" / "hall.wav", both, 48_000)
    return tmp_path


# ------------------------------------------------------------------------------------------------- simulated rooms


def slow_reflections(room, wall, seconds):
    """All paths up to a length, as Allen and Berkley count them: three bits and three whole numbers for each image."""
    size, source, microphone = (np.array(room[f"{key}_meters"]) for key in ("room", "source", "microphone"))
    direct = np.linalg.norm(source - microphone)
    order = int((direct + SPEED_OF_SOUND * seconds) / (2 * size.min())) + 2
    found = []
    for bits in itertools.product((0, 1), repeat=3):
        for turns in itertools.product(range(-order, order + 1), repeat=3):
            vector, bounces = [], 0
            for axis in range(3):
                vector.append((1 - 2 * bits[axis]) * source[axis] + 2 * turns[axis] * size[axis] - microphone[axis])
                bounces += abs(turns[axis] - bits[axis]) + abs(turns[axis])
            distance = np.linalg.norm(vector)
            delay = (distance - direct) / SPEED_OF_SOUND
            if bounces and delay <= seconds:
                found.append((delay, wall**bounces * direct / distance))
    return np.array(sorted(found))


def found_reflections(rooms, walls, seconds):
    keys = ("room_meters", "source_meters", "microphone_meters")
    places = (torch.tensor([room[key] for room in rooms], dtype=torch.float64) for key in keys)
    return reflections(*places, torch.tensor(walls, dtype=torch.float64), seconds=seconds)


def test_reflections_are_those_of_the_image_source_method():
    other = {**ROOM, "room_meters": [3.1, 7.9, 2.5], "source_meters": [0.4, 7.0, 1.2], "microphone_meters": [2.6, 1, 2]}
    found = found_reflections([ROOM, other], [0.8, 0.5], 0.03)
    for number, (room, wall) in enumerate(((ROOM, 0.8), (other, 0.5))):
        here = found.rooms == number
        made = np.array(sorted(zip(found.seconds[here].tolist(), found.gains[here].tolist(), strict=True)))
        expected = slow_reflections(room, wall, 0.03)
        assert len(expected) > 60
        assert made.shape == expected.shape
        assert np.abs(made - expected).max() < 1e-12


def test_reflections_arrive_between_samples():
    found = found_reflections([ROOM], [0.8], 0.02)
    made = render(found, rooms=1, lead=LEAD, samples=400, sample_rate=RATE)[0].numpy()
    expected = np.zeros(LEAD + 400)
    for delay, gain in slow_reflections(ROOM, 0.8, 0.02):
        for place in range(len(expected)):
            apart = place - LEAD - delay * RATE
            if abs(apart) < 32:
                expected[place] += gain * np.sinc(apart) * (0.5 + 0.5 * np.cos(np.pi * apart / 32))
    assert np.abs(made - expected).max() < 1e-9


def test_the_early_part_of_a_response_is_those_reflections():
    """But for what lies below 50 Hz, and up to where noise sets in."""
    size = np.array(ROOM["room_meters"])
    surface = 2 * (size[0] * size[1] + size[0] * size[2] + size[1] * size[2])
    wall = np.sqrt(np.exp(-24 * np.log(10) / SPEED_OF_SOUND * size.prod() / surface / ROOM["rt60_seconds"]))  # Eyring
    found = found_reflections([ROOM], [wall], EARLY_SECONDS)
    expected = render(found, rooms=1, lead=LEAD, samples=640, sample_rate=RATE)[0].numpy()
    made = response(ROOM)[: LEAD + 640]
    made[LEAD] -= 1
    spectra = (np.fft.rfft(samples * np.hanning(len(samples))) for samples in (made, expected))
    one, other = (spectrum[12:] for spectrum in spectra)  # above 250 Hz
    assert np.linalg.norm(one - other) < 0.06 * np.linalg.norm(other)


def test_rooms_reverberate_as_long_as_was_drawn():
    transform = Reverb(min_rt60_seconds=0.15, max_rt60_seconds=1.2)
    rooms = [transform.draw(rng_of(seed), noise(1)) for seed in range(60)]
    ratios = [measured_rt60(response(room)) / room["rt60_seconds"] for room in rooms]
    assert max(ratios) < 1.15
    assert min(ratios) > 0.85
    assert np.median(ratios) == pytest.approx(1, abs=0.02)
    slopes = [measured_rt60(response(room), -5, -25) / room["rt60_seconds"] for room in rooms]
    assert np.median(slopes) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("rt60", [0.25, 0.4, 0.8])
def test_noise_goes_on_as_loud_as_reflections_end(rt60):
    """Energy of 20 ms before and after the joint, over many rooms, once the decay is taken out."""
    before, after = [], []
    joint = LEAD + round(EARLY_SECONDS * RATE)
    transform = Reverb(min_rt60_seconds=rt60, max_rt60_seconds=rt60, min_distance_meters=1.9)
    for seed in range(100):
        samples = response(transform.draw(rng_of(seed), noise(1)))
        energy = samples**2 * 10 ** (6 * (np.arange(len(samples)) - joint) / RATE / rt60)
        energy /= energy[joint + 160 :].mean()
        before.append(energy[joint - 480 : joint - 160].mean())
        after.append(energy[joint : joint + 320].mean())
    assert abs(10 * np.log10(np.mean(before))) < 1
    assert abs(10 * np.log10(np.mean(after))) < 0.3


def test_farther_away_there_is_less_of_the_voice():
    def direct_to_reverberant(distance):
        room = {**ROOM, "microphone_meters": [1.4 + distance, 2.9, 1.6]}
        samples = response(room)
        return -10 * np.log10((samples**2).sum() - 1)

    assert direct_to_reverberant(0.4) - direct_to_reverberant(1.6) == pytest.approx(12, abs=2.5)


def test_without_reflections_nothing_changes():
    dead = {**ROOM, "rt60_seconds": 0.002}
    assert np.abs(response(dead)[LEAD + 1 :]).max() < 1e-3
    wave = noise()
    assert Reverb().apply(wave, dead) == pytest.approx(wave, abs=1e-5)


def test_rooms_are_drawn_within_their_limits():
    transform = Reverb(
        min_rt60_seconds=0.3,
        max_rt60_seconds=0.6,
        min_distance_meters=1.0,
        max_distance_meters=2.0,
        min_room_meters=(4.0, 3.0, 2.5),
        max_room_meters=(6.0, 5.0, 3.0),
    )
    drawn = [transform.draw(rng_of(seed), noise(1)) for seed in range(300)]
    assert json.loads(json.dumps(drawn)) == drawn
    size, source, microphone = (
        np.array([room[f"{key}_meters"] for room in drawn]) for key in ("room", "source", "microphone")
    )
    for axis, (low, high) in enumerate(((4, 6), (3, 5), (2.5, 3))):
        assert low <= size[:, axis].min() < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < size[:, axis].max() <= high
    for place in (source, microphone):
        assert place.min() >= WALL_DISTANCE_METERS - 1e-9
        assert (size - place).min() >= WALL_DISTANCE_METERS - 1e-9
        assert (place / size).mean(0) == pytest.approx(0.5, abs=0.04)  # no side is preferred
    distance = np.linalg.norm(source - microphone, axis=1)
    assert distance.min() >= 1 - 1e-9
    assert distance.max() <= 2 + 1e-9
    assert distance.mean() == pytest.approx(1.5, abs=0.1)
    rt60 = np.array([room["rt60_seconds"] for room in drawn])
    assert 0.3 <= rt60.min() < 0.32
    assert 0.58 < rt60.max() <= 0.6
    assert len({room["seed"] for room in drawn}) == 300


def test_a_room_of_the_least_size_can_hold_the_least_distance():
    long = Reverb(
        min_distance_meters=48.0,
        min_room_meters=(100.0, 1.0, 1.0),
        max_room_meters=(100.0, 1.0, 1.0),
        max_distance_meters=60.0,
    )
    for seed in range(50):
        room = long.draw(rng_of(seed), noise(1))
        assert np.linalg.norm(np.subtract(room["source_meters"], room["microphone_meters"])) >= 48
    assert np.isfinite(long.apply(noise(4_000), room)).all()


def test_the_seed_makes_the_tail_and_nothing_else():
    one, other = response(ROOM), response({**ROOM, "seed": 4})
    assert np.array_equal(one, response(json.loads(json.dumps(ROOM))))
    early = LEAD + round((EARLY_SECONDS - 0.011) * RATE)
    assert np.array_equal(one[:early], other[:early])
    assert abs(np.corrcoef(one[LEAD + 800 :], other[LEAD + 800 :])[0, 1]) < 0.1


# ------------------------------------------------------------------------------------------------------- recordings


def test_a_recording_is_convolved_with_from_its_direct_sound_on(folder):
    wave = noise(3_000)
    expected = wave.astype(np.float64)
    expected[500:] -= 0.5 * expected[:-500].copy()
    expected *= np.linalg.norm(wave) / np.linalg.norm(expected)
    made = Reverb(str(folder)).apply(wave, {"recording": "echo.wav"})
    assert np.abs(made - expected).max() < 1e-6


def test_a_recording_is_resampled_and_its_first_channel_taken(folder):
    whole = soundfile.read(folder / "halls" / "hall.wav")[0][:, 0]
    resampled = soxr.resample(whole, 48_000, RATE)
    direct = int(np.abs(resampled).argmax())
    assert direct == pytest.approx(700 / 3, abs=1)
    wave = noise(5_000)
    expected = np.convolve(wave, resampled[direct - LEAD :])[LEAD:][:5_000]
    expected *= np.linalg.norm(wave) / np.linalg.norm(expected)
    made = Reverb(str(folder)).apply(wave, {"recording": "halls/hall.wav"})
    assert np.abs(made - expected).max() < 1e-5


def test_the_direct_sound_is_not_the_loudest_reflection(tmp_path):
    loud = np.zeros(2_000)
    loud[300], loud[900] = 0.6, -1.0  # a wall that focuses
    write(tmp_path / "niche.wav", loud)
    click = np.zeros(4_000, np.float32)
    click[1_000] = 1
    made = Reverb(str(tmp_path)).apply(click, {"recording": "niche.wav"})
    assert np.flatnonzero(np.abs(made) > 0.1).tolist() == [1_000, 1_600]


def test_recordings_are_drawn_equally_often_and_with_their_probability(folder):
    drawn = [Reverb(str(folder)).draw(rng_of(seed), noise(1)) for seed in range(300)]
    names = [parameters["recording"] for parameters in drawn]
    assert set(names) == {"echo.wav", "halls/hall.wav"}
    assert 120 < names.count("echo.wav") < 180
    transform = Reverb(str(folder), probability=0.25)
    drawn = [transform.draw(rng_of(seed), noise(1)) for seed in range(600)]
    assert 100 < sum(bool(parameters) for parameters in drawn) < 200
    wave = noise(400)
    assert np.array_equal(transform.apply(wave, {}), wave)


def test_a_recording_is_decoded_once_and_memory_is_bounded(folder, monkeypatch):
    monkeypatch.setattr("ssft.augment.reverb._KEPT", 2)
    transform, read, original = Reverb(str(folder)), [], soundfile.SoundFile.read
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda self, *a, **k: read.append(1) or original(self, *a, **k))
    for _ in range(5):
        transform.apply(noise(400), {"recording": "echo.wav"})
    assert len(read) == 1
    for number in range(4):
        write(folder / f"{number}.wav", np.eye(1, 500, 10)[0])
        transform.apply(noise(400), {"recording": f"{number}.wav"})
    assert len(transform._responses) == 2


def test_every_real_response_works(shared_speech):
    transform = Reverb(str(shared_speech / "rir"))
    transform.check()
    names = transform._recordings.names()
    assert len(names) == 47
    path = sorted((shared_speech / "ljspeech_141" / "audio").rglob("*.*"))[0]
    wave = soundfile.read(path, dtype="float32")[0][:RATE]
    for name in names:
        made = transform.apply(wave, {"recording": name})
        assert made.shape == wave.shape
        assert np.isfinite(made).all()
        assert np.linalg.norm(made) == pytest.approx(np.linalg.norm(wave), rel=1e-5)
        click = transform.apply(np.eye(1, 4_000, 1_000, dtype=np.float32)[0], {"recording": name})
        assert np.abs(click[1_000]) > 0.45 * np.abs(click).max()
        assert np.abs(click[:900]).max() == pytest.approx(0, abs=1e-6)


def test_a_missing_or_empty_folder_is_named_when_it_is_needed(tmp_path):
    for name, says in (("nowhere", "no such folder"), ("", "no audio")):
        transform = Reverb(str(tmp_path / name))
        for use in (transform.check, lambda transform=transform: transform(noise(), rng_of(0))):
            with pytest.raises(RecipeError, match=says) as caught:
                use()
            assert str(tmp_path) in str(caught.value)
    Reverb("rooms").check()


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_a_response_that_says_nothing_is_refused_by_name(folder, value):
    write(folder / "bad.wav", np.full(2_000, value))
    transform = Reverb(str(folder))
    with pytest.raises(RecipeError, match=r"'bad\.wav' is silent or has samples that are not finite"):
        transform.check()
    with pytest.raises(DataError, match=r"'bad\.wav'"):
        transform.apply(noise(400), {"recording": "bad.wav"})


def test_a_response_that_cannot_be_read_is_refused_by_name(folder):
    (folder / "page.wav").write_text("<html>404</html>" * 100)
    with pytest.raises(RecipeError, match=r"page\.wav"):
        Reverb(str(folder)).check()
    with pytest.raises(DataError, match=r"page\.wav"):
        Reverb(str(folder)).apply(noise(400), {"recording": "page.wav"})


# ------------------------------------------------------------------------------------------------------ any waveform


@pytest.mark.parametrize("source", ["rooms", "folder"])
def test_words_stay_where_they_are_and_levels_as_they_are(folder, source):
    transform = Reverb(str(folder) if source == "folder" else source)
    click = np.eye(1, 4_000, 1_000, dtype=np.float32)[0]
    for seed in range(20):
        drawn = transform.draw(rng_of(seed), click)
        made = transform.apply(click, drawn)
        # A reflection, or two that arrive together, may be louder than the direct sound, but none comes before it.
        assert np.flatnonzero(np.abs(made) > 0.45 * np.abs(made[1_000]))[0] == 1_000
        wave = noise(12_345, seed)
        made = transform.apply(wave, drawn)
        assert made.shape == wave.shape
        assert made.dtype == np.float32
        assert np.linalg.norm(made) == pytest.approx(np.linalg.norm(wave), rel=1e-5)
    for samples in (1, 400, RATE):
        assert not transform(np.zeros(samples, np.float32), rng_of(0)).any()
    assert transform(np.ones(1, np.float32), rng_of(0)) == pytest.approx([1.0])


@pytest.mark.parametrize("source", ["rooms", "folder"])
def test_each_waveform_of_a_batch_has_its_own_response(folder, source):
    transform = Reverb(str(folder) if source == "folder" else source, max_rt60_seconds=1.0, probability=0.8)
    waves = [noise(samples, seed=samples) for samples in (30_000, 1, 400, 12_345, 20_000, 25_000)]
    parameters = [transform.draw(rng_of(row), wave) for row, wave in enumerate(waves)]
    parameters[2] = {}
    batch = Waves.stack([torch.from_numpy(wave) for wave in waves])
    batch = Waves(batch.samples.masked_fill(~batch.mask, float("nan")), batch.lengths)
    before = batch.samples.clone()
    for rows in (range(6), [4, 2, 0], [2]):
        part = batch.select(rows)
        result = transform.apply_batch(part, [parameters[row] for row in rows])
        assert bool((result.samples[~result.mask] == 0).all())
        for row, made in zip(rows, result.items(), strict=True):
            alone = transform.apply(waves[row], parameters[row])
            assert np.linalg.norm(made.numpy() - alone) <= 1e-6 * np.linalg.norm(alone)
    assert torch.equal(batch.samples.nan_to_num(7), before.nan_to_num(7))


@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_other_rates_reverberate_as_long(rate):
    click = np.eye(1, rate, 100, dtype=np.float32)[0]
    made = Reverb(sample_rate=rate).apply(click, ROOM)[100:]
    assert measured_rt60(made.astype(np.float64)) * RATE / rate == pytest.approx(0.4, rel=0.15)


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"source": ""}, "source=''"),
        ({"min_rt60_seconds": 0.01}, "min_rt60_seconds=0.01"),
        ({"min_rt60_seconds": 0.9}, "min_rt60_seconds=0.9"),
        ({"max_rt60_seconds": 6.0}, "max_rt60_seconds=6.0"),
        ({"min_distance_meters": 0.0}, "min_distance_meters=0.0"),
        ({"min_distance_meters": 2.5}, "at most 1.9 m"),
        ({"max_distance_meters": 0.4}, "max_distance_meters=0.4"),
        ({"max_distance_meters": float("nan")}, "max_distance_meters=nan"),
        ({"min_room_meters": (3.0, 3.0)}, "min_room_meters=(3.0, 3.0)"),
        ({"min_room_meters": (3.0, 3.0, 5.0)}, "min_room_meters=(3.0, 3.0, 5.0)"),
        ({"max_room_meters": (3.0, 3.0, 500.0)}, "max_room_meters=(3.0, 3.0, 500.0)"),
        ({"probability": 1.5}, "probability=1.5"),
        ({"sample_rate": 0}, "sample_rate=0"),
    ],
)
def test_bad_settings_are_named(setting, says):
    with pytest.raises(RecipeError, match=r"Reverb\(") as caught:
        Reverb(**setting)
    assert says in str(caught.value)
