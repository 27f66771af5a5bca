import numpy as np
import pytest

from ssft.analysis.drift import cka_distance, cosine_distance
from ssft.analysis.sample import FrameSample
from ssft.analysis.uniformity import Augmented, uniformity
from ssft.errors import DataError


def sphere(count: int, dim: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)


def one(count: int) -> dict[str, np.ndarray]:
    return {"a": np.arange(count)}


def test_uniformity_is_the_mean_over_all_pairs():
    frames = sphere(300)
    units = frames.astype(np.float64) / np.linalg.norm(frames, axis=1, keepdims=True)
    squared = np.square(units[:, None] - units).sum(axis=2)
    expected = np.log(np.exp(-2 * squared).mean())
    assert uniformity(frames, one(300), near_frames=0, pairs=400_000) == pytest.approx(expected, abs=0.02)
    assert uniformity(frames, one(300), near_frames=0, pairs=400_000) == pytest.approx(
        uniformity(7 * frames, one(300), near_frames=0, pairs=400_000), abs=1e-5
    )


def test_two_opposite_directions_have_the_uniformity_that_follows_from_the_definition():
    frames = np.array([[1.0, 0.0], [-1.0, 0.0]] * 500, np.float32)
    assert uniformity(frames, one(1000), near_frames=0) == pytest.approx(np.log((1 + np.exp(-8)) / 2), abs=0.02)
    assert uniformity(np.ones((100, 2), np.float32), one(100)) == pytest.approx(0, abs=1e-6)


def test_frames_of_one_utterance_that_are_near_in_time_are_no_pair():
    """Two utterances of 25 frames each, all alike within: only pairs across are left, which are opposite."""
    frames = np.repeat(np.array([[1.0, 0.0], [-1.0, 0.0]], np.float32), 25, axis=0)
    places = {"a": np.arange(25), "b": np.arange(25)}
    assert uniformity(frames, places) == pytest.approx(-8, abs=1e-6)
    with pytest.raises(DataError, match="half a second"):
        uniformity(frames[:25], one(25))


def frames_of(count: int, length: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {f"u{number}": rng.standard_normal((length, 16)).astype(np.float32) for number in range(count)}


def test_an_invariant_encoder_is_aligned_and_mistakes_no_moment():
    clean = frames_of(5, 80)
    same = Augmented(clean, clean)
    assert same.alignment() == 0.0
    assert same.moment_error() == 0.0
    slightly = Augmented(clean, {name: own + 0.01 for name, own in clean.items()})
    assert 0 < slightly.alignment() < 0.01
    assert slightly.moment_error() == 0.0


def test_an_encoder_that_hears_only_the_voice_mistakes_every_moment():
    clean = frames_of(5, 80)
    voice = 100 * np.eye(16, dtype=np.float32)[0]
    moved = {name: own + voice for name, own in clean.items()}
    augmented = Augmented(clean, moved)
    assert augmented.moment_error() == 1.0
    assert augmented.alignment() > 1


def test_an_encoder_that_hears_nothing_ties():
    constant = {name: np.ones_like(own) for name, own in frames_of(3, 80).items()}
    assert Augmented(constant, constant).moment_error() == 0.5


def test_alignment_is_that_of_the_same_moments_of_utterances_in_both():
    clean, changed = frames_of(4, 60), frames_of(4, 60, seed=1)
    del changed["u2"]
    pairs = [
        (a / np.linalg.norm(a), b / np.linalg.norm(b))
        for name in changed
        for a, b in zip(clean[name], changed[name], strict=True)
    ]
    expected = np.mean([np.square(a - b).sum() for a, b in pairs])
    assert Augmented(clean, changed).alignment() == pytest.approx(expected, rel=1e-5)


def test_short_utterances_have_no_other_moment():
    clean = frames_of(5, 20)
    assert Augmented(clean, clean).moment_error() is None


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_frames_without_a_direction_are_refused(value):
    broken = sphere(100)
    broken[3] = value
    with pytest.raises(DataError, match="direction"):
        uniformity(broken, one(100))
    with pytest.raises(DataError, match="direction"):
        cosine_distance(sphere(100), broken)
    clean = frames_of(2, 80)
    clean["u1"][5] = value
    with pytest.raises(DataError):
        Augmented(clean, clean)


def test_cosine_distance_sees_a_rotation_that_cka_does_not():
    frames = sphere(400)
    rotation = np.linalg.qr(np.random.default_rng(1).standard_normal((8, 8)))[0].astype(np.float32)
    assert cosine_distance(frames, 3 * frames) == pytest.approx(0, abs=1e-6)
    assert cosine_distance(frames, -frames) == pytest.approx(2, abs=1e-6)
    assert cosine_distance(frames, frames @ rotation) > 0.3
    assert cka_distance(frames, frames @ rotation) == pytest.approx(0, abs=1e-6)
    assert cka_distance(frames, sphere(400, seed=2)) > 0.8


def test_cosine_distance_is_the_mean_over_all_frames():
    a, b = sphere(5000), sphere(5000, seed=1)
    expected = 1 - np.mean([x @ y / np.linalg.norm(x) / np.linalg.norm(y) for x, y in zip(a, b, strict=True)])
    assert cosine_distance(a, b) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(DataError, match="give as many"):
        cosine_distance(a, b[:, :4])


def test_uniformity_takes_what_a_sample_gives():
    frames = frames_of(6, 70)
    sample = FrameSample([frames], most_frames=200)
    assert -4 < uniformity(sample.of(frames), sample.places) < -2
