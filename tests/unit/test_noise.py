"""Noise: the ratio is the one asked for, whatever the recording, and draws do not depend on file systems or workers."""

from __future__ import annotations

import copy
import json
import shutil

import numpy as np
import pytest
import soundfile
import torch
from torch.utils.data import DataLoader, Dataset

from ssft.augment.noise import AddNoise
from ssft.augment.recordings import Recordings
from ssft.errors import DataError, RecipeError
from ssft.randomness import derive_rng

RATE = 16_000


def rng_of(*key):
    return derive_rng("test", *key)


def speech(seconds=1.0, seed=0):
    samples = round(seconds * RATE)
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def snr_db(wave, noisy):
    wave = wave.astype(np.float64)
    return 10 * np.log10(np.mean(wave**2) / np.mean((noisy - wave) ** 2))


def write(path, samples, rate=RATE, **how):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, **how)
    return path


@pytest.fixture
def folder(tmp_path):
    """Three recordings of Gaussian noise, at three rates, one of them in a subfolder, among what is to be ignored."""
    rng = np.random.default_rng(7)
    write(tmp_path / "b.wav", 0.1 * rng.standard_normal(3 * RATE))
    write(tmp_path / "rooms" / "a.flac", 0.1 * rng.standard_normal(2 * 8000), 8000)
    write(tmp_path / "c.WAV", 0.1 * rng.standard_normal((44_100, 2)), 44_100)
    for ignored in (".hidden.wav", ".cache/x.wav", "notes.txt"):
        (tmp_path / ignored).parent.mkdir(exist_ok=True)
        (tmp_path / ignored).write_bytes(b"no audio")
    return tmp_path


# ------------------------------------------------------------------------------------------------------- the ratio


@pytest.mark.parametrize("ratio", [-10.0, 0.0, 5.0, 20.0, 40.0])
@pytest.mark.parametrize("source", ["white", "pink", "folder"])
def test_the_measured_ratio_is_the_one_asked_for(folder, ratio, source):
    wave = speech()
    wave[4_000:12_000] = 0  # pauses count
    transform = AddNoise(str(folder) if source == "folder" else source, snr_db=(ratio,))
    for seed in range(5):
        noisy = transform(wave, rng_of(seed))
        assert noisy.dtype == np.float32
        assert noisy.shape == wave.shape
        assert snr_db(wave, noisy) == pytest.approx(ratio, abs=1e-4)


def test_ratios_are_drawn_equally_often_or_uniformly():
    wave = speech(0.1)
    values = [AddNoise("white").draw(rng_of(seed), wave)["snr_db"] for seed in range(600)]
    assert all(150 < values.count(ratio) < 250 for ratio in (20.0, 10.0, 5.0))
    uniform = AddNoise("white", min_snr_db=-10.0, max_snr_db=10.0)
    values = np.array([uniform.draw(rng_of(seed), wave)["snr_db"] for seed in range(600)])
    assert values.min() > -10
    assert values.max() < 10
    assert abs(values.mean()) < 1
    assert values.std() == pytest.approx(20 / np.sqrt(12), rel=0.1)


def test_noise_is_added_with_its_probability():
    wave = speech(0.1)
    transform = AddNoise("white", probability=0.25)
    drawn = [transform.draw(rng_of(seed), wave) for seed in range(600)]
    assert 100 < sum(bool(parameters) for parameters in drawn) < 200
    assert np.array_equal(transform.apply(wave, {}), wave)
    assert not AddNoise("white", probability=0.0).draw(rng_of(0), wave)


def test_nothing_is_clipped():
    assert np.abs(AddNoise("white", snr_db=(-10.0,))(8 * speech(), rng_of(0))).max() > 1


# ------------------------------------------------------------------------------------------------- synthetic noise


@pytest.mark.parametrize(("colour", "slope"), [("white", 0.0), ("pink", -3.01)])
def test_the_spectrum_of_synthetic_noise(colour, slope):
    silence_but_one = np.zeros(1 << 17, np.float32)
    silence_but_one[0] = 1e-3
    spectrum = np.abs(np.fft.rfft(AddNoise(colour, snr_db=(-40.0,))(silence_but_one, rng_of(0)))) ** 2
    hz = np.arange(len(spectrum)) * 8_000 / (len(spectrum) - 1)
    edges = 31.25 * 2.0 ** np.arange(9)
    levels = [10 * np.log10(spectrum[(hz >= low) & (hz < 2 * low)].mean()) for low in edges[:-1]]
    assert np.polyfit(np.arange(8), levels, 1)[0] == pytest.approx(slope, abs=0.15)
    assert np.abs(np.array(levels) - np.polyval(np.polyfit(np.arange(8), levels, 1), np.arange(8))).max() < 1.0


def test_synthetic_noise_differs_from_draw_to_draw_and_not_from_call_to_call():
    wave, transform = speech(), AddNoise("pink")
    first, second = (transform.draw(rng_of(seed), wave) for seed in (0, 1))
    assert first["seed"] != second["seed"]
    again = json.loads(json.dumps(first))
    assert np.array_equal(transform.apply(wave, first), AddNoise("pink").apply(wave, again))


# ------------------------------------------------------------------------------------------------------ recordings


def test_the_part_that_was_drawn_is_the_part_that_is_added(folder):
    wave, transform = speech(0.5), AddNoise(str(folder))
    whole = soundfile.read(folder / "b.wav", dtype="float32")[0]
    drawn = next(p for p in (transform.draw(rng_of(s), wave) for s in range(50)) if p["recording"] == "b.wav")
    added = transform.apply(wave, drawn).astype(np.float64) - wave
    first = int(drawn["start_seconds"] * RATE)
    part = whole[first : first + len(wave)]
    assert added / added.std() == pytest.approx(part / part.std(), abs=1e-4)


def test_files_and_places_are_drawn_equally_often(folder):
    wave, transform = speech(0.5), AddNoise(str(folder))
    drawn = [transform.draw(rng_of(seed), wave) for seed in range(300)]
    names = [parameters["recording"] for parameters in drawn]
    assert set(names) == {"b.wav", "rooms/a.flac", "c.WAV"}
    assert all(70 < names.count(name) < 130 for name in set(names))
    starts = np.array([p["start_seconds"] for p in drawn if p["recording"] == "b.wav"])
    assert starts.min() < 0.2
    assert 2.3 < starts.max() <= 2.5


def test_short_noise_is_repeated(tmp_path):
    ramp = np.linspace(-0.5, 0.5, 1_000)
    write(tmp_path / "short.wav", ramp)
    wave, transform = speech(0.5), AddNoise(str(tmp_path), snr_db=(0.0,))
    drawn = transform.draw(rng_of(0), wave)
    added = transform.apply(wave, drawn).astype(np.float64) - wave
    assert added[1_000:] == pytest.approx(added[:-1_000], abs=1e-6)
    first = int(drawn["start_seconds"] * RATE)
    expected = np.roll(ramp, -first)
    assert added[:1_000] / added.std() == pytest.approx(expected / ramp.std(), abs=2e-3)


def test_a_waveform_made_longer_after_the_draw_runs_on_from_the_beginning(folder):
    transform = AddNoise(str(folder), snr_db=(10.0,))
    drawn = {"snr_db": 10.0, "recording": "b.wav", "start_seconds": 2.5}
    wave = speech(1.0)
    whole = soundfile.read(folder / "b.wav", dtype="float32")[0]
    added = transform.apply(wave, drawn) - wave
    expected = np.r_[whole[40_000:], whole[:8_000]]
    assert added / added.std() == pytest.approx(expected / expected.std(), abs=1e-3)


@pytest.mark.parametrize("name", ["x.wav", "x.flac", "x.ogg", "x.opus", "x.mp3"])
def test_any_format_and_rate_comes_as_its_first_channel_at_16_khz(tmp_path, name):
    rate = 48_000 if name == "x.opus" else 44_100
    how = {"format": "OGG", "subtype": "OPUS"} if name == "x.opus" else {}
    time = np.arange(2 * rate) / rate
    both = np.stack([0.5 * np.sin(2 * np.pi * 1_000 * time), 0.5 * np.sin(2 * np.pi * 3_000 * time)], 1)
    write(tmp_path / name, both, rate, **how)
    part = Recordings(str(tmp_path), sample_rate=RATE, owner="test").part(name, 0.5, RATE)
    assert part.shape == (RATE,)
    spectrum = np.abs(np.fft.rfft(part * np.hanning(RATE)))
    assert abs(int(spectrum.argmax()) - 1_000) <= 1
    assert spectrum[3_000] < 0.05 * spectrum[1_000]


def test_draws_do_not_depend_on_the_order_in_which_files_were_made(tmp_path, folder):
    other = tmp_path / "other order"
    for name in ("rooms/a.flac", "c.WAV", "b.wav"):
        (other / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / name, other / name)
    here = Recordings(str(other), sample_rate=RATE, owner="test").names()
    assert here == ["b.wav", "c.WAV", "rooms/a.flac"]
    shutil.rmtree(other)
    assert Recordings(str(folder), sample_rate=RATE, owner="test").names() == here


def test_a_long_recording_is_not_decoded_as_a_whole(tmp_path, monkeypatch):
    write(tmp_path / "long.wav", np.random.default_rng(0).uniform(-0.1, 0.1, 60 * RATE))
    read, original = [], soundfile.SoundFile.read
    monkeypatch.setattr(
        soundfile.SoundFile, "read", lambda self, frames=-1, **how: read.append(frames) or original(self, frames, **how)
    )
    AddNoise(str(tmp_path))(speech(1.0), rng_of(0))
    assert sum(read) <= RATE + 1  # once for draw and apply together


# --------------------------------------------------------------------------------------------------------- silence


def test_silence_stays_silence(folder):
    for source in ("white", "pink", str(folder)):
        for samples in (1, 400, RATE):
            silence = np.zeros(samples, np.float32)
            assert not AddNoise(source)(silence, rng_of(0)).any()


def test_a_silent_part_is_drawn_again_and_silent_recordings_add_nothing(tmp_path):
    loud = np.zeros(10 * RATE)
    loud[6 * RATE :] = np.random.default_rng(0).uniform(-0.1, 0.1, 4 * RATE)
    write(tmp_path / "half.wav", loud)
    wave, transform = speech(0.5), AddNoise(str(tmp_path), snr_db=(10.0,))
    for seed in range(30):
        assert snr_db(wave, transform(wave, rng_of(seed))) == pytest.approx(10.0, abs=1e-4)
    write(tmp_path / "half.wav", 1e-7 * loud)  # rounding, not noise
    transform = AddNoise(str(tmp_path))
    assert transform.draw(rng_of(0), wave) == {}
    write(tmp_path / "half.wav", np.zeros(0))
    assert np.array_equal(AddNoise(str(tmp_path))(wave, rng_of(0)), wave)
    nothing = {"snr_db": 10.0, "recording": "half.wav", "start_seconds": 0.0}
    assert np.array_equal(AddNoise(str(tmp_path)).apply(wave, nothing), wave)


def test_samples_that_are_no_numbers_are_not_added(tmp_path):
    for value in (np.nan, np.inf):
        write(tmp_path / "broken.wav", np.full(RATE, value, np.float32), subtype="FLOAT")
        assert AddNoise(str(tmp_path)).draw(rng_of(0), speech(0.5)) == {}


# -------------------------------------------------------------------------------------------------- what is missing


def test_a_missing_or_empty_folder_is_named_when_it_is_needed(tmp_path):
    for name, says in (("nowhere", "no such folder"), ("", "no audio")):
        transform = AddNoise(str(tmp_path / name))  # building a recipe needs no data
        for use in (transform.check, lambda transform=transform: transform(speech(), rng_of(0))):
            with pytest.raises(RecipeError, match=says) as caught:
                use()
            assert str(tmp_path) in str(caught.value)
    write(tmp_path / "late.wav", speech())
    transform.check()


def test_a_recording_that_cannot_be_read_is_named(folder):
    (folder / "page.mp3").write_text("<html>404</html>" * 100)
    with pytest.raises(RecipeError, match=r"page\.mp3"):
        AddNoise(str(folder)).check()
    (folder / "page.mp3").rename(folder / "page.wav")
    transform = AddNoise(str(folder))
    drawn = {"snr_db": 0.0, "recording": "page.wav", "start_seconds": 0.0}
    with pytest.raises(DataError, match=r"page\.wav"):
        transform.apply(speech(), drawn)


def test_check_accepts_what_can_be_used(folder):
    AddNoise(str(folder)).check()
    AddNoise("white").check()
    AddNoise("pink").check()


# --------------------------------------------------------------------------------------------------------- workers


class Noisy(Dataset):
    def __init__(self, folder):
        self.transform = AddNoise(str(folder))
        self.transform(speech(), rng_of(99))  # used in the parent before the workers are forked

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return torch.from_numpy(self.transform(speech(seed=index), rng_of(index)))


def test_workers_draw_what_one_process_draws(folder):
    data = Noisy(folder)
    with_workers = list(DataLoader(data, batch_size=None, num_workers=2))
    assert all(torch.equal(one, data[index]) for index, one in enumerate(with_workers))
    clone = copy.deepcopy(data)  # nothing in it is bound to a process
    assert torch.equal(clone[3], data[3])


def test_real_noise_on_real_speech(shared_speech):
    noise, files = shared_speech / "noise" / "audio", sorted((shared_speech / "ljspeech_141" / "audio").rglob("*.*"))
    if not noise.is_dir() or not files:
        pytest.skip("the real noise is not there")
    transform = AddNoise(str(noise), min_snr_db=-10.0, max_snr_db=10.0)
    transform.check()
    wave = soundfile.read(files[0], dtype="float32")[0]
    for seed in range(10):
        drawn = transform.draw(rng_of(seed), wave)
        assert snr_db(wave, transform.apply(wave, drawn)) == pytest.approx(drawn["snr_db"], abs=1e-4)


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"source": ""}, "source=''"),
        ({"snr_db": ()}, "snr_db=()"),
        ({"snr_db": (float("nan"),)}, "snr_db=(nan,)"),
        ({"snr_db": (-100,)}, "snr_db=(-100,)"),
        ({"min_snr_db": 0.0}, "min_snr_db=0.0"),
        ({"max_snr_db": 0.0}, "max_snr_db=0.0"),
        ({"min_snr_db": 10.0, "max_snr_db": -10.0}, "min_snr_db=10.0"),
        ({"min_snr_db": float("nan"), "max_snr_db": 1.0}, "min_snr_db=nan"),
        ({"probability": 1.5}, "probability=1.5"),
        ({"sample_rate": 0}, "sample_rate=0"),
    ],
)
def test_bad_settings_are_named(setting, says):
    with pytest.raises(RecipeError, match=r"AddNoise\(") as caught:
        AddNoise(**{"source": "white", **setting})
    assert says in str(caught.value)
