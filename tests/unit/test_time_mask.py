"""Time masks: what was drawn is silent, the rest is untouched, and enough is left."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssft.augment.time_mask import TimeMask
from ssft.errors import RecipeError
from ssft.randomness import derive_rng
from ssft.types import Waves

RATE = 16_000


def ones(samples):
    return np.ones(samples, np.float32)


def gains(samples, spans):
    """A slow oracle: what each sample is multiplied by."""
    result = np.ones(samples)
    for start, seconds in spans:
        begin, count = round(start * RATE), round(seconds * RATE)
        fade = min(80, (count + 1) // 2)
        for place in range(count):
            depth = min(place + 1, count - place) / fade if fade else 0
            if begin + place < samples:
                result[begin + place] *= 0.5 + 0.5 * np.cos(np.pi * min(depth, 1.0))
    return result


@pytest.mark.parametrize(
    "spans",
    [
        [(0.2, 0.1)],
        [(0.2, 0.1), (0.25, 0.3)],  # they overlap
        [(0.0, 0.05), (0.9, 0.1)],  # at the edges
        [(0.95, 0.5)],  # beyond the end of a waveform made shorter after the draw
        [(0.3, 0.006)],  # shorter than two fades
        [(0.3, 1 / RATE)],
        [(0.3, 0.0)],
        [(2.0, 0.1)],
    ],
)
def test_spans_are_silenced_where_they_were_drawn(spans):
    drawn = {"spans": [{"start_seconds": start, "seconds": seconds} for start, seconds in spans]}
    result = TimeMask().apply(ones(RATE), drawn)
    assert np.abs(result - gains(RATE, spans)).max() < 1e-6


def test_the_middle_of_a_span_is_zero_and_its_edges_do_not_click():
    result = TimeMask().apply(ones(RATE), {"spans": [{"start_seconds": 0.5, "seconds": 0.1}]})
    assert (result[:8_000] == 1).all()
    assert (result[9_600:] == 1).all()
    assert (result[8_080:9_520] == 0).all()
    assert np.abs(np.diff(result)).max() < 0.02  # over 5 ms; at once it would be 1


@settings(max_examples=100, deadline=None)
@given(
    samples=st.integers(1, 200_000),
    seed=st.integers(0, 2**32),
    max_spans=st.integers(1, 10),
    max_share=st.floats(0.01, 0.5),
    max_span_seconds=st.floats(0.01, 5),
)
def test_the_limits_hold(samples, seed, max_spans, max_share, max_span_seconds):
    transform = TimeMask(max_spans=max_spans, max_share=max_share, max_span_seconds=max_span_seconds)
    drawn = transform.draw(derive_rng("test", seed), ones(samples))
    assert json.loads(json.dumps(drawn)) == drawn
    spans = drawn["spans"]
    assert 1 <= len(spans) <= max_spans
    assert all(0 <= span["seconds"] <= max_span_seconds for span in spans)
    assert all(0 <= span["start_seconds"] <= samples / RATE - span["seconds"] for span in spans)
    assert sum(span["seconds"] for span in spans) <= max_share * samples / RATE + 1e-9
    touched = (transform.apply(ones(samples), drawn) < 1).sum()
    assert touched <= max_share * samples + len(spans)  # rounding to whole samples


def test_draws_are_spread_over_number_place_and_length():
    transform, wave = TimeMask(max_spans=3, max_share=0.2, max_span_seconds=0.1), ones(2 * RATE)
    drawn = [transform.draw(derive_rng("test", seed), wave)["spans"] for seed in range(600)]
    assert all(150 < sum(len(spans) == count for spans in drawn) < 250 for count in (1, 2, 3))
    starts, lengths = (
        np.array([span[key] for spans in drawn for span in spans]) for key in ("start_seconds", "seconds")
    )
    assert starts.mean() == pytest.approx(0.975, abs=0.05)
    assert np.histogram(starts, bins=4, range=(0, 2))[0].min() > 0.2 * len(starts)
    assert lengths.mean() == pytest.approx(0.05, rel=0.05)
    assert lengths.max() > 0.095


def test_each_waveform_of_a_batch_has_its_own_spans():
    transform = TimeMask(max_spans=4, max_share=0.5)
    rng = np.random.default_rng(0)
    waves = [rng.uniform(-1, 1, samples).astype(np.float32) for samples in (40_000, 1, 400, 25_000, 30_000)]
    parameters = [transform.draw(derive_rng("test", row), wave) for row, wave in enumerate(waves)]
    batch = Waves.stack([torch.from_numpy(wave) for wave in waves])
    batch = Waves(batch.samples.masked_fill(~batch.mask, float("nan")), batch.lengths)
    result = transform.apply_batch(batch, parameters)
    assert bool((result.samples[~result.mask] == 0).all())
    for wave, drawn, made in zip(waves, parameters, result.items(), strict=True):
        assert np.array_equal(made.numpy(), transform.apply(wave, drawn))
    assert sum(bool((made.numpy() != wave).any()) for wave, made in zip(waves, result.items(), strict=True)) >= 4


def test_silence_stays_silence():
    assert not TimeMask()(np.zeros(RATE, np.float32), derive_rng(0)).any()


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"max_spans": 0}, "max_spans=0"),
        ({"max_share": 0}, "max_share=0"),
        ({"max_share": 0.6}, "max_share=0.6"),
        ({"max_share": float("nan")}, "max_share=nan"),
        ({"max_span_seconds": 0.0}, "max_span_seconds=0.0"),
        ({"max_span_seconds": float("inf")}, "max_span_seconds=inf"),
        ({"sample_rate": 0}, "sample_rate=0"),
    ],
)
def test_bad_settings_are_named(setting, says):
    with pytest.raises(RecipeError, match=r"TimeMask\(") as caught:
        TimeMask(**setting)
    assert says in str(caught.value)
