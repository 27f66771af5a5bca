"""Features: streamed in batches and windows that change nothing they should not, and kept in shards that can go on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_encoders import LAYERS, VARIETIES, random_encoder
from safetensors.numpy import load_file

from ssft.data import batches_by_length, read_audio
from ssft.data.audio import AudioError
from ssft.encoders import PretrainedEncoder
from ssft.errors import DataError, EncoderError, RecipeError
from ssft.features import (
    Extractor,
    own_part,
    rank_and_world_size,
    read_ahead,
    read_features,
    stream_features,
    write_features,
)
from ssft.features.windows import Grid, read_windows
from ssft.types import Reject, Utterance, Waves

RATE = 16_000
SHORT_WINDOWS = {"window_seconds": 1.0, "overlap_seconds": 0.4}
ONE_BY_ONE = {**SHORT_WINDOWS, "batch_seconds": 1.0}


@pytest.fixture(scope="module")
def encoder() -> PretrainedEncoder:
    return random_encoder("hubert", "group")


@pytest.fixture
def record(tmp_path: Path) -> Callable[..., Utterance]:
    """`record("a", samples)` writes noise that changes over time; returns it as an utterance."""

    def make(
        name: str, samples: int, rate: int = RATE, fill: Callable[[np.ndarray], object] | None = None
    ) -> Utterance:
        wave = np.random.default_rng(samples).standard_normal(samples).astype(np.float32)
        wave *= 0.05 + 0.04 * np.sin(2 * np.pi * np.arange(samples) / rate, dtype=np.float32)
        if fill is not None:
            fill(wave)
        path = tmp_path / "audio" / f"{name}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, wave, rate, subtype="FLOAT")
        return Utterance(name, path, samples / rate)

    return make


@pytest.fixture
def corpus(record: Callable[..., Utterance]) -> list[Utterance]:
    return [record(f"u{number}", 6_000 + 2_345 * number) for number in range(6)]


def by_id(stream) -> dict[str, torch.Tensor]:
    return {utterance.id: frames for utterance, frames in stream}


# --- streaming -----------------------------------------------------------------------------------------------------


def test_frames_are_the_hidden_states_of_each_utterance_alone(encoder, corpus) -> None:
    one, several = (
        by_id(stream_features(encoder, corpus, layer=2)),
        by_id(stream_features(encoder, corpus, layers=[3, 0])),
    )
    last = by_id(stream_features(encoder, corpus))
    for utterance in corpus:
        wave = torch.from_numpy(read_audio(utterance.path))
        states = [frames.values[0] for frames in encoder.hidden_states(Waves.stack([wave]))]
        found = {2: one[utterance.id], **several[utterance.id]}
        assert set(found) == {0, 2, 3}
        for layer, frames in found.items():
            torch.testing.assert_close(frames, states[layer], rtol=0, atol=1e-5)
        torch.testing.assert_close(last[utterance.id], encoder(Waves.stack([wave])).values[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_the_last_layer_has_been_through_what_follows_it(norm: str, corpus) -> None:
    encoder = random_encoder("wav2vec2", norm)
    last, numbered = (by_id(stream_features(encoder, corpus[:1], **which))["u0"] for which in ({}, {"layer": LAYERS}))
    wave = torch.from_numpy(read_audio(corpus[0].path))
    assert torch.equal(last, numbered)
    torch.testing.assert_close(last, encoder(Waves.stack([wave])).values[0].detach(), rtol=0, atol=1e-5)


def test_layers_above_those_asked_for_are_not_run(encoder, corpus) -> None:
    ran = []
    hooks = [
        layer.register_forward_hook(lambda *_, number=number: ran.append(number))
        for number, layer in enumerate(encoder.layers, start=1)
    ]
    list(stream_features(encoder, corpus, layer=1, batch_seconds=1e3))
    for hook in hooks:
        hook.remove()
    assert ran == [1]


def test_bfloat16_is_computed_but_not_handed_out(encoder, corpus) -> None:
    exact, rough = (by_id(stream_features(encoder, corpus, dtype=dtype)) for dtype in ("float32", "bfloat16"))
    for name, frames in rough.items():
        assert frames.dtype == torch.float32
        assert not torch.equal(frames, exact[name])
        assert torch.nn.functional.cosine_similarity(frames, exact[name]).min() > 0.99


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"layer": 4}, EncoderError, "hubert-group has layers 0 to 3"),
        ({"layer": -1}, EncoderError, "hubert-group has layers 0 to 3"),
        ({"layers": [1, 7]}, EncoderError, "layer=7"),
        ({"layers": []}, RecipeError, "at least one layer"),
        ({"layers": [1, 1]}, RecipeError, "each once"),
        ({"layer": 1, "layers": [1]}, RecipeError, "one or the other"),
        ({"batch_seconds": 0}, RecipeError, "batch_seconds=0"),
        ({"window_seconds": 0.1, "overlap_seconds": 0}, RecipeError, "at least 0.2 s"),
        ({"window_seconds": 4, "overlap_seconds": 2.1}, RecipeError, "at most half"),
        ({"overlap_seconds": -1}, RecipeError, "overlap_seconds=-1"),
        ({"overlap_seconds": float("nan")}, RecipeError, "overlap_seconds=nan"),
        ({"dtype": "float16"}, RecipeError, "Did you mean 'bfloat16'"),
    ],
)
def test_bad_settings_are_refused_at_once(encoder, wrong, error, message) -> None:
    with pytest.raises(error, match=message):
        stream_features(encoder, [], **wrong)


def test_a_broken_encoder_is_named(corpus) -> None:
    encoder = random_encoder("hubert", "group")
    with torch.no_grad():
        encoder.layers[0].final_layer_norm.weight[0] = torch.nan
    with pytest.raises(EncoderError, match="hubert-group contain NaN"):
        list(stream_features(encoder, corpus))


# --- what cannot be read -------------------------------------------------------------------------------------------


def test_what_cannot_be_read_is_an_error_or_reported_and_passed_over(encoder, corpus, record, tmp_path) -> None:
    """Missing, silent and too short; and a long one that breaks after some of its windows were encoded."""
    good = by_id(stream_features(encoder, corpus, **SHORT_WINDOWS))
    bad = [
        Utterance("gone", tmp_path / "gone.wav", 0.7),
        record("silent", 9_000, fill=lambda wave: wave.fill(0)),
        record("long silent", 40_000, fill=lambda wave: wave.fill(0)),
        replace(record("short", 399), seconds=0.5),
        record("breaks", 50_000, fill=lambda wave: wave[45_000:].fill(np.nan)),
    ]
    rejects: list[Reject] = []
    found = by_id(stream_features(encoder, [*bad, *corpus], on_reject=rejects.append, **ONE_BY_ONE))
    reasons = {"gone": "missing", "silent": "silent", "long silent": "silent", "short": "too_short"}
    assert {reject.id: reject.reason for reject in rejects} == {**reasons, "breaks": "not_finite"}
    assert set(found) == set(good)
    for name, frames in good.items():
        torch.testing.assert_close(found[name], frames, rtol=0, atol=1e-5)
    for utterance in bad:
        with pytest.raises(AudioError):
            list(stream_features(encoder, [utterance], **SHORT_WINDOWS))


# --- windows -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "norm"), VARIETIES)
def test_windows_give_as_many_frames_as_the_whole_each_in_its_place(family, norm, record) -> None:
    encoder = random_encoder(family, norm)
    grid = Grid.of(encoder)
    lengths = [48_000, 48_079, 48_080, 48_081, 48_239, 48_240, 48_399, 48_400, 48_720, 49_047]
    per_group = int(encoder.frame_lengths(torch.tensor([grid.needed]))[0])
    counts = encoder.frame_lengths(torch.tensor(lengths)).tolist()
    assert [grid.groups(length) * per_group for length in lengths] == counts
    for length in lengths:
        utterance = record("a", length)
        layers = [0, LAYERS] if length == lengths[-1] else [LAYERS]
        ((_, whole),) = stream_features(encoder, [utterance], layers=layers)
        ((_, parts),) = stream_features(encoder, [utterance], layers=layers, batch_seconds=2.0, **SHORT_WINDOWS)
        for layer in layers:
            assert parts[layer].shape == whole[layer].shape
    for layer in layers:
        # Most frames are nearest to the frame of the same number: nothing is displaced.
        centred = [values - values.mean(0) for values in (parts[layer], whole[layer])]
        nearest = torch.cdist(*centred).argmin(1)
        assert (nearest == torch.arange(len(nearest))).float().mean() > 0.9


@given(
    samples=st.integers(400, 3_000_000),
    window=st.integers(3_200, 700_000),
    overlap=st.floats(0, 0.5),
    rate=st.sampled_from([8_000, 11_025, 16_000, 16_001, 22_050, 44_100, 48_000]),
    hop=st.sampled_from([320, 640]),
)
@settings(max_examples=200, deadline=None)
def test_a_plan_covers_everything_on_the_grid(samples, window, overlap, rate, hop) -> None:
    grid, shared = Grid(hop, hop + 80), int(overlap * window)
    plan = grid.plan(samples, window=window, overlap=shared, rate=rate)
    assert plan[0][0] == 0
    assert plan[-1][1] == samples
    for (begin, end), (following, _) in pairwise(plan):
        assert begin < following
        assert following % hop == 0
        assert following * rate % RATE == 0
        assert end >= min(following + shared, samples)
        assert begin // hop + grid.groups(end - begin) >= following // hop  # no frame is missing
    longest = max(end - begin for begin, end in plan)
    assert longest <= window + max(hop, RATE // np.gcd(rate, RATE), RATE if hop == 640 else 0) + grid.needed
    if rate == RATE and len(plan) > 1:
        assert len(plan) == -(-(samples - shared) // (window - shared))


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000])
def test_windows_of_other_rates_are_resampled_to_the_samples_of_the_whole(rate: int, encoder, record) -> None:
    utterance = record("a", round(3.3337 * rate), rate)
    whole = read_audio(utterance.path)
    grid = Grid.of(encoder)
    for group, wave in read_windows(utterance, grid, **SHORT_WINDOWS):
        own = whole[group * grid.hop :][: len(wave)]
        assert np.abs(own - wave)[800:-800].max() < 1e-6
    assert group * grid.hop + len(wave) == len(whole)
    ((_, frames),) = stream_features(encoder, [utterance], **SHORT_WINDOWS)
    assert len(frames) == int(encoder.frame_lengths(torch.tensor([len(whole)]))[0])


def test_a_segment_keeps_to_itself(encoder, record) -> None:
    whole = record("a", 80_000)
    segment = replace(whole, start=1.013, seconds=2.7)
    alone = read_audio(whole.path, start=1.013, seconds=2.7)
    for group, wave in read_windows(segment, Grid.of(encoder), **SHORT_WINDOWS):
        assert np.array_equal(wave, alone[group * 320 :][: len(wave)])
    assert group * 320 + len(wave) == len(alone)


@pytest.mark.parametrize(("begin", "end"), [(0, 40_000), (20_000, 60_000), (30_000, 80_000)])
def test_silence_within_a_recording_is_encoded(begin: int, end: int, encoder, record) -> None:
    utterance = record("a", 80_000, fill=lambda wave: wave[begin:end].fill(0))
    ((_, frames),) = stream_features(encoder, [utterance], **SHORT_WINDOWS)
    assert len(frames) == int(encoder.frame_lengths(torch.tensor([80_000]))[0])


def test_away_from_the_edges_of_windows_a_longer_overlap_comes_nearer(shared_speech: Path) -> None:
    """Real speech, the embedded encoder: windows move a frame by little of what sets frames apart."""
    folder = shared_speech / "ljspeech_141"
    with (folder / "manifest.tsv").open() as file:
        header, *rows = (line.rstrip("\n").split("\t") for line in file)
    paths = [folder / row[header.index("path")] for row in rows]
    path = max(paths, key=lambda path: soundfile.info(path).duration)
    utterance = Utterance("a", path, soundfile.info(path).duration)
    encoder = PretrainedEncoder.load("tiny")
    ((_, whole),) = stream_features(encoder, [utterance], layer=4)
    spread = (whole - whole.mean(0)).norm(dim=1).mean()
    moved = []
    for overlap in (0.0, 2.0):
        ((_, parts),) = stream_features(encoder, [utterance], layer=4, window_seconds=4.0, overlap_seconds=overlap)
        moved.append(float((parts - whole).norm(dim=1).mean() / spread))
    assert moved[1] < moved[0] < 0.5


def test_with_a_transform_nothing_is_cut(encoder, record) -> None:
    utterance = record("a", 50_000)
    seen = []

    def louder(wave: np.ndarray, whose: Utterance) -> np.ndarray:
        seen.append((len(wave), whose))
        return 2 * wave

    list(stream_features(encoder, [utterance], transform=louder, **SHORT_WINDOWS))
    assert seen == [(50_000, utterance)]


MEMORY = """
import resource, sys
from pathlib import Path
import numpy as np, soundfile, torch
from random_encoders import random_encoder
from ssft.features import Extractor, write_features
from ssft.types import Utterance

folder, peaks = Path(sys.argv[1]), []
encoder = random_encoder("hubert", "group")
encoder.width = 256
extractor = Extractor(encoder)
# What an encoder takes for a window is its own affair, and would take time.
extractor._encode = lambda waves: [{3: torch.ones(extractor._grid.groups(len(wave)), 256)} for wave in waves]
minute = 0.1 * np.random.default_rng(0).standard_normal(60 * 16000).astype(np.float32)
for minutes in (2, 30):
    path = folder / f"{minutes}.wav"
    with soundfile.SoundFile(path, "w", 16000, 1) as file:
        for _ in range(minutes):
            file.write(minute)
    write_features(extractor, [Utterance("a", path, 60.0 * minutes)], folder / f"{minutes}")
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
print(peaks[1] - peaks[0])
"""


def test_memory_does_not_grow_with_the_recording(tmp_path: Path) -> None:
    """Half an hour is 115 MB of samples and 92 MB of frames."""
    tests = Path(__file__).resolve().parents[1]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(tests), str(tests.parent)]),
        "MALLOC_MMAP_THRESHOLD_": "100000",  # what is freed is given back at once
    }
    command = [sys.executable, "-c", MEMORY, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 20  # MB
    features = read_features(tmp_path / "30")
    assert features["a"].shape == ((30 * 60 * RATE - 400) // 320 + 1, 256)


# --- shards --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["safetensors", "npy"])
def test_what_is_written_is_what_was_streamed(form: str, encoder, corpus, record, tmp_path) -> None:
    corpus = [
        *corpus,
        record("long", 50_000),
        record("breaks", 45_000, fill=lambda wave: wave.__setitem__(44_000, np.nan)),
    ]
    folder = tmp_path / "features"
    extractor = Extractor(encoder, layers=[1, 3], **ONE_BY_ONE)
    result = write_features(extractor, corpus, folder, format=form, shard_seconds=1.5)
    expected = by_id(stream_features(encoder, corpus, layers=[1, 3], on_reject=lambda reject: None, **ONE_BY_ONE))
    assert [reject.id for reject in result.rejects] == ["breaks"]
    assert "breaks\t" in (folder / "rejects-000.tsv").read_text()
    shards = sorted(path.name for path in (folder / "layer-03").iterdir())
    assert len(shards) > 2
    assert all(name.endswith(f".{form}") for name in shards)
    assert result.bytes == sum(path.stat().st_size for path in folder.glob("layer-*/*"))
    for layer in (1, 3):
        features = read_features(folder, layer=layer)
        assert set(features) == set(expected)
        assert features.missing == ["breaks"]
        for name, states in expected.items():
            assert np.array_equal(features[name], states[layer].numpy())
            assert isinstance(features[name].base, np.memmap)
    # As anybody reads them.
    foreign: dict[str, np.ndarray] = {}
    for index in sorted(folder.glob("*.jsonl")):
        path = folder / "layer-03" / f"{index.stem}.{form}"
        entries = [json.loads(line) for line in index.read_text().splitlines()]
        if form == "safetensors":
            foreign |= load_file(path)
        else:
            ends = np.cumsum([entry["frames"]["3"] for entry in entries])
            parts = np.split(np.load(path, allow_pickle=False), ends[:-1])
            foreign |= {entry["id"]: part for entry, part in zip(entries, parts, strict=True)}
    assert set(foreign) == set(expected)
    assert all(np.array_equal(foreign[name], expected[name][3].numpy()) for name in foreign)


def test_layers_of_different_rates(record, tmp_path: Path) -> None:
    """SEW runs its layers at half the rate of its last hidden state."""
    utterance = record("a", 48_000)
    write_features(Extractor(random_encoder("sew", "group"), layers=[1, LAYERS]), [utterance], tmp_path / "f")
    slow, fast = (read_features(tmp_path / "f", layer=layer) for layer in (1, LAYERS))
    assert 2 * len(slow["a"]) == len(fast["a"]) == 148
    assert (slow.frame_rate, fast.frame_rate) == (25.0, 50.0)


@pytest.mark.parametrize("how", [KeyboardInterrupt, EncoderError, OSError])
def test_a_second_call_goes_on_where_the_first_one_stopped(how, encoder, corpus, tmp_path, monkeypatch) -> None:
    folder, extractor = tmp_path / "f", Extractor(encoder, layers=[1], batch_seconds=0.1)
    encode, encoded = Extractor._encode, []

    def fails(self, waves):
        if len(encoded) == 4:
            raise how(5, "broken")
        encoded.append(len(waves))
        return encode(self, waves)

    monkeypatch.setattr(Extractor, "_encode", fails)
    with pytest.raises(DataError if how is OSError else how):
        write_features(extractor, corpus, folder, shard_seconds=1.2)
    kept = 3 if how is OSError else 4  # of a full disk no more is asked than what it has
    features = read_features(folder)
    assert len(features) == kept
    assert features.missing == [utterance.id for utterance in corpus[kept:]]
    encoded.clear()
    result = write_features(extractor, corpus, folder, shard_seconds=1.2)
    assert (result.already, len(result.entries), len(encoded)) == (kept, 6 - kept, 6 - kept)
    features = read_features(folder)
    assert features.missing == []
    for name, frames in by_id(stream_features(encoder, corpus, layer=1)).items():
        np.testing.assert_allclose(features[name], frames.numpy(), rtol=0, atol=1e-5)
    assert write_features(extractor, corpus, folder).entries == []
    assert not list(folder.glob("**/*.partial"))


def test_a_shard_without_its_index_does_not_count(encoder, corpus, tmp_path) -> None:
    """As after a power cut between the two."""
    folder, extractor = tmp_path / "f", Extractor(encoder)
    write_features(extractor, corpus, folder, shard_seconds=1.0)
    last = max(folder.glob("*.jsonl"))
    lost = [json.loads(line)["id"] for line in last.read_text().splitlines()]
    last.unlink()
    (folder / "layer-03" / f"{last.stem}.safetensors").write_bytes(b"half")
    assert read_features(folder).missing == lost
    write_features(extractor, corpus, folder)
    features = read_features(folder)
    assert features.missing == []
    assert all(np.isfinite(features[name]).all() for name in features)


@pytest.mark.parametrize("damage", ["cut", "changed", "gone"])
def test_a_damaged_shard_is_named_with_its_remedy(damage: str, encoder, corpus, tmp_path) -> None:
    folder = tmp_path / "f"
    write_features(Extractor(encoder), corpus, folder)
    path = folder / "layer-03" / "000-00000.safetensors"
    content = path.read_bytes()
    path.unlink()
    if damage != "gone":
        path.write_bytes(content[:-4] if damage == "cut" else content.replace(b"u3", b"u9", 1))
    with pytest.raises(DataError, match=r"000-00000.safetensors cannot be read.*Remove 000-00000.jsonl"):
        read_features(folder)["u0"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": [2]}, r"layers \[1\] -> \[2\]"),
        ({"window_seconds": 20.0}, "window_seconds 40.0 -> 20.0"),
        ({"overlap_seconds": 2.0}, "overlap_seconds 4.0 -> 2.0"),
        ({"dtype": "bfloat16"}, "dtype float32 -> bfloat16"),
        ({"format": "npy"}, "format safetensors -> npy"),
        ({"encoder": 1}, "the encoder, hubert-group -> hubert-group, has other weights"),
        ({"corpus": 5}, "the audio, 6 -> 5 utterances"),
    ],
)
def test_other_settings_are_refused(change, message, encoder, corpus, tmp_path) -> None:
    write_features(Extractor(encoder, layers=[1]), corpus, tmp_path / "f")
    before = {path: path.read_bytes() for path in (tmp_path / "f").rglob("*") if path.is_file()}
    other = random_encoder("hubert", "group", seed=1) if change.pop("encoder", None) else encoder
    form = change.pop("format", "safetensors")
    utterances = corpus[: change.pop("corpus", None)]
    with pytest.raises(DataError, match=message):
        write_features(Extractor(other, **{"layers": [1], **change}), utterances, tmp_path / "f", format=form)
    assert {path: path.read_bytes() for path in (tmp_path / "f").rglob("*") if path.is_file()} == before


def test_other_batches_are_no_other_settings(encoder, corpus, tmp_path) -> None:
    write_features(Extractor(encoder, layers=[1]), corpus, tmp_path / "f")
    assert write_features(Extractor(encoder, layers=[1], batch_seconds=9), corpus, tmp_path / "f").already == 6


def test_what_is_no_folder_of_features_is_refused(encoder, corpus, tmp_path) -> None:
    extractor = Extractor(encoder, layers=[1, 2])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("1")
    with pytest.raises(DataError, match="holds something else, and is left as it is"):
        write_features(extractor, corpus, tmp_path / "mine")
    with pytest.raises(DataError, match="holds something else"):
        write_features(extractor, corpus, tmp_path / "mine" / "thesis.txt")
    with pytest.raises(DataError, match=r"holds no features.json"):
        read_features(tmp_path / "mine")
    with pytest.raises(DataError, match=r"1 ids stand for several utterances .first: u0"):
        write_features(extractor, [*corpus, corpus[0]], tmp_path / "f")
    with pytest.raises(RecipeError, match="Known: npy, safetensors"):
        write_features(extractor, corpus, tmp_path / "f", format="npz")
    with pytest.raises(RecipeError, match="shard_seconds=0"):
        write_features(extractor, corpus, tmp_path / "f", shard_seconds=0)
    assert not (tmp_path / "f").exists()
    write_features(extractor, corpus, tmp_path / "f")
    with pytest.raises(DataError, match=r"holds layers 1, 2\. Say which"):
        read_features(tmp_path / "f")
    with pytest.raises(DataError, match=r"does not hold layer 3\. Its layers: 1, 2"):
        read_features(tmp_path / "f", layer=3)
    with pytest.raises(KeyError):
        read_features(tmp_path / "f", layer=1)["nobody"]


# --- ranks ---------------------------------------------------------------------------------------------------------


@given(
    seconds=st.lists(st.floats(0.1, 100.0), max_size=60),
    world_size=st.integers(1, 8),
    order=st.randoms(use_true_random=False),
)
@settings(max_examples=100, deadline=None)
def test_processes_share_all_utterances_evenly(seconds, world_size, order) -> None:
    utterances = [Utterance(str(number), Path("a"), length) for number, length in enumerate(seconds)]
    parts = [own_part(utterances, rank=rank, world_size=world_size) for rank in range(world_size)]
    assert sorted(u.id for part in parts for u in part) == sorted(u.id for u in utterances)
    loads = [sum(u.seconds for u in part) for part in parts]
    assert max(loads) - min(loads) <= max(seconds, default=0) + 1e-6
    order.shuffle(utterances)
    for rank, part in enumerate(parts):
        assert {u.id for u in own_part(utterances, rank=rank, world_size=world_size)} == {u.id for u in part}


def test_processes_write_what_one_would(encoder, corpus, tmp_path, monkeypatch) -> None:
    extractor = Extractor(encoder, layers=[2])
    write_features(extractor, corpus, tmp_path / "one")
    monkeypatch.setenv("WORLD_SIZE", "3")
    for rank in (1, 2, 0):
        monkeypatch.setenv("RANK", str(rank))
        write_features(extractor, corpus, tmp_path / "three")
        assert len(read_features(tmp_path / "three").missing) == {1: 4, 2: 2, 0: 0}[rank]
    one, three = read_features(tmp_path / "one"), read_features(tmp_path / "three")
    assert set(one) == set(three)
    for name in one:
        np.testing.assert_allclose(one[name], three[name], rtol=0, atol=1e-5)
    # Nothing is left to do for another number of processes.
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert write_features(extractor, corpus, tmp_path / "three").already == 6


@pytest.mark.parametrize(("rank", "world_size"), [("2", "2"), ("x", "2"), ("-1", "2"), ("1", None)])
def test_ranks_that_do_not_fit_are_refused(rank, world_size, monkeypatch) -> None:
    monkeypatch.setenv("RANK", rank)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    if world_size:
        monkeypatch.setenv("WORLD_SIZE", world_size)
    with pytest.raises(RecipeError, match="do not fit"):
        rank_and_world_size()


# --- reading ahead -------------------------------------------------------------------------------------------------


def reading_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("read-ahead")]


@pytest.mark.parametrize("count", [1, 3])
def test_reading_ahead_keeps_the_order_and_so_many_at_most(count: int) -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(20):
            made.append(number)
            yield number

    ahead = read_ahead(items(), count=count)
    assert made == []
    for number, item in enumerate(ahead):
        assert item == number
        wait_until(lambda: len(made) >= min(number + 1 + count, 20))  # noqa: B023 (waited for here)
        assert len(made) == min(number + 1 + count, 20)
    assert number == 19
    assert reading_threads() == []


def wait_until(holds: Callable[[], bool]) -> None:
    for _ in range(500):
        if holds():
            return
        time.sleep(0.01)
    raise AssertionError("it took five seconds")


def test_an_error_arrives_in_its_turn() -> None:
    def items() -> Iterator[int]:
        yield from (1, 2)
        raise ZeroDivisionError("the third")

    ahead = read_ahead(items(), count=5)
    assert [next(ahead), next(ahead)] == [1, 2]
    with pytest.raises(ZeroDivisionError, match="the third"):
        next(ahead)
    assert reading_threads() == []
    assert list(ahead) == []


def test_whoever_stops_early_leaves_no_thread(encoder, corpus) -> None:
    parts = Extractor(encoder, batch_seconds=0.1).parts(corpus)
    next(parts)
    assert len(reading_threads()) == 1
    parts.close()
    assert reading_threads() == []

    def fails(wave: np.ndarray, utterance: Utterance) -> np.ndarray:
        if utterance.id == "u3":
            raise ZeroDivisionError
        return wave

    parts = Extractor(encoder, batch_seconds=0.1).parts(corpus, transform=fails)
    assert [next(parts).utterance.id for _ in range(3)] == ["u0", "u1", "u2"]
    with pytest.raises(ZeroDivisionError):
        next(parts)
    assert reading_threads() == []


def test_reading_ahead_changes_no_bit(encoder, corpus) -> None:
    extractor = Extractor(encoder, layers=[1, 3])
    found = by_id(stream_features(encoder, corpus, layers=[1, 3], batch_seconds=2.0))
    for indices in batches_by_length([utterance.seconds for utterance in corpus], 2.0):
        batch = [corpus[index] for index in indices]
        alone = extractor._encode([read_audio(utterance.path) for utterance in batch])
        for utterance, states in zip(batch, alone, strict=True):
            assert all(torch.equal(states[layer], found[utterance.id][layer]) for layer in (1, 3))


# --- conditions ----------------------------------------------------------------------------------------------------


def test_what_is_written_of_changed_audio_is_told_from_the_rest(encoder, corpus, tmp_path) -> None:
    def louder(wave: np.ndarray, utterance: Utterance) -> np.ndarray:
        return 2 * wave + 0.01

    extractor, folder = Extractor(encoder, layers=[2]), tmp_path / "f"
    write_features(extractor, corpus, folder, transform=louder, condition="louder")
    expected = by_id(stream_features(encoder, corpus, layer=2, transform=louder))
    assert all(np.array_equal(read_features(folder)[name], frames.numpy()) for name, frames in expected.items())
    for other in ({}, {"transform": louder, "condition": "much louder"}):
        with pytest.raises(DataError, match="condition louder -> "):
            write_features(extractor, corpus, folder, **other)
    for half in ({"transform": louder}, {"condition": "louder"}):
        with pytest.raises(RecipeError, match="give a transform and, as condition, what it does"):
            write_features(extractor, corpus, tmp_path / "g", **half)
    assert not (tmp_path / "g").exists()


def test_features_without_a_condition_are_those_of_before(encoder, corpus, tmp_path) -> None:
    """A folder that says nothing of a condition goes on."""
    write_features(Extractor(encoder), corpus, tmp_path / "f")
    path = tmp_path / "f" / "features.json"
    said = json.loads(path.read_text())
    assert said.pop("condition") is None
    path.write_text(json.dumps(said))
    assert write_features(Extractor(encoder), corpus, tmp_path / "f").already == len(corpus)


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_folder_is_checked_without_being_read(damage: str, encoder, corpus, tmp_path) -> None:
    write_features(Extractor(encoder), corpus, tmp_path / "f", shard_seconds=1.0)
    read_features(tmp_path / "f").check()
    path = max((tmp_path / "f").glob("layer-03/*"))
    content = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(content[:-1])
    with pytest.raises(DataError, match=f"Remove {path.stem}.jsonl"):
        read_features(tmp_path / "f").check()
