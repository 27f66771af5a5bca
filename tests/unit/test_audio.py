"""Reading audio: what can be used is converted faithfully, what cannot is refused with a reason."""

from __future__ import annotations

import io
import pickle

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from ssft.data import Data
from ssft.data.audio import FEWEST_SAMPLES, REASONS, AudioError, read_audio, read_header
from ssft.data.containers import states_length
from ssft.errors import DataError


def is_tone(wave, hz=440.0, amplitude=0.5, tolerance=0.01):
    """Whether the middle of `wave` is a sine of this frequency and amplitude, up to a relative error."""
    middle = wave[1600:-1600].astype(np.float64)
    phase = 2 * np.pi * hz * np.arange(len(middle)) / 16_000
    basis = np.stack([np.sin(phase), np.cos(phase)], axis=1)
    found, *_ = np.linalg.lstsq(basis, middle, rcond=None)
    error = np.linalg.norm(middle - basis @ found) / np.linalg.norm(middle)
    assert np.hypot(*found) == pytest.approx(amplitude, rel=max(tolerance, 0.001))
    assert error < tolerance
    return True


def reason_of(read, *arguments, **settings):
    with pytest.raises(AudioError) as caught:
        read(*arguments, **settings)
    assert caught.value.reason in REASONS
    assert str(arguments[0]) in str(caught.value)
    assert len(caught.value.detail) > 10
    return caught.value.reason


FORMATS = {
    "8k.wav": ({"rate": 8_000}, 1e-3),
    "11k.wav": ({"rate": 11_025}, 1e-3),
    "16k.wav": ({}, 1e-4),
    "22k.wav": ({"rate": 22_050}, 1e-3),
    "44k.wav": ({"rate": 44_100}, 1e-3),
    "48k.wav": ({"rate": 48_000}, 1e-3),
    "96k.wav": ({"rate": 96_000}, 1e-3),
    "u8.wav": ({"subtype": "PCM_U8"}, 0.02),
    "s24.wav": ({"subtype": "PCM_24"}, 1e-4),
    "s32.wav": ({"subtype": "PCM_32"}, 1e-4),
    "float.wav": ({"subtype": "FLOAT"}, 1e-4),
    "double.wav": ({"subtype": "DOUBLE"}, 1e-4),
    "ulaw.wav": ({"rate": 8_000, "subtype": "ULAW"}, 0.04),
    "alaw.wav": ({"rate": 8_000, "subtype": "ALAW"}, 0.04),
    "44k.flac": ({"rate": 44_100}, 1e-3),
    "44k.mp3": ({"rate": 44_100}, 0.05),
    "44k.ogg": ({"rate": 44_100}, 0.05),
    "48k.opus": ({"rate": 48_000, "format": "OGG", "subtype": "OPUS"}, 0.1),
    "16k.aiff": ({}, 1e-4),
    "16k.au": ({}, 1e-4),
    "alac.caf": ({"subtype": "ALAC_16"}, 1e-4),
    "stereo.wav": ({"channels": 2, "rate": 44_100}, 1e-3),
    "surround.wav": ({"channels": 6, "rate": 48_000}, 1e-3),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_and_rate_becomes_the_same_tone(tmp_path, make_audio, name):
    how, tolerance = FORMATS[name]
    path = make_audio(tmp_path / name, seconds=1.5, **how)
    header, wave = read_header(path), read_audio(path)
    assert header.seconds == pytest.approx(1.5, abs=1e-3)
    assert (header.sample_rate, header.channels) == (how.get("rate", 16_000), how.get("channels", 1))
    assert wave.dtype == np.float32
    assert wave.ndim == 1
    assert abs(len(wave) - 24_000) <= 1
    assert is_tone(wave, tolerance=tolerance)


@pytest.mark.parametrize(("left", "right", "amplitude"), [(1, 1, 0.5), (1, 0, 0.25), (1, -1, 0.5), (0.5, -0.5, 0.25)])
def test_stereo_is_averaged_unless_that_would_cancel_it(tmp_path, left, right, amplitude):
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(24_000) / 16_000)
    soundfile.write(tmp_path / "a.wav", np.stack([left * tone, right * tone], axis=1), 16_000)
    assert is_tone(read_audio(tmp_path / "a.wav"), amplitude=amplitude, tolerance=1e-3)


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("a.wav", {"rate": 44_100}),
        ("a.flac", {"rate": 44_100}),
        ("a.ogg", {"rate": 16_000}),
        ("a.mp3", {"rate": 44_100}),
        ("a.opus", {"rate": 48_000, "format": "OGG", "subtype": "OPUS"}),
        ("gsm.wav", {"rate": 8_000, "subtype": "GSM610"}),  # a codec in which libsndfile cannot seek
    ],
)
def test_a_crop_is_a_slice_of_the_whole(tmp_path, make_audio, name, how):
    path = make_audio(tmp_path / name, seconds=6, hz=313, **how)
    whole, crop = read_audio(path), read_audio(path, start=2.5, seconds=2.0)
    assert abs(len(crop) - 32_000) <= 1
    # Resampling knows nothing of the neighbours at the crop's edges.
    assert np.abs(crop[800:31_200] - whole[40_800:71_200]).max() < 0.01
    assert len(read_audio(path, start=5.5, seconds=2.0)) == pytest.approx(8_000, abs=330)


def test_a_long_recording_is_cropped_by_seeking(tmp_path, monkeypatch):
    block = (0.5 * np.sin(2 * np.pi * 440 * np.arange(8_000 * 60) / 8_000)).astype(np.float32)
    with soundfile.SoundFile(tmp_path / "long.wav", "w", 8_000, 1) as file:
        for _ in range(20):
            file.write(block)
    decoded = []
    read = soundfile.SoundFile.read
    monkeypatch.setattr(
        soundfile.SoundFile, "read", lambda self, frames=-1, **how: decoded.append(frames) or read(self, frames, **how)
    )
    assert read_header(tmp_path / "long.wav").seconds == 1200
    wave = read_audio(tmp_path / "long.wav", start=1111.0, seconds=3.0)
    assert decoded == [24_000]
    assert len(wave) == 48_000
    assert is_tone(wave, tolerance=1e-3)


# ------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("read", [read_header, read_audio])
def test_what_is_no_audio_is_refused_with_a_reason(tmp_path, make_audio, read):
    (tmp_path / "text.wav").write_text("hello " * 100)
    (tmp_path / "page.mp3").write_text("<html>404</html>" * 100)
    (tmp_path / "noise.mp3").write_bytes(np.random.default_rng(0).bytes(20_000))
    (tmp_path / "zero.flac").write_bytes(b"")
    (tmp_path / "phone.m4a").write_bytes(b"\0\0\0\x20ftypM4A " + bytes(100))
    plain = make_audio(tmp_path / "plain.wav").read_bytes()
    (tmp_path / "header.wav").write_bytes(plain[:44])
    (tmp_path / "half a header.wav").write_bytes(plain[:20])
    (tmp_path / "no rate.wav").write_bytes(plain[:24] + bytes(4) + plain[28:])
    assert reason_of(read, tmp_path / "text.wav") == "corrupt"
    assert reason_of(read, tmp_path / "page.mp3") == "corrupt"
    assert reason_of(read, tmp_path / "noise.mp3") == "corrupt"
    assert reason_of(read, tmp_path / "no rate.wav") == "corrupt"
    assert reason_of(read, tmp_path / "half a header.wav") == "corrupt"
    assert reason_of(read, tmp_path / "zero.flac") == "empty"
    assert reason_of(read, tmp_path / "header.wav") == "empty"
    assert reason_of(read, tmp_path / "phone.m4a") == "unsupported"
    assert reason_of(read, tmp_path) == "missing"
    assert reason_of(read, tmp_path / "nowhere.wav") == "missing"
    assert reason_of(read, tmp_path / ("n" * 300 + ".wav")) == "missing"  # longer than a name may be
    assert reason_of(read, tmp_path / "nul\0.wav") == "missing"


def test_an_mp3_that_is_none_is_not_said_to_be_missing(tmp_path):
    (tmp_path / "page.mp3").write_text("<html>404</html>" * 100)
    with pytest.raises(AudioError, match="cannot be decoded"):
        read_header(tmp_path / "page.mp3")


@pytest.mark.parametrize("name", ["a.wav", "a.aiff"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_cut_file_that_libsndfile_would_accept_is_refused(tmp_path, make_audio, name, share):
    path = make_audio(tmp_path / name)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert soundfile.info(path).frames > 0
    assert reason_of(read_header, path) == "truncated"


@pytest.mark.parametrize(("name", "reason"), [("a.flac", "corrupt"), ("a.mp3", "truncated")])
def test_a_cut_file_is_found_when_it_is_decoded(tmp_path, make_audio, name, reason):
    path = make_audio(tmp_path / name, seconds=3, rate=44_100)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert reason_of(read_audio, path) == reason
    assert len(read_audio(path, seconds=0.5)) == 8_000  # what is there can be had


@pytest.mark.parametrize("size", [0, 0x7FFF_F000, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFDB, 0xFFFF_FFFF])
@pytest.mark.parametrize("riff_too", [False, True])
def test_a_streamed_wav_is_read_to_its_end(tmp_path, make_audio, size, riff_too):
    plain = make_audio(tmp_path / "plain.wav", seconds=1.5).read_bytes()
    riff = (min(size + 36, 0xFFFF_FFFF) if size else 0).to_bytes(4, "little") if riff_too else plain[4:8]
    path = tmp_path / "streamed.wav"
    path.write_bytes(plain[:4] + riff + plain[8:40] + size.to_bytes(4, "little") + plain[44:])
    assert read_header(path).seconds == 1.5
    assert np.array_equal(read_audio(path), read_audio(tmp_path / "plain.wav"))
    crop = read_audio(path, start=0.5, seconds=0.25)
    assert np.array_equal(crop, read_audio(tmp_path / "plain.wav", start=0.5, seconds=0.25))


def test_an_empty_wav_with_tags_behind_is_empty(tmp_path, make_audio):
    plain = make_audio(tmp_path / "plain.wav").read_bytes()
    tags = b"LIST" + (12).to_bytes(4, "little") + b"INFOINAM\0\0\0\0"
    path = tmp_path / "empty.wav"
    path.write_bytes(b"RIFF" + (36 + len(tags)).to_bytes(4, "little") + plain[8:40] + bytes(4) + tags)
    assert reason_of(read_header, path) == "empty"
    assert reason_of(read_audio, path) == "empty"


def test_chunks_before_the_samples_are_passed_over(tmp_path, make_audio):
    plain = make_audio(tmp_path / "plain.wav").read_bytes()
    odd = b"note" + (5).to_bytes(4, "little") + b"hello\0"
    path = tmp_path / "noted.wav"
    path.write_bytes(b"RIFF" + (len(plain) - 8 + len(odd)).to_bytes(4, "little") + plain[8:36] + odd + plain[36:])
    assert len(read_audio(path)) == 16_000
    assert read_header(path).seconds == 1.0
    path.write_bytes(path.read_bytes()[:-1000])
    assert reason_of(read_header, path) == "truncated"


@pytest.mark.parametrize("loud_first", [True, False])
def test_an_mp3_of_unstated_length_is_usable(tmp_path, loud_first):
    rate, seconds = 44_100, 8
    wave = np.zeros(rate * seconds)
    wave[: rate * 4] = 0.3 * np.random.default_rng(0).standard_normal(rate * 4)  # needs more bits than silence
    path = tmp_path / "vbr.mp3"
    soundfile.write(path, wave if loud_first else wave[::-1], rate, bitrate_mode="VARIABLE", compression_level=0.5)
    assert states_length(io.BytesIO(path.read_bytes()))
    data = path.read_bytes()
    (tmp_path / "tagged.mp3").write_bytes(b"ID3\x03\0\0\0\0\x02\x01" + bytes(257) + data)
    assert states_length(io.BytesIO((tmp_path / "tagged.mp3").read_bytes()))
    frames = [at for at in range(4, 4_000) if data[at] == 0xFF and data[at + 1] & 0xE0 == 0xE0]
    path.write_bytes(data[frames[0] :])
    assert not states_length(io.BytesIO(path.read_bytes()))
    guess = soundfile.info(path).frames / rate
    assert guess < 0.8 * seconds if loud_first else guess > 1.2 * seconds
    assert len(read_audio(path)) == pytest.approx(16_000 * min(guess, seconds), abs=2_000)
    corpus = Data(root=str(tmp_path), verify="audio").load()
    assert [(u.id, corpus.rejects) for u in corpus.utterances] == [("tagged.mp3", []), ("vbr.mp3", [])]


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
@pytest.mark.parametrize("level", [0.0, 0.4, 1.0])
def test_silence_is_found_at_every_rate_and_offset(tmp_path, rate, level):
    soundfile.write(tmp_path / "a.wav", np.full(rate, level), rate, subtype="FLOAT")
    assert reason_of(read_audio, tmp_path / "a.wav") == "silent"


def test_a_quiet_recording_is_no_silence(tmp_path):
    tone = 1e-3 * np.sin(2 * np.pi * 440 * np.arange(24_000) / 16_000)
    soundfile.write(tmp_path / "a.wav", tone, 16_000)
    assert is_tone(read_audio(tmp_path / "a.wav"), amplitude=1e-3, tolerance=0.05)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("channels", [1, 2])
def test_one_impossible_sample_is_found(tmp_path, value, channels):
    wave = np.full((16_000, channels), 0.1) * np.sin(np.arange(16_000))[:, None]
    wave[7_777, -1] = value
    soundfile.write(tmp_path / "a.wav", wave, 16_000, subtype="FLOAT")
    with np.errstate(all="raise"):
        assert reason_of(read_audio, tmp_path / "a.wav") == "not_finite"


def test_a_part_behind_the_end_is_outside(tmp_path, make_audio):
    path = make_audio(tmp_path / "a.wav")
    assert reason_of(read_audio, path, start=2.0) == "outside"
    assert reason_of(read_audio, path, start=1.0) == "empty"
    assert len(read_audio(path, start=0.99, seconds=5)) == 160


def test_a_very_short_file_is_read(tmp_path, make_audio):
    for samples in (2, FEWEST_SAMPLES - 1, FEWEST_SAMPLES, 3279):
        path = make_audio(tmp_path / f"{samples}.wav", seconds=samples / 16_000)
        assert len(read_audio(path)) == samples


def test_a_name_that_is_not_utf8_is_read(tmp_path, make_audio):
    path = tmp_path / "caf\udce9.wav"  # Latin-1 on disk
    try:
        make_audio(tmp_path / "plain.wav").rename(path)
    except (OSError, UnicodeError) as error:
        pytest.skip(f"this file system takes only UTF-8 names: {error}")
    assert read_header(path).seconds == 1.0
    assert len(read_audio(path)) == 16_000


def test_an_audio_error_is_one_for_users_and_crosses_processes(tmp_path):
    error = AudioError("silent", tmp_path / "a.wav")
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, DataError)
    assert str(again) == str(error) == f"{tmp_path / 'a.wav'}: silent, there is no signal"
    assert (again.reason, again.detail, again.path) == (error.reason, error.detail, error.path)


@pytest.fixture(scope="module")
def healthy(tmp_path_factory, make_audio):
    folder = tmp_path_factory.mktemp("healthy")
    names = ("a.wav", "a.flac", "a.ogg", "a.aiff")
    return {name: make_audio(folder / name, seconds=0.3).read_bytes() for name in names}


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_damaged_bytes_give_a_waveform_or_a_reason(tmp_path_factory, healthy, data):
    name = data.draw(st.sampled_from(sorted(healthy)))
    content = bytearray(healthy[name])
    for _ in range(data.draw(st.integers(1, 6))):
        # The header is where it hurts most.
        content[data.draw(st.integers(0, 99) | st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / name
    path.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)) | st.just(len(content)))]))
    for read in (read_header, lambda path: read_audio(path, seconds=1.0)):
        result = outcome(read, path)
        assert result in REASONS if isinstance(result, str) else np.isfinite(result).all()


def outcome(read, path):
    """A waveform, a length, or the reason of a refusal; anything else that is raised is a bug."""
    try:
        result = read(path)
    except AudioError as error:
        return error.reason
    return result if isinstance(result, np.ndarray) else result.seconds


def test_real_recordings_have_the_length_that_their_manifest_states(shared_speech):
    for corpus, count in (("speechocean762_train", 8), ("noise", 4)):
        lines = (shared_speech / corpus / "manifest.tsv").read_text(encoding="utf-8").splitlines()
        columns = lines[0].split("\t")
        for line in lines[1 : count + 1]:
            row = dict(zip(columns, line.split("\t"), strict=True))
            path = shared_speech / corpus / row["path"]
            wave = read_audio(path)
            assert read_header(path).seconds == pytest.approx(float(row["duration_s"]), abs=0.01)
            assert len(wave) == pytest.approx(16_000 * float(row["duration_s"]), abs=160)
            assert 0.001 < np.abs(wave).max() < 2
            crop = read_audio(path, start=0.5, seconds=0.5)
            assert np.abs(crop - wave[8_000:16_000]).max() < 0.02
