"""`ssft analyze autoencoder`: from a model and audio to which layers to train, and how wrong calls end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import ssft

Call = Callable[..., tuple[int, str, str]]

DEMO = Path(ssft.__file__).parent / "assets" / "demo_speech"
# 192 dimensions need 1,920 frames outside of a fold: 40 utterances have about 5,600.
UTTERANCES = 40


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds little/, some demo speech with its labels, plain/, the same without, and one/ recording."""
    folder = tmp_path_factory.mktemp("autoencoder")
    header, *rows = (DEMO / "manifest.tsv").read_text(encoding="utf-8").splitlines()
    split = header.split("\t").index("split")
    kept = [row for row in rows if row.split("\t")[split] == "heldout"][:UTTERANCES]
    names = [row.split("\t")[0] for row in kept]
    for name in names:
        for part in ("little", "plain"):
            (folder / part / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(DEMO / name, folder / part / name)
    (folder / "little" / "manifest.tsv").write_text("\n".join([header, *kept]) + "\n", encoding="utf-8")
    for table in ("alignments.tsv", "words.tsv"):
        first, *lines = (DEMO / table).read_text(encoding="utf-8").splitlines()
        own = [line for line in lines if line.split("\t")[0] in set(names)]
        (folder / "little" / table).write_text("\n".join([first, *own]) + "\n", encoding="utf-8")
    (folder / "one").mkdir()
    shutil.copy(DEMO / names[0], folder / "one" / "a.opus")
    return folder


def test_a_model_beside_its_base_with_labels(call: Call, place: Path) -> None:
    code, out, err = call(
        *("analyze", "autoencoder", "tiny", "--data", "little", "--split", "test", "--against", "random:tiny"),
        *("--out", "both", "--json"),
    )
    assert code == 0, err
    record = json.loads(out)
    assert record == json.loads((place / "both" / "analysis.json").read_text(encoding="utf-8"))
    assert set(record["profiles"]) == {"tiny", "random:tiny"}
    tiny = record["profiles"]["tiny"]
    assert tiny["layers"] == list(range(7))
    assert set(tiny["pwcca"]) >= {"log-mel", "MFCC", "layer 0", "phones"}
    assert tiny["pwcca"]["layer 0"]["0"]["value"] == pytest.approx(1.0)
    assert "words" in tiny["missing"]
    last = tiny["pwcca"]["phones"]["6"]
    assert last["low"] < last["value"] < last["high"]
    assert len(last["folds"]) == 5
    recommended = record["recommendation"]
    assert 1 <= recommended["trainable_layers"] < 6
    page = (place / "both" / "analysis.md").read_text(encoding="utf-8")
    assert recommended["settings"] in page
    assert "## tiny minus random:tiny" in page
    assert (place / "both" / "autoencoder.png").read_bytes().startswith(b"\x89PNG")
    assert not (place / "both" / "features").exists()


def test_without_labels_only_acoustics_and_layer_0_are_compared(call: Call, place: Path) -> None:
    code, out, err = call(
        *("analyze", "autoencoder", "tiny", "--data", "plain", "--layers", "2,4", "--frames", "4000"),
        *("--folds", "3", "--out", "plain-out", "--cache", "kept"),
    )
    assert code == 0, err
    record = json.loads((place / "plain-out" / "analysis.json").read_text(encoding="utf-8"))
    profile = record["profiles"]["tiny"]
    assert profile["layers"] == [0, 2, 4, 6]
    assert set(profile["pwcca"]) == {"log-mel", "MFCC", "layer 0"}
    assert profile["missing"] == {kind: f"plain has no {kind} with times." for kind in ("phones", "words")}
    assert record["recommendation"]["settings"] in out
    assert (place / "kept").is_dir()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["tiny", "--data", "one"], "too few for 5 folds", id="one utterance"),
        pytest.param(["tiny", "--data", "plain", "--frames", "1500"], "At least 1,920 are needed", id="few frames"),
        pytest.param(["mfcc", "--data", "plain"], "at least two others", id="no layers"),
        pytest.param(["tiny", "--data", "plain", "--folds", "1"], "give 2 or more", id="one fold"),
        pytest.param(["tiny", "--data", "plain", "--layers", "9"], "layer", id="no such layer"),
    ],
)
def test_what_cannot_be_done_is_refused_in_words(call: Call, arguments: list[str], said: str) -> None:
    code, _, err = call("analyze", "autoencoder", *arguments, "--out", "refused", "--cache", "kept")
    assert code in (1, 2)
    assert said in err
