"""The papers' pipelines: their constants, and that the recipes of a paper use them.

Constants: SCORE and LASER (Meghanani and Hain), SPIN (Chang et al., Interspeech 2023), R-Spin (Chang and Glass, NAACL
2024), nr-ssft; speeds of SCORE and LASER as in the authors' code, one pitch shift of two semitones, always applied.
"""

from __future__ import annotations

import pytest

from ssft.augment import AUGMENTATIONS, PRESETS, AddNoise, Compose, OneOf, PitchShift, SpeakerPerturb, SpeedPerturb
from ssft.augment.presets import laser_hubert, laser_wavlm, score_hubert, score_wavlm, spin
from ssft.components import build, describe
from ssft.errors import RecipeError
from ssft.recipe import load_recipe
from ssft.runs import with_overrides

NOISE = {"source": "data/noise"}
SETTINGS = {"noise_robust_softdtw": NOISE, "noise_robust_mse": NOISE, "rspin": NOISE}


def plain(augmentation):
    return describe(augmentation, [AUGMENTATIONS])


@pytest.mark.parametrize(
    ("preset", "factors"),
    [
        (score_hubert, (0.9, 1.0, 1.1)),
        (score_wavlm, (0.85, 0.9, 1.0, 1.1, 1.15)),
        (laser_hubert, (0.9, 1.0, 1.1)),
        (laser_wavlm, (0.8, 0.85, 0.9, 1.0, 1.1, 1.15, 1.2)),
    ],
)
def test_score_and_laser_take_a_speed_and_then_two_semitones_up_or_down(preset, factors):
    expected = Compose([SpeedPerturb(factors), OneOf([PitchShift(2.0), PitchShift(-2.0)])])
    assert plain(preset()) == plain(expected)


def test_spin_changes_voice_and_colour_by_its_ratios():
    made = spin()
    assert (made.formant_ratio, made.pitch_ratio, made.range_ratio, made.equalizer) == (1.4, 2.0, 1.5, True)
    assert not made.changes_length


def test_noise_is_as_loud_as_published():
    speeds, noise = PRESETS["noise_robust_softdtw"](**NOISE).steps
    assert speeds.factors == (0.8, 0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.15, 1.2)
    assert noise.snr_db == PRESETS["noise_robust_mse"](**NOISE).snr_db == (20.0, 10.0, 5.0)
    voice, noise = PRESETS["rspin"](**NOISE).steps
    assert plain(voice) == plain(SpeakerPerturb())
    assert (noise.min_snr_db, noise.max_snr_db) == (-10.0, 10.0)


@pytest.mark.parametrize("base", ["hubert", "wavlm"])
@pytest.mark.parametrize("method", ["score", "laser", "spin", "noise_robust_softdtw", "noise_robust_mse", "rspin"])
def test_a_recipe_of_a_paper_has_the_pipeline_of_the_paper(method, base):
    views = load_recipe(f"{method}_{base}_base").views
    name = f"{method}_{base}" if method in ("score", "laser") else method
    source = "data/noise" if method == "rspin" else "data/DEMAND"
    preset = PRESETS[name](source) if name in SETTINGS else PRESETS[name]()
    assert plain(views.augmented) == plain(preset)
    assert (views.original is not None) == (method == "rspin")
    if method == "rspin":
        assert plain(views.original) == plain(preset.steps[1])


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_named_where_an_augmentation_is(name):
    settings = SETTINGS.get(name, {})
    typed = [text for key, value in settings.items() for text in (f"--views.augmented.{key}", value)]
    recipe = with_overrides(load_recipe("score_tiny"), ["--views.augmented", name, *typed])
    expected = plain(PRESETS[name](**settings))
    assert recipe.describe()["views"]["augmented"] == expected, "a run writes down what the name stood for"
    again = build(
        {**AUGMENTATIONS, **PRESETS}, {"name": "maybe", "augmentation": {"name": name, **settings}}, where="x"
    )
    assert plain(again.augmentation) == expected


def test_what_a_preset_lacks_or_does_not_know_is_said():
    with pytest.raises(RecipeError, match=r"views.augmented: rspin needs a value for source"):
        with_overrides(load_recipe("score_tiny"), ["--views.augmented", "rspin"])
    with pytest.raises(RecipeError, match=r"'score_huber' is not known. Did you mean 'score_hubert'"):
        with_overrides(load_recipe("score_tiny"), ["--views.augmented", "score_huber"])
    with pytest.raises(RecipeError, match="spin has no setting 'sourc'"):
        with_overrides(load_recipe("score_tiny"), ["--views.augmented", "spin", "--views.augmented.sourc", "x"])
    assert isinstance(PRESETS["noise_robust_mse"]("pink"), AddNoise)
