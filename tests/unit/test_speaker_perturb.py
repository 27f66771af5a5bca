"""Speaker perturbation: pitch, its range and the formants each move by their own ratio, and nothing else moves.

Voices are made here: pulses with a known pitch through resonators at known formants. Formants are measured by linear
prediction; pitch by the tracker, which is first tested against the pitch that was put in.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile
import soxr

from ssft.augment.period_marks import mark_periods
from ssft.augment.pitch_track import track_pitch
from ssft.augment.speaker import SpeakerPerturb
from ssft.errors import RecipeError
from ssft.randomness import derive_rng

RATE = 16_000
VOWELS = {"a": (730, 1090, 2440), "e": (530, 1840, 2480), "u": (640, 1190, 2390)}
SAME = {"formant_ratio": 1.0, "pitch_ratio": 1.0, "range_ratio": 1.0}


def resonate(source, formants, bandwidth=90.0):
    """Through a cascade of two-pole resonators, in a loop, so that nothing is shared with the code under test."""
    signal = np.asarray(source, dtype=np.float64)
    for hz in formants:
        radius = np.exp(-np.pi * bandwidth / RATE)
        a, b = 2 * radius * np.cos(2 * np.pi * hz / RATE), -(radius**2)
        out, one, two = np.empty(len(signal)), 0.0, 0.0
        for index, value in enumerate(signal):
            one, two = value + a * one + b * two, one
            out[index] = one
        signal = out
    return signal


def melody(mean_hz, seconds=1.5, depth=0.15, turns_per_second=1.5):
    time = np.arange(round(seconds * RATE)) / RATE
    return mean_hz * (1 + depth * np.sin(2 * np.pi * turns_per_second * time))


def voice(hz, formants):
    """A vowel [T] whose pitch at each sample is `hz` [T]: softened pulses through the resonators."""
    phase = 2 * np.pi * np.cumsum(hz) / RATE
    harmonics = np.arange(1, int(7_000 / hz.max()) + 1)
    pulses = sum(np.cos(number * phase) for number in harmonics)
    for index in range(1, len(pulses)):  # -6 dB an octave, as of glottis and lips together
        pulses[index] += 0.9 * pulses[index - 1]
    wave = resonate(pulses, formants)
    return (0.3 * wave / np.abs(wave).max()).astype(np.float32)


def measured_formants(wave, ratio=1.0):
    """The three lowest resonances in Hz, by linear prediction of order 8 up to 4 kHz times the ratio expected."""
    rate = 8_000 * ratio
    narrow = soxr.resample(wave.astype(np.float64), RATE, rate)
    narrow = narrow[1:] - 0.9 * narrow[:-1]
    correlation = np.fft.irfft(np.abs(np.fft.rfft(narrow, 2 * len(narrow))) ** 2)[:9]
    correlation[0] *= 1 + 1e-6
    matrix = correlation[np.abs(np.subtract.outer(np.arange(8), np.arange(8)))]
    roots = np.roots(np.r_[1.0, -np.linalg.solve(matrix, correlation[1:])])
    roots = roots[(roots.imag > 0) & (np.abs(roots) > 0.85)]
    return np.sort(np.angle(roots) * rate / (2 * np.pi))[:3]


def tracked_over(expected_hz, wave):
    """The pitch over the expected one (at each sample, [T]) wherever there is a voice in both."""
    low, high = 0.8 * expected_hz[expected_hz > 0].min(), 1.25 * expected_hz.max()
    track = track_pitch(wave, min_hz=max(low, 25), max_hz=min(high, 1_000), sample_rate=RATE)
    expected = expected_hz[track.places]
    both = (track.hz > 0) & (expected > 0)
    assert both.sum() > 0.6 * (expected > 0).sum()
    return track.hz[both] / expected[both]


# ----------------------------------------------------------------------------------------------------- pitch track


@pytest.mark.parametrize("mean_hz", [75, 120, 210, 330, 430])
@pytest.mark.parametrize("vowel", VOWELS)
def test_the_track_follows_the_pitch_that_was_put_in(mean_hz, vowel):
    hz = melody(mean_hz, depth=0.1)
    track = track_pitch(voice(hz, VOWELS[vowel]), min_hz=60, max_hz=500, sample_rate=RATE)
    inner = slice(3, -3)
    error = track.hz[inner] / hz[track.places[inner]] - 1
    assert np.abs(error).max() < 0.02
    assert np.sqrt(np.mean(error**2)) < 0.005
    assert track.median_hz == pytest.approx(np.median(hz), rel=0.01)
    assert track.voiced_parts()[0].stop - track.voiced_parts()[-1].start >= len(track.hz) - 4


def test_the_track_ends_where_the_voice_ends():
    vowel = voice(melody(150, seconds=0.5), VOWELS["a"])
    hiss = 0.01 * np.random.default_rng(0).standard_normal(8_000)
    track = track_pitch(np.r_[hiss, vowel, hiss, vowel, np.zeros(8_000)], min_hz=60, max_hz=500, sample_rate=RATE)
    parts = track.voiced_parts()
    assert [round(track.places[part.start] / RATE, 1) for part in parts] == [0.5, 1.5]
    assert [round(track.places[part.stop - 1] / RATE, 1) for part in parts] == [1.0, 2.0]


@pytest.mark.parametrize("kind", ["silence", "dc", "noise", "impulse", "one sample"])
def test_what_is_no_voice_has_no_pitch(kind):
    wave = {
        "silence": np.zeros(16_000),
        "dc": np.full(16_000, 0.3),
        "noise": np.random.default_rng(1).standard_normal(16_000),
        "impulse": np.eye(1, 16_000, 5_000)[0],
        "one sample": np.ones(1),
    }[kind].astype(np.float32)
    track = track_pitch(wave, min_hz=60, max_hz=500, sample_rate=RATE)
    assert (track.hz > 0).mean() < 0.03
    assert len(track.hz) == -(-len(wave) // 160)


def test_each_period_is_marked_once():
    hz = melody(140)
    wave = voice(hz, VOWELS["a"])
    track = track_pitch(wave, min_hz=60, max_hz=500, sample_rate=RATE)
    (marks,) = mark_periods(wave, track, sample_rate=RATE)
    periods = RATE / hz[marks.astype(int)]
    assert np.diff(marks) == pytest.approx(periods[:-1], rel=0.03)
    phase = np.interp(marks, np.arange(len(hz)), np.cumsum(hz) / RATE)  # in periods: the same place in each of them
    assert np.abs(phase - phase[0] - np.arange(len(marks))).max() < 0.15


# ---------------------------------------------------------------------------------------------------- what changes


@pytest.mark.parametrize("vowel", VOWELS)
@pytest.mark.parametrize(
    ("formants", "pitch"),
    [(1.0, 1.0), (1.0, 1.9), (1.0, 0.55), (1.35, 1.0), (0.75, 1.0), (1.3, 1.7), (0.77, 0.6), (1.3, 0.6), (0.77, 1.7)],
)
def test_pitch_and_formants_move_by_their_own_ratios(vowel, formants, pitch):
    hz = melody(130, seconds=2.0, depth=0.3, turns_per_second=0.5)  # wide, as harmonics that stay hide the formants
    wave = voice(hz, VOWELS[vowel])
    drawn = {"formant_ratio": formants, "pitch_ratio": pitch, "range_ratio": 1.0}
    result = SpeakerPerturb().apply(wave, drawn)
    assert np.median(tracked_over(pitch * hz, result)) == pytest.approx(1.0, abs=0.03)
    before = measured_formants(wave)
    assert before == pytest.approx(VOWELS[vowel], rel=0.06)
    assert measured_formants(result, formants) / before == pytest.approx(formants, rel=0.08)


@pytest.mark.parametrize("spread", [0.7, 1.0, 1.4])
@pytest.mark.parametrize("pitch", [0.7, 1.0, 1.6])
def test_the_range_moves_about_the_new_median(spread, pitch):
    hz = melody(150, seconds=2.0)
    drawn = {"formant_ratio": 1.1, "pitch_ratio": pitch, "range_ratio": spread}
    result = SpeakerPerturb().apply(voice(hz, VOWELS["a"]), drawn)
    ratios = tracked_over(150 * pitch * (1 + spread * (hz / 150 - 1)), result)
    assert np.abs(ratios - 1).max() < 0.05
    assert np.abs(ratios - 1).mean() < 0.01


def test_the_pitch_never_falls_below_half_of_the_lowest():
    hz = np.repeat([150.0, 90.0], [2 * RATE, RATE])
    result = SpeakerPerturb().apply(
        voice(hz, VOWELS["a"]), {"formant_ratio": 1.0, "pitch_ratio": 0.5, "range_ratio": 4.0}
    )
    expected_hz = np.repeat([75.0, 30.0], [2 * RATE, RATE])  # not 75 * (1 + 4 * (90 / 150 - 1)), which is negative
    assert (np.abs(tracked_over(expected_hz, result) - 1) < 0.02).mean() > 0.95


def test_what_has_no_voice_keeps_its_time_and_moves_its_formants():
    hiss = resonate(np.random.default_rng(0).standard_normal(2 * RATE), (2_000,), 300.0)
    wave = (0.1 * hiss / hiss.std()).astype(np.float32)
    for ratio in (0.75, 1.0, 1.35):
        drawn = {"formant_ratio": ratio, "pitch_ratio": 2.0, "range_ratio": 1.5}
        result = SpeakerPerturb().apply(wave, drawn)
        spectrum = np.abs(np.fft.rfft(result)) ** 2
        smooth = np.convolve(spectrum, np.ones(401), "same")
        assert smooth.argmax() / 2 == pytest.approx(2_000 * ratio, rel=0.05)
        assert result.std() / wave.std() == pytest.approx(1.0, rel=0.1)


def test_at_ratios_of_one_the_waveform_stays():
    for vowel in VOWELS.values():
        wave = voice(melody(160), vowel)
        error = SpeakerPerturb().apply(wave, SAME) - wave
        assert np.mean(error**2) < 1e-3 * np.mean(wave**2)
    noise = (0.1 * np.random.default_rng(0).standard_normal(RATE)).astype(np.float32)
    before, after = (np.abs(np.fft.rfft(one)) ** 2 for one in (noise, SpeakerPerturb().apply(noise, SAME)))
    bands = np.arange(0, 7_000, 500)
    assert np.add.reduceat(after, bands)[:-1] == pytest.approx(np.add.reduceat(before, bands)[:-1], rel=0.02)


@pytest.mark.parametrize("ratio", [0.75, 1.35])
def test_nothing_moves_in_time(ratio):
    wave = np.zeros(2 * RATE, np.float32)
    for at in (0.3, 1.0, 1.7):
        first = int(at * RATE)
        wave[first : first + 1_600] += np.hanning(1_600) * voice(melody(150, seconds=0.1), VOWELS["a"])
    result = SpeakerPerturb().apply(wave, {"formant_ratio": ratio, "pitch_ratio": 1.3, "range_ratio": 1.2})
    for at in (0.3, 1.0, 1.7):
        around = np.arange(int(at * RATE) - 1_600, int(at * RATE) + 3_200)
        centres = [float((around * one[around] ** 2).sum() / (one[around] ** 2).sum()) for one in (wave, result)]
        assert abs(centres[1] - centres[0]) < 0.008 * RATE


# ------------------------------------------------------------------------------------------------- rules and draws


@pytest.mark.parametrize("samples", [1, 2, 399, 400, 1_023, 16_001, 40 * RATE])
def test_every_length_is_kept_and_silence_stays_silence(samples):
    transform = SpeakerPerturb()
    assert not transform.changes_length
    wave = (0.1 * np.random.default_rng(samples).standard_normal(samples)).astype(np.float32)
    for signal in (wave, np.sign(np.sin(np.arange(samples) / 20)).astype(np.float32)):
        result = transform(signal, derive_rng("test", samples))
        assert result.shape == (samples,)
        assert result.dtype == np.float32
        assert np.isfinite(result).all()
        assert np.abs(result).max() <= 2
    assert not transform(np.zeros(samples, np.float32), derive_rng("test", 0)).any()


def test_draws_are_plain_ratios_half_of_them_inverted():
    transform = SpeakerPerturb()
    drawn = [transform.draw(derive_rng("test", seed), np.zeros(4, np.float32)) for seed in range(600)]
    assert json.loads(json.dumps(drawn)) == drawn
    for name, largest in (("formant_ratio", 1.4), ("pitch_ratio", 2.0), ("range_ratio", 1.5)):
        ratios = np.array([parameters[name] for parameters in drawn])
        assert 250 < (ratios > 1).sum() < 350
        factors = np.maximum(ratios, 1 / ratios)
        assert factors.max() <= largest
        assert factors.mean() == pytest.approx((1 + largest) / 2, rel=0.03)
        assert factors.std() == pytest.approx((largest - 1) / np.sqrt(12), rel=0.1)


def test_the_equalizer_can_be_left_out():
    wave = voice(melody(150, seconds=0.5), VOWELS["a"])
    with_it, without = SpeakerPerturb(), SpeakerPerturb(equalizer=False)
    drawn = with_it.draw(derive_rng("test"), wave)
    plain = without.draw(derive_rng("test"), wave)
    assert set(drawn) - set(plain) == {"equalizer"}
    assert {name: drawn[name] for name in plain} == plain
    assert not np.array_equal(with_it.apply(wave, drawn), without.apply(wave, plain))
    assert np.array_equal(with_it.apply(wave, plain), without.apply(wave, plain))


def test_what_was_drawn_can_be_applied_again_and_the_input_is_left_alone():
    wave = voice(melody(150, seconds=0.5), VOWELS["e"])
    before = wave.copy()
    drawn = SpeakerPerturb().draw(derive_rng("test", 1), wave)
    first = SpeakerPerturb().apply(wave, drawn)
    assert np.array_equal(first, SpeakerPerturb().apply(wave, json.loads(json.dumps(drawn))))
    assert np.array_equal(wave, before)


def test_other_rates_are_possible():
    hz = melody(150)
    wave = voice(hz, VOWELS["a"])[::2]
    result = SpeakerPerturb(sample_rate=8_000).apply(wave, {**SAME, "pitch_ratio": 1.5})
    track = track_pitch(result, min_hz=60, max_hz=500, sample_rate=8_000)
    assert track.median_hz == pytest.approx(225, rel=0.03)
    assert len(SpeakerPerturb(sample_rate=8_000)(wave, derive_rng("test"))) == len(wave)


def test_real_voices_move_by_the_ratio_drawn(shared_speech):
    files = sorted((shared_speech / "speechocean762_train" / "audio").rglob("*.opus"))[::100][:8]
    assert files
    for number, path in enumerate(files):
        wave = soundfile.read(path, dtype="float32")[0]
        drawn = SpeakerPerturb(equalizer=False).draw(derive_rng("test", number), wave)
        result = SpeakerPerturb().apply(wave, drawn)
        pitch = drawn["pitch_ratio"]
        track = track_pitch(wave, min_hz=60, max_hz=500, sample_rate=RATE)
        new_hz = pitch * (track.median_hz + drawn["range_ratio"] * (track.hz - track.median_hz))
        ratios = tracked_over(np.repeat(np.where(track.hz > 0, new_hz, 0.0), track.step)[: len(wave)], result)
        assert np.median(ratios) == pytest.approx(1.0, abs=0.01)
        assert (np.abs(ratios - 1) < 0.05).mean() > 0.85


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"formant_ratio": 0.9}, "formant_ratio=0.9"),
        ({"pitch_ratio": float("nan")}, "pitch_ratio=nan"),
        ({"range_ratio": 5}, "range_ratio=5"),
        ({"min_pitch_hz": 5}, "min_pitch_hz=5"),
        ({"min_pitch_hz": 500, "max_pitch_hz": 100}, "min_pitch_hz=500"),
        ({"max_pitch_hz": 2000}, "max_pitch_hz=2000"),
        ({"sample_rate": 0}, "sample_rate=0"),
    ],
)
def test_bad_settings_are_named(setting, says):
    with pytest.raises(RecipeError, match=r"SpeakerPerturb\(") as caught:
        SpeakerPerturb(**setting)
    assert says in str(caught.value)
