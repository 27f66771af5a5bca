"""Noise: the ratio is the one asked for, whatever the recording, and draws do not depend on file systems or workers."""

from __future__ import annotations

import copy
import json
import shutil

import numpy as np
import pytest
import soundfile
import soxr
import torch
from torch.utils.data import DataLoader, Dataset

from ssft.augment.noise import AddNoise
from ssft.augment.recordings import Recordings
from ssft.errors import DataError, RecipeError
from ssft.randomness import derive_rng
from ssft.types import Waves

RATE = 16_000


def rng_of(*key):
    return derive_rng("test", *key)


def speech(seconds=1.0, seed=0):
    samples = round(seconds * RATE)
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def snr_db(wave, noisy):
    wave = np.asarray(wave, np.float64)
    return 10 * np.log10(np.mean(wave**2) / np.mean((noisy - wave) ** 2))


def batch_of(waves, fill=float("nan")):
    """A padded batch with rubbish behind every waveform."""
    batch = Waves.stack([torch.from_numpy(wave) for wave in waves])
    return Waves(torch.where(batch.mask, batch.samples, fill), batch.lengths)


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


@pytest.mark.parametrize("ratio", [-10.0, 0.0, 5.0, 20.0, 40.0, 60.0])
@pytest.mark.parametrize("source", ["white", "pink", "folder"])
def test_the_measured_ratio_is_the_one_asked_for(folder, ratio, source):
    wave = speech()
    wave[4_000:12_000] = 0  # pauses count
    transform = AddNoise(str(folder) if source == "folder" else source, snr_db=(ratio,))
    for seed in range(5):
        drawn = transform.draw(rng_of(seed), wave)
        noisy = transform.apply(wave, drawn)
        assert noisy.dtype == np.float32
        assert noisy.shape == wave.shape
        assert snr_db(wave, noisy) == pytest.approx(ratio, abs=1e-4)
        (batched,) = transform.apply_batch(batch_of([wave]), [drawn]).items()
        assert snr_db(wave, batched.numpy()) == pytest.approx(ratio, abs=1e-4)
        # Shorter than drawn for, or so long that recordings are repeated: the ratio holds.
        for other in (wave[:777], np.tile(wave, 5)):
            assert snr_db(other, transform.apply(other, drawn)) == pytest.approx(ratio, abs=1e-4)


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
    samples = 0.1 * np.random.default_rng(0).standard_normal(1_000)
    write(tmp_path / "short.wav", samples, subtype="FLOAT")
    wave, transform = speech(0.5), AddNoise(str(tmp_path), snr_db=(0.0,))
    drawn = transform.draw(rng_of(0), wave)
    added = transform.apply(wave, drawn).astype(np.float64) - wave
    period = 1_000 - 160  # 10 ms of its end lie over its beginning
    assert added[period:] == pytest.approx(added[:-period], abs=1e-6)
    first = int(drawn["start_seconds"] * RATE) % period
    plain = np.roll(added[:period], first)[160:] / added.std()
    assert plain == pytest.approx(samples[160:period] / samples.std(), rel=0.1)
    assert np.corrcoef(plain, samples[160:period])[0, 1] > 1 - 1e-9


@pytest.mark.parametrize("rate", [RATE, 44_100])
def test_a_joint_neither_clicks_nor_falls_silent(tmp_path, rate):
    write(tmp_path / "ramp.wav", np.linspace(-0.5, 0.5, rate // 2), rate)
    recordings = Recordings(str(tmp_path), sample_rate=RATE, owner="test")
    part = recordings.part("ramp.wav", 0.3, 4 * RATE)
    assert np.abs(part).max() > 0.4
    assert np.abs(np.diff(part)).max() < 0.02  # without the fade it jumps by 1
    write(tmp_path / "hiss.wav", 0.1 * np.random.default_rng(0).standard_normal(rate // 10), rate)
    part = recordings.part("hiss.wav", 0.0, 100 * RATE)  # a thousand joints
    power = np.square(part[: len(part) // 1_440 * 1_440].reshape(-1, 1_440)).mean(axis=0)  # by place in the period
    fade, rest = power[:160].mean(), power[160:].mean()
    assert fade == pytest.approx(rest, rel=0.35)


@pytest.mark.parametrize("samples", [1, 2, 3, 30, 319, 320, 321])
def test_noise_of_any_length_fills_any_waveform(tmp_path, samples):
    write(tmp_path / "tiny.wav", 0.1 * (-1.0) ** np.arange(samples))
    recordings = Recordings(str(tmp_path), sample_rate=RATE, owner="test")
    for start in (0.0, 0.5 * samples / RATE, (samples - 1) / RATE, 7.0):
        for wanted in (1, samples, samples + 1, 5 * samples + 3):
            part = recordings.part("tiny.wav", start, wanted)
            assert part.shape == (wanted,)
            assert part.dtype == np.float32
            assert np.isfinite(part).all()
            assert np.abs(part).max() > 0.01


def test_a_waveform_made_longer_after_the_draw_runs_on_from_the_beginning(folder):
    transform = AddNoise(str(folder), snr_db=(10.0,))
    drawn = {"snr_db": 10.0, "recording": "b.wav", "start_seconds": 2.5}
    wave = speech(1.0)
    whole = soundfile.read(folder / "b.wav", dtype="float32")[0]
    added = transform.apply(wave, drawn) - wave
    expected = np.r_[whole[40_000:-160], np.zeros(160), whole[160:8_160]]
    plain = np.r_[0:7_840, 8_000:16_000]  # between them is the fade
    assert added[plain] / added.std() == pytest.approx(expected[plain] / expected[plain].std(), abs=0.03)
    assert np.corrcoef(added[plain], expected[plain])[0, 1] > 1 - 1e-8


def test_the_whole_of_a_recording_is_all_of_it_once(tmp_path):
    for rate, samples in ((RATE, 1_001), (44_100, 44_101), (8_000, 333), (48_000, 48_002)):
        response = np.exp(-np.arange(samples) / samples) * np.random.default_rng(0).standard_normal(samples) * 0.1
        write(tmp_path / "room.wav", response, rate, subtype="FLOAT")
        recordings = Recordings(str(tmp_path), sample_rate=RATE, owner="test")
        whole = recordings.whole("room.wav")
        assert (
            len(whole) == round(recordings.seconds("room.wav") * RATE) == pytest.approx(samples * RATE / rate, abs=0.5)
        )
        assert np.array_equal(whole, soxr.resample(response.astype(np.float32), rate, RATE))


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_a_part_of_a_resampled_recording_is_what_lies_there(tmp_path, rate):
    write(tmp_path / "x.wav", 0.1 * np.random.default_rng(0).standard_normal(3 * rate), rate)
    recordings = Recordings(str(tmp_path), sample_rate=RATE, owner="test")
    whole = recordings.whole("x.wav")
    for start, samples in ((0.0, 4_000), (1.0, 1_600), (2.0, 16_000)):
        part = recordings.part("x.wav", start, samples)
        assert part == pytest.approx(whole[round(start * RATE) :][:samples], abs=1e-3)


def test_what_follows_a_seek_in_an_mp3_is_what_lies_there(tmp_path):
    write(tmp_path / "x.mp3", 0.1 * np.random.default_rng(0).standard_normal(3 * RATE))
    recordings = Recordings(str(tmp_path), sample_rate=RATE, owner="test")
    assert recordings.part("x.mp3", 1.5, 4_000) == pytest.approx(recordings.whole("x.mp3")[24_000:28_000], abs=1e-3)


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


def test_check_reads_headers_only_and_each_once(tmp_path, monkeypatch):
    write(tmp_path / "long.wav", speech())
    (tmp_path / "list.tsv").write_text("path\tstart\tseconds\n" + "".join(f"long.wav\t0.{k}\t0.1\n" for k in range(9)))
    opened, original = [], soundfile.SoundFile.__init__
    monkeypatch.setattr(
        soundfile.SoundFile, "__init__", lambda self, *args, **how: opened.append(args) or original(self, *args, **how)
    )
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda *args, **how: pytest.fail("decoded"))
    AddNoise(str(tmp_path / "list.tsv")).check()
    assert len(opened) == 1


def test_audio_that_cannot_be_decoded_is_said_and_not_silently_passed_over(tmp_path):
    (tmp_path / "a.m4a").write_bytes(b"\0\0\0\x20ftypM4A " + bytes(200))
    with pytest.raises(RecipeError, match=r"cannot be decoded \(1 \.m4a\)\. Convert it to wav"):
        AddNoise(str(tmp_path)).check()
    write(tmp_path / "b.wav", speech())
    with pytest.warns(UserWarning, match=r"passed over \(1 \.m4a\)"):
        AddNoise(str(tmp_path)).check()
    (tmp_path / "list.txt").write_text("a.m4a\n")
    with pytest.raises(RecipeError, match=r"list\.txt line 1: 'a\.m4a' cannot be read \(.*\)\. Convert it to wav"):
        AddNoise(str(tmp_path / "list.txt")).check()


def test_linked_folders_are_followed_once(tmp_path):
    write(tmp_path / "elsewhere" / "x.wav", speech())
    (tmp_path / "noise").mkdir()
    for link in ("b", "a"):
        (tmp_path / "noise" / link).symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "loop").symlink_to(tmp_path / "noise")
    assert Recordings(str(tmp_path / "noise"), sample_rate=RATE, owner="test").names() == ["a/x.wav"]


# ----------------------------------------------------------------------------------------------------------- lists


@pytest.fixture
def listed(tmp_path):
    """A recording in which every second is louder than the one before, and a function that writes a list beside it."""
    samples = np.random.default_rng(0).standard_normal(4 * RATE) * np.repeat([0.001, 0.01, 0.05, 0.1], RATE)
    write(tmp_path / "audio" / "steps.wav", samples, subtype="FLOAT")
    write(tmp_path / "rain.wav", speech())

    def make(text, name="noise.tsv"):
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return Recordings(str(tmp_path / name), sample_rate=RATE, owner="AddNoise(source=...)")

    return make


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("path\tstart\tseconds\naudio/steps.wav\t1.0\t1.0\nrain.wav\t\t\n", "noise.tsv"),
        ("kind\tstart_s\tduration_s\tpath\nx\t1.0\t1.0\taudio/steps.wav\n\nx\t0\t\train.wav\n", "noise.tsv"),
        ("\ufeffFile , Start,End\n audio/steps.wav,1,2.0\nrain.wav\n", "NOISE.CSV"),
        ('audio_filepath,offset,duration\r\n"audio/steps.wav",1.0,1\r\nrain.wav,,\r\n', "noise.csv"),
    ],
)
def test_a_table_names_segments_and_files(listed, text, name):
    recordings = listed(text, name)
    recordings.check()
    assert recordings.names() == ["audio/steps.wav#t=1.0,2.0", "rain.wav"]
    segment, rain = recordings.names()
    assert recordings.seconds(segment) == recordings.seconds(rain) == 1.0
    steps = soundfile.read(recordings.source.parent / "audio" / "steps.wav", dtype="float32")[0]
    assert np.array_equal(recordings.whole(segment), steps[RATE : 2 * RATE])
    assert np.array_equal(recordings.part(segment, 0.5, 100), steps[RATE + 8_000 : RATE + 8_100])
    looped = recordings.part(segment, 0.25, 10 * RATE)  # and no other second is ever in it
    assert 0.009 < looped.std() < 0.011
    assert np.abs(looped).max() < 0.06


def test_a_text_file_names_a_path_in_every_line(listed, tmp_path):
    outside = write(tmp_path.parent / f"{tmp_path.name} outside" / "far away.wav", speech())
    recordings = listed(f"# indoors\nrain.wav\n\naudio/steps.wav\nrain.wav\n{outside}\n", "noise.txt")
    recordings.check()
    assert recordings.names() == ["rain.wav", "audio/steps.wav", "rain.wav", str(outside)]
    assert len(recordings.whole(str(outside))) == RATE


def test_rows_are_drawn_equally_often_and_only_their_part(listed, tmp_path):
    recordings = listed("path\tstart\tseconds\naudio/steps.wav\t1\t0.5\naudio/steps.wav\t3\t1\nrain.wav\t\t\n")
    wave, transform = speech(0.3), AddNoise(str(tmp_path / "noise.tsv"), snr_db=(3.0,))
    drawn = [transform.draw(rng_of(seed), wave) for seed in range(300)]
    names = [parameters["recording"] for parameters in drawn]
    assert all(70 < names.count(name) < 130 for name in recordings.names())
    starts = [parameters["start_seconds"] for parameters in drawn if parameters["recording"] == recordings.names()[0]]
    assert max(starts) <= 0.2
    again = AddNoise(str(tmp_path / "noise.tsv"), snr_db=(3.0,))  # another process, which has drawn nothing
    for parameters in json.loads(json.dumps(drawn[:5])):
        assert snr_db(wave, again.apply(wave, parameters)) == pytest.approx(3.0, abs=1e-4)


@pytest.mark.parametrize(
    ("text", "name", "says"),
    [
        ("", "noise.tsv", r"noise\.tsv line 1: the header names no column for the path, but nothing\. Call it path"),
        ("name,kind\nx,y\n", "n.csv", r"n\.csv line 1: the header names no column for the path, but name, kind"),
        ("path\tstart\n", "noise.tsv", "the list has no rows. Give each recording a line"),
        ("# nothing\n\n", "noise.txt", "the list has no rows"),
        ("path\tstart\n\t1\n", "noise.tsv", r"noise\.tsv line 2: no path\. Name a file"),
        ("path\tstart\nrain.wav\tsoon\n", "noise.tsv", r"line 2: start 'soon' is not a number\. Give seconds"),
        ("path\tseconds\nrain.wav\tnan\n", "noise.tsv", "line 2: seconds 'nan' is not a number"),
        ("path\tstart\nrain.wav\t-1\n", "noise.tsv", r"line 2: start -1\.0 and length None do not select anything"),
        ("path,seconds\nrain.wav,0\n", "noise.csv", "do not select anything"),
        ("path,start,end\nrain.wav,3,2\n", "noise.csv", "do not select anything"),
        ("path\nrain.wav\tx\n", "noise.tsv", "line 2: 2 fields, the header has 1"),
        ("path\nrain.wav\nsnow.wav\n", "noise.tsv", r"line 3: 'snow\.wav' is not there\. Put the file there, or corr"),
        ("snow.wav\n", "noise.txt", r"noise\.txt line 1: 'snow\.wav' is not there"),
        (
            "path\tstart\nrain.wav\t1\n",
            "noise.tsv",
            r"line 2: 'rain\.wav#t=1\.0' begins at 1 s, but the file has 1\.000",
        ),
        ("noise.txt\n", "noise.txt", r"line 1: 'noise\.txt' cannot be read"),
        (b"path\tk\nrain.wav\t\xe9\n", "noise.tsv", r"noise\.tsv is not UTF-8 text \(byte \d+\)\. Save it as UTF-8"),
        ('path\n"rain.wav\n', "noise.csv", r"noise\.csv is not a readable table .*quotation marks"),
        ("rain.wav\n", "noise.list", "neither a folder nor a list. Give a folder"),
    ],
)
def test_what_is_wrong_with_a_list_is_said_with_its_line(listed, text, name, says):
    with pytest.raises(RecipeError, match=says) as caught:
        listed(text, name).check()
    assert str(caught.value).startswith("AddNoise(source=...): ")


def test_a_recording_that_left_the_list_is_named(listed):
    with pytest.raises(DataError, match=r"the list has no 'snow\.wav'"):
        listed("rain.wav\n", "noise.txt").part("snow.wav", 0.0, 100)


def test_the_manifest_of_a_corpus_is_a_list(shared_speech):
    manifest = shared_speech / "noise" / "manifest.tsv"
    if not manifest.is_file():
        pytest.skip(f"the real noise is not there: {manifest}")
    transform = AddNoise(str(manifest), snr_db=(0.0,))
    transform.check()
    wave = speech()
    drawn = [transform.draw(rng_of(seed), wave) for seed in range(100)]
    rows = manifest.read_text().splitlines()[1:]
    assert len({parameters["recording"] for parameters in drawn}) == len(rows)
    for parameters in drawn[:10]:
        assert snr_db(wave, transform.apply(wave, parameters)) == pytest.approx(0.0, abs=1e-4)


# --------------------------------------------------------------------------------------------------------- batches


@pytest.mark.parametrize("source", ["white", "pink", "folder"])
@pytest.mark.parametrize("threads", [1, 3])
def test_a_batch_is_its_waveforms_and_what_was_not_drawn_is_untouched(folder, monkeypatch, source, threads):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    transform = AddNoise(str(folder) if source == "folder" else source, min_snr_db=-10.0, max_snr_db=30.0)
    waves = [speech(seconds, seed) for seed, seconds in enumerate((0.5, 3.2, 0.01, 1.0, 1.7))]
    waves += [np.zeros(8_000, np.float32), np.ones(1, np.float32)]
    parameters = [transform.draw(rng_of(row), wave) for row, wave in enumerate(waves)]
    parameters[3] = {}
    batch = batch_of(waves)
    result = transform.apply_batch(batch, parameters)
    assert bool(batch.samples[~batch.mask].isnan().all()), "the batch itself is left alone"
    assert bool((result.samples[~result.mask] == 0).all())
    assert torch.equal(result.lengths, batch.lengths)
    for row, (wave, drawn, made) in enumerate(zip(waves, parameters, result.items(), strict=True)):
        alone = transform.apply(wave, drawn)
        assert np.sqrt(np.mean((made.numpy() - alone) ** 2)) <= 1e-6 * np.sqrt(np.mean(alone**2))
        if row in (3, 5):
            assert np.array_equal(made.numpy(), wave)
        elif row < 5:
            assert not np.array_equal(made.numpy(), wave)
            assert snr_db(wave, made.numpy()) == pytest.approx(drawn["snr_db"], abs=1e-4)
    nothing = transform.apply_batch(batch, [{}] * len(waves))
    assert torch.equal(nothing.samples, batch.samples.nan_to_num(0.0))


def test_noise_of_no_numbers_or_of_silence_leaves_a_batch_as_it_is(tmp_path):
    write(tmp_path / "nan.wav", np.full(RATE, np.nan, np.float32), subtype="FLOAT")
    write(tmp_path / "inf.wav", np.full(RATE, np.inf, np.float32), subtype="FLOAT")
    write(tmp_path / "zero.wav", np.zeros(RATE))
    transform = AddNoise(str(tmp_path))
    waves = [speech(0.5, seed) for seed in range(3)]
    parameters = [
        {"snr_db": 0.0, "recording": name, "start_seconds": 0.1} for name in ("nan.wav", "inf.wav", "zero.wav")
    ]
    result = transform.apply_batch(batch_of(waves), parameters)
    for wave, drawn, made in zip(waves, parameters, result.items(), strict=True):
        assert np.array_equal(made.numpy(), wave)
        assert np.array_equal(transform.apply(wave, drawn), wave)


def test_a_recording_that_fails_in_a_batch_is_named(folder):
    (folder / "page.wav").write_text("<html>404</html>" * 100)
    drawn = {"snr_db": 0.0, "recording": "page.wav", "start_seconds": 0.0}
    with pytest.raises(DataError, match=r"page\.wav"):
        AddNoise(str(folder)).apply_batch(batch_of([speech(), speech()]), [{}, drawn])


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
