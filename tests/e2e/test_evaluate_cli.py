"""`ssft evaluate`: from a model and a corpus to results that say what is better, and how wrong calls end."""

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
QUICK = (
    *("--layers", "6", "--seeds", "2", "--replicates", "100", "--units.clusters", "10", "--units.max_hours", "0.05"),
    *("--pr.layers", "last", "--pr.updates", "20", "--pr.warmup_updates", "2", "--pr.evaluate_every", "10"),
    *("--asr.updates", "10", "--asr.warmup_updates", "2", "--asr.evaluate_every", "10", "--asr.hidden", "8"),
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds little/, a corpus of a few sentences of the demo speech, and plain/, audio without labels."""
    folder = tmp_path_factory.mktemp("evaluate")
    columns = ("path", "speaker", "text", "split")
    aligned = [row for row in read_table(DEMO / "manifest.tsv", columns) if row[3] == "heldout"]
    splits = dict(
        zip(sorted({row[1] for row in aligned}), ("train", "train", "dev", "test", "test", "test"), strict=True)
    )
    rows = [
        (path, speaker, text, splits[speaker])
        for speaker in splits
        for path, _, text, _ in [row for row in aligned if row[1] == speaker][:8]
    ]
    for path, *_ in rows:
        target = folder / "little" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(DEMO / path, target)
    (folder / "little" / "manifest.tsv").write_text("\n".join("\t".join(row) for row in [columns, *rows]) + "\n")
    kept = {path for path, *_ in rows}
    for table in ("alignments.tsv", "words.tsv"):
        header, *lines = (DEMO / table).read_text(encoding="utf-8").splitlines()
        own = [line for line in lines if line.split("\t")[0] in kept]
        (folder / "little" / table).write_text("\n".join([header, *own]) + "\n", encoding="utf-8")
    (folder / "plain").mkdir()
    shutil.copy(DEMO / rows[0][0], folder / "plain" / "a.opus")
    return folder


@pytest.fixture(scope="module")
def suite(place: Path) -> dict[str, object]:
    """The results of a suite on little/, made once."""
    from ssft.cli.main import main

    arguments = ["evaluate", "suite", "tiny", "--against", "random:tiny", "--data", str(place / "little"), *QUICK]
    assert main([*arguments, "--out", str(place / "suite")]) == 0
    found: dict[str, object] = json.loads((place / "suite" / "results.json").read_text(encoding="utf-8"))
    return found


def test_a_suite_measures_everything_in_every_condition_with_intervals(suite) -> None:
    assert suite["complete"] is True
    assert set(suite["systems"]) == {"random:tiny", "tiny", "random:tiny+mean-removed"}
    assert {row["task"] for row in suite["scores"]} == {"abx", "pr", "asr", "qbe", "units", "speaker"}
    assert {row["condition"] for row in suite["scores"]} == {"clean", "pink noise 10 dB", "reverberation"}
    trained = [row for row in suite["scores"] if row["task"] == "pr" and row["measure"] == "PER"]
    assert trained
    assert all(len(row["seeds"]) == 2 for row in trained)
    control = {row["task"] for row in suite["scores"] if row["system"] == "random:tiny+mean-removed"}
    assert control == {"abx", "qbe", "speaker"}
    verdicts = {row["measure"]: row for row in suite["differences"] if row["system"] == "tiny" and row["task"] == "abx"}
    assert verdicts["word ABX across"]["verdict"] == "better"
    assert verdicts["word ABX across"]["high"] < 0


def test_results_say_how_they_were_made(suite, place: Path) -> None:
    assert suite["command"].startswith("ssft evaluate suite tiny --against random:tiny --data ")
    assert suite["environment"]["packages"]["torch"]
    assert suite["tasks"]["units"]["clusters"] == 10
    assert suite["corpus"]["fingerprint"]
    assert len({facts["weights"] for facts in suite["systems"].values()}) == 2
    assert [condition["name"] for condition in suite["conditions"]] == ["pink noise 10 dB", "reverberation"]
    page = (place / "suite" / "results.md").read_text(encoding="utf-8")
    assert "**Better**: tiny" in page or "**Mixed**: tiny" in page
    assert not (place / "suite" / "features").exists()


def test_one_task_on_one_model_as_json_and_from_a_cache(call: Call, place: Path) -> None:
    command = (
        "evaluate",
        "abx",
        "tiny",
        "--data",
        "little",
        "--layers",
        "6",
        "--abx.level",
        "word",
        "--cache",
        "cache",
    )
    code, out, err = call(*command, "--out", "one", "--json")
    assert (code, err) == (0, "")
    record = json.loads(out)
    assert "word ABX across" in {row["measure"] for row in record["scores"]}
    assert record["tasks"]["abx"]["level"] == "word"
    made = {path: path.stat().st_mtime_ns for path in (place / "cache").rglob("*") if path.is_file()}
    assert made
    code, out, _ = call(*command, "--out", "one")  # over its own results, from the same frames
    assert code == 0
    assert "word ABX across" in out
    assert {path: path.stat().st_mtime_ns for path in made} == made
    assert json.loads((place / "one" / "results.json").read_text())["scores"] == record["scores"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("abx", "tiny", "--data", "nowhere"), "nowhere"),
        (("abx", "nothing_like_it", "--data", "little"), "nothing_like_it"),
        (("abx", "tiny+mean-remvd", "--data", "little"), "mean-removed"),
        (("abx", "tiny", "--data", "plain"), "abx cannot be measured on plain"),
        (("pr", "tiny", "--data", "plain"), "pr cannot be measured on plain"),
        (("abx", "tiny", "--data", "little", "--abx.max_grup", "3"), "max_group"),
        (("abx", "tiny", "--data", "little", "--abx.max_group", "one"), "max_group"),
        (("abx", "tiny", "--data", "little", "--units.clusters", "3"), "--abx.SETTING"),
        (("abx", "tiny", "--data", "little", "--layers", "9"), "layers 0 to 6"),
        (("abx", "tiny", "--data", "little", "--augmented", "speed_perturb"), "changes lengths"),
        (("abx", "tiny", "--data", "little", "--train-hours", "0"), "train_hours"),
        (("abx", "tiny", "--data", "little", "--replicates", "1"), "at least 2"),
        (("abx", "tiny", "--data", "little", "--items", "no.item"), "no.item"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_measured(call: Call, place: Path, arguments, said: str) -> None:
    code, _, err = call("evaluate", *arguments, "--out", "wrong")
    assert code != 0
    assert said in err
    assert not (place / "wrong").exists()


def test_results_of_something_else_are_never_written_over(call: Call, place: Path, suite) -> None:
    before = (place / "suite" / "results.json").read_bytes()
    code, _, err = call("evaluate", "abx", "tiny", "--data", "little", "--out", "suite")
    assert code != 0
    assert "suite holds other results: suite of random:tiny, tiny on little. Choose another --out" in err
    assert (place / "suite" / "results.json").read_bytes() == before


def test_a_task_that_is_none_is_refused_with_those_that_are(call: Call) -> None:
    code, _, err = call("evaluate", "abxx", "tiny", "--data", "little")
    assert code == 2
    assert "abx, pr, asr, qbe, units, speaker, robustness, suite" in err.replace("'", "")
