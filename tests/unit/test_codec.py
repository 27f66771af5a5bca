"""Codecs: really coded, at the rate that was drawn, and back in place, at length and at level."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import soxr

from ssft.augment.codec import FORMATS, Codec
from ssft.errors import DataError, RecipeError
from ssft.randomness import derive_rng

RATE = 16_000

CODED = [
    {"format": "telephone"},
    {"format": "gsm"},
    *({"format": "mp3", "kbps": kbps} for kbps in (8, 16, 24, 32, 40, 64, 160)),
    *({"format": "opus", "kbps": kbps} for kbps in (6.0, 12.0, 64.0, 256.0)),
    *({"format": "vorbis", "kbps": kbps} for kbps in (30.0, 50.0, 85.0)),
]


def named(drawn):
    return "-".join(str(value) for value in drawn.values())


every_codec = pytest.mark.parametrize("drawn", CODED, ids=named)


def voice(seconds=1.0, hz=140.0, peak=0.4):
    """A caricature of speech: harmonics of a moving pitch, few of them below 300 Hz, syllables, and a little noise."""
    time = np.arange(round(seconds * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(hz * (1 + 0.2 * np.sin(2 * np.pi * 1.3 * time))) / RATE
    wave = sum(np.cos(k * phase + k * k) * k / (9 + k * k) for k in range(1, 30)) * (1.1 + np.sin(2 * np.pi * 3 * time))
    wave += 0.02 * np.random.default_rng(0).standard_normal(len(time))
    return (peak * wave / np.abs(wave).max()).astype(np.float32)


def lag_and_likeness(wave, result):
    """By how many samples the result comes later, to a fraction of one, and their correlation there."""
    size = 1 << (len(wave) + 3_000).bit_length()
    spectra = np.fft.rfft(result, size) * np.conj(np.fft.rfft(wave, size))
    fine = np.fft.irfft(spectra, 16 * size) * 16  # 1/16 of a sample
    best = int(fine.argmax())
    return (best - 16 * size if best > 8 * size else best) / 16, fine[best] / np.linalg.norm(wave) / np.linalg.norm(
        result
    )


# -------------------------------------------------------------------------------------------------- what comes back


@every_codec
def test_a_voice_comes_back_in_place(drawn):
    wave = voice()
    result = Codec().apply(wave, drawn)
    assert result.shape == wave.shape
    assert result.dtype == np.float32
    lag, likeness = lag_and_likeness(wave, result)
    assert abs(lag) <= (1 if drawn.get("kbps", 64) < 10 else 0.25)
    assert 0.6 < likeness < 0.99999
    assert abs(20 * np.log10(result.std() / wave.std())) < 6


@every_codec
def test_speech_comes_back_in_place(shared_speech, drawn):
    path = sorted((shared_speech / "ljspeech_141" / "audio").rglob("*.*"))[0]
    wave = soundfile.read(path, dtype="float32")[0][: 2 * RATE]
    result = Codec().apply(wave, drawn)
    lag, likeness = lag_and_likeness(wave, result)
    assert abs(lag) <= (1 if drawn.get("kbps", 64) < 10 else 0.25)
    assert likeness > 0.8
    assert abs(20 * np.log10(result.std() / wave.std())) < 3


@pytest.mark.parametrize("name", ["mp3", "opus", "vorbis"])
def test_more_bits_leave_more_of_the_voice(name):
    wave = voice()
    rates = [drawn["kbps"] for drawn in CODED if drawn["format"] == name]
    errors = []
    for kbps in rates:
        result = Codec().apply(wave, {"format": name, "kbps": kbps})
        fit = result @ wave / (wave @ wave)  # the level aside
        errors.append(float(np.linalg.norm(result - fit * wave)))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.5 * errors[0]


@pytest.mark.parametrize(("name", "kbps"), [("mp3", 8), ("mp3", 32), ("mp3", 128), ("opus", 12.0), ("opus", 64.0)])
def test_the_rate_is_the_one_that_was_drawn(monkeypatch, name, kbps):
    sizes, original = [], soundfile.read

    def read(file, **how):
        sizes.append(len(file.getvalue()))
        return original(file, **how)

    monkeypatch.setattr(soundfile, "read", read)
    Codec().apply(voice(4.0), {"format": name, "kbps": kbps})
    assert sizes[0] * 8 / 4_000 == pytest.approx(kbps, rel=0.2)


@pytest.mark.parametrize("name", ["telephone", "gsm"])
def test_a_telephone_passes_its_band_only(name):
    hiss = (0.1 * np.random.default_rng(0).standard_normal(4 * RATE)).astype(np.float32)
    power = np.abs(np.fft.rfft(Codec().apply(hiss, {"format": name}))) ** 2
    hz = np.fft.rfftfreq(len(hiss), 1 / RATE)
    passed = power[(hz > 500) & (hz < 3_200)].mean()
    assert power[hz > 4_050].mean() < 1e-4 * passed
    assert power[hz < 150].mean() < 0.05 * passed


def test_a_telephone_quantizes_by_g711():
    """Against the standard's own decoder, written down from its segments: what comes back at 8 kHz is on its levels."""
    codes = np.arange(128)
    levels = (((codes & 15) * 2 + 33) * 2.0 ** (codes >> 4) - 33) / 8_192
    wave = voice(peak=0.4)
    result = Codec(sample_rate=8_000).apply(soxr.resample(wave, RATE, 8_000), {"format": "telephone"})
    distances = np.abs(np.abs(result)[:, None] - levels).min(1)
    assert distances.max() < 1e-7
    assert len(np.unique(result)) > 100


# ------------------------------------------------------------------------------------------------------ any waveform


@every_codec
def test_a_loud_waveform_is_neither_wrapped_nor_clipped(drawn):
    wave = voice(peak=0.5)
    soft = Codec().apply(wave, drawn)
    loud = Codec().apply(8 * wave, drawn)
    assert loud == pytest.approx(8 * soft, abs=1e-5)
    assert np.abs(loud).max() > 2


@every_codec
def test_lengths_silence_and_odd_signals(drawn):
    codec = Codec()
    for samples in (1, 2, 399, 400, 1_599, 1_601, 12_345):
        wave = np.random.default_rng(samples).uniform(-1, 1, samples).astype(np.float32)
        before = wave.copy()
        result = codec.apply(wave, drawn)
        assert result.shape == (samples,)
        assert np.isfinite(result).all()
        assert np.abs(result).max() < 4
        assert np.array_equal(wave, before)
        assert not codec.apply(np.zeros(samples, np.float32), drawn).any()
    for wave in (np.full(5_000, 0.5), np.sign(np.sin(np.arange(8_000) / 25.4)), np.eye(1, 5_000, 2_500)[0]):
        result = codec.apply(wave.astype(np.float32), drawn)
        assert np.isfinite(result).all()
        assert np.abs(result).max() < 3


def test_a_long_waveform_is_written_in_parts(monkeypatch):
    """An hour at once overflows libvorbis' stack, and the process is gone."""
    sizes, original = [], soundfile.SoundFile.write
    monkeypatch.setattr(soundfile.SoundFile, "write", lambda self, x: sizes.append(len(x)) or original(self, x))
    wave = np.tile(voice(), 20)
    result = Codec().apply(wave, {"format": "vorbis", "kbps": 50.0})
    assert sum(sizes) == len(wave)
    assert max(sizes) <= 1 << 16
    assert lag_and_likeness(wave[-RATE:], result[-RATE:])[0] == pytest.approx(0, abs=0.25)


@pytest.mark.parametrize("rate", [8_000, 22_050, 48_000])
def test_other_rates_come_back_in_place(rate):
    wave = soxr.resample(voice(), RATE, rate)
    for drawn in CODED[::3]:
        result = Codec(sample_rate=rate).apply(wave, drawn)
        assert result.shape == wave.shape
        lag, likeness = lag_and_likeness(wave, result)
        assert abs(lag) <= (rate / RATE if drawn.get("kbps", 64) < 10 else 0.5)
        assert likeness > 0.6


def test_calls_and_processes_agree():
    code = (
        "import hashlib, sys; sys.path.insert(0, 'tests/unit')\n"
        "from test_codec import CODED, Codec, voice\n"
        "print([hashlib.md5(Codec().apply(voice(0.5), drawn).tobytes()).hexdigest() for drawn in CODED])"
    )
    here = [hashlib.md5(Codec().apply(voice(0.5), drawn).tobytes()).hexdigest() for drawn in CODED]
    again = [hashlib.md5(Codec().apply(voice(0.5), drawn).tobytes()).hexdigest() for drawn in reversed(CODED)]
    assert again[::-1] == here
    root = __file__.rsplit("/tests/", 1)[0]
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert there.stdout.strip() == str(here)


# ---------------------------------------------------------------------------------------------------- what is drawn


def test_formats_are_drawn_equally_often_with_rates_in_octaves():
    transform = Codec(formats=tuple(FORMATS), min_kbps=16.0, max_kbps=128.0)
    wave = voice(0.1)
    drawn = [transform.draw(derive_rng("test", seed), wave) for seed in range(2_000)]
    assert json.loads(json.dumps(drawn)) == drawn
    for name in FORMATS:
        assert 330 < sum(parameters["format"] == name for parameters in drawn) < 470
    assert all(("kbps" in parameters) == (parameters["format"] in ("mp3", "opus", "vorbis")) for parameters in drawn)
    opus = np.log2([parameters["kbps"] for parameters in drawn if parameters["format"] == "opus"])
    assert opus.min() > 4
    assert opus.max() < 7
    assert opus.mean() == pytest.approx(5.5, abs=0.15)
    mp3 = {parameters["kbps"] for parameters in drawn if parameters["format"] == "mp3"}
    assert mp3 == {16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128}
    vorbis = [parameters["kbps"] for parameters in drawn if parameters["format"] == "vorbis"]
    assert min(vorbis) == 30
    assert max(vorbis) == 85


def test_it_runs_on_the_cpu_and_keeps_the_length():
    assert not Codec().runs_on_device
    assert not Codec().changes_length
    assert Codec(formats="opus").formats == ("opus",)


# ----------------------------------------------------------------------------------------------------- what is missing


def test_a_libsndfile_without_a_format_is_named_with_what_it_has(monkeypatch):
    original = soundfile.SoundFile.__init__

    def init(self, file, mode="r", *args, **how):
        if how.get("format") in ("MP3", "OGG"):
            raise soundfile.LibsndfileError(1, "Error opening: ")
        original(self, file, mode, *args, **how)

    Codec().check()
    monkeypatch.setattr(soundfile.SoundFile, "__init__", init)
    Codec(formats=("telephone",)).check()
    with pytest.raises(RecipeError, match=r"cannot code mp3, opus, but gsm, telephone\. "):
        Codec().check()
    with pytest.raises(DataError, match="mp3 failed"):
        Codec().apply(voice(0.1), {"format": "mp3", "kbps": 32})


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"formats": ()}, "formats=()"),
        ({"formats": ("ops",)}, "Did you mean 'opus'?"),
        ({"min_kbps": 65.0}, "min_kbps=65.0"),
        ({"min_kbps": 5.0}, "min_kbps=5.0"),
        ({"max_kbps": 300.0}, "max_kbps=300.0"),
        ({"max_kbps": float("nan")}, "max_kbps=nan"),
        ({"sample_rate": 4_000}, "sample_rate=4000"),
    ],
)
def test_bad_settings_are_named(setting, says):
    with pytest.raises(RecipeError, match=r"Codec\(") as caught:
        Codec(**setting)
    assert says in str(caught.value)
