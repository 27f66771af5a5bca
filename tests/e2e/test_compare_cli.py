"""`ssft compare`: from models and audio to tables and heat maps, and how wrong calls end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import ssft
from ssft.evaluation.items import read_table

Call = Callable[..., tuple[int, str, str]]

DEMO = Path(ssft.__file__).parent / "assets" / "demo_speech"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds plain/, audio without labels with frames enough for the tiny encoder, and short/, without."""
    folder = tmp_path_factory.mktemp("compare")
    paths = [row[0] for row in read_table(DEMO / "manifest.tsv", ("path", "speaker", "text", "split"))][:20]
    for name, own in (("plain", paths), ("short", paths[:3])):
        for path in own:
            (folder / name / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(DEMO / path, folder / name / path)
    return folder


def test_layers_before_and_after_all_measures(call: Call, place: Path) -> None:
    measures = ("cka", "rbf", "svcca", "pwcca", "cca", "neurons", "regression", "units", "attention")
    sizes = ("--rbf-frames", "300", "--clusters", "20", "--attention-utterances", "2", "--layers", "0,6")
    code, out, err = call(
        "compare", "tiny", "random:tiny", "--data", "plain", "--measures", *measures, *sizes, "--out", "all", "--json"
    )
    assert (code, err) == (0, "")
    record = json.loads(out)
    assert record == json.loads((place / "all" / "analysis.json").read_text(encoding="utf-8"))
    assert record["command"].startswith("ssft compare tiny random:tiny --data plain --measures cka rbf ")
    assert record["corpus"]["fingerprint"]
    assert len({facts["weights"] for facts in record["systems"].values()}) == 2
    assert record["settings"]["attention_utterances"] == 2
    (found,) = record["comparisons"]
    assert (found["layers_x"], found["layers_y"]) == ([0, 6], [0, 6])
    assert found["frames"] > 1920
    for name, values in found["similarity"].items():
        assert np.shape(values) == (2, 2)
        if name in ("frobenius", "pearson", "jensen_shannon"):
            assert values[0] == [None, None]
            assert -1 < values[1][1] < 1
        else:
            assert (np.array(values) < 0.9).all()
            assert (np.array(values) > 0).all()
    page = (place / "all" / "analysis.md").read_text(encoding="utf-8")
    assert "differs most** between tiny and random:tiny: linear CKA" in page
    assert "![All pairs of layers](similarity.png)" in page
    assert (place / "all" / "similarity.png").read_bytes().startswith(b"\x89PNG")
    assert not (place / "all" / "features").exists()


def test_one_alone_several_and_each_within_itself_from_one_cache(call: Call, place: Path) -> None:
    common = ("--data", "plain", "--layers", "0,6", "--cache", "cache")
    code, out, _ = call("compare", "tiny", *common, "--out", "alone")
    assert code == 0
    assert "Neighbouring layers of tiny differ most between 0 and 6: linear CKA 0." in out
    made = {path: path.stat().st_mtime_ns for path in (place / "cache").rglob("*") if path.is_file()}
    assert made
    code, _, _ = call("compare", "tiny", "mfcc", "random:tiny", "tiny", *common, "--within", "--out", "several")
    assert code == 0
    record = json.loads((place / "several" / "analysis.json").read_text())
    pairs = [(one["x"], one["y"]) for one in record["comparisons"]]
    assert pairs == [
        *(("tiny", "mfcc"), ("tiny", "random:tiny")),
        *(("tiny", "tiny"), ("mfcc", "mfcc"), ("random:tiny", "random:tiny")),
    ]
    np.testing.assert_allclose(np.diagonal(record["comparisons"][2]["similarity"]["pwcca"]), 1)
    assert np.shape(record["comparisons"][0]["similarity"]["cka"]) == (2, 1)
    alone = json.loads((place / "alone" / "analysis.json").read_text())["comparisons"][0]["similarity"]
    assert record["comparisons"][2]["similarity"] == alone
    assert sorted(path.name for path in (place / "several").glob("*.png")) == [
        f"similarity-{number}.png" for number in range(1, 6)
    ]
    assert {path: path.stat().st_mtime_ns for path in made} == made
    assert (place / "cache").is_dir()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("tiny", "random:tiny", "--data", "short"), "too few for 192 dimensions"),
        (("tiny", "random:tiny", "--data", "short"), "At least 1,920 are needed"),
        (("tiny", "random:tiny", "--data", "plain", "--frames", "500"), "--frames"),
        (("tiny", "nothing_like_it", "--data", "plain"), "nothing_like_it"),
        (("tiny", "tiny+mean-remvd", "--data", "plain"), "mean-removed"),
        (("tiny", "mfcc", "--data", "plain", "--measures", "attention"), "mfcc is not an encoder"),
        (("tiny", "tiny+smoothed", "--data", "plain", "--measures", "attention"), "tiny+smoothed is not an encoder"),
        (("tiny", "--data", "plain", "--measures", "attention", "--layers", "0"), "counted from 1"),
        (("tiny", "--data", "plain", "--layers", "9"), "layers 0 to 6"),
        (("tiny", "--data", "plain", "--split", "train"), "no split 'train'"),
        (("tiny", "--data", "nowhere"), "nowhere"),
        (("tiny", "--data", "plain", "--measures", "ckaa"), "ckaa"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_written(call: Call, place: Path, arguments, said: str) -> None:
    code, _, err = call("compare", *arguments, "--out", "wrong", "--cache", "cache")
    assert code != 0
    assert said in err
    assert not (place / "wrong").exists()


def test_an_analysis_of_something_else_is_never_written_over(call: Call, place: Path) -> None:
    (place / "taken").mkdir()
    (place / "taken" / "analysis.md").write_text("mine")
    code, _, err = call("compare", "tiny", "--data", "plain", "--out", "taken")
    assert code != 0
    assert "taken holds something else" in err
    assert (place / "taken" / "analysis.md").read_text() == "mine"
