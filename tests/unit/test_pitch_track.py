"""The pitch track, the path it chooses, the range of a voice and the marks of its periods, against what was put in."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from voices import RATE, VOWELS, melody, voice

from ssft.augment.pitch_track import pitch_range, track_pitch
from ssft.ops.best_path import best_path
from ssft.ops.period_marks import mark_periods
from ssft.ops.pitch import median_pitch, pitch_candidates

COSTS = {"jump_cost": 0.35, "change_cost": 0.14}


def track(wave, **bounds):
    return track_pitch(wave, **{"min_hz": 60, "max_hz": 500, "sample_rate": RATE, **bounds})


def marks_of(wave):
    hz = torch.from_numpy(track(wave).hz)[None]
    samples, lengths = torch.from_numpy(wave)[None], torch.tensor([len(wave)])
    return mark_periods(samples, lengths, hz, step=160, sample_rate=RATE)


# ----------------------------------------------------------------------------------------------------------- track


@pytest.mark.parametrize("mean_hz", [75, 120, 210, 330, 430])
@pytest.mark.parametrize("vowel", VOWELS)
def test_the_track_follows_the_pitch_that_was_put_in(mean_hz, vowel):
    hz = melody(mean_hz, depth=0.1)
    found = track(voice(hz, VOWELS[vowel]))
    inner = slice(3, -3)
    error = found.hz[inner] / hz[found.places[inner]] - 1
    assert np.abs(error).max() < 0.02
    assert np.sqrt(np.mean(error**2)) < 0.005
    assert found.median_hz == pytest.approx(np.median(hz), rel=0.01)
    assert found.voiced_parts()[0].stop - found.voiced_parts()[-1].start >= len(found.hz) - 4


def test_the_track_ends_where_the_voice_ends():
    vowel = voice(melody(150, seconds=0.5), VOWELS["a"])
    hiss = 0.01 * np.random.default_rng(0).standard_normal(8_000)
    found = track(np.r_[hiss, vowel, hiss, vowel, np.zeros(8_000)])
    parts = found.voiced_parts()
    assert [round(found.places[part.start] / RATE, 1) for part in parts] == [0.5, 1.5]
    assert [round(found.places[part.stop - 1] / RATE, 1) for part in parts] == [1.0, 2.0]


@pytest.mark.parametrize("kind", ["silence", "dc", "noise", "impulse", "one sample", "hardly anything"])
def test_what_is_no_voice_has_no_pitch(kind):
    wave = {
        "silence": np.zeros(16_000),
        "dc": np.full(16_000, 0.3),
        "noise": np.random.default_rng(1).standard_normal(16_000),
        "impulse": np.eye(1, 16_000, 5_000)[0],
        "one sample": np.ones(1),
        "hardly anything": np.full(16_000, 1e-42),
    }[kind].astype(np.float32)
    found = track(wave)
    assert np.isfinite(found.hz).all()
    assert (found.hz > 0).sum() <= 0.03 * len(found.hz)
    assert len(found.hz) == -(-len(wave) // 160)


def test_a_batch_is_tracked_as_each_of_its_voices_alone():
    waves = [voice(melody(hz, seconds=seconds), VOWELS["e"]) for hz, seconds in ((90, 0.3), (200, 2.0), (400, 0.7))]
    waves.append(np.zeros(1, np.float32))
    lengths = torch.tensor([len(wave) for wave in waves])
    samples = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(wave) for wave in waves], batch_first=True)
    hz = pitch_candidates(samples, lengths, min_hz=60, max_hz=500, sample_rate=RATE).track()
    for row, wave in zip(hz.numpy(), waves, strict=True):
        alone = track(wave).hz
        assert row[: len(alone)] == pytest.approx(alone, rel=1e-5)
        assert not row[len(alone) :].any()
    assert median_pitch(hz).numpy() == pytest.approx([track(wave).median_hz for wave in waves], rel=1e-5)


def test_bounds_hold_for_each_voice_by_itself():
    wave = torch.from_numpy(voice(melody(150), VOWELS["a"]))
    candidates = pitch_candidates(
        torch.stack([wave, wave]), torch.tensor([len(wave)] * 2), min_hz=60, max_hz=500, sample_rate=RATE
    )
    free, octave_below = candidates.track(highest=torch.tensor([500.0, 100.0]))
    assert free[10:-10].numpy() == pytest.approx(melody(150)[::160][10:-10], rel=0.02)
    assert octave_below[octave_below > 0].numpy().max() <= 100
    assert float(octave_below[octave_below > 0].median()) == pytest.approx(75, rel=0.03)


# ----------------------------------------------------------------------------------------------------------- range


def test_the_range_is_an_octave_around_the_median_within_the_bounds():
    wave = voice(melody(150), VOWELS["a"])
    lowest, highest = pitch_range(wave, min_hz=60, max_hz=500, sample_rate=RATE)
    median = track(wave).median_hz
    assert (lowest, highest) == pytest.approx((median / 2, median * 2))
    assert pitch_range(wave, min_hz=90, max_hz=250, sample_rate=RATE) == (90, 250)


@pytest.mark.parametrize("samples", [1, 400, 16_000])
def test_silence_has_no_range(samples):
    assert pitch_range(np.zeros(samples, np.float32), min_hz=60, max_hz=500, sample_rate=RATE) is None


def test_the_track_is_that_of_praat_on_real_speech(shared_speech):
    parselmouth = pytest.importorskip("parselmouth")
    files = sorted((shared_speech / "speechocean762_train" / "audio").rglob("*.opus"))[::250]
    assert files
    ratios, agree = [], []
    for path in files:
        wave = soundfile.read(path, dtype="float32")[0]
        sound = parselmouth.Sound(wave.astype(np.float64), RATE)
        pitch = sound.to_pitch_ac(time_step=0.01, pitch_floor=60, pitch_ceiling=500)
        expected = pitch.selected_array["frequency"]
        found = track(wave).hz[np.rint(pitch.xs() / 0.01).astype(int)]
        both = (found > 0) & (expected > 0)
        ratios.append(found[both] / expected[both])
        agree.append((found > 0) == (expected > 0))
    errors = np.abs(np.concatenate(ratios) - 1)
    assert np.median(errors) < 0.003
    assert (errors < 0.05).mean() > 0.98
    assert np.concatenate(agree).mean() > 0.96


# ------------------------------------------------------------------------------------------------------------ path


def total_of(path, scores, octaves, free):
    """What a path wins, from the definition."""
    won = sum(scores[n][choice] for n, choice in enumerate(path))
    for n in range(1, len(path)):
        one, other = path[n - 1], path[n]
        if not free[n] and one != other and 0 in (one, other):
            won -= COSTS["change_cost"]
        elif not free[n] and one and other:
            won -= COSTS["jump_cost"] * abs(octaves[n][other] - octaves[n - 1][one])
    return won


def drawn_candidates(instants, candidates, seed):
    rng = np.random.default_rng(seed)
    scores = np.where(rng.random((instants, candidates)) < 0.3, -np.inf, rng.random((instants, candidates)))
    scores[:, 0] = rng.random(instants)
    octaves, free = rng.uniform(6, 9, (instants, candidates)), rng.random(instants) < 0.2
    return (torch.from_numpy(one) for one in (scores, octaves, free))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 10_000))
def test_no_path_wins_more_than_the_best(instants, candidates, seed):
    scores, octaves, free = drawn_candidates(instants, candidates, seed)
    every = itertools.product(range(candidates), repeat=instants)
    most = max(total_of(path, scores, octaves, free) for path in every)
    for scan in (False, True):
        path = best_path(scores, octaves, free, **COSTS, scan=scan).tolist()
        assert total_of(path, scores, octaves, free) == pytest.approx(float(most), abs=1e-12)


@pytest.mark.parametrize("instants", [1, 2, 3, 31, 32, 33, 1_000])
def test_the_scan_finds_the_path_of_the_loop(instants):
    scores, octaves, free = drawn_candidates(instants, 9, instants)
    loop, scan = (best_path(scores, octaves, free, **COSTS, scan=scan) for scan in (False, True))
    assert loop.tolist() == scan.tolist()


def test_sequences_that_follow_one_another_do_not_touch():
    parts = [tuple(drawn_candidates(size, 9, size)) for size in (5, 1, 40)]
    for _, _, free in parts:
        free[0] = True
    joined = [torch.cat(one) for one in zip(*parts, strict=True)]
    for scan in (False, True):
        alone = torch.cat([best_path(*part, **COSTS, scan=scan) for part in parts])
        assert best_path(*joined, **COSTS, scan=scan).tolist() == alone.tolist()


def test_the_scan_and_the_loop_find_one_track_of_real_speech(shared_speech):
    files = sorted((shared_speech / "speechocean762_train" / "audio").rglob("*.opus"))[::500]
    assert files
    for path in files:
        samples = torch.from_numpy(soundfile.read(path, dtype="float32")[0])[None]
        found = pitch_candidates(samples, torch.tensor([samples.shape[1]]), min_hz=60, max_hz=500, sample_rate=RATE)
        free = torch.arange(found.hz.shape[1]) == 0
        octaves = found.hz[0].clamp_min(1).log2()
        loop, scan = (best_path(found.strengths[0], octaves, free, **COSTS, scan=scan) for scan in (False, True))
        assert loop.tolist() == scan.tolist()


# ----------------------------------------------------------------------------------------------------------- marks


@pytest.mark.parametrize("mean_hz", [75, 140, 300])
@pytest.mark.parametrize("vowel", VOWELS)
def test_each_period_is_marked_once_at_the_same_place(mean_hz, vowel):
    hz = melody(mean_hz)
    marks = marks_of(voice(hz, VOWELS[vowel]))
    places = marks.places.numpy()
    assert np.diff(places) == pytest.approx(RATE / hz[places.astype(int)][:-1], rel=0.03)
    assert marks.hz.numpy() == pytest.approx(hz[places.astype(int)], rel=0.02)
    phase = np.interp(places, np.arange(len(hz)), np.cumsum(hz) / RATE)  # in periods
    assert np.abs(phase - phase[0] - np.arange(len(places))).max() < 0.15
    assert len(places) > 0.95 * hz.sum() / RATE


def test_marks_lie_where_the_energy_is():
    wave = voice(melody(100, depth=0.1), VOWELS["a"])
    places = marks_of(wave).places.numpy().round().astype(int)[2:-2]
    energy = np.convolve(wave.astype(np.float64) ** 2, np.ones(33), "same")  # of 2 ms of the 10 ms of a period
    around = np.array([energy[place - 80 : place + 80].mean() for place in places])
    assert (energy[places] > 1.5 * around).mean() > 0.95


@pytest.mark.parametrize("kind", ["sine", "square", "one sided"])
def test_waves_with_two_equal_halves_are_marked_once_in_a_period(kind):
    sine = np.sin(2 * np.pi * 200 * np.arange(RATE) / RATE)
    wave = {"sine": sine, "square": np.sign(sine + 1e-9), "one sided": np.abs(sine) + 0.5 * sine}[kind]
    marks = marks_of((0.3 * wave).astype(np.float32))
    assert np.diff(marks.places.numpy()) == pytest.approx(80, abs=0.5)


def test_a_part_of_a_single_mark_is_none_and_silence_has_no_marks():
    samples, lengths = torch.rand(1, 1_600), torch.tensor([1_600])
    hz = torch.zeros(1, 10, dtype=torch.float64)
    assert len(mark_periods(samples, lengths, hz, step=160, sample_rate=RATE).places) == 0
    hz[0, 4] = 120.0  # 10 ms hold one period and a bit
    assert len(mark_periods(samples, lengths, hz, step=160, sample_rate=RATE).places) in (0, 2)
    hz[0, 4] = 70.0
    assert len(mark_periods(samples, lengths, hz, step=160, sample_rate=RATE).places) == 0
