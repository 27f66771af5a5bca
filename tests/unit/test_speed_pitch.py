"""Speed and pitch: what they do to tones, voices, edges and hostile waveforms, alone and in a batch."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import torchaudio

from ssft.augment import PitchShift, SpeedPerturb
from ssft.augment.pitch_track import track_pitch
from ssft.errors import RecipeError
from ssft.ops import phase_vocoder
from ssft.randomness import derive_rng
from ssft.types import Waves

RATE = 16_000
HOSTILE = {
    "silence": lambda samples: np.zeros(samples),
    "constant": lambda samples: np.ones(samples),
    "square": lambda samples: np.where(np.arange(samples) % 80 < 40, 1.0, -1.0),
    "noise": lambda samples: np.random.default_rng(samples).uniform(-1, 1, samples),
    "nearly nothing": lambda samples: 1e-38 * np.random.default_rng(samples).standard_normal(samples),
}


def tone(hz, seconds=1.5):
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def melody(hz, seconds=2.0):
    """A voice, roughly: 30 harmonics that fall off, a pitch that goes up and down."""
    time = np.arange(round(seconds * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(hz * (1 + 0.1 * np.sin(2 * np.pi * 1.5 * time))) / RATE
    wave = sum(np.cos(number * phase + number**2) / number for number in range(1, min(30, int(6_000 / hz))))
    return (0.1 * wave).astype(np.float32)


def peak_hz(wave):
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave)), 1 << 19))
    return spectrum.argmax() * RATE / (1 << 19)


def rng_of(*key):
    return derive_rng("test", *key)


def relative(one, other):
    return float(np.linalg.norm(one - other) / np.linalg.norm(other))


def level_db(one, other):
    return 20 * np.log10(np.linalg.norm(one) / np.linalg.norm(other))


def speech(folder, count):
    from ssft.data import read_audio

    files = sorted((folder / "speechocean762_train" / "audio").rglob("*.opus"))
    files += sorted(path for path in (folder / "ljspeech_141" / "audio").rglob("*") if path.is_file())
    assert len(files) >= count
    return [read_audio(path)[: 4 * RATE] for path in files[:: len(files) // count][:count]]


def batch(waves):
    samples = torch.full((len(waves), max(map(len, waves)) + 500), torch.nan)
    for row, wave in zip(samples, waves, strict=True):
        row[: len(wave)] = torch.from_numpy(wave)
    return Waves(samples, torch.tensor([len(wave) for wave in waves]))


def check_batch(transform, waves, parameters, tolerance):
    together = transform.apply_batch(batch(waves), parameters)
    assert not together.samples[~together.mask].any()
    assert together.samples.dtype == torch.float32
    for row, wave, drawn in zip(together.items(), waves, parameters, strict=True):
        alone = transform.apply(wave, drawn)
        assert len(row) == len(alone)
        assert np.linalg.norm(row.numpy() - alone) <= tolerance * np.linalg.norm(alone)


# ---------------------------------------------------------------------------------------------------------- speed


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.1, 1.37, 2.0])
@pytest.mark.parametrize("samples", [1, 399, 400, 16_001, 40_000])
def test_speed_changes_the_length(factor, samples):
    result = SpeedPerturb((factor,))(np.zeros(samples, np.float32), rng_of(0))
    assert abs(len(result) - round(samples / factor)) <= 1


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_speed_moves_frequency_and_time_together(factor):
    transform = SpeedPerturb((factor,))
    assert peak_hz(transform(tone(440), rng_of(0))) == pytest.approx(440 * factor, rel=0.002)
    wave = np.zeros(16_000, np.float32)
    wave[4_000], wave[12_000] = 1, 1
    result = np.abs(transform(wave, rng_of(0)))
    half = len(result) // 2
    assert abs(int(result[:half].argmax()) - 4_000 / factor) <= 1
    assert abs(half + int(result[half:].argmax()) - 12_000 / factor) <= 1


def test_speed_one_changes_nothing_and_all_factors_are_drawn():
    wave = tone(440)
    assert np.array_equal(SpeedPerturb((1.0,))(wave, rng_of(0)), wave)
    transform = SpeedPerturb((0.9, 1.0, 1.1))
    drawn = [transform.draw(rng_of(seed), wave)["factor"] for seed in range(600)]
    assert all(150 < drawn.count(factor) < 250 for factor in (0.9, 1.0, 1.1))


def test_speed_of_a_batch_is_that_of_each():
    waves = [melody(150, 1.0), tone(700, 2.0), tone(300, 0.3)[:1], melody(220, 0.5), tone(90, 0.7), melody(300, 1.3)]
    parameters = [{"factor": factor} for factor in (0.9, 1.1, 0.9, 1.0, 1.2345678, 1.1)]
    check_batch(SpeedPerturb(), waves, parameters, 1e-3)
    untouched = SpeedPerturb().apply_batch(batch(waves), parameters).samples[3]
    assert np.array_equal(untouched[: len(waves[3])].numpy(), waves[3])


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.1, 1.3, 2.0])
@pytest.mark.parametrize("samples", [1, 2, 400])
def test_speed_keeps_an_abrupt_beginning(factor, samples):
    check_batch(SpeedPerturb(), [np.ones(samples, np.float32)], [{"factor": factor}], 1e-3)


def test_speed_of_a_batch_of_speech_is_that_of_each(shared_speech):
    waves = speech(shared_speech, 4)
    check_batch(SpeedPerturb(), waves, [{"factor": factor} for factor in (0.8, 0.9, 1.1, 1.2)], 5e-4)


# ---------------------------------------------------------------------------------------------------------- pitch


@pytest.mark.parametrize("semitones", [-12, -2, -0.5, 2, 7, 12])
@pytest.mark.parametrize("hz", [220, 440, 1000])
def test_pitch_moves_a_tone_by_its_interval(semitones, hz):
    wave = tone(hz)
    shifted = PitchShift(semitones)(wave, rng_of(0))
    assert len(shifted) == len(wave)
    assert peak_hz(shifted) == pytest.approx(hz * 2 ** (semitones / 12), rel=0.002)
    assert 0.9 < shifted[2_000:-2_000].std() / wave.std() < 1.1


@pytest.mark.parametrize("semitones", [-4, -2, 2, 4])
@pytest.mark.parametrize("at", [0.1, 0.5, 0.85])
def test_pitch_shifts_nothing_in_time(semitones, at):
    time = np.arange(RATE) / RATE
    burst = np.exp(-0.5 * ((time - at) / 0.015) ** 2) * np.sin(2 * np.pi * 600 * time)
    shifted = PitchShift(semitones)(burst.astype(np.float32), rng_of(0))
    smooth = np.hanning(161) / np.hanning(161).sum()
    one, other = (np.convolve(np.abs(wave), smooth, "same") for wave in (burst, shifted))
    one, other = one[::8], other[::8]  # 0.5 ms
    lag = np.correlate(other, one, "full").argmax() - (len(one) - 1)
    assert abs(lag) * 8 / RATE < 0.010


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("samples", [1, 2, 257, 399, 400, 1_023, 16_001])
def test_pitch_survives_and_keeps_every_length(samples, kind):
    wave = HOSTILE[kind](samples).astype(np.float32)
    before = wave.copy()
    for semitones in (-24, -2, 0, 0.001, 3, 24):
        shifted = PitchShift(semitones)(wave, rng_of(0))
        assert shifted.shape == wave.shape
        assert shifted.dtype == np.float32
        assert np.isfinite(shifted).all()
        assert np.abs(shifted).max() <= 3
        assert kind != "silence" or not shifted.any()
    assert np.array_equal(wave, before)


@pytest.mark.parametrize("locking", [True, False])
@pytest.mark.parametrize("semitones", [-2, 2])
def test_pitch_begins_and_ends_without_a_click(semitones, locking):
    wave = tone(400, 0.5)
    shifted = PitchShift(semitones, phase_locking=locking)(wave, rng_of(0))
    assert np.abs(np.diff(shifted)).max() < 1.6 * np.abs(np.diff(wave)).max() * 2 ** (semitones / 12)
    assert level_db(shifted[:400], wave[:400]) == pytest.approx(0, abs=2)


@pytest.mark.parametrize("semitones", [-6, -2, 2, 6])
def test_pitch_of_voices_moves_by_its_interval(shared_speech, semitones):
    ratio, levels = 2 ** (semitones / 12), []
    for wave in speech(shared_speech, 4):
        shifted = PitchShift(semitones)(wave, rng_of(0))
        one = track_pitch(wave, min_hz=60, max_hz=450, sample_rate=RATE).hz
        other = track_pitch(shifted, min_hz=60 * ratio, max_hz=450 * ratio, sample_rate=RATE).hz
        frames = min(len(one), len(other))
        one, other = one[:frames], other[:frames]
        both = (one > 0) & (other > 0)
        assert both.sum() > 0.8 * (one > 0).sum()
        assert np.median(other[both] / one[both]) == pytest.approx(ratio, rel=0.01)
        levels.append(level_db(shifted, wave))  # of hissing, much is gone above 8 kHz
    assert -2 < np.mean(levels) < 0


def test_the_whole_spectrum_of_speech_moves_along(shared_speech):
    def centroid(wave, below_hz):
        power = np.abs(np.fft.rfft(wave)) ** 2
        hz = np.linspace(0, RATE / 2, len(power))
        return float(np.average(hz, weights=power * (hz < below_hz)))

    ratio = 2 ** (4 / 12)
    for wave in speech(shared_speech, 4):
        shifted = PitchShift(4)(wave, rng_of(0))
        assert centroid(shifted, 3_000 * ratio) / centroid(wave, 3_000) == pytest.approx(ratio, rel=0.05)


def test_locked_phases_keep_the_level(shared_speech):
    for wave in speech(shared_speech, 3):
        locked, loose = (PitchShift(2, phase_locking=locking)(wave, rng_of(0)) for locking in (True, False))
        assert level_db(locked, loose) > 1


def test_the_vocoder_is_that_of_torchaudio():
    wave = torch.from_numpy(melody(130)).double()[None]
    window = torch.hann_window(512, dtype=torch.float64)
    spectra = torch.stft(wave, 512, 128, window=window, return_complex=True)
    for rate in (0.8, 2 ** (-2 / 12), 1.0625, 2 ** (2 / 12)):
        advance = torch.linspace(0, np.pi * 128, 257, dtype=torch.float64)[:, None]
        expected = torchaudio.functional.phase_vocoder(spectra, rate, advance)
        positions = torch.arange(expected.shape[2] - 4, dtype=torch.float64) * rate
        ours, _ = phase_vocoder.phase_vocoder(spectra.mT, positions)
        torch.testing.assert_close(ours.mT, expected[:, :, : len(positions)], rtol=0, atol=1e-9)
        size = round(wave.shape[1] / rate)
        signal = torch.istft(expected, 512, 128, window=window, length=size)
        stretched = phase_vocoder.stretch(wave, rate=rate)
        assert stretched.shape == signal.shape
        torch.testing.assert_close(stretched[:, :-1_000], signal[:, :-1_000], rtol=0, atol=1e-9)  # ends differ


@pytest.mark.parametrize("semitones", [-12, 12])  # others take torchaudio's resampler many seconds
def test_without_locked_phases_it_is_the_pitch_shift_of_torchaudio(shared_speech, semitones):
    wave = speech(shared_speech, 2)[0]
    expected = torchaudio.functional.pitch_shift(torch.from_numpy(wave)[None], RATE, semitones)[0].numpy()
    shifted = PitchShift(semitones, phase_locking=False)(wave, rng_of(0))
    assert np.corrcoef(shifted[:-500], expected[:-500])[0, 1] > 0.99


@pytest.mark.parametrize("locking", [True, False])
def test_pitch_of_a_batch_is_that_of_each(locking):
    waves = [melody(150, 1.0), tone(700, 2.0), tone(300, 0.3)[:1], melody(220, 0.5), tone(90, 0.7), melody(300, 1.3)]
    parameters = [{"semitones": semitones} for semitones in (2, -2, 2, 0, -3.21, 2)]
    check_batch(PitchShift(phase_locking=locking), waves, parameters, 1e-4)


def test_pitch_of_a_batch_of_speech_is_that_of_each(shared_speech):
    check_batch(PitchShift(), speech(shared_speech, 4), [{"semitones": s} for s in (2, -2, -2, 5.5)], 1e-4)


def test_long_waveforms_are_treated_in_parts_that_cannot_be_heard(monkeypatch):
    wave = torch.from_numpy(melody(110, 20.0))[None]
    parts = phase_vocoder.stretch(wave, rate=0.9, locked=True).numpy()
    monkeypatch.setattr(phase_vocoder, "_FRAMES_AT_ONCE", 1 << 20)
    assert relative(parts, phase_vocoder.stretch(wave, rate=0.9, locked=True).numpy()) < 1e-4


@pytest.mark.parametrize("locked", [True, False])
def test_the_phase_is_as_precise_after_a_minute(locked):
    wave = torch.from_numpy(melody(110, 60.0))[None]
    single, double = (phase_vocoder.stretch(x, rate=0.9, locked=locked).numpy() for x in (wave, wave.double()))
    assert relative(single[:, -RATE:], double[:, -RATE:]) < 1e-3


def test_frames_are_as_long_at_every_rate():
    wave = melody(200)
    slow = PitchShift(2)(wave, rng_of(0))
    low = PitchShift(2, sample_rate=8_000)(wave[::2].copy(), rng_of(0))
    assert len(low) == len(wave[::2])
    assert peak_hz(low) / 2 == pytest.approx(peak_hz(slow), rel=0.01)


def test_a_range_is_drawn_from_uniformly():
    transform = PitchShift(min_semitones=-1.0, max_semitones=3.0)
    drawn = [transform.draw(rng_of(seed), tone(440))["semitones"] for seed in range(600)]
    assert -1 <= min(drawn) < -0.9
    assert 2.9 < max(drawn) <= 3
    assert np.mean(drawn) == pytest.approx(1, abs=0.2)
    assert json.loads(json.dumps(transform.draw(rng_of(0), tone(440)))) == transform.draw(rng_of(0), tone(440))
    assert PitchShift(-2).draw(rng_of(0), tone(440)) == {"semitones": -2}


def test_no_shift_changes_nothing():
    wave = tone(440)
    assert np.array_equal(PitchShift(0)(wave, rng_of(0)), wave)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: SpeedPerturb(()), "SpeedPerturb(factors="),
        (lambda: SpeedPerturb((0.4, 1.0)), "SpeedPerturb(factors="),
        (lambda: SpeedPerturb((2.5,)), "SpeedPerturb(factors="),
        (lambda: SpeedPerturb((float("nan"),)), "SpeedPerturb(factors="),
        (lambda: SpeedPerturb(np.array([])), "SpeedPerturb(factors="),
        (lambda: PitchShift(25), "PitchShift(semitones=25)"),
        (lambda: PitchShift(float("nan")), "PitchShift(semitones=nan)"),
        (lambda: PitchShift(min_semitones=1), "PitchShift(min_semitones=1, max_semitones=None)"),
        (lambda: PitchShift(min_semitones=1, max_semitones=-1), "PitchShift(min_semitones=1, max_semitones=-1)"),
        (lambda: PitchShift(min_semitones=-30, max_semitones=1), "PitchShift(min_semitones=-30, max_semitones=1)"),
        (lambda: PitchShift(2, sample_rate=0), "PitchShift(sample_rate=0)"),
    ],
)
def test_bad_settings_are_named(make, says):
    with pytest.raises(RecipeError) as caught:
        make()
    assert says in str(caught.value)
