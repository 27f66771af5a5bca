"""All layer pairs of two systems: each entry is what its measure says of these layers, on the same frames."""

from __future__ import annotations

import numpy as np
import pytest
from frame_stores import GivenFrames
from sklearn.metrics import adjusted_mutual_info_score

from ssft.analysis.comparison import ATTENTION, MEASURES, Comparison, compare
from ssft.analysis.moments import JointMoments
from ssft.analysis.similarity.attention import AttentionSimilarity
from ssft.analysis.similarity.cca import mean_cca, pwcca, svcca
from ssft.analysis.similarity.cka import kernel_cka, linear_cka, rbf_kernel
from ssft.analysis.similarity.neurons import linear_regression, max_correlation
from ssft.analysis.similarity.page import layer_table, min_correlations, to_markdown, verdict
from ssft.analysis.similarity.units import unit_agreement, unit_codes
from ssft.errors import DataError, RecipeError

WIDTH = 5


def system(name: str, *, drift: float, layers: int = 3, seed: int = 0, rate: int = 1) -> GivenFrames:
    """Layers that mix shared frames, and noise that grows with the layer where there is drift."""
    given = {}
    for layer in range(layers):
        mixing = np.random.default_rng(layer).normal(size=(WIDTH, WIDTH))
        given["test", layer, "clean"] = {
            f"{number}.wav": np.random.default_rng(number).normal(size=(60, WIDTH)).repeat(rate, axis=0) @ mixing
            + drift * layer * np.random.default_rng((seed, number, layer)).normal(size=(60 * rate, WIDTH))
            for number in range(10)
        }
    return GivenFrames(given, name=name)


@pytest.fixture(scope="module")
def pair() -> tuple[GivenFrames, GivenFrames]:
    return system("before", drift=0.1), system("after", drift=1.0, layers=4, seed=1)


def all_frames(store: GivenFrames, layer: int) -> np.ndarray:
    frames = store.frames(layer=layer)
    return np.concatenate([frames[name] for name in sorted(frames)])


@pytest.mark.parametrize("itself", [False, True])
def test_entries_are_what_each_measure_says_of_the_two_layers(pair, itself: bool) -> None:
    x, y = (pair[0], pair[0]) if itself else pair
    found = compare(x, y, measures=list(MEASURES))
    assert (found.frames, found.kernel_frames) == (600, 600)
    assert list(found.similarity) == list(MEASURES)
    for row, column in [(0, 0), (1, 2), (2, 1)]:
        own, other = all_frames(x, row), all_frames(y, column)
        moments = JointMoments()
        moments.update({"x": own, "y": other})
        expected = {
            "cka": linear_cka(moments, "x", "y"),
            "rbf": kernel_cka(rbf_kernel(own), rbf_kernel(other)),
            "svcca": svcca(moments, "x", "y"),
            "pwcca": pwcca(moments, "x", "y"),
            "cca": mean_cca(moments, "x", "y"),
            "neurons": max_correlation(moments, "x", "y"),
            "regression": linear_regression(moments, "x", "y"),
            "units": adjusted_mutual_info_score(*(unit_codes(frames) for frames in (own, other))),
        }
        for name, value in expected.items():
            assert found.similarity[name][row, column] == pytest.approx(value, abs=1e-8), name


def test_only_what_is_asked_for_is_measured(pair) -> None:
    assert set(compare(*pair).similarity) == {"cka", "pwcca", "neurons"}
    only = compare(*pair, measures=["rbf"], kernel_frames=100)
    assert set(only.similarity) == {"rbf"}
    assert only.frames is None
    assert 60 < only.kernel_frames < 140
    assert compare(*pair, measures=["cca"], most_frames=200).frames < 280
    with pytest.raises(RecipeError, match=r"no measure 'ckaa'. Did you mean 'cka'"):
        compare(*pair, measures=["ckaa"])


def test_units_agree_where_frames_fall_into_the_same_groups_and_else_by_chance() -> None:
    rng = np.random.default_rng(0)
    group = rng.integers(0, 2, size=2000)
    x, y = (rng.normal(size=(2, 6))[group] * 10 + rng.normal(size=(2000, 6)) for _ in range(2))
    codes = unit_codes(x, clusters=2)
    assert unit_agreement(codes, unit_codes(y, clusters=2)) == pytest.approx(1)
    assert unit_agreement(codes, unit_codes(rng.normal(size=(2000, 6)), clusters=2)) == pytest.approx(0, abs=0.02)
    with pytest.raises(DataError, match="need at least as many frames"):
        unit_codes(x[:3], clusters=4)


def test_same_seed_same_frames_and_another_seed_others(pair) -> None:
    first, again, other = (compare(*pair, most_frames=300, seed=seed).similarity["cka"] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


def test_too_few_frames_are_refused(pair) -> None:
    with pytest.raises(DataError, match=r"too few for 5 dimensions.*At least 50 "):
        compare(*pair, most_frames=20)


def test_one_utterance_is_enough_if_it_is_long() -> None:
    frames = {("test", 0, "clean"): {"a.wav": np.random.default_rng(0).normal(size=(60, WIDTH))}}
    assert compare(GivenFrames(frames), GivenFrames(frames)).similarity["pwcca"] == pytest.approx(1)


def test_systems_of_other_frame_rates_and_broken_frames_are_refused(pair) -> None:
    with pytest.raises(DataError, match="cannot be compared frame by frame"):
        compare(pair[0], system("twice", drift=0, rate=2))
    broken = {("test", 0, "clean"): {"0.wav": np.full((60, WIDTH), np.nan)}}
    with pytest.raises(DataError, match="NaN"):
        compare(pair[0], GivenFrames(broken, name="broken"))


def test_the_verdict_names_the_layer_that_moved_most() -> None:
    before, after = system("before", drift=0.0), system("after", drift=1.0, seed=1)
    said = verdict(compare(before, after))
    assert said.startswith("**Layer 2 differs most** between before and after: linear CKA 0.")
    assert "layer 0 differs least: 1.000" in said
    assert verdict(compare(before, system("same", drift=0.0))).startswith(
        "**No layer differs** between before and same"
    )


def test_verdicts_of_other_depths_and_of_one_system_alone(pair) -> None:
    said = verdict(compare(*pair))
    assert said.startswith(
        "Layer 0 of before and layer 0 of after are most alike: linear CKA 1.000. Layer 2 of before "
    )
    assert verdict(compare(pair[0], pair[0])).startswith("Neighbouring layers of before differ most between ")
    one = system("one", drift=0.0, layers=1)
    assert verdict(compare(one, one)) == "one has only one layer to look at."
    again = compare(system("two", drift=1.0, layers=1), system("three", drift=1.0, layers=1, seed=2), measures=["rbf"])
    assert "RBF CKA of the same layer is at least 1.0000" in verdict(again)


def test_tables_have_the_same_layer_or_the_one_that_is_most_alike(pair) -> None:
    same = compare(pair[0], system("moved", drift=1.0, seed=1), measures=["cka"])
    lines = layer_table(same).splitlines()
    assert lines[0].split() == ["|", "layer", "|", "linear", "CKA", "|"]
    assert lines[3].split()[3] == f"{same.similarity['cka'][1, 1]:.3f}"
    other = compare(*pair, measures=["cka"])
    lines = layer_table(other).splitlines()
    assert "linear CKA (with)" in lines[0]
    nearest, value = other.nearest_layer("cka")[1]
    assert value == other.similarity["cka"][1].max() == other.similarity["cka"][1, nearest]
    assert f"{value:.3f} ({nearest})" in lines[3]


def test_min_correlation_is_over_the_other_systems_with_the_same_layers(pair) -> None:
    x = pair[0]
    others = [system(name, drift=drift, seed=2) for name, drift in (("near", 0.1), ("far", 3.0))]
    comparisons = [compare(x, other) for other in (*others, pair[1], x)]
    found = min_correlations(comparisons)
    assert set(found) == {0, 1, 2}
    best = [one.best_correlations[2, 2] for one in comparisons[:2]]
    assert found[2] == pytest.approx(np.minimum(*best).mean())
    assert found[2] <= comparisons[1].similarity["neurons"][2, 2]
    assert min_correlations(comparisons[1:]) == {}
    assert "Min-correlation" in to_markdown(comparisons, pictures=["a.png"] * 4, corpus="demo")


def attention_only(comparison: Comparison) -> Comparison:
    values = np.array([[0.9, 0.5], [0.4, 0.7]])
    bare = Comparison(comparison.x, comparison.y, comparison.layers_x, comparison.layers_y, {})
    return bare.with_attention(AttentionSimilarity(values, values - 1, values / 2, (1, 2), (1, 2), 7))


def test_attention_stands_beside_and_layer_0_has_none() -> None:
    found = attention_only(compare(system("before", drift=0.0), system("after", drift=1.0)))
    assert set(found.similarity) == set(ATTENTION)
    assert np.isnan(found.similarity["pearson"][0]).all()
    assert np.isnan(found.similarity["pearson"][:, 0]).all()
    np.testing.assert_allclose(found.similarity["pearson"][1:, 1:], [[-0.1, -0.5], [-0.6, -0.3]])
    assert found.same_layer("frobenius") == {1: 0.9, 2: 0.7}
    assert verdict(found).startswith("**Layer 2 differs most** between before and after: attention, Frobenius 0.700")
    page = to_markdown([found], pictures=["a.png"], corpus="demo")
    assert "| 0     | -" in page
    assert "7 utterances" in page
    assert "uniform sample" not in page
