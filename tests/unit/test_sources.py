"""Where the bytes of a recording are: what lies inside another file is read and refused as if it were a file."""

from __future__ import annotations

import io
import pickle

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from ssft.data.audio import REASONS, AudioError, read_audio, read_header
from ssft.data.sources import Member, local_path, open_bytes
from ssft.errors import DataError


@given(name=st.text(), offset=st.integers(0, 2**63), size=st.integers(0, 2**63))
def test_a_member_is_what_its_text_says(name, offset, size):
    member = Member(name, offset, size)
    assert Member.parse(str(member)) == member


@pytest.mark.parametrize("text", ["a.wav", "a.wav@12", "a@-1+5", "a@1+", "@+", "a@1+2 "])
def test_a_text_that_is_no_member(text):
    with pytest.raises(DataError, match=r"NAME@OFFSET\+SIZE"):
        Member.parse(text)


@given(data=st.data())
def test_a_range_is_read_as_if_it_were_a_file(tmp_path_factory, data):
    content = data.draw(st.binary(min_size=1, max_size=300))
    path = tmp_path_factory.mktemp("r") / "f"
    path.write_bytes(content)
    offset = data.draw(st.integers(0, len(content)))
    size = data.draw(st.integers(0, len(content) - offset))
    expected = io.BytesIO(content[offset : offset + size])
    moves = st.tuples(st.sampled_from([0, 1, 2]), st.integers(0, 400), st.integers(-1, 400))
    with open_bytes(path, str(Member("x", offset, size))) as file:
        for whence, move, count in data.draw(st.lists(moves, max_size=8)):
            assert file.seek(move, whence) == expected.seek(move, whence) == file.tell()
            assert file.read(count) == expected.read(count)


FORMATS = {
    "8k.wav": {"rate": 8_000},
    "44k stereo.wav": {"rate": 44_100, "channels": 2},
    "gsm.wav": {"rate": 8_000, "subtype": "GSM610"},  # a codec in which libsndfile cannot seek
    "16k.aiff": {},
    "44k.flac": {"rate": 44_100},
    "44k.ogg": {"rate": 44_100},
    "44k.mp3": {"rate": 44_100},
    "48k.opus": {"rate": 48_000, "format": "OGG", "subtype": "OPUS"},
}


@pytest.fixture
def inside(tmp_path):
    """Put bytes into the middle of a file of noise; return path and member."""

    def put(content: bytes, name: str = "a.wav") -> tuple:
        rng, path = np.random.default_rng(0), tmp_path / "many.bin"
        before = rng.bytes(12_345)
        path.write_bytes(before + content + rng.bytes(54_321))
        return path, str(Member(name, len(before), len(content)))

    return put


@pytest.mark.parametrize("name", FORMATS)
def test_a_recording_inside_a_file_is_the_recording(tmp_path, make_audio, inside, name):
    plain = make_audio(tmp_path / name, seconds=3, hz=313, **FORMATS[name])
    path, member = inside(plain.read_bytes(), name)
    assert read_header(path, member=member) == read_header(plain)
    assert np.array_equal(read_audio(path, member=member), read_audio(plain))
    part = read_audio(path, member=member, start=1.5, seconds=0.7)
    assert np.array_equal(part, read_audio(plain, start=1.5, seconds=0.7))


@pytest.mark.parametrize("size", [0, 0x7FFF_FFFF, 0xFFFF_FFFF])
def test_a_streamed_wav_inside_a_file_ends_where_it_ends(tmp_path, make_audio, inside, size):
    plain = make_audio(tmp_path / "plain.wav", seconds=1.5)
    content = plain.read_bytes()
    path, member = inside(content[:40] + size.to_bytes(4, "little") + content[44:])
    assert read_header(path, member=member).seconds == 1.5
    assert np.array_equal(read_audio(path, member=member), read_audio(plain))


def hostile(make_audio, folder):
    """Name, content and reason of what cannot be used."""
    plain = make_audio(folder / "plain.wav").read_bytes()
    flac = make_audio(folder / "a.flac", seconds=3, rate=44_100).read_bytes()
    silent, nan = io.BytesIO(), io.BytesIO()
    soundfile.write(silent, np.zeros(16_000), 16_000, format="WAV")
    soundfile.write(nan, np.full(16_000, np.nan, dtype=np.float32), 16_000, format="WAV", subtype="FLOAT")
    yield "text.wav", b"hello " * 100, "corrupt"
    yield "page.mp3", b"<html>404</html>" * 100, "corrupt"
    yield "none.flac", b"", "empty"
    yield "header.wav", plain[:44], "empty"
    yield "cut.wav", plain[: len(plain) // 2], "truncated"
    yield "cut.flac", flac[: len(flac) // 2], "corrupt"
    yield "phone.m4a", plain, "unsupported"
    yield "silent.wav", silent.getvalue(), "silent"
    yield "nan.wav", nan.getvalue(), "not_finite"


def use(path, member):
    read_header(path, member=member)
    read_audio(path, member=member)


def test_what_is_refused_as_a_file_is_refused_inside_one(tmp_path, make_audio, inside):
    for name, content, reason in hostile(make_audio, tmp_path):
        path, member = inside(content, name)
        with pytest.raises(AudioError) as caught:
            use(path, member)
        assert caught.value.reason == reason, name
        assert str(path) in str(caught.value)
        assert member in str(caught.value)


def test_an_error_says_which_member_and_crosses_processes(tmp_path):
    error = AudioError("silent", tmp_path / "s.tar", member="a.wav@512+9")
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error) == f"{tmp_path / 's.tar'}, a.wav@512+9: silent, there is no signal"
    assert again.member == "a.wav@512+9"


@pytest.mark.parametrize("keep", [20_000, 100, 0])
def test_a_file_that_was_cut_before_the_end_of_a_member(tmp_path, make_audio, inside, keep):
    path, member = inside(make_audio(tmp_path / "a.wav").read_bytes())
    path.write_bytes(path.read_bytes()[:keep])
    for read in (read_header, read_audio):
        with pytest.raises(AudioError) as caught:
            read(path, member=member)
        assert caught.value.reason == "truncated"
    path.unlink()
    with pytest.raises(AudioError, match="missing"):
        read_header(path, member=member)


def test_changed_is_one_of_the_reasons():
    assert REASONS["changed"]


@pytest.mark.parametrize(
    "name",
    ["http://x/a.wav", "s3://b/a.wav", "file:///etc/passwd", "file:/etc/passwd", "pipe:cat a", "| cat", "cat a.wav |"],
)
@pytest.mark.parametrize("allowed", [True, False])
def test_urls_and_commands_are_never_followed(tmp_path, name, allowed):
    with pytest.raises(ValueError, match="never followed"):
        local_path(name, tmp_path, allow_outside=allowed)


@pytest.mark.parametrize("name", ["/etc/passwd", "../a.wav", "b/../../a.wav", ".."])
def test_files_outside_need_permission(tmp_path, name):
    with pytest.raises(ValueError, match="allow_outside true"):
        local_path(name, tmp_path, allow_outside=False)
    assert local_path(name, tmp_path, allow_outside=True) == tmp_path / name


def test_files_below_need_none(tmp_path):
    assert local_path("b/a..wav", tmp_path, allow_outside=False) == tmp_path / "b" / "a..wav"
