"""Speaker perturbation: pitch, its range and the formants each move by their own ratio, and nothing else moves.

Voices are made: pulses with a known pitch through resonators at known formants. Formants are measured by linear
prediction, of real voices by Praat; pitch by the tracker, which test_pitch_track.py holds against what was put in.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile
import torch
from voices import RATE, VOWELS, measured_formants, melody, resonate, voice

from ssft.augment import speaker
from ssft.augment.pitch_track import pitch_range, track_pitch
from ssft.augment.speaker import SpeakerPerturb
from ssft.errors import RecipeError
from ssft.randomness import derive_rng
from ssft.types import Waves

SAME = {"formant_ratio": 1.0, "pitch_ratio": 1.0, "range_ratio": 1.0}
DRAWN = {"formant_ratio": 1.2, "pitch_ratio": 1.3, "range_ratio": 0.8}


def tracked_over(expected_hz, wave):
    """The pitch over the expected one (at each sample, [T]) wherever there is a voice in both."""
    low, high = 0.8 * expected_hz[expected_hz > 0].min(), 1.25 * expected_hz.max()
    track = track_pitch(wave, min_hz=max(low, 25), max_hz=min(high, 1_000), sample_rate=RATE)
    expected = expected_hz[track.places]
    both = (track.hz > 0) & (expected > 0)
    assert both.sum() > 0.6 * (expected > 0).sum()
    return track.hz[both] / expected[both]


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


def test_real_formants_move_by_the_ratio_drawn(shared_speech):
    parselmouth = pytest.importorskip("parselmouth")
    files = sorted((shared_speech / "speechocean762_train" / "audio").rglob("*.opus"))[::800]
    assert files

    def formants(wave, ceiling):
        sound = parselmouth.Sound(wave.astype(np.float64), RATE)
        burg = sound.to_formant_burg(time_step=0.01, maximum_formant=ceiling)
        voiced = np.flatnonzero(track_pitch(original, min_hz=60, max_hz=500, sample_rate=RATE).hz)
        return [np.nanmedian([burg.get_value_at_time(number, 0.01 * at) for at in voiced]) for number in (2, 3)]

    for path in files:
        original = soundfile.read(path, dtype="float32")[0]
        for ratio in (0.8, 1.3):
            result = SpeakerPerturb().apply(original, {**SAME, "formant_ratio": ratio})
            moved = np.divide(formants(result, 5_500 * ratio), formants(original, 5_500))
            assert moved == pytest.approx(ratio, rel=0.12)
            assert np.mean(moved) == pytest.approx(ratio, rel=0.06)


# ------------------------------------------------------------------------------------------------------------ batches


def assorted():
    """Waveforms of very unequal lengths, [T] each: voices, and what is none."""
    time = np.arange(RATE)
    rng = np.random.default_rng(0)
    waves = [voice(melody(hz, seconds=seconds), VOWELS["a"]) for hz, seconds in ((90, 0.4), (150, 3.1), (300, 1.0))]
    hiss = 0.1 * rng.standard_normal(30_001)
    square, sine = np.sign(np.sin(time / 20)), 0.5 * np.sin(2 * np.pi * 200 * time / RATE)
    others = [
        np.zeros(9_000),
        np.ones(1),
        hiss[:400],
        np.full(5_000, 0.3),
        square,
        sine,
        hiss,
        np.eye(1, 7_000, 900)[0],
    ]
    return waves + [one.astype(np.float32) for one in others]


def batch_of(waves, fill=float("nan")):
    batch = Waves.stack([torch.from_numpy(wave) for wave in waves])
    return Waves(torch.where(batch.mask, batch.samples, fill), batch.lengths)


@pytest.mark.parametrize("equalizer", [False, True])
def test_a_batch_is_treated_as_each_waveform_alone(equalizer):
    transform, waves = SpeakerPerturb(equalizer=equalizer), assorted()
    drawn = [transform.draw(derive_rng("test", row), wave) for row, wave in enumerate(waves)]
    batch = batch_of(waves)
    result = transform.apply_batch(batch, drawn)
    assert torch.equal(batch.samples.isnan(), ~batch.mask)  # the input is left alone
    assert not result.samples[~result.mask].any()
    for wave, parameters, row in zip(waves, drawn, result.items(), strict=True):
        alone = transform.apply(wave, parameters)
        assert len(row) == len(wave)
        assert np.isfinite(alone).all()
        assert row.numpy() == pytest.approx(alone, abs=1e-4)
        assert np.sqrt(np.mean((row.numpy() - alone) ** 2)) <= 1e-5 * np.sqrt(np.mean(alone**2))


def test_the_company_in_a_batch_does_not_matter():
    transform, waves = SpeakerPerturb(), assorted()
    drawn = [transform.draw(derive_rng("test", row), wave) for row, wave in enumerate(waves)]
    forth = list(transform.apply_batch(batch_of(waves, fill=7.0), drawn).items())
    back = list(transform.apply_batch(batch_of(waves[::-1]), drawn[::-1]).items())[::-1]
    for one, other in zip(forth, back, strict=True):
        assert one.numpy() == pytest.approx(other.numpy(), abs=1e-4)


def test_real_voices_are_the_same_in_a_batch(shared_speech):
    files = sorted((shared_speech / "speechocean762_train" / "audio").rglob("*.opus"))[::800]
    waves = [soundfile.read(path, dtype="float32")[0] for path in files]
    transform = SpeakerPerturb()
    drawn = [transform.draw(derive_rng("test", row), wave) for row, wave in enumerate(waves)]
    for wave, parameters, row in zip(waves, drawn, transform.apply_batch(batch_of(waves), drawn).items(), strict=True):
        assert row.numpy() == pytest.approx(transform.apply(wave, parameters), abs=1e-4)


def test_some_of_a_batch_may_have_no_equalizer():
    transform, wave = SpeakerPerturb(), assorted()[1]
    drawn = transform.draw(derive_rng("test"), wave)
    plain = {name: value for name, value in drawn.items() if name != "equalizer"}
    result = transform.apply_batch(batch_of([wave, wave]), [plain, drawn])
    for row, parameters in zip(result.items(), (plain, drawn), strict=True):
        assert row.numpy() == pytest.approx(transform.apply(wave, parameters), abs=1e-4)


def test_pieces_of_a_long_recording_fit_together(monkeypatch):
    wave = np.concatenate([voice(melody(hz, seconds=1.0), VOWELS["e"]) for hz in (100, 170, 240)])
    whole = SpeakerPerturb().apply(wave, DRAWN)
    monkeypatch.setattr("ssft.ops.overlap_add._CHUNK_SAMPLES", {"cpu": 1_024})
    monkeypatch.setattr("ssft.ops.pitch._CHUNK_FRAMES", {"cpu": 7})
    monkeypatch.setattr("ssft.ops.period_marks._CHUNK_STEPS", {"cpu": 5})
    assert SpeakerPerturb().apply(wave, DRAWN) == pytest.approx(whole, abs=1e-4)


def test_a_voice_at_the_end_of_five_minutes_is_treated_as_at_their_beginning():
    wave = voice(melody(150, seconds=1.0), VOWELS["a"])
    early, late = np.zeros(3 * RATE, np.float32), np.zeros(300 * RATE, np.float32)
    early[RATE : 2 * RATE] = late[-2 * RATE : -RATE] = wave
    early, late = (SpeakerPerturb().apply(one, DRAWN) for one in (early, late))
    assert late[-2 * RATE + 400 : -RATE] == pytest.approx(early[RATE + 400 : 2 * RATE], abs=1e-4)
    assert np.abs(early).max() > 0.1
    assert not late[: -3 * RATE].any()


# --------------------------------------------------------------------------------------------------- speakers and Praat


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "speakers.tsv"
    path.write_text("speaker\tmin_pitch_hz\tmax_pitch_hz\nanna\t200\t450\nbob\t60\t180\n")
    return str(path)


def test_a_table_gives_the_bounds_and_they_travel_with_the_draw(table):
    transform, wave = SpeakerPerturb(speakers=table, equalizer=False), voice(melody(150), VOWELS["a"])
    transform.check()
    for name, bounds in (("anna", (200, 450)), ("bob", (60, 180)), ("nobody", None), (None, None)):
        drawn = transform.for_speaker(name).draw(derive_rng("test"), wave)
        assert (drawn.get("min_pitch_hz"), drawn.get("max_pitch_hz")) == (bounds or (None, None))
        assert json.loads(json.dumps(drawn)) == drawn
    bound = {**SAME, "pitch_ratio": 1.5}
    as_bob, as_anna = (
        transform.apply(wave, bound | {"min_pitch_hz": low, "max_pitch_hz": high})
        for low, high in ((60, 180), (200, 450))
    )
    assert np.median(tracked_over(1.5 * melody(150), as_bob)) == pytest.approx(1.0, abs=0.02)
    assert np.array_equal(as_bob, transform.apply(wave, bound))  # which is what is estimated
    assert not np.array_equal(as_anna, as_bob)
    batch = transform.apply_batch(batch_of([wave, wave]), [bound | {"min_pitch_hz": 200, "max_pitch_hz": 450}, bound])
    for row, alone in zip(batch.items(), (as_anna, as_bob), strict=True):
        assert row.numpy() == pytest.approx(alone, abs=1e-4)


def test_who_has_no_table_is_one_augmentation_for_everybody():
    transform = SpeakerPerturb()
    assert transform.for_speaker("anna") is transform


def test_a_bad_table_is_refused_before_a_run(table, tmp_path):
    with pytest.raises(RecipeError, match="cannot be read"):
        SpeakerPerturb(speakers=str(tmp_path / "none.tsv")).check()
    with pytest.raises(RecipeError, match=r"SpeakerPerturb\(speakers=.*'anna' has 200 to 450 Hz.*Widen"):
        SpeakerPerturb(speakers=table, max_pitch_hz=400).check()


def test_praat_must_be_there(monkeypatch):
    monkeypatch.setattr("ssft.augment.praat.importlib.util.find_spec", lambda name: None)
    with pytest.raises(RecipeError, match=r"ssft\[praat\]"):
        SpeakerPerturb(backend="praat").check()
    SpeakerPerturb().check()


def test_praat_gets_the_bounds_and_what_was_drawn(monkeypatch, table):
    asked = []

    def change(wave, **settings):
        asked.append(settings)
        return -wave

    monkeypatch.setattr(speaker, "change_gender", change)
    transform, wave = (
        SpeakerPerturb(backend="praat", speakers=table, timeout_seconds=3),
        voice(melody(150), VOWELS["a"]),
    )
    assert not transform.runs_on_device
    assert SpeakerPerturb().runs_on_device
    drawn = transform.draw(derive_rng("test"), wave)
    expected = transform._equalizer.apply(-wave, drawn["equalizer"])
    assert np.array_equal(transform.apply(wave, drawn), expected)
    assert np.array_equal(transform.apply(wave, {**DRAWN, "min_pitch_hz": 60, "max_pitch_hz": 180}), -wave)
    estimated = pitch_range(wave, min_hz=60, max_hz=500, sample_rate=RATE)
    assert [(one["min_pitch_hz"], one["max_pitch_hz"]) for one in asked] == [estimated, (60, 180)]
    assert [one["timeout_seconds"] for one in asked] == [3, 3]
    assert {name: asked[0][name] for name in DRAWN} == {name: drawn[name] for name in DRAWN}
    assert asked[0]["sample_rate"] == RATE
    assert transform.fallbacks == 0


def test_what_praat_cannot_change_gets_the_equalizer_and_is_counted(monkeypatch, table):
    def fail(wave, *, problems, **settings):
        problems["timeout"] += 1

    monkeypatch.setattr(speaker, "change_gender", fail)
    transform, wave = SpeakerPerturb(backend="praat", speakers=table), voice(melody(150), VOWELS["a"])
    drawn = transform.draw(derive_rng("test"), wave)
    before = wave.copy()
    expected = transform._equalizer.apply(wave, drawn["equalizer"])
    assert np.array_equal(transform.apply(wave, drawn), expected)
    assert np.array_equal(transform.for_speaker("anna").apply(wave, DRAWN), wave)
    assert transform.fallbacks == 2  # with those of its copy
    silence = np.zeros(4_000, np.float32)
    assert not transform.apply(silence, drawn).any()
    assert transform.fallbacks == transform.for_speaker("bob").fallbacks == 3
    assert np.array_equal(wave, before)
    result = transform.apply(wave, DRAWN)
    result[:] = 0
    assert np.array_equal(wave, before)  # even where nothing was done
    assert SpeakerPerturb(backend="praat").fallbacks == 0


def test_both_back_ends_move_a_voice_alike():
    pytest.importorskip("parselmouth")
    hz = melody(150, seconds=2.0)
    wave = voice(hz, VOWELS["a"])
    for backend in ("native", "praat"):
        transform = SpeakerPerturb(backend=backend, equalizer=False)
        result = transform.apply(wave, DRAWN)
        ratios = tracked_over(150 * 1.3 * (1 + 0.8 * (hz / 150 - 1)), result)
        assert np.median(ratios) == pytest.approx(1.0, abs=0.01)
        assert measured_formants(result, 1.2) / measured_formants(wave) == pytest.approx(1.2, rel=0.08)
        assert transform.fallbacks == 0


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
        ({"backend": "world"}, "backend='world'"),
        ({"timeout_seconds": 0}, "timeout_seconds=0"),
    ],
)
def test_bad_settings_are_named(setting, says):
    with pytest.raises(RecipeError, match=r"SpeakerPerturb\(") as caught:
        SpeakerPerturb(**setting)
    assert says in str(caught.value)
