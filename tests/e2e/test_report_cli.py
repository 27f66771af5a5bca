"""`ssft report`: from a run to a page, with labels and without, whole and in pieces."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import ssft
from ssft.evaluation.items import read_table

Call = Callable[..., tuple[int, str, str]]

DEMO = Path(ssft.__file__).parent / "assets" / "demo_speech"
SECTIONS = ["trained", "curves", "audio", "layers", "scores", "pairs", "neighbours"]
QUICK = ("--train.steps", "2", "--train.warmup_steps", "1", "--train.save_every", "1", "--train.batch_seconds", "12")


def main(*arguments: str) -> int:
    from ssft.cli.main import main

    return main(arguments)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """speech/, a few sentences of the demo speech with labels; plain/, the same without; and a run on the former."""
    folder = tmp_path_factory.mktemp("report")
    rows = read_table(DEMO / "manifest.tsv", ("path", "speaker", "text", "split"))
    heard = sorted({row[1] for row in rows if row[3] == "train"})[:2]
    tested = sorted({row[1] for row in rows if row[3] == "heldout"})[:3]
    kept = [row for speaker in heard for row in [own for own in rows if own[1] == speaker][:5]]
    kept += [(*row[:3], "test") for speaker in tested for row in [own for own in rows if own[1] == speaker][:5]]
    for path, *_ in kept:
        for target in (folder / "speech" / path, folder / "plain" / path):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(DEMO / path, target)
    soundfile.write(folder / "speech/train/silent.wav", np.zeros(16_000), 16_000)
    kept.append(("train/silent.wav", heard[0], "nothing", "train"))
    table = [("path", "speaker", "text", "split"), *kept]
    (folder / "speech/manifest.tsv").write_text("\n".join("\t".join(row) for row in table) + "\n")
    paths = {row[0] for row in kept}
    for name in ("alignments.tsv", "words.tsv"):
        header, *lines = (DEMO / name).read_text(encoding="utf-8").splitlines()
        own = [line for line in lines if line.split("\t")[0] in paths]
        (folder / "speech" / name).write_text("\n".join([header, *own]) + "\n", encoding="utf-8")
    arguments = (
        "--data.root",
        str(folder / "speech/manifest.tsv"),
        "--data.split",
        "train",
        "--data.max_rejects",
        "0.5",
    )
    assert main("train", "score_tiny", *arguments, *QUICK, "--out", str(folder / "run")) == 0
    return folder


@pytest.fixture(scope="module")
def made(place: Path) -> dict[str, Any]:
    """report.json of the run, made once."""
    before = {path: path.read_bytes() for path in (place / "run").rglob("*") if path.is_file()}
    assert main("report", str(place / "run"), "--pairs", "2", "--examples", "2", "--out", str(place / "report")) == 0
    assert {path: path.read_bytes() for path in (place / "run").rglob("*") if path.is_file()} == before
    found: dict[str, Any] = json.loads((place / "report/report.json").read_text(encoding="utf-8"))
    return found


def copied(place: Path, tmp_path: Path) -> Path:
    shutil.copytree(place / "run", tmp_path / "run")
    return tmp_path / "run"


def report(call: Call, run: Path, *arguments: str) -> dict[str, Any]:
    quick = ("--pairs", "1", "--examples", "1", "--hours", "0.01", "--json")
    code, out, err = call("report", str(run), *quick, "--out", str(run.parent / "report"), *arguments)
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


# --- a run that is whole ---------------------------------------------------------------------------------------------


def test_every_section_is_there_and_says_what_the_run_wrote_down(made: dict[str, Any], place: Path) -> None:
    assert made["missing"] == {}
    assert list(made["sections"]) == SECTIONS
    trained, sound = made["sections"]["trained"], made["sections"]["audio"]
    assert (trained["recipe"], trained["base"], trained["trained_layers"]) == ("score_tiny", "tiny", [5, 6])
    assert (trained["steps"], trained["steps_planned"], trained["exported_step"], trained["seed"]) == (2, 2, 2, 0)
    assert trained["environment"]["packages"]["torch"]
    assert (sound["utterances"], sound["speakers"], sound["rejects"]) == (10, 2, {"silent": 1})
    metrics = [json.loads(line) for line in (place / "run/metrics.jsonl").read_text().splitlines()]
    assert made["sections"]["curves"]["first_and_last"]["loss"] == [metrics[0]["loss"], metrics[-1]["loss"]]
    assert made["command"].startswith("ssft report ")
    assert [path for path in place.iterdir() if path.name.startswith(".")] == []


def test_it_is_measured_on_what_was_not_trained_on(made: dict[str, Any]) -> None:
    scores = made["sections"]["scores"]
    assert scores["corpus"]["splits"]["test"]["utterances"] == 15
    assert scores["corpus"]["speakers"] == 3
    assert "The run was not trained on what is measured here." in " ".join(made["notes"])
    assert set(scores["systems"]) == {"base", "base+mean-removed", "adapted"}
    assert {row["against"] for row in scores["differences"]} == {"same layer"}
    across = [
        row for row in scores["differences"] if row["measure"] == "word ABX across" and row["system"] == "adapted"
    ]
    assert across[0]["low"] <= across[0]["value"] <= across[0]["high"]
    assert re.match(r"\*\*(Better|Mixed|Not better)", made["verdict"])
    assert "Against a free control" in made["notes"][0]


def test_layers_below_the_trained_ones_are_those_of_the_base(made: dict[str, Any]) -> None:
    figures = made["sections"]["layers"]["figures"]
    assert list(figures) == ["base", "adapted"]
    assert list(figures["adapted"]) == [str(layer) for layer in range(7)]
    for layer in range(5):
        assert figures["adapted"][str(layer)]["global_rank"] == pytest.approx(
            figures["base"][str(layer)]["global_rank"]
        )
    assert figures["adapted"]["6"]["cosine_distance"] > 1e-6
    assert figures["adapted"]["4"]["cosine_distance"] == pytest.approx(0, abs=1e-5)


def test_neighbours_are_counted_and_examples_are_of_other_utterances(made: dict[str, Any]) -> None:
    found = made["sections"]["neighbours"]
    counts = {row["measure"]: row for row in found["counts"]}
    assert set(counts) == {"word: same word at 1", "word: same speaker at 1", "whole utterance: same speaker at 1"}
    for row in counts.values():
        assert set(row["values"]) == {"base", "adapted"}
        assert 0 < row["chance"] < 1
        assert row["difference"]["low"] <= row["difference"]["value"] <= row["difference"]["high"]
    assert counts["word: same word at 1"]["values"]["base"] > counts["word: same word at 1"]["chance"]
    assert [len(examples) for examples in found["examples"].values()] == [2, 1]
    for examples in found["examples"].values():
        for example in examples:
            for near in example["nearest"].values():
                assert len(near) == 3
                assert all(one["utterance"] != example["query"]["utterance"] for one in near)


def test_the_page_holds_all_of_it_and_the_markdown_says_it(made: dict[str, Any], place: Path) -> None:
    html = (place / "report/report.html").read_text(encoding="utf-8")
    assert made["bytes"] == len(html.encode()) < 4e6
    assert html.count('<audio controls preload="metadata" src="data:audio/') == 2 * 2 + 3 * (1 + 2 * 3)
    assert html.count("<img src=") == html.count('<img src="data:image/png;base64,') == 2 + 2
    assert not re.search(r"https?:", re.sub(r"data:[^\"]*", "", html))
    text = (place / "report/report.md").read_text(encoding="utf-8")
    for title in ("What was trained", "Audio", "Nearest neighbours, before and after"):
        assert f"## {title}" in text
        assert f"<h2>{title}</h2>" in html
    assert made["verdict"] in text
    assert "train/silent.wav" in text


def test_a_report_on_the_same_is_the_same(call: Call, made: dict[str, Any], place: Path, tmp_path: Path) -> None:
    code, out, _ = call("report", "run", "--pairs", "2", "--examples", "2", "--out", str(tmp_path / "again"), "--json")
    assert code == 0
    again = json.loads(out)
    for key in ("layers", "neighbours", "pairs", "curves"):
        assert again["sections"][key] == made["sections"][key]
    assert again["verdict"] == made["verdict"]


# --- other audio, other results --------------------------------------------------------------------------------------


def test_without_labels_nothing_is_claimed_and_stretches_are_played(call: Call, place: Path, tmp_path: Path) -> None:
    found = report(call, copied(place, tmp_path), "--data", "plain")
    assert list(found["missing"]) == ["scores"]
    assert "has no" in found["missing"]["scores"]
    assert found["verdict"].startswith("**Not shown to be better**")
    assert "; without labels: moment error" in found["verdict"]
    neighbours = found["sections"]["neighbours"]
    assert neighbours["kind"] == "stretch of 0.5 s"
    assert neighbours["counts"] == []
    (example,) = neighbours["examples"]["By content: stretches of half a second"]
    assert example["query"]["end"] - example["query"]["start"] == 0.5


def test_results_of_an_evaluation_are_taken_if_they_are_of_this_encoder(
    call: Call, place: Path, tmp_path: Path
) -> None:
    run = copied(place, tmp_path)
    given = ("--data", "speech/manifest.tsv", "--layers", "6", "--abx.level", "word", "--replicates", "50")
    assert call("evaluate", "abx", str(run), "--against", "tiny", *given, "--out", str(run / "evaluation"))[0] == 0
    found = report(call, run)  # it is found in the run's folder
    scores = found["sections"]["scores"]
    assert scores["source"] == str(run / "evaluation/results.json")
    assert scores["adapted"] == str(run)
    assert {row["measure"] for row in scores["scores"]} == {"word ABX across"}  # the fewest that can be measured
    assert str(run) in found["verdict"]
    shutil.move(run / "evaluation", tmp_path / "elsewhere")
    assert report(call, run, "--results", str(tmp_path / "elsewhere"))["sections"]["scores"]["adapted"] == str(run)
    results = json.loads((tmp_path / "elsewhere/results.json").read_text())
    results["systems"][str(run)]["weights"] = "of another training"
    (tmp_path / "elsewhere/results.json").write_text(json.dumps(results))
    found = report(call, run, "--results", str(tmp_path / "elsewhere"))
    assert "none of which is the adapted encoder of this run" in found["missing"]["scores"]


# --- what there is of a run ------------------------------------------------------------------------------------------


def test_without_an_adapted_model_the_rest_is_shown(call: Call, place: Path, tmp_path: Path) -> None:
    run = copied(place, tmp_path)
    shutil.rmtree(run / "adapted")
    found = report(call, run)
    assert list(found["missing"]) == ["layers", "scores", "neighbours"]
    assert all(f"`ssft export {run}`" in why for why in found["missing"].values())
    assert found["verdict"].startswith("**Nothing was measured**, so nothing can be said: ")
    assert found["sections"]["pairs"]["pairs"]


def test_without_its_base_the_adapted_encoder_is_shown_alone(call: Call, place: Path, tmp_path: Path) -> None:
    run = copied(place, tmp_path)
    text = (run / "recipe.yaml").read_text()
    (run / "recipe.yaml").write_text(text.replace("model: tiny", "model: /moved/away"))
    found = report(call, run)
    assert found["missing"] == {}
    assert found["verdict"].startswith("**Not shown to be better**: The base cannot be compared with: ")
    assert "/moved/away" in found["verdict"]
    assert list(found["sections"]["layers"]["figures"]) == ["adapted"]
    assert list(found["sections"]["neighbours"]["counts"][0]["values"]) == ["adapted"]


def test_audio_that_is_gone_and_damaged_files_cost_their_sections_only(call: Call, place: Path, tmp_path: Path) -> None:
    run = copied(place, tmp_path)
    text = (run / "recipe.yaml").read_text()
    (run / "recipe.yaml").write_text(
        text.replace(str(place / "speech/manifest.tsv"), str(tmp_path / "gone/manifest.tsv"))
    )
    (run / "corpus.safetensors").write_bytes(b"damaged")
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "lo')
    found = report(call, run)
    assert list(found["missing"]) == ["layers", "scores", "pairs", "neighbours"]
    assert all("corpus.safetensors" in why for why in found["missing"].values())
    assert found["sections"]["trained"]["problems"] == [
        "Lines of metrics.jsonl that cannot be read and are left out: 1."
    ]
    assert found["sections"]["audio"]["utterances"] == 10


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("speech",), 1, "speech is not a run folder: it holds no recipe.yaml"),
        (("run", "--hours", "0"), 2, "--hours 0.0 must be positive"),
        (("run", "--tasks", "abxx"), 2, "invalid choice: 'abxx'"),
        (("run", "--pairs", "-1"), 2, "'-1' is not a whole number of 0 or more"),
        (("run", "--out", "speech/manifest.tsv"), 1, "did not write. Choose another --out"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_made(
    call: Call, arguments: tuple[str, ...], code: int, said: str
) -> None:
    ended, out, err = call("report", *arguments)
    assert ended == code
    assert said in err
    assert out == ""
