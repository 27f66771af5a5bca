"""Augmentations made of augmentations: which parts are applied, how often, and what they are told of the speaker."""

from __future__ import annotations

import numpy as np
import pytest

from ssft.augment import Compose, Gain, Maybe, OneOf, PitchShift, SpeedPerturb, Transform
from ssft.errors import RecipeError
from ssft.randomness import derive_rng

RATE = 16_000


def tone(hz, seconds=1.5):
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def rng_of(*key):
    return derive_rng("test", *key)


def test_repr_is_what_one_would_write():
    assert repr(SpeedPerturb([0.9, 1.1])) == "SpeedPerturb(factors=(0.9, 1.1))"
    shown = repr(Compose([Gain(-3.0, 3.0), OneOf([Gain(0.0, 6.0)])]))
    assert shown == (
        "Compose(steps=[Gain(min_gain_db=-3.0, max_gain_db=3.0), "
        "OneOf(choices=[Gain(min_gain_db=0.0, max_gain_db=6.0)])])"
    )


def test_compose_applies_all_and_one_of_each_equally_often():
    wave = tone(440, 0.5)
    faster, higher = SpeedPerturb((1.25,)), PitchShift(2)
    both = Compose([faster, higher])(wave, rng_of(0))
    assert np.array_equal(both, higher(faster(wave, rng_of(0)), rng_of(0)))
    choices = OneOf([PitchShift(semitones) for semitones in (-2, 0, 2)])
    drawn = [choices.draw(rng_of(seed), wave)["choice"] for seed in range(600)]
    assert all(150 < drawn.count(choice) < 250 for choice in range(3))


def test_whether_the_length_changes_is_known_beforehand():
    assert not PitchShift(2).changes_length
    assert not SpeedPerturb((1.0,)).changes_length
    assert SpeedPerturb((1.0, 1.1)).changes_length
    assert OneOf([PitchShift(2), SpeedPerturb()]).changes_length
    assert Compose([PitchShift(2), OneOf([SpeedPerturb()])]).changes_length
    assert not Compose([PitchShift(2), OneOf([PitchShift(-2)])]).changes_length


def test_maybe_applies_as_often_as_it_is_told_and_leaves_the_rest_alone():
    wave, louder = tone(440, 0.2), Gain(6.0, 6.0)
    maybe = Maybe(louder, probability=0.3)
    results = [maybe(wave, rng_of(seed)) for seed in range(600)]
    changed = [not np.array_equal(result, wave) for result in results]
    assert 130 < sum(changed) < 230
    assert all(
        np.array_equal(result, louder(wave, rng_of(0))) for result, did in zip(results, changed, strict=True) if did
    )
    assert Maybe(SpeedPerturb((1.1,)), probability=0.5).changes_length
    assert not any(Maybe(louder, probability=0.0).draw(rng_of(seed), wave) for seed in range(50))
    assert all(Maybe(louder, probability=1.0).draw(rng_of(seed), wave) for seed in range(50))


class Known(Transform):
    """Says whom it was made for."""

    def __init__(self, speaker: str | None = None) -> None:
        self.speaker = speaker
        self.fallen = 1

    @property
    def fallbacks(self):
        return self.fallen

    def for_speaker(self, speaker):
        return self if speaker is None else Known(speaker)

    def draw(self, rng, wave):
        return {"speaker": self.speaker}

    def apply(self, wave, parameters):
        return wave


def test_parts_are_told_of_the_speaker_and_their_fallbacks_add_up():
    nested = Compose([Known(), Maybe(OneOf([Known(), Gain()]), probability=1.0)])
    assert nested.for_speaker(None) is nested
    told = nested.for_speaker("ann")
    assert told is not nested
    assert told.steps[0].speaker == told.steps[1].augmentation.choices[0].speaker == "ann"
    assert nested.steps[0].speaker is None, "the pipeline itself stays as it is"
    assert told.draw(rng_of(0), tone(100, 0.1))["steps"][0] == {"speaker": "ann"}
    assert nested.fallbacks == 2
    assert not nested.runs_on_device


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Compose([]), "Compose(steps=[])"),
        (lambda: Maybe(Gain(), probability=1.5), "Maybe(probability=1.5)"),
        (lambda: Maybe([Gain()]), "Maybe(augmentation): [Gain("),
        (lambda: OneOf([]), "OneOf(choices=[])"),
        (lambda: Compose(PitchShift(2)), "Compose(steps="),
        (lambda: OneOf([PitchShift(2), "pitch_shift"]), "OneOf(choices): 'pitch_shift' is not an augmentation"),
    ],
)
def test_bad_settings_are_named(make, says):
    with pytest.raises(RecipeError) as caught:
        make()
    assert says in str(caught.value)
