"""`ssft analyze`: from a model and a corpus to figures of every layer, and how wrong calls end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import ssft
from ssft.evaluation.items import read_table

Call = Callable[..., tuple[int, str, str]]

DEMO = Path(ssft.__file__).parent / "assets" / "demo_speech"
PNG = b"\x89PNG\r\n\x1a\n"
LAYERS = ("analyze", "layers", "tiny", "--clusters", "20", "--cache", "cache")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds little/, a few sentences of two speakers with labels, and plain/, one without."""
    folder = tmp_path_factory.mktemp("analyze")
    columns = ("path", "speaker", "text", "split")
    aligned = [row for row in read_table(DEMO / "manifest.tsv", columns) if row[3] == "heldout"]
    speakers = sorted({row[1] for row in aligned})[:2]
    rows = [row for speaker in speakers for row in [own for own in aligned if own[1] == speaker][:5]]
    for path, *_ in rows:
        target = folder / "little" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(DEMO / path, target)
    lines = ["\t".join((path, speaker, text, "test")) for path, speaker, text, _ in rows]
    (folder / "little" / "manifest.tsv").write_text("\n".join(["\t".join(columns), *lines]) + "\n", encoding="utf-8")
    kept = {path for path, *_ in rows}
    for table in ("alignments.tsv", "words.tsv"):
        header, *entries = (DEMO / table).read_text(encoding="utf-8").splitlines()
        own = [line for line in entries if line.split("\t")[0] in kept]
        (folder / "little" / table).write_text("\n".join([header, *own]) + "\n", encoding="utf-8")
    (folder / "plain").mkdir()
    shutil.copy(DEMO / rows[0][0], folder / "plain" / "a.opus")
    return folder


def test_layers_against_a_base(call: Call, place: Path) -> None:
    code, out, err = call(*LAYERS, "--against", "random:tiny", "--data", "little", "--layers", "0,6", "--out", "both")
    assert (code, err) == (0, "")
    record = json.loads((place / "both" / "analysis.json").read_text(encoding="utf-8"))
    assert record["subject"] == "layers of tiny against random:tiny"
    assert record["command"].startswith("ssft analyze layers tiny --clusters 20")
    assert record["environment"]["packages"]["torch"]
    assert record["corpus"]["splits"]["test"]["utterances"] == 10
    assert record["settings"]["clusters"] == 20
    assert (record["settings"]["center"], record["settings"]["eps"]) == (False, 1e-7)
    assert record["settings"]["conditions"][0]["name"] == "pitch_shift"
    assert len({facts["weights"] for facts in record["systems"].values()}) == 2
    rows = {(row["system"], row["layer"]): row for row in record["layers"]}
    assert set(rows) == {(system, layer) for system in ("tiny", "random:tiny") for layer in (0, 6)}
    own, base = rows["tiny", 6], rows["random:tiny", 6]
    for name in ("phone_accuracy", "speaker_accuracy", "global_rank", "davies_bouldin", "uniformity", "alignment"):
        assert own[name] is not None, name
        assert base[name] is not None, name
    assert own["phone_accuracy"] > base["phone_accuracy"]
    assert own["cosine_distance"] > 0.1
    assert base["cosine_distance"] is None
    assert base["why"] == {}
    page = (place / "both" / "analysis.md").read_text(encoding="utf-8")
    for text in ("# Layers of tiny and random:tiny on little", "](layers.png)", "in brackets random:tiny"):
        assert text in page
    assert "fewer than the 192 dimensions" in page
    assert "in brackets: random:tiny" in out
    assert (place / "both" / "layers.png").read_bytes().startswith(PNG)


def test_the_model_itself_has_not_moved(call: Call, place: Path) -> None:
    shutil.copytree(Path(ssft.__file__).parent / "assets" / "tiny_encoder", place / "same", dirs_exist_ok=True)
    quick = ("--layers", "6", "--augmented", "none", "--data", "little")
    code, out, _ = call(*LAYERS, *quick, "--against", "./same", "--out", "same-out")
    assert code == 0
    assert "No layer has moved from the base." in out
    assert "100 to 100 % of that of ./same" in out
    assert "alignment" not in out


def test_one_recording_without_labels(call: Call, place: Path) -> None:
    code, out, err = call("analyze", "layers", "tiny", "--data", "plain", "--layers", "6", "--out", "one", "--json")
    assert (code, err) == (0, "")
    record = json.loads(out)
    (row,) = record["layers"]
    assert row["global_rank"] > 1
    assert row["alignment"] > 0
    assert row["phone_accuracy"] is None
    assert set(row["why"]) == {"clusters", "phone_accuracy", "speaker_accuracy"}
    assert "1,024 clusters need at least as many frames" in row["why"]["clusters"]
    page = (place / "one" / "analysis.md").read_text(encoding="utf-8")
    assert "## What could not be measured" in page
    assert not (place / "one" / "features").exists()


def test_rank_and_clusters_in_detail(call: Call, place: Path) -> None:
    shared = ("tiny", "--data", "little", "--layers", "0,6", "--cache", "cache")
    code, out, _ = call("analyze", "rank", *shared, "--out", "rank")
    assert code == 0
    header = next(line for line in out.splitlines() if line.startswith("| layer"))
    assert all(name in header for name in ("global rank", "RankMe", "RankMe-t", "RankMe (mean)"))
    plain = json.loads((place / "rank" / "analysis.json").read_text(encoding="utf-8"))["layers"]
    code, _, _ = call("analyze", "rank", *shared, "--center", "--eps", "1e-3", "--out", "centred")
    centred = json.loads((place / "centred" / "analysis.json").read_text(encoding="utf-8"))
    assert (centred["settings"]["center"], centred["settings"]["eps"]) == (True, 1e-3)
    assert centred["layers"][0]["global_rank"] != plain[0]["global_rank"]
    assert (place / "rank" / "rank.png").read_bytes().startswith(PNG)

    code, out, _ = call("analyze", "clusters", *shared, "--clusters", "10", "--frames", "500", "--out", "clusters")
    assert code == 0
    record = json.loads((place / "clusters" / "analysis.json").read_text(encoding="utf-8"))
    assert 400 < record["sampled_frames"] < 600
    for row in record["layers"]:
        assert row["used_clusters"] <= 10
        assert 0 < row["relative_inertia"] < 1
        assert 0 < row["cluster_stability"] <= 1
    assert "Calinski-Harabasz" in out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("layers tiny", 2, "--data"),
        ("layres tiny --data little", 2, "layers"),
        ("layers tiny --data little --cluster 5", 2, "--clusters"),
        ("layers tiny --data little --split dev", 1, "has no split 'dev'"),
        ("layers tiny --data little --max-hours 0", 2, "not a number above 0"),
        ("rank tiny --data little --eps -1", 2, "not a number above 0"),
        ("layers tiny --data little --layers 7", 1, "layer"),
        ("layers tiny --data little --augmented speed_perturb", 2, "changes lengths"),
        ("layers tiny --data little --augmented pitch_shif", 2, "pitch_shift"),
        ("layers tyni --data little", 1, "tiny"),
        ("layers tiny --data nowhere", 1, "nowhere"),
        ("rank tiny --data little --out little/manifest.tsv", 1, "Choose another --out"),
    ],
)
def test_wrong_calls_end_with_what_to_do(call: Call, place: Path, arguments: str, code: int, message: str) -> None:
    ended, _, err = call("analyze", *arguments.split(), *(() if "--out" in arguments else ("--out", "wrong")))
    assert ended == code, err
    assert message in err
    assert not (place / "wrong").exists()
