"""What tests share: real speech where it is there, small random encoders, and no network."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")

SHARED = Path(__file__).resolve().parents[1].parent / "shared"


@pytest.fixture(scope="session")
def shared_speech() -> Path:
    """Real speech beside the repository; tests that need it are skipped where it is absent."""
    folder = SHARED / "speech"
    if not folder.is_dir():
        pytest.skip(f"real speech is not there: {folder}")
    return folder


@pytest.fixture(scope="session")
def recordings(tmp_path_factory) -> Path:
    """A folder of 16 short recordings of different lengths, harmonic like voices and each with its own melody."""
    import numpy as np
    import soundfile

    folder = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(0)
    for number in range(16):
        time = np.arange(int(16_000 * rng.uniform(0.5, 1.6))) / 16_000
        pitch = rng.uniform(90, 250) * (1 + 0.2 * np.sin(2 * np.pi * rng.uniform(1, 4) * time))
        phase = 2 * np.pi * np.cumsum(pitch) / 16_000
        wave = sum(np.sin(k * phase) / k for k in range(1, 12)) * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * time))
        wave = 0.1 * wave + 0.003 * rng.standard_normal(len(time))
        soundfile.write(folder / f"{number:02d}.wav", wave.astype(np.float32), 16_000)
    return folder


@pytest.fixture(scope="session")
def make_audio() -> Callable[..., Path]:
    """`make_audio(path, seconds=1.0, rate=16000, hz=440.0, channels=1, **soundfile)` writes a tone of amplitude 0.5."""
    import numpy as np
    import soundfile

    def make(path: Path, seconds: float = 1.0, rate: int = 16_000, hz: float = 440.0, channels: int = 1, **how) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        wave = 0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)
        soundfile.write(path, np.repeat(wave[:, None], channels, axis=1), rate, **how)
        return path

    return make


@pytest.fixture(scope="session")
def hostile_folder(
    tmp_path_factory: pytest.TempPathFactory, make_audio: Callable[..., Path]
) -> tuple[Path, set[str], dict[str, str]]:
    """A folder of what users really have: (folder, ids that can be used, reason by id of those that cannot)."""
    import numpy as np
    import soundfile

    root = tmp_path_factory.mktemp("hostile") / "ünï çödé folder"
    usable = {
        "plain.wav": {},
        "again/plain.wav": {"hz": 300},
        "UPPER.WAV": {"hz": 500},
        "stereo.wav": {"channels": 2},
        "surround 5.1.wav": {"channels": 6, "rate": 48_000},
        "8k.wav": {"rate": 8_000},
        "22k.flac": {"rate": 22_050},
        "44k.ogg": {"rate": 44_100},
        "48k.opus": {"rate": 48_000, "format": "OGG", "subtype": "OPUS"},
        "44k.mp3": {"rate": 44_100},
        "24 bit.wav": {"subtype": "PCM_24"},
        "float.wav": {"subtype": "FLOAT"},
        "u-law.wav": {"rate": 8_000, "subtype": "ULAW"},
        "a-law.wav": {"rate": 8_000, "subtype": "ALAW"},
        "8 bit.wav": {"subtype": "PCM_U8"},
        "flac by another name.wav": {"format": "FLAC"},
        "amiga.aiff": {},
    }
    for name, how in usable.items():
        make_audio(root / name, **how)
    tone = soundfile.read(root / "plain.wav", dtype="float32")[0]
    soundfile.write(root / "anti-phase.wav", np.stack([tone, -tone], 1), 16_000)
    soundfile.write(root / "clipped.wav", np.clip(8 * tone, -1, 1), 16_000)
    plain = (root / "plain.wav").read_bytes()
    for size in (0, 0x7FFFFFFF, 0xFFFFFFFF):
        (root / f"streamed {size:x}.wav").write_bytes(plain[:40] + size.to_bytes(4, "little") + plain[44:])
    usable = set(usable) | {"anti-phase.wav", "clipped.wav"}
    usable |= {"streamed 0.wav", "streamed 7fffffff.wav", "streamed ffffffff.wav"}

    (root / "text.wav").write_text("This is no audio.\n" * 40)
    (root / "page.mp3").write_text("<html><body>404 Not Found</body></html>\n" * 40)
    (root / "zero.wav").write_bytes(b"")
    (root / "header only.wav").write_bytes(plain[:44])
    (root / "cut.wav").write_bytes(plain[: len(plain) // 2])
    (root / "lying header.wav").write_bytes(plain[:40] + (10 * len(plain)).to_bytes(4, "little") + plain[44:])
    flac = make_audio(root / "cut.flac", seconds=2.0)
    flac.write_bytes(flac.read_bytes()[: flac.stat().st_size // 2])
    unstated = bytearray(make_audio(root / "streamed.flac", seconds=2.0).read_bytes())
    unstated[21:26] = bytes([unstated[21] & 0xF0, 0, 0, 0, 0])  # the number of samples
    (root / "streamed.flac").write_bytes(unstated)
    (root / "phone.m4a").write_bytes(b"\0\0\0\x20ftypM4A " + bytes(200))
    (root / "gone.wav").symlink_to(root / "nowhere.wav")
    os.mkfifo(root / "pipe.wav")  # whoever opens it waits for ever
    for name, rate, value in (("silent", 16_000, 0.0), ("dc", 16_000, 0.3), ("dc 44k", 44_100, 0.3)):
        soundfile.write(root / f"{name}.wav", np.full(rate, value), rate)
    for name, value in (("nan", np.nan), ("inf", np.inf), ("huge", 1e30)):
        soundfile.write(root / f"{name}.wav", np.r_[tone, value].astype(np.float32), 16_000, subtype="FLOAT")
    for samples in (1, 399, 400, 3199):
        soundfile.write(root / f"{samples} samples.wav", tone[1 : samples + 1], 16_000)
    for samples in (3200, 3279):  # min_seconds is 0.2 s
        soundfile.write(root / f"{samples} samples.wav", tone[:samples], 16_000)
    usable |= {"3200 samples.wav", "3279 samples.wav"}
    reasons = {
        "text.wav": "corrupt",
        "page.mp3": "corrupt",
        "zero.wav": "empty",
        "header only.wav": "empty",
        "cut.wav": "truncated",
        "lying header.wav": "truncated",
        "cut.flac": "corrupt",
        "phone.m4a": "unsupported",
        "streamed.flac": "unsupported",
        "gone.wav": "missing",
        "pipe.wav": "missing",
        "silent.wav": "silent",
        "dc.wav": "silent",
        "dc 44k.wav": "silent",
        "nan.wav": "not_finite",
        "inf.wav": "not_finite",
        "huge.wav": "not_finite",
        **{f"{samples} samples.wav": "too_short" for samples in (1, 399, 400, 3199)},
    }
    for ignored in (".hidden.wav", "._plain.wav", "notes.txt", ".cache/plain.wav", "cover.jpg"):
        (root / ignored).parent.mkdir(exist_ok=True)
        (root / ignored).write_bytes(plain)
    return root, usable, reasons
